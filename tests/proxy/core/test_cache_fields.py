"""The fields that caching goes by, as RFC 9110 and RFC 9111 define them; what cannot be read is taken carefully."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core import cache_fields as fields
from seawall.core.cache_fields import LONGEST, Directives, directives

NOW = 1_764_000_000.0


def control(*lines: bytes, request: bool = False) -> Directives:
    return directives([(b"Cache-Control", line) for line in lines], request=request)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"max-age=60", Directives(max_age=60)),
        (b'max-age="60"', Directives(max_age=60)),
        (b"MAX-AGE=60, No-Store", Directives(max_age=60, no_store=True)),
        (b" , max-age=60,, ", Directives(max_age=60)),
        (b"max-age=2147483648", Directives(max_age=LONGEST)),
        (b"max-age=99999999999999999999", Directives(max_age=LONGEST)),
        (b"max-age=0000000000000000060", Directives(max_age=60)),
        (b"max-age=60, max-age=60", Directives(max_age=60)),
        (b"max-age=60, max-age=61", Directives(max_age=0)),
        (b"max-age=60;max-age=61", Directives(max_age=0)),
        (b"max-age=1.5", Directives(max_age=0)),
        (b"max-age=-1", Directives(max_age=0)),
        (b"max-age=+1", Directives(max_age=0)),
        (b"max-age =60", Directives(max_age=0)),
        (b"max-age= 60", Directives(max_age=0)),
        (b"max-age", Directives(max_age=0)),
        (b'max-age="60', Directives(max_age=0)),
        (b'max-age="6\\0"', Directives(max_age=60)),
        (b"min-fresh=x", Directives(min_fresh=LONGEST)),
        (b"max-stale", Directives(max_stale=LONGEST)),
        (b"max-stale=", Directives(max_stale=0)),
        (b"max-stale=5, max-stale", Directives(max_stale=0)),
        (b"stale-if-error=x, stale-while-revalidate=5", Directives(stale_if_error=0, stale_while_revalidate=5)),
        (b"no-cache", Directives(no_cache=True)),
        (b'no-cache="Set-Cookie, X-A"', Directives(no_cache_fields=frozenset({b"set-cookie", b"x-a"}))),
        (b'no-cache="X-A", no-cache', Directives(no_cache=True, no_cache_fields=frozenset({b"x-a"}))),
        (b'no-cache=""', Directives(no_cache=True)),
        (b'no-cache="x-a', Directives(no_cache=True)),
        (b'no-cache="date"', Directives(no_cache=True)),
        (b"private=x-a", Directives(private_fields=frozenset({b"x-a"}))),
        (b'community="UCI", private', Directives(private=True)),
        (b'x="a, no-store, b"', Directives()),
        (b'x="a, no-store', Directives(no_store=True)),
        (b'x="a\\", no-store, b"', Directives()),
        (b'"x", no-store', Directives(no_store=True)),
        (b"immutable, no-transform, public", Directives(public=True)),
    ],
)
def test_a_line_of_cache_control(line: bytes, expected: Directives) -> None:
    assert control(line) == expected


def test_lines_count_together_and_a_quote_that_is_left_open_hides_none_of_them() -> None:
    assert control(b'max-age="60', b"no-store") == Directives(max_age=0, no_store=True)
    assert control(b"max-age=60", b"max-age=5") == Directives(max_age=0)


def test_pragma_counts_in_requests_without_cache_control() -> None:
    pragma = (b"Pragma", b"No-Cache")
    assert directives([pragma], request=True) == Directives(no_cache=True)
    assert directives([pragma]) == Directives()
    assert directives([pragma, (b"cache-control", b"max-age=5")], request=True) == Directives(max_age=5)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_anything_can_be_read(lines: list[bytes]) -> None:
    for request in (True, False):
        found = control(*lines, request=request)
        for name in ("max_age", "s_maxage", "max_stale", "min_fresh", "stale_if_error", "stale_while_revalidate"):
            value = getattr(found, name)
            assert value is None or 0 <= value <= LONGEST
    headers = [(name, line) for line in lines for name in (b"age", b"expires", b"etag", b"vary", b"if-none-match")]
    assert 0 <= fields.age(headers) <= LONGEST
    fields.date(headers, b"expires", NOW)
    fields.entity_tag(headers)
    fields.entity_tags(lines)
    fields.vary(headers)


def test_many_blanks_take_no_squared_time() -> None:
    assert control(b" " * 200_000 + b"no-store" + b" " * 200_000) == Directives(no_store=True)
    assert control(b'a="' * 60_000) == Directives()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
        (b"Sun Nov  6 08:49:37 1994", 784111777.0),
        (b"sun, 06 nov 1994 08:49:37 gmt", 784111777.0),
        (b" Sun, 06 Nov 1994 08:49:37 GMT ", 784111777.0),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (b"Sun, 31 Dec 1899 23:59:59 GMT", -2208988801.0),
        (b"Tue, 29 Feb 2028 00:00:00 GMT", 1835395200.0),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800.0),
        # Two digits: at most 50 years ahead of 2025.
        (b"Friday, 01-Jan-75 00:00:00 GMT", 3313526400.0),
        (b"Friday, 01-Jan-77 00:00:00 GMT", 220924800.0),
        (b"0", None),
        (b"-1", None),
        (b"", None),
        (b"Sun, 06 Nov 1994 08:49:37 EST", None),
        (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
        (b"Sun, 06 Nov 1994 08:49:37", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
        (b"Sun, 06 Foo 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        (b"784111777", None),
        ("Sun, ٠٦ Nov 1994 08:49:37 GMT".encode(), None),
    ],
)
def test_dates_have_three_forms_and_no_other(text: bytes, seconds: float | None) -> None:
    assert fields.http_date(text, NOW) == seconds


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [([b"5"], 5), ([b"5, 7"], 5), ([b"5", b"7"], 5), ([b"x"], 0), ([b"-5"], 0), ([b"1.5"], 0), ([b""], 0), ([], 0)],
)
def test_an_age_is_the_first_of_its_list_or_nothing(lines: list[bytes], seconds: int) -> None:
    assert fields.age([(b"Age", line) for line in lines]) == seconds


def test_entity_tags() -> None:
    assert fields.entity_tag([(b"ETag", b'W/"a,b"')]) == b'W/"a,b"'
    assert fields.entity_tag([(b"ETag", b"unquoted")]) is None
    assert fields.entity_tag([(b"ETag", b'"a"'), (b"ETag", b'"b"')]) is None
    assert fields.entity_tags([b'"a", W/"b,c"', b'"d"']) == [b'"a"', b'W/"b,c"', b'"d"']
    assert fields.entity_tags([b" * "]) == [b"*"]


def test_vary_lists_names_once_in_any_case_or_everything() -> None:
    assert fields.vary([(b"Vary", b"Accept, accept-Encoding"), (b"vary", b"ACCEPT")]) == (b"accept", b"accept-encoding")
    assert fields.vary([(b"Vary", b"accept, *")]) is None
    assert fields.vary([]) == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([b"a, b"], [b"a,b"], True),
        ([b"a", b"b"], [b"a , b"], True),
        ([b"a"], [b"b"], False),
        ([b"a, b"], [b"b, a"], False),
        ([], [b""], False),
        ([], [], True),
        ([b'"a, b"'], [b'"a,b"'], False),
    ],
)
def test_request_fields_compare_by_their_members(one: list[bytes], other: list[bytes], same: bool) -> None:
    values = [fields.normalised([(b"X-A", line) for line in lines], b"x-a") for lines in (one, other)]
    assert (values[0] == values[1]) == same


def test_encodings_compare_whatever_their_order_and_case() -> None:
    one, other = (
        fields.normalised([(b"accept-encoding", value)], b"accept-encoding")
        for value in (b"GZIP;q=1, br", b"br, gzip; q=1")
    )
    assert one == other
