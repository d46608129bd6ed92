"""Calls of rules that have a cache, on their way to the engine and past it: a kept answer, one that is just being
fetched for somebody else, or a flight of their own; and what comes back is kept (SEMANTICS §6).

The decisions are core/cache*.py's, by way of `asking`; flight.py carries the answers.
"""

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from typing import Protocol

from msgspec.structs import replace

from seawall.asking import Asker, Asking, stored_of
from seawall.call import Buffers
from seawall.clock import Clock
from seawall.core import cache_status as status_fields
from seawall.core.cache import (
    Bypass,
    Decision,
    Forward,
    Hit,
    Keep,
    Miss,
    OnlyIfCached,
    Pass,
    Revalidate,
    Stale,
    Why,
)
from seawall.core.cache_http import Answer
from seawall.core.cache_key import variant_key
from seawall.core.cache_validation import Replaced, Updated, headed, invalidated
from seawall.dialects.base import Finish, Form, Material
from seawall.ending import fall_back, problem_of, refuse
from seawall.faults import Code, Fault
from seawall.flight import Flight, Reader, Verdict
from seawall.kept import decoded, entry_of, give, in_form, renewed
from seawall.outgoing import join
from seawall.question import Questions
from seawall.relay import drained
from seawall.reply import closing
from seawall.run import Run
from seawall.runtime import Plan
from seawall.store.entry import Entry
from seawall.store.guarded import Guarded
from seawall.types import AnswerKept, Head, Headers, Observer, Outcome

# So often a call waits for others' answers before it asks for itself, whatever others do: they may all fail.
_PATIENCE = 2
# A renewal behind the agents' backs is given up after so many seconds.
_RENEWAL = 600.0
# In an entry that stands for several, and holds none: what the keys of those were made with.
_MARK = "mark"


class Stores(Protocol):
    """Where answers are kept. `store.stores` is the one implementation."""

    @property
    def secret(self) -> bytes:
        """Of the tenants' HMAC."""

    @property
    def identity(self) -> str:
        """Of this pod."""

    def of(self, kind: str) -> Guarded:
        """The store of a rule's `cache.store`."""


