"""Answers in the process's own memory, bounded by what they really take up. A hit is two look-ups: nothing is decoded,
copied or moved.

What to give up is decided by S3-FIFO (Yang et al., SOSP 2023). A new entry begins in a short queue; if nobody has asked
for it again when its turn comes it goes, and only its key is remembered for a while; one asked for again moves to the
long queue, where every hit buys one more round. Answers asked for once, which is most of them, cannot push out those
that many ask for. Beside LRU it gets a tenth to a half more hits where scans or one-time questions are mixed in
(bench/store.py), and a hit moves nothing.
"""

import asyncio
import sys
from collections import OrderedDict

from seawall.clock import Clock
from seawall.store.base import Stats, Which
from seawall.store.entry import Entry

# Of the bound: the short queue, and the largest entry that is kept at all.
_NEW_SHARE = 5
_LARGEST_SHARE = 8
# A hit counts this often at most, so that an old favourite does not stay for ever.
_MOST_HITS = 3
# Slot, key, the entry's own struct and its numbers, and its places in the tables; measured.
_PER_ENTRY = 900
# A remembered key: the bytes object and its place in the table.
_PER_GHOST = 200
# Purging looks at so many entries before the loop may do something else.
_SLICE = 2000


class _Slot:
    __slots__ = ("cost", "entry", "expires_at", "hits", "queue")

    def __init__(self, entry: Entry, cost: int, queue: "OrderedDict[bytes, _Slot]") -> None:
        self.entry = entry
        self.expires_at = entry.expires_at
        self.cost = cost
        self.hits = 0
        self.queue = queue


class Memory:
    """bound: bytes, everything counted."""

    instant = True

    def __init__(self, clock: Clock, bound: int = 32 * 2**20) -> None:
        self._wall = clock.wall
        self._bound = bound
        self._slots: dict[bytes, _Slot] = {}
        self._new: OrderedDict[bytes, _Slot] = OrderedDict()
        self._proven: OrderedDict[bytes, _Slot] = OrderedDict()
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._bytes = self._new_bytes = 0
        self._evictions = self._refused = 0

    def __repr__(self) -> str:
        return f"Memory({self._bound // 2**20} MiB)"

    async def get(self, key: bytes) -> Entry | None:
        slot = self._slots.get(key)
        if slot is None:
            return None
        if self._wall() >= slot.expires_at:
            self._drop(key, slot)
            return None
        if slot.hits < _MOST_HITS:
            slot.hits += 1
        return slot.entry

    async def put(self, key: bytes, entry: Entry) -> None:
        known = self._slots.get(key)
        if known is not None:
            self._drop(key, known)
        cost = cost_of(entry)
        if cost > self._bound // _LARGEST_SHARE:
            self._refused += 1
            return
        if entry.expires_at <= self._wall():
            return
        while self._slots and self._held + cost > self._bound:
            self._evict()
        # Whoever was asked for twice has proven itself, though the second time came after it had gone.
        queue = self._new if known is None and self._ghosts.pop(key, self) is self else self._proven
        slot = _Slot(entry, cost, queue)
        self._slots[key] = queue[key] = slot
        self._bytes += cost
        if queue is self._new:
            self._new_bytes += cost

    async def delete(self, key: bytes) -> None:
        slot = self._slots.get(key)
        if slot is not None:
            self._drop(key, slot)

    async def purge(self, which: Which) -> int:
        gone = 0
        # A replaced entry has another slot: it came later and stays.
        for number, (key, slot) in enumerate(list(self._slots.items()), 1):
            entry = slot.entry
            if which.matches(key, entry.route, entry.upstream, entry.model) and self._slots.get(key) is slot:
                self._drop(key, slot)
                gone += 1
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        return gone

    def stats(self) -> Stats:
        return Stats("memory", len(self._slots), self._held, self._bound, self._evictions, self._refused)

    async def close(self) -> None:
        self._slots.clear()
        self._new.clear()
        self._proven.clear()
        self._ghosts.clear()
        self._bytes = self._new_bytes = 0

    @property
    def _held(self) -> int:
        return self._bytes + _PER_GHOST * len(self._ghosts)

    def _drop(self, key: bytes, slot: _Slot) -> None:
        del self._slots[key], slot.queue[key]
        self._bytes -= slot.cost
        if slot.queue is self._new:
            self._new_bytes -= slot.cost

    def _evict(self) -> None:
        """Give up one entry. Each step of the loop lowers some entry's hits or ends it."""
        while True:
            if self._new and (self._new_bytes * _NEW_SHARE > self._bound or not self._proven):
                key, slot = next(iter(self._new.items()))
                if not slot.hits:
                    self._remember(key)
                    break
                del self._new[key]
                self._new_bytes -= slot.cost
                slot.hits, slot.queue = 0, self._proven
                self._proven[key] = slot
            else:
                key, slot = next(iter(self._proven.items()))
                if not slot.hits:
                    break
                slot.hits -= 1
                self._proven.move_to_end(key)
        self._drop(key, slot)
        self._evictions += 1

    def _remember(self, key: bytes) -> None:
        """Of as many keys as there are entries, at most."""
        ghosts = self._ghosts
        ghosts[key] = None
        while len(ghosts) > len(self._slots):
            ghosts.popitem(last=False)


def cost_of(entry: Entry) -> int:
    """Bytes of memory that keeping the entry takes: its objects as they are allocated, and what keeps them."""
    sizeof = sys.getsizeof
    total = _PER_ENTRY + len(entry.model) + sizeof(entry.headers) + sizeof(entry.pieces)
    for piece in entry.pieces:
        # Allocators round up.
        total += sizeof(piece) + 16
    for field in entry.headers:
        total += sizeof(field) + sizeof(field[0]) + sizeof(field[1]) + 32
    for name, value in entry.vary:
        total += 150 + len(name) + len(value or b"")
    for key, text in entry.more.items():
        total += 200 + len(key) + len(text)
    return total
