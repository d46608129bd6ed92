"""The one way to a store. Whatever a store does (fails, hangs, returns rubbish), who asks gets a miss within the
timeout and who puts is not held up: a store never makes a call fail, and never makes it wait for long.

Operations run in tasks of their own and are given up rather than cancelled: one that is late, or whose caller has left,
comes to its end within the store's own patience and leaves its connection usable. Puts and deletes go through a bounded
queue; what waits there is already visible to `get`.
"""

import asyncio
import enum
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from seawall.clock import Clock
from seawall.store.base import Corrupt, Stats, Store, Unavailable, Which
from seawall.store.entry import Entry
from seawall.store.rest import Rest

T = TypeVar("T")

# Operations under way at once, those given up included.
_MOST_ASKED = 256
_WRITES_TOGETHER = 16
# What a queued entry takes beside its bytes.
_QUEUED = 1024


class Result(enum.Enum):
    """How one operation ended. The last three are failures."""

    HIT = "hit"
    MISS = "miss"
    DONE = "done"
    CORRUPT = "corrupt"
    SLOW = "slow"
    DOWN = "down"


Watch = Callable[[str, Result, float], None]
"""Is told of each operation that went to the store: its name (`get`, `put`, `delete`), its end, and the seconds that
took, or had taken when it was given up; of none where the store is instant. Must be quick and must not raise."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times in seconds, sizes in bytes.

    timeout: how long a call waits for the store.
    write_timeout: how long a put may take before the store counts as slow; no call waits for it.
    purge_timeout: for a whole purge.
    queued: puts and deletes that may wait; queued_bytes: what they may hold.
    """

    timeout: float = 0.05
    write_timeout: float = 1.0
    purge_timeout: float = 60.0
    queued: int = 1000
    queued_bytes: int = 16 * 2**20


@dataclass(frozen=True, slots=True)
class GuardedStats:
    """Counts are of operations since the start."""

    store: Stats
    down: int
    slow: int
    corrupt: int
    skipped: int
    """Not asked, since the store rests or too much is under way."""
    dropped: int
    """Puts and deletes that never reached the store, for want of room, while it rested, or at the end."""
    queued: int
    """Puts and deletes that wait now."""
    resting: bool
    last_error: str


@dataclass(slots=True)
class _Ask:
    name: str
    began: float
    limit: float
    settled: bool = False


