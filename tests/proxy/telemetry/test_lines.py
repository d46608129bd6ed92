"""The writer against real pipes, files and devices: it loses lines rather than time."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seawall.telemetry.lines import LineWriter


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass  # the test closed it


def test_lines_come_out_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [b"line %d %s\n" % (n, b"x" * (n % 300)) for n in range(5_000)]
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        for line in lines:
            writer.put(line)
        writer.close()
    assert path.read_bytes() == b"".join(lines)
    assert (writer.dropped, writer.failures) == (0, 0)


def test_a_line_is_out_within_a_moment(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    for _ in range(3):
        began = time.monotonic()
        writer.put(b"hello\n")
        assert os.read(read, 100) == b"hello\n"
        # 50 ms by design; the rest is this machine's to spend.
        assert 0.0 <= time.monotonic() - began < 1.0
    writer.close()


def test_a_line_longer_than_a_pipe_takes_at_once_comes_out_whole(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    line = b"y" * 30_000 + b"\n"
    writer.put(line)
    got = b""
    while len(got) < len(line):
        got += os.read(read, 65536)
    assert got == line
    writer.close()


def test_a_pipe_that_nobody_reads_costs_lines_and_never_time(pipe: tuple[int, int]) -> None:
    _, write = pipe
    writer = LineWriter(write, limit=100_000)
    line = b"z" * 999 + b"\n"
    slowest = 0.0
    for _ in range(5_000):
        began = time.perf_counter()
        writer.put(line)
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.5
    assert writer.dropped >= 5_000 - 100 - 65  # the buffer, and what the pipe itself holds
    began = time.monotonic()
    writer.close(timeout=0.2)
    assert time.monotonic() - began < 2.0


def test_a_reader_that_comes_back_gets_what_was_kept(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write, limit=300_000)
    for n in range(2_000):
        writer.put(b"%099d\n" % n)
    os.set_blocking(read, False)
    got = bytearray()

    def all_read() -> bool:
        try:
            got.extend(os.read(read, 65536))
        except BlockingIOError:
            pass
        return len(got) == 200_000

    assert eventually(all_read)
    assert [int(line) for line in got.splitlines()] == list(range(2_000))
    writer.close()


def test_a_full_disk_is_counted_and_retried() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(fd, retry=0.01)
    writer.put(b"lost\n")
    assert eventually(lambda: writer.failures >= 3)
    writer.close()
    assert writer.dropped == 1
    os.close(fd)


def test_what_failed_is_written_when_the_disk_has_room_again(tmp_path: Path) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    path = tmp_path / "log"
    writer = LineWriter(fd, retry=0.01)
    writer.put(b"kept\n")
    assert eventually(lambda: writer.failures >= 1)
    room = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(room, fd)  # the same descriptor, now on a disk with room
    assert eventually(lambda: path.read_bytes() == b"kept\n")
    writer.close()
    assert writer.dropped == 0
    os.close(room)
    os.close(fd)


def test_a_reader_that_went_away_is_a_failure_and_no_exception(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    writer = LineWriter(write, retry=0.01)
    writer.put(b"lost\n")
    assert eventually(lambda: writer.failures >= 1)
    writer.close()


def test_after_the_close_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno())
        writer.close()
        writer.close()
        writer.put(b"late\n")
    assert writer.dropped == 1
