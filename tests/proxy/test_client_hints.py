"""What agents may ask of seawall by fields of their requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.client_hints import NO_HINTS, read
from seawall.core.cache import CacheSettings
from seawall.core.limit import NORMAL
from seawall.types import Head, Headers

ALL = frozenset({"Priority", "Timeout", "CacheTTL"})
FIELDS: Headers = [
    (b"X-Seawall-Priority", b"High"),
    (b"x-seawall-timeout", b"30"),
    (b"X-SEAWALL-CACHE-TTL", b"60s"),
]


def head(*fields: tuple[bytes, bytes]) -> Head:
    return Head("POST", "/", list(fields))


def test_a_route_takes_those_that_it_names() -> None:
    hints = read(head(*FIELDS), ALL)
    assert (hints.priority, hints.timeout, hints.cache_ttl) == (2, 30.0, 60.0)
    assert read(head(*FIELDS), frozenset()) == NO_HINTS
    only = read(head(*FIELDS), frozenset({"Timeout"}))
    assert (only.priority, only.timeout, only.cache_ttl) == (NORMAL, 30.0, None)


@pytest.mark.parametrize(
    ("text", "timeout", "ttl"),
    [
        (b"0", 1.0, 0.0),
        (b"0.5", 1.0, 0.5),
        (b"2.5s", 2.5, 2.5),
        (b"300", 300.0, 300.0),
        (b"9999", 300.0, 3600.0),
        (b"-1", None, None),
        (b"soon", None, None),
        (b"nan", None, None),
        (b"inf", None, None),
        (b"", None, None),
    ],
)
def test_what_is_out_of_bounds_is_brought_into_them(text: bytes, timeout: float | None, ttl: float | None) -> None:
    hints = read(head((b"x-seawall-timeout", text), (b"x-seawall-cache-ttl", text)), ALL)
    assert (hints.timeout, hints.cache_ttl) == (timeout, ttl)


@given(st.binary(max_size=40))
def test_anything_may_be_sent(text: bytes) -> None:
    hints = read(head(*((name, text) for name, _ in FIELDS)), ALL)
    assert 0 <= hints.priority <= 3
    assert hints.timeout is None or 1 <= hints.timeout <= 300
    assert hints.cache_ttl is None or 0 <= hints.cache_ttl <= 3600


def test_a_lifetime_is_this_calls_alone() -> None:
    settings = CacheSettings(ttl=5.0, if_error=100.0)
    assert read(head(*FIELDS), ALL).cached(settings).ttl == 60.0
    assert read(head(*FIELDS), ALL).cached(settings).if_error == 100.0
    assert NO_HINTS.cached(settings) is settings