class Cached:
    """One per process. fly: the engine's work for one flight; answer: likewise for a call that has none."""

    def __init__(
        self,
        stores: Stores,
        clock: Clock,
        buffers: Buffers,
        observe: Observer,
        answer: Callable[[Run], Awaitable[None]],
        fly: Callable[[Run], Awaitable[None]],
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._buffers = buffers
        self._observe = observe
        self._answer = answer
        self._fly = fly
        self._askers: dict[Plan, Asker] = {}
        self._flights: dict[tuple[bytes, Form], Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def prepare(self, plans: Iterable[Plan]) -> None:
        """Take the plans of a new policy."""
        self._askers = {plan: self._asker(plan) for plan in plans if plan.cache is not None}

    async def close(self) -> None:
        """Give up what is fetched for nobody who waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _asker(self, plan: Plan) -> Asker:
        assert plan.cache is not None
        return Asker(Questions(plan, plan.cache, self._stores.secret, self._stores.identity))

    # -- one call ----------------------------------------------------------------------------------------------------

    async def answer(self, run: Run) -> None:
        """Answer a call of a rule that has a cache."""
        call, ledger = run.call, run.ledger
        # A call that began under an older policy keeps to it.
        asker = self._askers.get(call.plan) or self._asker(call.plan)
        asked = asker.ask(call)
        if isinstance(asked, Asking):
            await self._ask(run, asked)
        elif isinstance(asked, Bypass):
            ledger.cache, ledger.notes = "bypass", [status_fields.forward_status(asked.forward)]
            await self._answer(run)
            if asked.why is Why.METHOD:
                self._invalidate(run, asker.questions)
        else:
            refuse(run, Fault(Code.NOT_CACHED))

    async def _ask(self, run: Run, asking: Asking) -> None:
        run.ledger.cache_key = asking.key[:8].hex()
        entry, decision = await self._look_up(asking)
        patience = _PATIENCE
        while True:
            match decision:
                case Hit() as hit:
                    assert entry is not None
                    await self._give(run, entry, hit, status_fields.hit_status(hit))
                    return
                case Stale(hit=hit, conditions=conditions):
                    assert entry is not None
                    self._renew(asking, entry, conditions)
                    await self._give(run, entry, hit, status_fields.hit_status(hit))
                    return
                case OnlyIfCached():
                    refuse(run, Fault(Code.NOT_CACHED))
                    return
                case Bypass():
                    raise AssertionError("a call that is none for the cache does not look anything up")
            if asking.call.head.method == "HEAD":
                await self._head(run, asking, entry, decision)
                return
            flight = self._flights.get((asking.key, asking.form))
            if patience > 0 and flight is not None and flight.joinable and asking.alike(flight.asking):
                patience -= 1
                reader = await self._read(run, flight, asking)
                if reader.done or reader.fault is not None:
                    self._late(run, reader)
                    return
                if flight.landed is not None:
                    await self._landed(run, flight, asking)
                    return
                if flight.verdict is Verdict.PRIVATE:
                    patience = 0
                entry, decision = await self._look_up(asking)
                continue
            flight = self._launch(asking, entry, decision)
            run.work = flight.run
            flight.run.ledger.cache_key = run.ledger.cache_key
            reader = await self._read(run, flight, asking)
            if flight.verdict is Verdict.AGAIN:
                # The upstream has forgotten what is kept, or mixes it up.
                self._store(asking).delete(asking.key)
                entry, decision = None, Miss(Forward.STALE)
                continue
            if flight.landed is not None and not reader.begun:
                await self._landed(run, flight, asking)
            else:
                self._late(run, reader)
            return

    async def _look_up(self, asking: Asking) -> tuple[Entry | None, Decision]:
        """What is kept for a call, in the form that it wants, and what to do."""
        settings, others = asking.settings, False
        store = self._stores.of(settings.store)
        entry = await store.get(asking.key, settings.timeout)
        if entry is not None and _MARK in entry.more:
            entry = await store.get(_variant(asking, entry.more[_MARK], entry), settings.timeout)
            others = entry is None
        if entry is not None:
            entry = in_form(entry, asking)
        return entry, asking.look_up(entry, self._clock.wall(), others=others)

    def _store(self, asking: Asking) -> Guarded:
        return self._stores.of(asking.settings.store)

    async def _give(self, run: Run, entry: Entry, hit: Hit, note: tuple[bytes, bytes]) -> None:
        """Answer with what is kept."""
        run.ledger.cache = "hit" if hit.ttl >= 0 else "stale"
        give(run, entry, hit, Outcome.CACHE, note, self._clock.now())
        if run.agent.congested:
            await self._drain(run)
        run.agent.end()

    async def _drain(self, run: Run) -> None:
        """Wait for an agent that reads slowly."""
        fault = await drained(run.agent, run.call.plan.timeouts.agent_write)
        if fault is not None:
            run.ledger.fault = fault
            run.agent.drop()

    async def _landed(self, run: Run, flight: Flight, asking: Asking) -> None:
        """Answer with what another call's flight, or its own, has made of an answer that it could not pass on."""
        entry = flight.landed
        assert entry is not None
        own = run.work is flight.run
        now = self._clock.wall()
        decision = asking.look_up(entry, now)
        age = max(0.0, now - entry.responded_at)
        hit = decision if isinstance(decision, Hit) else Hit(age, entry.fresh_seconds - age, asking.not_modified(entry))
        status = 304 if isinstance(flight.validation, Updated) else None
        note = status_fields.forward_status(flight.forward, status=status, collapsed=not own, ttl=hit.ttl)
        outcome = flight.run.ledger.outcome if own else Outcome.CACHE
        give(run, entry, hit, outcome, note, self._clock.now())
        run.ledger.cache = flight.run.ledger.cache if own else "coalesced"
        if run.agent.congested:
            await self._drain(run)
        run.agent.end()

    def _late(self, run: Run, reader: Reader) -> None:
        """A reader that its flight did not bring to its end: it is told why, as well as it still can be."""
        fault = reader.fault
        if fault is None or reader.done:
            run.ledger.fault = run.ledger.fault or fault
            return
        if fault.code is Code.AGENT_STALLED:
            run.ledger.fault = fault
        elif run.committed:
            run.ledger.fault = fault
            reader.break_off(problem_of(run, fault))
        elif not fall_back(run, fault, int(self._clock.wall())):
            refuse(run, fault)

    # -- flights -----------------------------------------------------------------------------------------------------

    async def _read(self, run: Run, flight: Flight, asking: Asking) -> Reader:
        """Read a flight to its end, or this call's."""
        reader = Reader(run, flight, asking)
        run.reserve = flight.run.reserve
        flight.add(reader)
        try:
            await reader.follow()
            if reader.leads and reader.fault is None:
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

    def _launch(
        self, asking: Asking, entry: Entry | None, decision: Miss | Revalidate, *, renews: bool = False
    ) -> Flight:
        """Begin to ask the upstreams."""
        call = asking.call
        conditions = decision.conditions if isinstance(decision, Revalidate) else []
        head = call.head
        if conditions:
            head = dataclasses.replace(head, headers=asking.headers_with(conditions))
        call = replace(call, head=head, flight=True)
        kept = entry if conditions else None
        flight = Flight(asking, decision.forward, self._clock, self._buffers, kept=kept, renews=renews)
        flight.run = Run(call, flight, call.plan.groups[0][0], [])
        if entry is not None and call.plan.stale:
            flight.run.reserve = _Reserve(asking, entry, decision.forward, self._clock)
        key = asking.key, asking.form
        if key not in self._flights and (conditions or not asking.conditional):
            self._flights[key] = flight
            flight.full = self._forget
        flight.task = asyncio.get_running_loop().create_task(self._work(flight))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    def _forget(self, flight: Flight) -> None:
        key = flight.asking.key, flight.asking.form
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _work(self, flight: Flight) -> None:
        try:
            if flight.renews:
                async with asyncio.timeout(_RENEWAL):
                    await self._fly(flight.run)
            else:
                await self._fly(flight.run)
            await self._land(flight)
        except TimeoutError:
            # Nobody waits for it; its attempts have told of themselves.
            pass
        finally:
            self._forget(flight)
            flight.over = True
            flight.close()

    def _renew(self, asking: Asking, entry: Entry, conditions: Headers) -> None:
        """Fetch a new answer behind the agents' backs, unless that is being done."""
        if (asking.key, asking.form) in self._flights:
            return
        flight = self._launch(asking, entry, Revalidate(Forward.STALE, conditions, None), renews=True)
        flight.run.reserve = None

    # -- what comes back ---------------------------------------------------------------------------------------------

    async def _land(self, flight: Flight) -> None:
        """Keep a flight's answer, if it may be."""
        if not flight.from_upstream or flight.answer is None:
            return
        asking, store = flight.asking, self._store(flight.asking)
        if isinstance(flight.validation, Updated):
            assert flight.kept is not None
            flight.landed = renewed(flight.kept, flight.validation, flight.asked_at, flight.began_at)
            if flight.validation.keep is not None:
                await self._put(asking, flight.landed)
            else:
                store.delete(asking.key)
            return
        found = self._entry(flight)
        if isinstance(found, Entry):
            flight.landed = found
            await self._put(asking, found)
            why = detail = ""
        else:
            why, detail = found.why.value, found.detail
            if isinstance(flight.validation, Replaced):
                store.delete(asking.key)
        ledger = flight.run.ledger
        size = found.size if isinstance(found, Entry) else flight.sent_bytes
        model = ledger.answered or ledger.model
        self._observe(AnswerKept(asking.call.plan.route, ledger.upstream, model, why, detail, size))

    def _entry(self, flight: Flight) -> Entry | Pass:
        asking, ledger, answer = flight.asking, flight.run.ledger, flight.answer
        assert answer is not None
        why = flight.why_not_kept()
        if why is not None:
            return why
        head, finish = flight.head_of(answer), Finish()
        pieces: tuple[bytes, ...] | None = tuple(flight.pieces)
        if asking.http is None:
            pieces = decoded(flight)
            if pieces is None:
                return Pass(Why.INCOMPLETE, "its coding cannot be undone")
            if ledger.fault is None:
                form = asking.form if answer.stream else Form.PLAIN
                finish = asking.call.plan.dialect.finish(asking.call.facts, b"".join(pieces), form)
        elif ledger.fault is not None and answer.fault is None:
            return Pass(Why.INCOMPLETE)
        assert pieces is not None
        keep = asking.keep(head, ledger.fault, finish, size=sum(map(len, pieces)))
        return entry_of(flight, keep, pieces) if isinstance(keep, Keep) else keep

    async def _put(self, asking: Asking, entry: Entry) -> None:
        """Under the question's key, or, where it depends on more than that, beside a mark that says on what."""
        store = self._store(asking)
        if not entry.vary:
            store.put(asking.key, entry)
            return
        known = await store.get(asking.key, asking.settings.timeout)
        mark = "" if known is None or _names(known) != _names(entry) else known.more.get(_MARK, "")
        # Drawn anew when the old one is gone, so that variants which were dropped with it never come back.
        mark = mark or os.urandom(16).hex()
        store.put(asking.key, replace(entry, status=0, headers=[], pieces=(), usage=None, more={_MARK: mark}))
        store.put(_variant(asking, mark, entry), entry)

    async def _head(self, run: Run, asking: Asking, entry: Entry | None, decision: Decision) -> None:
        """A HEAD that nothing kept answers: what comes back says whether the kept GET still holds (RFC 9111 §4.3.5)."""
        assert isinstance(decision, Miss | Revalidate)
        run.ledger.cache, run.ledger.notes = "miss", [status_fields.forward_status(decision.forward)]
        asked_at = self._clock.wall()
        await self._answer(run)
        answer = run.kept.answer if run.kept is not None else None
        if entry is None or answer is None or answer.exchange.status != 200 or asking.http is None:
            return
        now = self._clock.wall()
        head = Answer(200, answer.exchange.headers, asked_at, now)
        found = headed(asking.http, stored_of(entry), head, asking.settings)
        if found is not None and found.keep is not None:
            await self._put(asking, renewed(entry, found, asked_at, now))
        elif found is None:
            self._store(asking).delete(asking.key)

    def _invalidate(self, run: Run, questions: Questions) -> None:
        """Drop what a request with effects has made void (RFC 9111 §4.4)."""
        answer = run.kept.answer if run.kept is not None else None
        if answer is None or not run.committed:
            return
        call, exchange, there = run.call, answer.exchange, answer.candidate.target
        origins, base = frozenset({there.endpoint.origin}), there.base_path
        asked = join(base, call.rest, "")
        for target in invalidated(call.head.method, asked, exchange.status, exchange.headers, origins):
            if target.startswith(base):
                rest = target[len(base) :]
                head = Head("GET", rest, call.head.headers)
                key = questions.key(head, call.facts, rest, Material(b"", deterministic=True, by_http=True))
                self._stores.of(questions.settings.store).delete(key)


def _names(entry: Entry) -> tuple[bytes, ...]:
    return tuple(name for name, _ in entry.vary)


def _variant(asking: Asking, mark: str, entry: Entry) -> bytes:
    """The key of a call's own variant, where answers vary as `entry` did."""
    return variant_key(sha256(asking.key + mark.encode()).digest(), _names(entry), asking.call.head.headers)


class _Reserve:
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