class Guarded:
    """One store, for one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        bounds: Bounds | None = None,
        watch: Watch | None = None,
        rest: Rest | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._watch = watch
        self._rest = rest or Rest()
        # Apart: a server that takes whatever is put but does not answer must not be asked by each call.
        self._reads_rest = self._rest.another()
        self._instant = store.instant
        self._tasks: set[asyncio.Task[Any]] = set()
        self._queue: dict[bytes, Entry | None] = {}
        """In order; None: a delete."""
        self._queue_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._round: asyncio.Future[None] | None = None
        """Ends with the writes that are under way now."""
        self._closed = False
        self._counts = dict.fromkeys(Result, 0)
        self._skipped = self._dropped = 0
        self._last_error = ""

    def __repr__(self) -> str:
        return f"Guarded({self._store!r})"

    async def get(self, key: bytes, within: float | None = None) -> Entry | None:
        """The entry, or None: there is none, or it cannot be had in time. within: seconds, else the bounds' timeout."""
        if self._instant:
            return await self._store.get(key)
        if self._closed:
            return None
        if key in self._queue:
            entry = self._queue[key]
            return entry if entry is not None and self._clock.wall() < entry.expires_at else None
        ask = self._begin("get", self._bounds.timeout if within is None else within)
        if ask is None:
            return None
        return await self._within(ask, self._spawn(ask, partial(self._store.get, key)))

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep the entry soon, if that is possible."""
        if self._instant:
            _at_once(self._store.put(key, entry))
        else:
            self._enqueue(key, entry)

    def delete(self, key: bytes) -> None:
        """Forget the entry: at once for this process, soon for others, unless the store fails just then."""
        if self._instant:
            _at_once(self._store.delete(key))
        else:
            self._enqueue(key, None)

    async def purge(self, which: Which) -> int:
        """Remove what is there now, also what waits to be put; returns how many. Raises Unavailable: a person who
        purges must know that it failed."""
        waiting = [
            key
            for key, entry in self._queue.items()
            if entry is not None and which.matches(key, entry.route, entry.upstream, entry.model)
        ]
        for key in waiting:
            # It may be on its way to the store just now.
            self._enqueue(key, None)
        try:
            async with asyncio.timeout(self._bounds.purge_timeout):
                while self._round is not None and any(self._queue.get(key, self) is None for key in waiting):
                    await asyncio.wait((self._round,))
                return len(waiting) + await self._store.purge(which)
        except TimeoutError:
            raise Unavailable(f"not purged within {self._bounds.purge_timeout:g} s") from None

    def stats(self) -> GuardedStats:
        counts = self._counts
        return GuardedStats(
            self._store.stats(),
            counts[Result.DOWN],
            counts[Result.SLOW],
            counts[Result.CORRUPT],
            self._skipped,
            self._dropped,
            len(self._queue),
            self._rest.resting or self._reads_rest.resting,
            self._last_error,
        )

    async def close(self, limit: float = 2.0) -> None:
        """Write what waits, for `limit` seconds at most, and let the store go, for as long again."""
        self._closed = True
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=limit)
        left = [task for task in (self._writing, *self._tasks) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._dropped += len(self._queue)
        self._queue.clear()
        try:
            async with asyncio.timeout(limit):
                await self._store.close()
        except (TimeoutError, Unavailable) as error:
            self._last_error = str(error) or "not closed in time"

    # Asking

    def _begin(self, name: str, limit: float) -> _Ask | None:
        """None: the store is not to be asked now."""
        now = self._clock.now()
        if len(self._tasks) >= _MOST_ASKED or not self._rest_of(name).allows(now):
            self._skipped += 1
            return None
        return _Ask(name, now, limit)

    def _rest_of(self, name: str) -> Rest:
        return self._reads_rest if name == "get" else self._rest

    def _spawn(self, ask: _Ask, operation: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T | None]":
        task = asyncio.get_running_loop().create_task(self._run(ask, operation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _within(self, ask: _Ask, task: "asyncio.Task[T | None]") -> T | None:
        done, _ = await asyncio.wait((task,), timeout=ask.limit)
        if not done:
            self._settle(ask, Result.SLOW)
            return None
        return None if task.cancelled() else task.result()

    async def _run(self, ask: _Ask, operation: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """The operation's value. It raises nothing, however the operation ends."""
        try:
            value = await operation()
        except Corrupt as error:
            self._settle(ask, Result.CORRUPT, str(error))
        except Unavailable as error:
            self._settle(ask, Result.DOWN, str(error))
        except Exception as error:  # noqa: BLE001 - the boundary that keeps a store's bugs out of calls; told in `stats`
            self._settle(ask, Result.DOWN, type(error).__name__)
        else:
            found = Result.MISS if value is None else Result.HIT
            self._settle(ask, found if ask.name == "get" else Result.DONE)
            return value
        return None

    def _settle(self, ask: _Ask, result: Result, error: str = "") -> None:
        if ask.settled:
            return
        ask.settled = True
        now = self._clock.now()
        if now - ask.began > ask.limit and result in (Result.HIT, Result.MISS, Result.DONE):
            # Its caller had left before its time was up.
            result = Result.SLOW
        self._counts[result] += 1
        if result in (Result.DOWN, Result.SLOW):
            self._rest_of(ask.name).bad(now)
        else:
            self._rest_of(ask.name).good()
        if error or result is Result.SLOW:
            self._last_error = error or f"{ask.name} took longer than {ask.limit:g} s"
        if self._watch is not None:
            self._watch(ask.name, result, now - ask.began)

    # Writing behind

    def _enqueue(self, key: bytes, entry: Entry | None) -> None:
        self._dequeue(key)
        size = _weight(entry)
        bounds = self._bounds
        if self._closed or len(self._queue) >= bounds.queued or self._queue_bytes + size > bounds.queued_bytes:
            self._dropped += 1
            return
        self._queue[key] = entry
        self._queue_bytes += size
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    def _dequeue(self, key: bytes) -> None:
        if key in self._queue:
            self._queue_bytes -= _weight(self._queue.pop(key))

    async def _write(self) -> None:
        """Until the queue is empty. Writes of one round have different keys, and each round waits for the one before:
        what comes last to a key is what it holds."""
        try:
            while self._queue:
                some = list(islice(self._queue.items(), _WRITES_TOGETHER))
                self._round = asyncio.get_running_loop().create_future()
                try:
                    await asyncio.gather(*(self._write_one(key, entry) for key, entry in some))
                finally:
                    self._round.set_result(None)
                    self._round = None
                for key, entry in some:
                    if key in self._queue and self._queue[key] is entry:
                        self._dequeue(key)
        finally:
            # At once, not when the task's callbacks run: what is put in between would wait for nobody.
            self._writing = None

    async def _write_one(self, key: bytes, entry: Entry | None) -> None:
        ask = self._begin("delete" if entry is None else "put", self._bounds.write_timeout)
        if ask is None:
            self._dropped += 1
            return
        store = self._store
        operation = partial(store.delete, key) if entry is None else partial(store.put, key, entry)
        await self._within(ask, self._spawn(ask, operation))


def _weight(entry: Entry | None) -> int:
    return _QUEUED + (0 if entry is None else entry.size)


def _at_once(operation: Coroutine[Any, Any, None]) -> None:
    """Run what never suspends."""
    try:
        operation.send(None)
    except StopIteration:
        return
    raise RuntimeError("a store that is not instant says that it is")
