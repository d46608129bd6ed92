"""RFC 9111 §3.2, §4.3.3 to §4.4 by example: what an answer says of a kept one."""

import pytest

from seawall.core.cache import CacheSettings, Hit, Keep, Stored
from seawall.core.cache_http import Answer, Asked, ask
from seawall.core.cache_validation import (
    Failed,
    Mismatch,
    Replaced,
    Unrelated,
    Updated,
    Validation,
    invalidated,
    validated,
)
from seawall.types import Headers

T = 1_764_000_000.0
OLD = b"Mon, 24 Nov 2025 16:00:00 GMT"
NEW = b"Mon, 24 Nov 2025 16:01:40 GMT"
KEPT: Headers = [
    (b"Date", OLD),
    (b"ETag", b'"a"'),
    (b"Cache-Control", b"max-age=60, stale-if-error=600"),
    (b"Content-Type", b"text/plain"),
    (b"Content-Length", b"5"),
    (b"X-A", b"old"),
    (b"X-A", b"older"),
    (b"X-B", b"kept"),
    (b"Age", b"3"),
]
STORED = Stored(200, KEPT, 57, T, T)
PLAIN = CacheSettings()


def asked(*headers: tuple[bytes, bytes]) -> Asked:
    found = ask("GET", list(headers))
    assert isinstance(found, Asked)
    return found


def told(
    status: int,
    *headers: tuple[bytes, bytes],
    stored: Stored = STORED,
    method: str = "GET",
    request: Asked | None = None,
) -> Validation:
    answer = Answer(status, [(b"Date", NEW), *headers], T + 100, T + 100)
    return validated(method, request or asked(), stored, answer, PLAIN)


def test_a_304_makes_a_kept_answer_fresh_again_with_its_new_fields() -> None:
    found = told(304, (b"ETag", b'"a"'), (b"x-a", b"new"), (b"Cache-Control", b"max-age=30"))
    assert isinstance(found, Updated)
    assert sorted(found.headers) == sorted(
        [
            (b"Date", NEW),
            (b"ETag", b'"a"'),
            (b"Cache-Control", b"max-age=30"),
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", b"5"),
            (b"x-a", b"new"),
            (b"X-B", b"kept"),
        ]
    )
    assert isinstance(found.keep, Keep)
    assert found.keep.fresh_seconds == 30


def test_a_304_changes_neither_the_body_nor_what_tells_of_it() -> None:
    found = told(
        304,
        (b"Content-Length", b"0"),
        (b"Content-Type", b"text/html"),
        (b"Content-Encoding", b"br"),
        (b"Set-Cookie", b"a=b"),
        (b"Connection", b"x-hop"),
        (b"X-Hop", b"1"),
    )
    assert isinstance(found, Updated)
    assert (b"Content-Type", b"text/plain") in found.headers
    assert (b"Content-Length", b"5") in found.headers
    names = {name.lower() for name, _ in found.headers}
    assert not names & {b"content-encoding", b"set-cookie", b"x-hop", b"connection"}


def test_a_304_without_age_and_date_leaves_none_of_the_old_ones() -> None:
    answer = Answer(304, [], T + 100, T + 101)
    found = validated("GET", asked(), STORED, answer, PLAIN)
    assert isinstance(found, Updated)
    assert {name.lower() for name, _ in found.headers}.isdisjoint({b"age", b"date"})
    assert found.keep is not None
    assert found.keep.fresh_seconds == 59


@pytest.mark.parametrize(
    ("kept", "named", "same"),
    [
        (b'"a"', b'"a"', True),
        (b'"a"', b'"b"', False),
        (b'W/"a"', b'"a"', False),
        (b'"a"', b'W/"a"', True),
        (b'W/"a"', b'W/"a"', True),
        (b'W/"a"', b'W/"b"', False),
        (None, b'"a"', False),
        (b'"a"', None, True),
    ],
)
def test_a_304_must_be_about_what_is_kept(kept: bytes | None, named: bytes | None, same: bool) -> None:
    headers = [field for field in KEPT if field[0] != b"ETag"] + ([(b"ETag", kept)] if kept else [])
    found = told(304, *([(b"ETag", named)] if named else []), stored=Stored(200, headers, 57, T, T))
    assert isinstance(found, Updated if same else Mismatch)


