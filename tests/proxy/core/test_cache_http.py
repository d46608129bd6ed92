"""RFC 9111 by example: what is kept, what answers a request, and which requests are none for the cache."""

import pytest

from seawall.core import cache_http as http
from seawall.core.cache import (
    Bypass,
    CacheSettings,
    Decision,
    Forward,
    Hit,
    Keep,
    Miss,
    OnlyIfCached,
    Pass,
    Revalidate,
    Scope,
    Stale,
    Stored,
    Why,
    current_age,
)
from seawall.types import Headers

T = 1_764_000_000.0
DATE = (b"Date", b"Mon, 24 Nov 2025 16:00:00 GMT")
LATER = b"Mon, 24 Nov 2025 16:10:00 GMT"
OLDER = b"Mon, 24 Nov 2025 14:20:00 GMT"
PLAIN = CacheSettings()
SHARED = CacheSettings(scope=Scope.NAMESPACE)


def answer(*headers: tuple[bytes, bytes], status: int = 200) -> http.Answer:
    return http.Answer(status, [DATE, *headers], T, T)


def control(value: bytes) -> tuple[bytes, bytes]:
    return b"Cache-Control", value


def keep(*headers: tuple[bytes, bytes], status: int = 200, settings: CacheSettings = PLAIN) -> Keep:
    found = http.keep("GET", [], answer(*headers, status=status), settings)
    assert isinstance(found, Keep), found
    return found


def passed(
    *headers: tuple[bytes, bytes],
    status: int = 200,
    method: str = "GET",
    asked: Headers | None = None,
    settings: CacheSettings = PLAIN,
    whole: bool = True,
    size: int = 0,
) -> Why:
    found = http.keep(method, asked or [], answer(*headers, status=status), settings, whole=whole, size=size)
    assert isinstance(found, Pass), found
    return found.why


def stored(*headers: tuple[bytes, bytes], status: int = 200, settings: CacheSettings = PLAIN) -> Stored:
    found = keep(*headers, status=status, settings=settings)
    return Stored(status, found.headers, found.fresh_seconds, T, T, found.must_revalidate)


def look_up(one: Stored, after: float, *asked: tuple[bytes, bytes], settings: CacheSettings = PLAIN) -> Decision:
    request = http.ask("GET", list(asked))
    assert isinstance(request, http.Asked), request
    return http.look_up(request, one, settings, T + after)


FRESH = control(b"max-age=60")
TAG = (b"ETag", b'"a"')
MODIFIED = (b"Last-Modified", OLDER)


# --- keeping


def test_an_answer_is_fresh_for_as_long_as_it_says() -> None:
    assert keep(FRESH).fresh_seconds == 60
    assert keep((b"Expires", LATER)).fresh_seconds == 600
    assert keep(FRESH, (b"Expires", LATER)).fresh_seconds == 60
    assert keep(FRESH, (b"Age", b"20")).fresh_seconds == 40


def test_an_invalid_expires_is_past_and_two_that_differ_are_none() -> None:
    for value in (b"0", b"-1", b"Mon, 24 Nov 2025 16:10:00 EST", b"tomorrow"):
        assert passed((b"Expires", value)) is Why.NO_LIFETIME
    assert passed((b"Expires", LATER), (b"Expires", OLDER)) is Why.NO_LIFETIME


def test_a_private_cache_keeps_private_answers_and_overlooks_s_maxage() -> None:
    assert keep(control(b"private, max-age=60, s-maxage=5")).fresh_seconds == 60
    assert not keep(control(b"max-age=60, proxy-revalidate")).must_revalidate
    asked = [(b"Authorization", b"Bearer a")]
    assert isinstance(http.keep("GET", asked, answer(FRESH), PLAIN), Keep)


def test_a_cache_of_several_tenants_is_a_shared_one() -> None:
    assert passed(control(b"private, max-age=60"), settings=SHARED) is Why.PRIVATE
    assert keep(control(b"max-age=60, s-maxage=5"), settings=SHARED).fresh_seconds == 5
    assert keep(control(b"max-age=60, proxy-revalidate"), settings=SHARED).must_revalidate
    asked = [(b"Authorization", b"Bearer a")]
    assert passed(FRESH, asked=asked, settings=SHARED) is Why.AUTHORIZED
    for allowed in (b"public", b"must-revalidate", b"s-maxage=5"):
        assert isinstance(http.keep("GET", asked, answer(control(b"max-age=6, " + allowed)), SHARED), Keep)
    fields = keep(control(b'max-age=60, private="x-a"'), (b"X-A", b"1"), settings=SHARED).headers
    assert (b"X-A", b"1") not in fields


