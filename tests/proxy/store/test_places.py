"""Where a process keeps answers and whose they are: what is missing is said in words, and a secret is made once."""

import asyncio
import importlib.util
import os
import socket
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from stored import Hands, entry, key_of

from seawall.store.places import Places, Stores

ROOT = Path(__file__).parents[3]
URL = "redis://127.0.0.1:1"


def stores(**given: Any) -> Stores:
    return Stores(Places(**given), Hands())


def key_file(folder: Path, content: bytes = b"k" * 32) -> Path:
    file = folder / "shared.key"
    file.write_bytes(content)
    return file


def said(made: Stores, *kinds: str) -> str:
    """As `seawall serve` tells it."""
    with pytest.raises(OSError) as caught:
        made.require(kinds)
    where = f"{caught.value.filename}: " if caught.value.filename else ""
    return f"{where}{caught.value.strerror}"


def test_without_a_cache_nothing_is_needed() -> None:
    made = stores()
    made.require([])
    assert made.opened() == {} and made.stats() == {} and made.secret == b""


def test_disk_needs_a_folder() -> None:
    assert said(stores(), "Memory", "Disk") == "a rule keeps answers on disk: --cache-folder must say where"


def test_redis_needs_a_place(tmp_path: Path) -> None:
    made = stores(key_file=key_file(tmp_path))
    assert said(made, "Redis") == "a rule keeps answers in Redis: --cache-redis must say where"


def test_redis_needs_a_secret_that_replicas_share() -> None:
    expected = "answers in Redis are found again only with a key that replicas share: --cache-key-file"
    assert said(stores(redis=URL), "Redis") == expected


def test_redis_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "redis" else found(name))
    made = stores(redis=URL, key_file=key_file(tmp_path))
    assert said(made, "Redis") == "a rule keeps answers in Redis, which needs seawall[redis] to be installed"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://user:hunter2@host", "a redis URL begins with redis:// or rediss://"),
        ("hunter2", "a redis URL begins with redis:// or rediss://"),
        ("redis://:hunter2@host:port", "the port in the redis URL is no number from 1 to 65535"),
        ("redis://:hunter2@host:99999", "the port in the redis URL is no number from 1 to 65535"),
        ("redis://:hunter2@host/zero", "a redis URL is redis://[user[:password]@]host[:port][/database], with a"),
        ("redis://:hunter2@", "a redis URL is redis://[user[:password]@]host[:port][/database], with a"),
        ("redis://:hunter2\u2100@host", "a redis URL is redis://[user[:password]@]host[:port][/database], with a"),
        ("redis://[:hunter2@host", "a redis URL is redis://[user[:password]@]host[:port][/database], with a"),
        ("rediss://:hunter2@host?ssl_cert_reqs=none", "a redis URL takes no options"),
    ],
)
def test_a_bad_url_is_told_without_repeating_it(tmp_path: Path, url: str, why: str) -> None:
    made = stores(redis=url, key_file=key_file(tmp_path))
    told = said(made, "Redis")
    assert told.startswith(f"--cache-redis: {why}")
    assert "hunter2" not in told and "hunter2" not in repr(made._places)


@pytest.mark.parametrize("content", [b"", b"k" * 31, b" \n" * 20 + b"k" * 31 + b"\n"])
def test_a_short_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    file = key_file(tmp_path, content)
    assert said(stores(key_file=file), "Memory") == f"{file}: must hold 32 bytes or more"


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert said(stores(key_file=tmp_path / "none"), "Memory") == f"{tmp_path / 'none'}: No such file or directory"


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    assert said(stores(folder=file), "Disk") == f"{file}: File exists"


def test_the_given_secret_counts_for_every_kind_without_its_line_end(tmp_path: Path) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    for kind in ("Memory", "Disk", "Redis"):
        made = stores(key_file=key_file(tmp_path, secret + b"\n"), folder=tmp_path / "kept", redis=URL)
        made.require([kind])
        assert made.secret == secret
    # Nothing else is drawn, then.
    assert not (tmp_path / "kept" / "tenants.key").exists()


