"""Redis URLs: what they mean, and what is refused."""

import pytest
from stored import Hands

from seawall.store.build import InMemory, InRedis, OnDisk, open_store
from seawall.store.redis import Address, address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", Address("cache")),
        ("rediss://cache:6380/3", Address("cache", 6380, 3, True)),
        ("redis://:p%40ss@cache", Address("cache", password="p@ss")),
        ("redis://user:p%3Ass@cache/", Address("cache", username="user", password="p:ss")),
        ("redis://[::1]:7000", Address("::1", 7000)),
    ],
)
def test_a_url_says_where_and_who(url: str, expected: Address) -> None:
    assert address(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://s3cret@cache",
        "s3cret",
        "redis://",
        "redis://user:s3cret@/0",
        "redis://:s3cret@cache:port",
        "redis://:s3cret@cache:99999",
        "redis://:s3cret@cache/name",
        "redis://:s3cret@cache/1/2",
        "redis://:s3cret@cache/-1",
        "rediss://:s3cret@cache?ssl_cert_reqs=none",
        "rediss://:s3cret@cache#x",
        "redis://[::1:s3cret",
        "unix:///s3cret",
    ],
)
def test_a_url_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        address(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)


def test_an_address_shows_no_password() -> None:
    where = address("rediss://user:s3cret@[::1]:6380/1")
    assert str(where) == "rediss://[::1]:6380/1" and "s3cret" not in repr(where)
    assert "s3cret" not in repr(InRedis("redis://:s3cret@cache"))


async def test_each_kind_of_settings_opens_its_store(tmp_path: object) -> None:
    from pathlib import Path

    kinds = []
    for settings in (InMemory(), OnDisk(Path(str(tmp_path))), InRedis("redis://127.0.0.1:1")):
        store = open_store(settings, Hands())
        kinds.append(store.stats().store.kind)
        await store.close()
    assert kinds == ["memory", "disk", "redis"]
