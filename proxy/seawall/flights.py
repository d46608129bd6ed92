"""Flights under way: who asks for what, and who reads along (SEMANTICS §6, coalescing). See flight.py for one."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection

from msgspec.structs import replace

from seawall.asking import Asking
from seawall.call import Buffers
from seawall.clock import Clock
from seawall.core import cache_status as status_fields
from seawall.core.cache import CacheSettings, Forward, Miss, Revalidate
from seawall.core.cache_fields import Directives
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

_Want = tuple[bytes, Form, Directives, CacheSettings]
# A renewal behind the agents' backs is given up after so many seconds.
_RENEWAL = 600.0


class Flights:
    """One per process. fly: the engine's work for one flight."""

    def __init__(self, keeper: Keeper, clock: Clock, buffers: Buffers, fly: Callable[[Run], Awaitable[None]]) -> None:
        self._keeper = keeper
        self._clock = clock
        self._buffers = buffers
        self._fly = fly
        self._open: dict[_Want, Flight] = {}
        """Those that others may join."""
        self._flying: set[Flight] = set()

    async def close(self) -> None:
        """Give up what is fetched for nobody who waits."""
        tasks = [flight.task for flight in self._flying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def joinable(self, asking: Asking) -> Flight | None:
        """A flight that will bring what a call asks for, from the first byte. Who wants the upstream's own word gets no
        answer that it began to give before."""
        flight = None if asking.directives.no_cache else self._open.get(_want(asking))
        return flight if flight is not None and flight.joinable else None

    def launch(
        self, asking: Asking, entry: Entry | None, decision: Miss | Revalidate, reserve: Reserve | None
    ) -> Flight:
        """Begin to ask the upstreams. entry: what is kept, if anything is. reserve: for the case that none has an
        answer."""
        call = asking.call
        conditions = decision.conditions if isinstance(decision, Revalidate) else []
        head = call.head
        if conditions:
            head = dataclasses.replace(head, headers=asking.headers_with(conditions))
        flight = Flight(asking, decision.forward, self._clock, self._buffers, entry, validates=bool(conditions))
        flight.run = Run(replace(call, head=head, flight=True), flight, call.plan.groups[0][0], [], reserve=reserve)
        flight.run.ledger.cache_key = asking.shown_key
        known = self._open.get(_want(asking))
        # Whoever asks on conditions of its own may get a 304 that is for it alone.
        if (known is None or not known.joinable) and (conditions or not asking.conditional):
            self._open[_want(asking)] = flight
            flight.unlist = self._unlist
        flight.task = asyncio.get_running_loop().create_task(self._work(flight))
        self._flying.add(flight)
        return flight

    def renew(self, asking: Asking, entry: Entry, conditions: Headers) -> None:
        """Fetch a new answer behind the agents' backs, unless that is being done."""
        asking = asking.unconditional()
        if _want(asking) not in self._open:
            self.launch(asking, entry, Revalidate(Forward.STALE, conditions, None), None).renews = True

    def void(self, keys: Collection[bytes]) -> None:
        """A write has made these questions' answers void, also those that were asked for before and are still to
        come."""
        for flight in self._flying:
            if flight.asking.key in keys:
                flight.void = True
                self._unlist(flight)

    def reserve(self, asking: Asking, entry: Entry | None, forward: Forward) -> Reserve | None:
        """What is kept, for the case that no upstream has an answer, where the policy wants that."""
        if entry is None or not asking.call.plan.stale:
            return None
        return _Stale(asking, entry, forward, self._clock)

    async def read(self, run: Run, flight: Flight, asking: Asking) -> Reader:
        """Read a flight to its end, or this call's."""
        reader = Reader(run, flight, asking)
        flight.add(reader)
        try:
            await reader.follow()
        except asyncio.CancelledError:
            reader.fault = Fault(Code.DRAINING if run.agent.cut else Code.AGENT_GONE)
            flight.leave(reader)
            if run.agent.cut and run.committed:
                reader.break_off(problem_of(run, reader.fault))
            raise
        finally:
            flight.leave(reader)
        if reader.launched and flight.task.done() and not flight.task.cancelled():
            # A bug in the work is this call's.
            flight.task.result()
        return reader

    def _unlist(self, flight: Flight) -> None:
        want = _want(flight.asking)
        if self._open.get(want) is flight:
            del self._open[want]

    async def _work(self, flight: Flight) -> None:
        try:
            if await self._flown(flight):
                await self._keeper.land(flight)
        finally:
            self._unlist(flight)
            self._flying.discard(flight)
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
            flight.run.ledger.fault = Fault(Code.TIMEOUT_REQUEST)
            return False
        return True


def _want(asking: Asking) -> _Want:
    """What is the same for all calls that one answer will do for."""
    return asking.key, asking.form, asking.directives, asking.settings


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
        if run.call.flight:
            # Those who joined may not have it already.
            hit = replace(hit, not_modified=False)
        ledger = run.ledger
        ledger.fault, ledger.cache = fault, "stale"
        note = status_fields.forward_status(self._forward, status=fault.status, ttl=hit.ttl)
        give(run, entry, hit, Outcome.STALE, note, self._clock.now())
        run.agent.end(closing(run.call, ledger) if run.opened else None)
        return True
