"""Calls of rules that have a cache: a kept answer, one that is just being fetched for somebody else, or a flight of
their own (SEMANTICS §6).

This is the order of things. What is decided comes from core/cache*.py by way of `asking`; keeping.py stores answers,
flights.py fetches them.
"""

from collections.abc import Awaitable, Callable, Iterable

from seawall.asking import Asker, Asking
from seawall.call import Buffers, Ledger
from seawall.clock import Clock
from seawall.core import cache_status as status_fields
from seawall.core.cache import Bypass, Decision, Forward, Hit, Miss, Revalidate, Stale
from seawall.core.cache_validation import Updated
from seawall.ending import fall_back, problem_of, refuse
from seawall.faults import Code, Fault
from seawall.flight import Flight
from seawall.flights import Flights
from seawall.keeping import Keeper, Stores
from seawall.kept import give
from seawall.question import Questions
from seawall.reader import Reader, Verdict
from seawall.relay import drained
from seawall.run import Run
from seawall.runtime import Plan
from seawall.store.entry import Entry
from seawall.types import Observer, Outcome

# So often a call waits for others' answers before it asks for itself, whatever others do: they may all fail.
_PATIENCE = 2

Work = Callable[[Run], Awaitable[None]]


class Cached:
    """One per process. answer: the engine's work for a call; fly: the same for a flight."""

    def __init__(
        self, stores: Stores, clock: Clock, buffers: Buffers, observe: Observer, answer: Work, fly: Work
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._answer = answer
        self._keeper = Keeper(stores, clock, observe)
        self._flights = Flights(self._keeper, clock, buffers, fly)
        self._askers: dict[Plan, Asker] = {}

    def prepare(self, plans: Iterable[Plan]) -> None:
        """Take the plans of a new policy."""
        self._askers = {plan: self._asker(plan) for plan in plans if plan.cache is not None}

    async def close(self) -> None:
        """Give up what is fetched for nobody who waits."""
        await self._flights.close()

    def _asker(self, plan: Plan) -> Asker:
        assert plan.cache is not None
        return Asker(Questions(plan, plan.cache, self._stores.secret, self._stores.identity))

    async def answer(self, run: Run) -> None:
        """Answer a call of a rule that has a cache."""
        call, ledger = run.call, run.ledger
        # A call that began under an older policy keeps to it.
        asker = self._askers.get(call.plan) or self._asker(call.plan)
        asked = asker.ask(call)
        if isinstance(asked, Asking):
            ledger.cache_key = asked.shown_key
            await self._ask(run, asked)
        elif isinstance(asked, Bypass):
            ledger.cache, ledger.notes = "bypass", [status_fields.forward_status(asked.forward)]
            await self._answer(run)
            if asked.forward is Forward.METHOD:
                self._flights.void(self._keeper.invalidate(run, asker.questions))
        else:
            refuse(run, Fault(Code.NOT_CACHED))

    async def _ask(self, run: Run, asking: Asking) -> None:
        entry, decision = await self._keeper.look_up(asking)
        patience = _PATIENCE
        while isinstance(decision, Miss | Revalidate):
            run.reserve = self._flights.reserve(asking, entry, decision.forward)
            if asking.call.head.method == "HEAD":
                await self._head(run, asking, entry, decision)
                return
            flight = self._flights.joinable(asking)
            if flight is None or not patience:
                flight = self._flights.launch(asking, entry, decision, run.reserve)
                if await self._lead(run, flight, asking):
                    return
                # The upstream has forgotten what is kept, or mixes it up.
                self._keeper.drop(asking)
                entry, decision = None, Miss(Forward.STALE)
                continue
            if await self._join(run, flight, asking):
                return
            # Another's failure is not this one's; an answer that is not for it will not be the next time either.
            patience = patience - 1 if flight.verdict is Verdict.FAILED else 0
            entry, decision = await self._keeper.look_up(asking)
        await self._end(run, asking, entry, decision)

    async def _end(self, run: Run, asking: Asking, entry: Entry | None, decision: Decision) -> None:
        """Answer without anybody's help."""
        match decision:
            case Hit() as hit:
                pass
            case Stale(hit=hit, conditions=conditions):
                assert entry is not None
                self._flights.renew(asking, entry, conditions)
            case _:
                refuse(run, Fault(Code.NOT_CACHED))
                return
        assert entry is not None
        run.ledger.cache = "hit" if hit.ttl >= 0 else "stale"
        await self._give(run, entry, hit, Outcome.CACHE, status_fields.hit_status(hit))

    async def _give(self, run: Run, entry: Entry, hit: Hit, outcome: Outcome, note: tuple[bytes, bytes]) -> None:
        agent = run.agent
        give(run, entry, hit, outcome, note, self._clock.now())
        if agent.congested:
            fault = await drained(agent, run.call.plan.timeouts.agent_write)
            if fault is not None:
                run.ledger.fault = fault
                agent.drop()
        agent.end()

    async def _lead(self, run: Run, flight: Flight, asking: Asking) -> bool:
        """Read what a flight brings that was launched for this call. False: it must ask once more."""
        run.work, flight.run.ledger.attempts = flight.run, run.ledger.attempts
        reader = await self._flights.read(run, flight, asking)
        if flight.verdict is Verdict.AGAIN:
            return False
        if flight.landed is not None and reader.waits:
            await self._landed(run, flight, reader, flight.landed)
        else:
            self._told(run, reader)
        return True

    async def _join(self, run: Run, flight: Flight, asking: Asking) -> bool:
        """Read along in another call's flight. False: it had nothing for this one."""
        run.joined = flight.run.call.trace
        reader = await self._flights.read(run, flight, asking)
        if reader.waits and flight.landed is not None:
            await self._landed(run, flight, reader, flight.landed)
        elif reader.done or reader.fault is not None:
            self._told(run, reader)
        else:
            if reader.leads:
                # What it took over has come to nothing; it tells of the attempts that were made for it all the same.
                run.ledger = Ledger(attempts=run.ledger.attempts, cache_key=asking.shown_key)
            return False
        return True

    async def _landed(self, run: Run, flight: Flight, reader: Reader, entry: Entry) -> None:
        """Give what a flight has made of an answer that could not be passed on as it came."""
        own, now = reader.leads, self._clock.wall()
        age = max(0.0, now - entry.responded_at)
        hit = Hit(age, entry.fresh_seconds - age, reader.asking.not_modified(entry))
        status = 304 if isinstance(flight.validation, Updated) else None
        note = status_fields.forward_status(flight.forward, status=status, collapsed=not own, ttl=hit.ttl)
        run.ledger.cache = flight.run.ledger.cache if own else "coalesced"
        await self._give(run, entry, hit, flight.run.ledger.outcome if own else Outcome.CACHE, note)
        if own:
            # Billed to this call, not saved.
            run.ledger.saved = None

    def _told(self, run: Run, reader: Reader) -> None:
        """A reader has got what there was; where that is not all, its agent is told, as well as it still can be."""
        fault, work = reader.fault, reader.work
        if reader.done and not reader.leads:
            # What it read was good for it as far as it was for the one that asked, and billed to that.
            fault = work.fault
            run.ledger.saved, run.ledger.answered = work.usage or work.saved, work.answered
        if fault is None or reader.done or fault.code is Code.AGENT_STALLED:
            run.ledger.fault = run.ledger.fault or fault
        elif run.committed:
            run.ledger.fault = fault
            reader.break_off(problem_of(run, fault))
        elif not fall_back(run, fault, int(self._clock.wall())):
            refuse(run, fault)

    async def _head(self, run: Run, asking: Asking, entry: Entry | None, decision: Miss | Revalidate) -> None:
        """A HEAD that nothing kept answers."""
        run.ledger.cache, run.ledger.notes = "miss", [status_fields.forward_status(decision.forward)]
        asked_at = self._clock.wall()
        await self._answer(run)
        if entry is not None:
            await self._keeper.headed(run, asking, entry, asked_at)
