"""Each store against a small model: whatever is done to it, it returns what was put last, or nothing."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis_server import Server, needs_redis
from stored import Hands, entry, noise

from seawall.store.base import Store, Which
from seawall.store.disk import Disk
from seawall.store.entry import Entry
from seawall.store.memory import Memory
from seawall.store.redis import SharedStore, address

KEYS = [b"", b"a", b"ab", b"a*", b"a?b", b"\\[x]", b"\x00\xff" * 16, b"b" * 32]
_keys = st.sampled_from(KEYS)
_names = st.sampled_from(["one", "two"])
_maybe = st.sampled_from(["", "one", "two"])


class Machine(RuleBasedStateMachine):
    """lossless: what was put and is neither too large nor outlived must be there."""

    lossless = True
    sizes = (0, 10, 3000)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.clock = Hands()
        self.model: dict[bytes, Entry] = {}
        self.number = 0
        self.store = self.make()

    def make(self) -> Store:
        raise NotImplementedError

    def alive(self) -> dict[bytes, Entry]:
        return {key: one for key, one in self.model.items() if self.clock.wall() < one.expires_at}

    @rule(key=_keys, size=st.integers(0, 2), route=_names, upstream=_names, model=_names, fresh=st.integers(0, 100))
    def put(self, key: bytes, size: int, route: str, upstream: str, model: str, fresh: int) -> None:
        self.number += 1
        body = noise(self.sizes[size], self.number)
        labels = {"route": route, "upstream": upstream, "model": model}
        one = entry(b"%d" % self.number, body, at=self.clock.wall(), fresh=fresh * 60, keep_seconds=60, **labels)
        self.runner.run(self.store.put(key, one))
        self.model[key] = one

    @rule(key=_keys)
    def put_what_is_outlived(self, key: bytes) -> None:
        self.runner.run(self.store.put(key, entry(at=self.clock.wall() - 100, fresh=100)))
        self.model.pop(key, None)

    @rule(key=_keys)
    def get(self, key: bytes) -> None:
        found, expected = self.runner.run(self.store.get(key)), self.alive().get(key)
        if found is not None or self.lossless:
            assert found == expected

    @rule(key=_keys)
    def delete(self, key: bytes) -> None:
        self.runner.run(self.store.delete(key))
        self.model.pop(key, None)

    @rule(route=_maybe, upstream=_maybe, model=_maybe, prefix=st.sampled_from([b"", b"a", b"a*", b"a?", b"\\["]))
    def purge(self, route: str, upstream: str, model: str, prefix: bytes) -> None:
        which = Which(route, upstream, model, prefix)
        gone = self.runner.run(self.store.purge(which))
        alive = self.alive()
        matching = [k for k, one in self.model.items() if which.matches(k, one.route, one.upstream, one.model)]
        # Outlived ones may or may not lie there still.
        if self.lossless:
            assert sum(key in alive for key in matching) <= gone
        assert gone <= len(matching)
        for key in matching:
            del self.model[key]

    @rule(seconds=st.sampled_from([-3600, 1, 59, 60, 600, 6000]))
    def clock_jumps(self, seconds: int) -> None:
        # What was outlived before it goes back may have been dropped, and need not have been.
        if seconds < 0:
            self.model = self.alive()
            for key in set(KEYS) - set(self.model):
                self.runner.run(self.store.delete(key))
        self.clock.time += seconds

    @invariant()
    def stays_within_its_bound(self) -> None:
        stats = self.store.stats()
        if stats.bytes is not None and stats.bound is not None:
            assert 0 <= stats.bytes <= stats.bound

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


class InMemory(Machine):
    def make(self) -> Store:
        return Memory(self.clock)


class InLittleMemory(Machine):
    lossless = False
    sizes = (0, 1000, 4000)

    def make(self) -> Store:
        return Memory(self.clock, 40_000)


class OnDisk(Machine):
    bound = 2**26

    def make(self) -> Store:
        self.folder = Path(tempfile.mkdtemp())
        return Disk(self.folder, self.clock, self.bound)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.store = Disk(self.folder, self.clock, self.bound)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class OnLittleDisk(OnDisk):
    lossless = False
    sizes = (1000, 200_000, 400_000)
    bound = 4 * 2**20

    @invariant()
    def all_files_stay_within_the_bound(self) -> None:
        assert (
            sum(file.stat().st_size for file in self.folder.iterdir() if not file.name.endswith("-shm")) <= self.bound
        )


def _run(machine: type[Machine], examples: int, steps: int = 30) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize(
    ("machine", "examples"), [(InMemory, 100), (InLittleMemory, 100), (OnDisk, 25), (OnLittleDisk, 15)]
)
def test_a_store_returns_what_was_put_last_or_nothing(machine: type[Machine], examples: int) -> None:
    _run(machine, examples)


@needs_redis
def test_a_shared_store_returns_what_was_put_last_or_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)

    class InRedis(Machine):
        def make(self) -> Store:
            store = SharedStore(address(server.url), self.clock, patience=30)
            self.runner.run(store.purge(Which()))
            return store

    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            _run(InRedis, 40)
        finally:
            runner.run(server.stop())
