"""Model calls in the cache: what is kept, for how long, and when it may be given."""

import pytest

from seawall.core import cache_model as model
from seawall.core.cache import (
    Bypass,
    CacheSettings,
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
)
from seawall.core.cache_fields import Directives, directives
from seawall.faults import Code, Fault
from seawall.types import Headers

T = 1_764_000_000.0
TTL = CacheSettings(ttl=60, if_error=600)
JSON = (b"Content-Type", b"application/json")


def ask(value: bytes = b"", settings: CacheSettings = TTL, *, deterministic: bool = True) -> object:
    headers = [(b"Cache-Control", value)] if value else []
    return model.ask(headers, settings, deterministic=deterministic)


def said(value: bytes = b"") -> Directives:
    return directives([(b"cache-control", value)] if value else [], request=True)


def keep(*headers: tuple[bytes, bytes], settings: CacheSettings = TTL, **more: object) -> Keep | Pass:
    return model.keep(Directives(), 200, [JSON, *headers], settings, **more)  # type: ignore[arg-type]


def why(found: Keep | Pass) -> Why:
    assert isinstance(found, Pass), found
    return found.why


def test_only_calls_that_get_the_same_answer_each_time_are_looked_up() -> None:
    assert ask() == Directives()
    assert ask(deterministic=False) == Bypass(Forward.BYPASS, Why.NONDETERMINISTIC)
    assert ask(deterministic=False, settings=CacheSettings(nondeterministic=True)) == Directives()


def test_an_agent_that_says_no_store_has_nothing_to_do_with_the_cache() -> None:
    assert ask(b"no-store") == Bypass(Forward.BYPASS, Why.REQUEST)


def test_an_agent_that_wants_a_kept_answer_only_asks_no_upstream() -> None:
    assert ask(b"only-if-cached", deterministic=False) == OnlyIfCached()
    assert model.look_up(said(b"only-if-cached"), None, TTL, T) == OnlyIfCached()
    assert model.look_up(said(), None, TTL, T) == Miss(Forward.URI_MISS)


def test_a_good_answer_is_kept_for_the_policys_time() -> None:
    found = keep()
    assert isinstance(found, Keep)
    assert (found.fresh_seconds, found.keep_seconds, found.vary) == (60, 600, ())


def test_what_an_event_stream_says_against_buffering_says_nothing_of_its_answer() -> None:
    assert isinstance(keep((b"Cache-Control", b"no-cache, max-age=0, private")), Keep)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (keep((b"Cache-Control", b"no-store")), Why.ANSWER),
        (keep((b"Set-Cookie", b"session=1")), Why.COOKIE),
        (keep((b"Set-Cookie", b"__cf_bm=1"), (b"Set-Cookie", b"session=__cf_bm=1")), Why.COOKIE),
        (keep(whole=False), Why.INCOMPLETE),
        (keep(size=2_000_000), Why.TOO_LARGE),
        (keep(unfinished="finish_reason length"), Why.UNFINISHED),
        (keep(calls_tools=True), Why.TOOL_CALLS),
        (keep(settings=CacheSettings()), Why.NO_LIFETIME),
        (model.keep(said(b"no-store"), 200, [], TTL), Why.REQUEST),
        (model.keep(said(), 202, [], TTL), Why.STATUS),
        (model.keep(said(), 500, [], TTL), Why.STATUS),
    ],
)
def test_what_is_never_kept(found: Keep | Pass, reason: Why) -> None:
    assert why(found) is reason


def test_tool_calls_are_kept_where_the_policy_allows_it() -> None:
    assert isinstance(keep(calls_tools=True, settings=CacheSettings(ttl=60, tool_calls=True)), Keep)


def test_cookies_that_tell_bots_from_people_keep_no_answer_out_and_are_not_kept() -> None:
    found = keep((b"Set-Cookie", b"__cf_bm=abc; path=/"), (b"set-cookie", b"_cfuvid=d"))
    assert isinstance(found, Keep)
    assert found.headers == [JSON]


def test_fields_of_the_moment_are_not_kept() -> None:
    moment: Headers = [
        (b"x-ratelimit-remaining-tokens", b"5"),
        (b"anthropic-ratelimit-requests-limit", b"5"),
        (b"Retry-After", b"1"),
        (b"x-seawall-upstream", b"a"),
        (b"Age", b"5"),
        (b"Transfer-Encoding", b"chunked"),
    ]
    found = keep(*moment, (b"x-request-id", b"req_1"))
    assert isinstance(found, Keep)
    assert found.headers == [JSON, (b"x-request-id", b"req_1")]