def test_memorys_secret_is_the_processs_own() -> None:
    one, other = stores(), stores()
    for made in (one, other):
        made.require(["Memory"])
        assert len(made.secret) == 32
    assert one.secret != other.secret


def test_whose_answers_they_are_is_said_or_the_host() -> None:
    assert stores(identity="pods").identity == "pods"
    assert stores().identity == socket.gethostname()


def test_disks_secret_lies_beside_the_answers_for_this_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    before = os.umask(0)
    try:
        made = stores(folder=folder)
        made.require(["Disk"])
    finally:
        os.umask(before)
    file = folder / "tenants.key"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, file)] == [0o700, 0o600]
    assert made.secret == file.read_bytes() and len(made.secret) == 32
    again = stores(folder=folder)
    again.require(["Disk"])
    assert again.secret == made.secret
    assert [path.name for path in folder.iterdir()] == ["tenants.key"]


def test_a_kept_secret_that_was_cut_is_refused(tmp_path: Path) -> None:
    """An empty one would let anybody compute keys."""
    (tmp_path / "tenants.key").write_bytes(b"")
    assert said(stores(folder=tmp_path), "Disk") == f"{tmp_path / 'tenants.key'}: must hold 32 bytes or more"


def test_a_policy_that_first_keeps_answers_on_disk_after_a_reload_uses_the_folders_secret(tmp_path: Path) -> None:
    made = stores(folder=tmp_path)
    made.require(["Memory"])
    made.require(["Memory", "Disk"])
    assert made.secret == (tmp_path / "tenants.key").read_bytes()
    made.require(["Memory"])
    assert made.secret == (tmp_path / "tenants.key").read_bytes()


_AT_ONCE = """
import sys, time
from pathlib import Path
from stored import Hands
from seawall.store.places import Places, Stores

print("there", flush=True)
sys.stdin.readline()
for number in range(30):
    made = Stores(Places(folder=Path(sys.argv[1]) / str(number)), Hands())
    made.require(["Disk"])
    print(made.secret.hex(), flush=True)
"""


async def test_processes_that_begin_at_once_have_one_secret(tmp_path: Path) -> None:
    path = f"{ROOT / 'proxy'}:{ROOT / 'tests' / 'support'}"
    command = (sys.executable, "-c", _AT_ONCE, str(tmp_path))
    env = {"PYTHONPATH": path}
    processes = [await asyncio.create_subprocess_exec(*command, env=env, stdin=PIPE, stdout=PIPE) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"there\n"
    told = [await one for one in [asyncio.create_task(process.communicate(b"\n")) for process in processes]]
    secrets = [out.split() for out, _ in told]
    assert len(secrets[0]) == len(set(secrets[0])) == 30
    assert secrets == [secrets[0]] * 3


async def test_stores_are_opened_once_and_what_they_are_asked_is_told_by_kind(tmp_path: Path) -> None:
    told: list[tuple[str, str, str]] = []

    def watch(kind: str, name: str, result: Any, seconds: float) -> None:
        assert seconds >= 0
        told.append((kind, name, result.value))

    made = Stores(Places(folder=tmp_path, memory=2**20, disk=2**24), Hands(), watch)
    made.require(["Memory", "Disk"])
    assert made.opened() == {}
    store = made.of("Disk")
    assert made.of("Disk") is store
    assert await store.get(key_of(1), 5.0) is None
    store.put(key_of(1), entry())
    made.of("Memory").put(key_of(2), entry())
    await made.close()
    assert told == [("Disk", "get", "miss"), ("Disk", "put", "done")]
    assert set(made.opened()) == {"Memory", "Disk"}
    assert made.stats()["Memory"].store.bound == 2**20
    assert made.stats()["Disk"].store.bound == 2**24