def test_without_tags_the_date_of_the_last_change_says_what_a_304_is_about() -> None:
    stored = Stored(200, [(b"Last-Modified", OLD), (b"Cache-Control", b"max-age=60")], 60, T, T)
    assert isinstance(told(304, (b"Last-Modified", OLD), stored=stored), Updated)
    assert told(304, (b"Last-Modified", NEW), stored=stored) == Mismatch()


def test_an_answer_that_says_no_store_when_it_is_validated_is_given_once_more() -> None:
    found = told(304, (b"Cache-Control", b"no-store"))
    assert isinstance(found, Updated)
    assert found.keep is None


def test_a_field_that_only_a_validation_may_bring_is_given_and_not_kept() -> None:
    found = told(304, (b"Cache-Control", b'max-age=60, no-cache="x-once"'), (b"X-Once", b"1"))
    assert isinstance(found, Updated)
    assert (b"X-Once", b"1") in found.headers
    assert found.keep is not None
    assert (b"X-Once", b"1") not in found.keep.headers


@pytest.mark.parametrize("status", [200, 203, 301, 404, 410])
def test_another_answer_replaces_what_is_kept(status: int) -> None:
    assert told(status) == Replaced()


@pytest.mark.parametrize("status", [400, 401, 403, 408, 422, 429])
def test_a_refusal_of_the_call_says_nothing_of_what_is_kept(status: int) -> None:
    assert told(status) == Unrelated()


def test_a_failed_validation_may_be_answered_with_what_is_kept() -> None:
    assert told(503) == Failed(Hit(103, -43))
    assert told(500, request=asked((b"Cache-Control", b"no-cache"))) == Failed(None)
    assert told(529, request=asked((b"If-None-Match", b'"a"'))) == Failed(Hit(103, -43, not_modified=True))


def test_the_answer_to_a_head_renews_what_a_get_has_left() -> None:
    same = ((b"ETag", b'"a"'), (b"Content-Length", b"5"), (b"X-B", b"new"))
    found = told(200, *same, method="HEAD")
    assert isinstance(found, Updated)
    assert (b"X-B", b"new") in found.headers
    assert (b"Content-Length", b"5") in found.headers
    for other in ((b"ETag", b'"b"'), (b"Content-Length", b"6"), (b"Last-Modified", NEW)):
        assert told(200, other, method="HEAD") == Replaced()


@pytest.mark.parametrize(
    ("method", "status", "headers", "expected"),
    [
        ("POST", 201, [], ("/a/b?c",)),
        ("DELETE", 204, [], ("/a/b?c",)),
        ("PUT", 302, [], ("/a/b?c",)),
        ("UNKNOWN", 200, [], ("/a/b?c",)),
        ("POST", 400, [], ()),
        ("POST", 500, [], ()),
        ("GET", 200, [(b"Location", b"/x")], ()),
        ("OPTIONS", 200, [], ()),
        ("POST", 201, [(b"Location", b"/x?y")], ("/a/b?c", "/x?y")),
        ("POST", 201, [(b"Location", b"d"), (b"Content-Location", b"../e")], ("/a/b?c", "/a/d", "/e")),
        ("POST", 201, [(b"Location", b"https://api.test/x")], ("/a/b?c", "/x")),
        ("POST", 201, [(b"Location", b"https://API.test")], ("/a/b?c", "/")),
        ("POST", 201, [(b"Location", b"https://other.test/x")], ("/a/b?c",)),
        ("POST", 201, [(b"Location", b"//other.test/x")], ("/a/b?c",)),
        ("POST", 201, [(b"Location", b"http://api.test/x")], ("/a/b?c",)),
        ("POST", 201, [(b"Location", b"http://[")], ("/a/b?c",)),
    ],
)
def test_unsafe_requests_make_void_what_is_kept_of_their_targets(
    method: str, status: int, headers: Headers, expected: tuple[str, ...]
) -> None:
    origins = frozenset({"https://api.test", "http://agent.test:8080"})
    assert invalidated(method, "/a/b?c", status, headers, origins) == expected