def test_the_policys_ttl_is_for_answers_that_say_nothing() -> None:
    ttl = CacheSettings(ttl=30)
    assert keep(settings=ttl).fresh_seconds == 30
    assert keep(FRESH, settings=ttl).fresh_seconds == 60
    assert passed(control(b"max-age=0"), settings=ttl) is Why.NO_LIFETIME
    assert passed(status=404, settings=ttl) is Why.NO_LIFETIME
    assert keep(status=404, settings=CacheSettings(negative_ttl=8)).fresh_seconds == 8
    assert passed(status=302, settings=ttl) is Why.NO_LIFETIME
    assert passed(control(b"must-revalidate, s-maxage=5"), TAG, status=302, settings=ttl) is Why.NO_LIFETIME
    assert keep(control(b"public"), status=302, settings=ttl).fresh_seconds == 30


def test_a_lifetime_is_guessed_only_where_the_policy_asks_for_it() -> None:
    assert keep(MODIFIED).fresh_seconds == 0
    assert keep(MODIFIED, settings=CacheSettings(heuristic=True)).fresh_seconds == 600
    ancient = (b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT")
    assert keep(ancient, settings=CacheSettings(heuristic=True)).fresh_seconds == http.LONGEST_GUESS
    assert passed(MODIFIED, status=302, settings=CacheSettings(heuristic=True)) is Why.NO_LIFETIME


@pytest.mark.parametrize(
    ("headers", "more", "why"),
    [
        ([FRESH], {"method": "HEAD"}, Why.METHOD),
        ([FRESH], {"method": "POST"}, Why.METHOD),
        ([FRESH, (b"Content-Range", b"bytes 0-1/5")], {"status": 206}, Why.STATUS),
        ([FRESH], {"status": 304}, Why.STATUS),
        ([FRESH], {"status": 500}, Why.STATUS),
        ([FRESH], {"status": 503}, Why.STATUS),
        ([FRESH], {"asked": [control(b"no-store")]}, Why.REQUEST),
        ([control(b"max-age=60, no-store")], {}, Why.ANSWER),
        ([FRESH, (b"Set-Cookie", b"a=b")], {}, Why.COOKIE),
        ([FRESH, (b"Vary", b"Accept, *")], {}, Why.VARY),
        ([FRESH], {"whole": False}, Why.INCOMPLETE),
        ([FRESH], {"size": 2_000_000}, Why.TOO_LARGE),
        ([], {}, Why.NO_LIFETIME),
        ([control(b"no-cache")], {}, Why.NO_LIFETIME),
    ],
)
def test_what_is_never_kept(headers: Headers, more: dict[str, object], why: Why) -> None:
    assert passed(*headers, **more) is why  # type: ignore[arg-type]


def test_whoever_understands_a_status_may_overlook_its_no_store() -> None:
    assert keep(control(b"max-age=60, no-store, must-understand")).fresh_seconds == 60
    assert passed(control(b"max-age=60, no-store, must-understand"), status=299) is Why.STATUS


def test_fields_of_one_hop_and_those_that_only_a_validation_may_bring_are_not_kept() -> None:
    hops = ((b"Connection", b"x-hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"5"), (b"Proxy-Authenticate", b"Basic"))
    found = keep(control(b'max-age=60, no-cache="X-Secret"'), (b"X-Secret", b"1"), (b"X-Kept", b"1"), *hops).headers
    assert [name for name, _ in found] == [b"Date", b"Cache-Control", b"X-Kept"]


def test_what_may_be_given_stale_or_validated_is_kept_longer() -> None:
    assert keep(FRESH).keep_seconds == 0
    assert keep(control(b"max-age=60, stale-if-error=100, stale-while-revalidate=50")).keep_seconds == 100
    assert keep(FRESH, settings=CacheSettings(if_error=500)).keep_seconds == 500
    assert keep(FRESH, TAG).keep_seconds == http.KEPT_TO_VALIDATE
    assert keep(control(b"max-age=60, must-revalidate"), settings=CacheSettings(if_error=500)).keep_seconds == 0
    assert keep(settings=CacheSettings(if_error=500)).fresh_seconds == 0
    assert keep(control(b"no-cache"), TAG).fresh_seconds == 0


# --- looking up


def test_a_fresh_answer_is_given_with_its_age_and_what_is_left() -> None:
    assert look_up(stored(FRESH), 59) == Hit(59, 1)
    assert look_up(stored(FRESH, (b"Age", b"20")), 39) == Hit(59, 1)
    assert isinstance(look_up(stored(FRESH), 60), Revalidate)


def test_a_stale_answer_is_validated_with_what_it_has() -> None:
    found = look_up(stored(FRESH, TAG, MODIFIED), 61)
    assert found == Revalidate(
        Forward.STALE, [(b"If-None-Match", b'"a"'), (b"If-Modified-Since", OLDER)], on_error=None
    )
    assert look_up(stored(control(b"max-age=60"), (b"ETag", b"a")), 61) == Revalidate(Forward.STALE, [], None)


def test_an_answer_may_be_given_while_it_is_renewed() -> None:
    one = stored(control(b"max-age=60, stale-while-revalidate=30"), TAG)
    assert look_up(one, 89) == Stale(Hit(89, -29), [(b"If-None-Match", b'"a"')])
    assert isinstance(look_up(one, 90), Revalidate)
    assert isinstance(look_up(stored(FRESH, TAG), 89, settings=CacheSettings(while_revalidate=30)), Stale)
    no = stored(control(b"max-age=60, stale-while-revalidate=0"), TAG)
    assert isinstance(look_up(no, 61, settings=CacheSettings(while_revalidate=30)), Revalidate)


def test_an_answer_may_stand_in_for_a_failure() -> None:
    one = stored(control(b"max-age=60, stale-if-error=600"), TAG)
    assert look_up(one, 100) == Revalidate(Forward.STALE, [(b"If-None-Match", b'"a"')], Hit(100, -40))
    request = http.ask("GET", [])
    assert isinstance(request, http.Asked)
    assert http.in_an_outage(request, one, PLAIN, T + 659) == Hit(659, -599)
    assert http.in_an_outage(request, one, PLAIN, T + 660) is None
    strict = stored(control(b"max-age=60, stale-if-error=600, must-revalidate"), TAG)
    assert http.in_an_outage(request, strict, PLAIN, T + 100) is None


@pytest.mark.parametrize("refusal", [b"stale-if-error=0", b"no-cache", b"max-age=50", b"min-fresh=5"])
def test_an_agent_may_refuse_a_stale_answer_in_an_outage(refusal: bytes) -> None:
    one = stored(control(b"max-age=60, stale-if-error=600"), TAG)
    found = look_up(one, 100, control(refusal))
    assert isinstance(found, Revalidate)
    assert found.on_error is None


def test_an_agent_may_allow_a_stale_answer() -> None:
    assert look_up(stored(FRESH), 100, control(b"max-stale")) == Hit(100, -40)
    assert look_up(stored(FRESH), 100, control(b"max-stale=40")) == Hit(100, -40)
    assert isinstance(look_up(stored(FRESH), 100, control(b"max-stale=39")), Revalidate)
    strict = stored(control(b"max-age=60, must-revalidate"))
    assert isinstance(look_up(strict, 100, control(b"max-stale")), Revalidate)
    asked = look_up(stored(FRESH), 100, control(b"stale-if-error=100"))
    assert isinstance(asked, Revalidate)
    assert asked.on_error == Hit(100, -40)


def test_an_agent_may_want_a_younger_or_longer_lived_answer() -> None:
    for refusal in (b"max-age=9", b"min-fresh=51", b"no-cache", b"max-age=x"):
        found = look_up(stored(FRESH, TAG), 10, control(refusal))
        assert isinstance(found, Revalidate)
        assert found.forward is Forward.REQUEST
    assert isinstance(look_up(stored(FRESH), 10, (b"Pragma", b"no-cache")), Revalidate)
    assert look_up(stored(FRESH), 10, control(b"max-age=10, min-fresh=50")) == Hit(10, 50)


def test_an_answer_that_says_no_cache_is_always_validated() -> None:
    found = look_up(stored(control(b"no-cache, stale-if-error=60"), TAG), 0)
    assert found == Revalidate(Forward.STALE, [(b"If-None-Match", b'"a"')], None)


def test_nothing_kept_is_a_miss_or_a_504_where_the_agent_wants_nothing_else() -> None:
    request, only = http.ask("GET", []), http.ask("GET", [control(b"only-if-cached")])
    assert isinstance(request, http.Asked)
    assert isinstance(only, http.Asked)
    assert http.look_up(request, None, PLAIN, T) == Miss(Forward.URI_MISS)
    assert http.look_up(request, None, PLAIN, T, others=True) == Miss(Forward.VARY_MISS)
    assert http.look_up(only, None, PLAIN, T) == OnlyIfCached()
    assert http.look_up(only, stored(FRESH), PLAIN, T) == Hit(0, 60)
    assert http.look_up(only, stored(FRESH), PLAIN, T + 61) == OnlyIfCached()


@pytest.mark.parametrize(
    ("method", "headers", "forward", "why"),
    [
        ("POST", [], Forward.METHOD, Why.METHOD),
        ("OPTIONS", [], Forward.METHOD, Why.METHOD),
        ("get", [], Forward.METHOD, Why.METHOD),
        ("GET", [(b"Range", b"bytes=0-1")], Forward.BYPASS, Why.RANGE),
        ("GET", [(b"If-Match", b'"a"')], Forward.BYPASS, Why.CONDITION),
        ("GET", [(b"If-Unmodified-Since", OLDER)], Forward.BYPASS, Why.CONDITION),
        ("GET", [(b"If-Range", b'"a"')], Forward.BYPASS, Why.CONDITION),
        ("GET", [control(b"no-store")], Forward.BYPASS, Why.REQUEST),
    ],
)
def test_requests_that_are_none_for_the_cache(method: str, headers: Headers, forward: Forward, why: Why) -> None:
    assert http.ask(method, headers) == Bypass(forward, why)
    if why is not Why.REQUEST:
        assert http.ask(method, [*headers, control(b"only-if-cached")]) == OnlyIfCached()


def test_a_get_with_a_body_is_none_either() -> None:
    assert http.ask("GET", [], body=True) == Bypass(Forward.BYPASS, Why.BODY)


# --- clocks


def test_a_clock_that_was_set_back_makes_an_answer_of_unknown_age() -> None:
    one = stored(control(b"max-age=60, stale-if-error=600"), TAG)
    assert look_up(one, -9) == Hit(0, 60)
    for allowed in ((), (control(b"max-stale"),)):
        assert look_up(one, -11, *allowed) == Revalidate(Forward.STALE, [(b"If-None-Match", b'"a"')], None)


def test_a_clock_that_was_set_forward_makes_an_answer_old() -> None:
    assert isinstance(look_up(stored(FRESH), 86_400), Revalidate)


def test_an_answer_is_as_old_as_its_date_its_age_or_the_way_that_it_took() -> None:
    def age(sent: float, came: float, *headers: tuple[bytes, bytes]) -> float | None:
        return current_age(Stored(200, list(headers), 0, sent, came), came)

    assert age(T, T + 5) == 5
    assert age(T + 30, T + 30, DATE) == 30
    assert age(T, T + 5, DATE, (b"Age", b"100")) == 105
    # An origin's clock that is ahead, and one of ours that went back on the way, make nothing younger than 0.
    assert age(T - 100, T - 100, DATE) == 0
    assert age(T, T - 100, DATE) == 0


# --- the agent's own conditions (§4.3.2)


@pytest.mark.parametrize(
    ("condition", "not_modified"),
    [
        ((b"If-None-Match", b'"b", W/"a"'), True),
        ((b"If-None-Match", b'"b"'), False),
        ((b"If-None-Match", b"*"), True),
        ((b"If-Modified-Since", OLDER), True),
        ((b"If-Modified-Since", LATER), True),
        ((b"If-Modified-Since", b"Mon, 24 Nov 2025 14:19:59 GMT"), False),
        ((b"If-Modified-Since", b"yesterday"), False),
        ((b"If-None-Match", b'"b"\r\n'), False),
    ],
)
def test_an_agents_condition_is_answered_from_the_cache(condition: tuple[bytes, bytes], not_modified: bool) -> None:
    assert look_up(stored(FRESH, TAG, MODIFIED), 1, condition) == Hit(1, 59, not_modified)


def test_a_tag_counts_before_a_date() -> None:
    both = ((b"If-None-Match", b'"b"'), (b"If-Modified-Since", LATER))
    assert look_up(stored(FRESH, TAG, MODIFIED), 1, *both) == Hit(1, 59, False)


def test_without_a_last_modified_the_date_counts() -> None:
    assert look_up(stored(FRESH), 1, (b"If-Modified-Since", DATE[1])) == Hit(1, 59, True)
    assert look_up(stored(FRESH), 1, (b"If-Modified-Since", OLDER)) == Hit(1, 59, False)


def test_conditions_are_about_good_answers_only() -> None:
    assert look_up(stored(FRESH, TAG, status=404), 1, (b"If-None-Match", b'"a"')) == Hit(1, 59, False)


def test_of_several_answers_the_most_recent_is_taken() -> None:
    old, new = stored(FRESH), Stored(200, [(b"Date", LATER)], 60, T, T)
    assert http.most_recent([old, new]) is new
    assert http.most_recent([new, old]) is new
    assert http.most_recent([]) is None
