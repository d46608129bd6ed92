"""What an answer says of the cache, in the words of RFC 9111 and RFC 9211."""

import pytest

from seawall.core.cache import Forward, Hit
from seawall.core.cache_status import age_field, billed, forward_status, hit_status, usage_fields
from seawall.types import Usage


@pytest.mark.parametrize(("age", "text"), [(0.0, b"0"), (1.99, b"1"), (-1.0, b"0"), (1e12, b"2147483648")])
def test_an_age_is_in_whole_seconds(age: float, text: bytes) -> None:
    assert age_field(age) == (b"Age", text)


# The examples of RFC 9211 §3, in our name.
@pytest.mark.parametrize(
    ("field", "text"),
    [
        (hit_status(Hit(10, 376.9)), b"seawall; hit; ttl=376"),
        (hit_status(Hit(10, -412)), b"seawall; hit; ttl=-412"),
        (hit_status(Hit(10, -0.5)), b"seawall; hit; ttl=-1"),
        (hit_status(Hit(0, 5), collapsed=True), b"seawall; hit; ttl=5; collapsed"),
        (forward_status(Forward.URI_MISS, stored=True), b"seawall; fwd=uri-miss; stored"),
        (forward_status(Forward.URI_MISS, collapsed=True), b"seawall; fwd=uri-miss; collapsed"),
        (forward_status(Forward.STALE, status=304), b"seawall; fwd=stale; fwd-status=304"),
        (forward_status(Forward.METHOD), b"seawall; fwd=method"),
        (
            forward_status(Forward.BYPASS, detail='request says "no-store"\\ü\n'),
            b'seawall; fwd=bypass; detail="request says \\"no-store\\"\\\\??"',
        ),
        (forward_status(Forward.STALE, status=503, ttl=-40.0), b"seawall; fwd=stale; fwd-status=503; ttl=-40"),
    ],
)
def test_a_cache_status(field: tuple[bytes, bytes], text: bytes) -> None:
    assert field == (b"Cache-Status", text)


def test_usage_that_was_billed_before_is_marked_and_not_added_up_again() -> None:
    usage = Usage(10, 20)
    assert usage_fields(usage) == [(b"x-seawall-usage", b"cached")]
    assert usage_fields(None) == []
    assert billed(usage, cached=True) is None
    assert billed(usage, cached=False) == usage