# --- refusals


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (Fault(Code.INVALID_REQUEST, "", 400), True),
        (Fault(Code.INVALID_REQUEST, "", 422), True),
        (Fault(Code.NOT_FOUND, "", 404), True),
        (Fault(Code.CONTEXT_LENGTH, "", 400), True),
        (Fault(Code.CONTENT_POLICY, "", 400), False),
        (Fault(Code.UNAUTHORIZED, "", 401), False),
        (Fault(Code.RATE_LIMITED, "", 429), False),
        (Fault(Code.QUOTA_EXHAUSTED, "", 400), False),
        (Fault(Code.SERVER_ERROR, "", 500), False),
        (Fault(Code.INVALID_REQUEST, "", 200), False),
        (Fault(Code.INVALID_REQUEST, ""), False),
    ],
)
def test_only_refusals_that_would_be_repeated_are_kept(fault: Fault, kept: bool) -> None:
    settings = CacheSettings(ttl=60, if_error=600, negative_ttl=10)
    found = model.keep_refusal(Directives(), fault, [JSON], settings)
    assert isinstance(found, Keep) == kept
    if isinstance(found, Keep):
        assert (found.fresh_seconds, found.keep_seconds) == (10, 0)
    assert why(model.keep_refusal(Directives(), fault, [JSON], TTL)) in (Why.NO_LIFETIME, Why.STATUS)
    # What one key may not have another may.
    shared = CacheSettings(ttl=60, negative_ttl=10, scope=Scope.NAMESPACE)
    assert why(model.keep_refusal(Directives(), fault, [JSON], shared)) is Why.PRIVATE


def test_a_kept_refusal_is_given_while_it_is_fresh_and_never_in_an_outage() -> None:
    settings = CacheSettings(ttl=60, if_error=600, while_revalidate=600, negative_ttl=10)
    refusal = Stored(404, [JSON], 10, T, T)
    assert model.look_up(said(), refusal, settings, T + 9) == Hit(9, 1)
    assert model.look_up(said(), refusal, settings, T + 10) == Revalidate(Forward.STALE, [], None)
    assert model.in_an_outage(said(), refusal, settings, T + 10) is None


# --- looking up


ONE = Stored(200, [JSON], 60, T - 5, T)


def test_the_age_of_an_answer_counts_from_when_it_was_asked_for() -> None:
    assert model.look_up(said(), ONE, TTL, T + 10) == Hit(15, 50)


def test_fields_of_the_answer_do_not_make_it_older() -> None:
    old = Stored(200, [(b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"Age", b"900")], 60, T, T)
    assert model.look_up(said(), old, TTL, T + 10) == Hit(10, 50)


def test_a_stale_answer_is_for_outages_or_to_be_renewed() -> None:
    assert model.look_up(said(), ONE, TTL, T + 100) == Revalidate(Forward.STALE, [], Hit(105, -40))
    renewing = CacheSettings(ttl=60, while_revalidate=50)
    assert model.look_up(said(), ONE, renewing, T + 100) == Stale(Hit(105, -40), [])
    assert model.in_an_outage(said(), ONE, TTL, T + 659) == Hit(664, -599)
    assert model.in_an_outage(said(), ONE, TTL, T + 660) is None


def test_a_newer_policys_shorter_time_holds_for_what_is_kept_already() -> None:
    shorter = CacheSettings(ttl=10, if_error=5)
    assert model.look_up(said(), ONE, shorter, T + 12) == Revalidate(Forward.STALE, [], Hit(17, -2))
    assert model.look_up(said(), ONE, CacheSettings(ttl=3600), T + 59) == Hit(64, 1)


@pytest.mark.parametrize("value", [b"no-cache", b"max-age=10", b"min-fresh=60"])
def test_an_agent_may_refuse_a_kept_answer(value: bytes) -> None:
    assert model.look_up(said(value), ONE, TTL, T + 10) == Revalidate(Forward.REQUEST, [], None)


def test_a_clock_that_was_set_back_makes_no_answer_young() -> None:
    assert model.look_up(said(), ONE, TTL, T - 11) == Revalidate(Forward.STALE, [], None)
    assert model.in_an_outage(said(), ONE, TTL, T - 11) is None
