"""Flights under way: who asks for what, and who reads along (SEMANTICS §6, coalescing). See flight.py for one."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from seawall.asking import Asking
from seawall.call import Buffers
from seawall.clock import Clock
from seawall.core import cache_status as status_fields
from seawall.core.cache import Forward, Miss, Revalidate
from seawall.dialects.base import Form
from seawall.ending import problem_of
from seawall.faults import Code, Fault
from seawall.flight import Flight
from seawall.keeping import Keeper
from seawall.kept import give
from seawall.reader import Reader
from seawall.reply import closing
from seawall.run import Reserve, Run
from seawall.store.entry import Entry
from seawall.types import Headers, Outcome

# A renewal behind the agents' backs is given up after so many seconds.
_RENEWAL = 600.0


class Flights:
    """One per process. fly: the engine's work for one flight."""

    def __init__(self, keeper: Keeper, clock: Clock, buffers: Buffers, fly: Callable[[Run], Awaitable[None]]) -> None:
        self._keeper = keeper
        self._clock = clock
        self._buffers = buffers
        self._fly = fly
        self._under_way: dict[tuple[bytes, Form], Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is fetched for nobody who waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def joinable(self, asking: Asking) -> Flight | None:
        """A flight that will bring what a call asks for, from the first byte."""
        flight = self._under_way.get((asking.key, asking.form))
        if flight is None or not flight.joinable or not asking.alike(flight.asking):
            return None
        return flight

    def launch(self, asking: Asking, entry: Entry | None, decision: Miss | Revalidate) -> Flight:
        """Begin to ask the upstreams. entry: what is kept, if anything is."""
        call = asking.call
        conditions = decision.conditions if isinstance(decision, Revalidate) else []
        head = call.head
        if conditions:
            head = dataclasses.replace(head, headers=asking.headers_with(conditions))
        flight = Flight(asking, decision.forward, self._clock, self._buffers, entry if conditions else None)
        flight.run = Run(replace(call, head=head, flight=True), flight, call.plan.groups[0][0], [])
        flight.run.reserve = self.reserve(asking, entry, decision.forward)
        key = asking.key, asking.form
        # Whoever asks on conditions of its own may get a 304 that is for it alone.
        if key not in self._under_way and (conditions or not asking.conditional):
            self._under_way[key] = flight
            flight.full = self._forget
        flight.task = asyncio.get_running_loop().create_task(self._work(flight))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    def renew(self, asking: Asking, entry: Entry, conditions: Headers) -> None:
        """Fetch a new answer behind the agents' backs, unless that is being done."""
        if (asking.key, asking.form) not in self._under_way:
            flight = self.launch(asking, entry, Revalidate(Forward.STALE, conditions, None))
            flight.renews, flight.run.reserve = True, None

    def reserve(self, asking: Asking, entry: Entry | None, forward: Forward) -> Reserve | None:
        """What is kept, for the case that no upstream has an answer, where the policy wants that."""
        if entry is None or not asking.call.plan.stale:
            return None
        return _Stale(asking, entry, forward, self._clock)

    async def read(self, run: Run, flight: Flight, asking: Asking) -> Reader:
        """Read a flight to its end, or this call's."""
        reader = Reader(run, flight, asking)
        run.reserve = flight.run.reserve
        flight.add(reader)
        try:
            await reader.follow()
            if reader.leads and (reader.waits or (reader.done and reader.fault is None)):
                # What is left to be told of the work is known when it is over.
                await asyncio.wait((flight.task,))
        except asyncio.CancelledError:
            reader.fault = Fault(Code.DRAINING if run.agent.cut else Code.AGENT_GONE)
            flight.leave(reader)
            if run.agent.cut and run.committed:
                reader.break_off(problem_of(run, reader.fault))
            raise
        finally:
            flight.leave(reader)
        if run.work is flight.run and flight.task.done() and not flight.task.cancelled():
            # A bug in the work is this call's.
            flight.task.result()
        return reader

    def _forget(self, flight: Flight) -> None:
        key = flight.asking.key, flight.asking.form
        if self._under_way.get(key) is flight:
            del self._under_way[key]

    async def _work(self, flight: Flight) -> None:
        try:
            if await self._flown(flight):
                await self._keeper.land(flight)
        finally:
            self._forget(flight)
            flight.close()

    async def _flown(self, flight: Flight) -> bool:
        """False for a renewal that took too long: nobody waits for it, and its attempts have told of themselves."""
        if not flight.renews:
            await self._fly(flight.run)
            return True
        try:
            async with asyncio.timeout(_RENEWAL):
                await self._fly(flight.run)
        except TimeoutError:
            return False
        return True


class _Stale:
    """See run.Reserve."""

    def __init__(self, asking: Asking, entry: Entry, forward: Forward, clock: Clock) -> None:
        self._asking = asking
        self._entry = entry
        self._forward = forward
        self._clock = clock

    def give(self, run: Run, fault: Fault) -> bool:
        entry = self._entry
        hit = self._asking.in_an_outage(entry, self._clock.wall())
        if hit is None or (run.opened and not entry.stream):
            return False
        ledger = run.ledger
        ledger.fault, ledger.cache = fault, "stale"
        note = status_fields.forward_status(self._forward, status=fault.status, ttl=hit.ttl)
        give(run, entry, hit, Outcome.STALE, note, self._clock.now())
        run.agent.end(closing(run.call, ledger) if run.opened else None)
        return True
