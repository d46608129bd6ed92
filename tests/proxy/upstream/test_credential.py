"""The key of a mounted file, while the file comes, changes, breaks and comes back."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from seawall.upstream.credential import KeyFile


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class Mounted:
    """A key file, and a credential that looks at it anew for every question."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "key"
        self.clock = Clock()
        self.credential = KeyFile(self.path, self.clock)

    def key(self) -> bytes | None:
        self.clock.time += 1.0
        return self.credential.key()

    def problem(self) -> str:
        self.clock.time += 1.0
        return self.credential.problem()


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path)


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def holding(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


BROKEN = [
    (remove, "No such file"),
    (folder, "directory"),
    (holding(b""), "holds no key"),
    (holding(b" \n\t\n"), "holds no key"),
    (holding(b"two\nlines\n"), "holds more than one line"),
    (holding(b"sk-\x00\n"), "holds a control character"),
    (holding(b"sk-" + b"x" * 65_536), "holds more than 64 KiB"),
]


@pytest.mark.parametrize(("broken", "why"), BROKEN)
def test_the_last_key_stays_in_use_while_the_file_is_unusable_and_the_problem_is_told(
    broken: Callable[[Path], object], why: str, mounted: Mounted
) -> None:
    mounted.path.write_text("sk-first\n")
    assert (mounted.key(), mounted.problem()) == (b"sk-first", "")
    broken(mounted.path)
    for _ in range(3):
        assert mounted.problem().startswith(f"{mounted.path}: ")
        assert why in mounted.problem()
        assert "sk-" not in mounted.problem()
        assert mounted.key() == b"sk-first"
    if mounted.path.is_dir():
        mounted.path.rmdir()
    mounted.path.write_text("sk-second\n")
    assert (mounted.problem(), mounted.key()) == ("", b"sk-second")


@pytest.mark.parametrize(("broken", "why"), BROKEN)
def test_a_file_that_never_held_a_key_gives_none(broken: Callable[[Path], object], why: str, mounted: Mounted) -> None:
    broken(mounted.path)
    assert mounted.key() is None
    assert why in mounted.problem()


def test_the_same_file_put_back_is_no_problem_any_more(mounted: Mounted) -> None:
    mounted.path.write_text("sk-first")
    assert mounted.key() == b"sk-first"
    folder = mounted.path.parent
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)  # the file itself does not change
    assert mounted.problem()
    aside.rename(folder)
    assert mounted.problem() == ""


def test_a_change_that_keeps_size_and_modification_time_is_seen(mounted: Mounted) -> None:
    mounted.path.write_text("sk-one")
    before = mounted.path.stat()
    assert mounted.key() == b"sk-one"
    mounted.path.write_text("sk-two")
    os.utime(mounted.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert mounted.key() == b"sk-two"


def test_the_file_is_looked_at_once_a_second_at_most(mounted: Mounted) -> None:
    mounted.path.write_text("sk-one")
    assert mounted.key() == b"sk-one"
    remove(mounted.path)
    mounted.clock.time += 0.9
    assert mounted.credential.problem() == ""
    mounted.clock.time += 0.1
    assert mounted.credential.problem() != ""
