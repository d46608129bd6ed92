"""One call that reads a flight, at its agent's own pace and within its own deadline. See flight.py."""

import asyncio
import enum
from typing import TYPE_CHECKING

from seawall.asking import Asking
from seawall.call import Ledger
from seawall.core import cache_status as status_fields
from seawall.faults import Code, Fault, Problem
from seawall.relay import break_off, drained
from seawall.reply import told, without_told
from seawall.run import Run
from seawall.types import Agent, Headers, Outcome
from seawall.wire import without_ours

if TYPE_CHECKING:
    from seawall.flight import Flight


class Verdict(enum.Enum):
    """What readers that only joined may do with the answer, once it has begun."""

    SHARED = "shared"
    PRIVATE = "private"
    """Its fields forbid to give it to anybody else."""
    FAILED = "failed"
    HELD = "held"
    """What is kept still holds: it is given when the flight has landed."""
    AGAIN = "again"
    """The upstream spoke of another answer than the one that is kept: it must be asked without conditions."""


class Reader:
    """One call that reads a flight. run: its own. leads: the work is done for it.

    done: it has been told everything. released: it gets nothing from this flight. waits: it gets what the flight has
    made of its answer once that has landed.
    """

    def __init__(self, run: Run, flight: "Flight", asking: Asking) -> None:
        self.run = run
        self.agent: Agent = run.agent
        self.asking = asking
        self.position = 0
        self.leads = False
        self.begun = False
        self.done = False
        self.waits = False
        self.released = False
        self.fault: Fault | None = None
        self._flight = flight
        self._waiter: asyncio.Future[None] | None = None

    @property
    def behind(self) -> int:
        """Bytes that it has not been given yet."""
        flight = self._flight
        return sum(map(len, flight.pieces[max(0, self.position - flight.first) :])) if self.begun else 0

    def begin(self) -> None:
        """The flight's answer has begun."""
        flight, run = self._flight, self.run
        verdict = flight.verdict
        # Another deadline counts from now on.
        self._wake()
        if self.launched:
            self.waits = verdict in (Verdict.HELD, Verdict.AGAIN)
            self.begun = not self.waits
            if self.begun:
                run.begin(flight.status, [*flight.headers, *flight.forward_fields], reason=flight.reason)
        elif not self._concerned or not flight.is_variant_of(self.asking):
            self._release()
        elif verdict is Verdict.HELD or not flight.is_readable_for(self.asking):
            self.waits = True
        else:
            self.begun = True
            run.begin(flight.status, self._joined_head(), reason=flight.reason)
            self.pump()

    @property
    def launched(self) -> bool:
        """Whether the flight was launched for it."""
        return self.run.work is self._flight.run

    @property
    def work(self) -> Ledger:
        """What was done for the answer that it reads."""
        return self._flight.run.ledger

    @property
    def _concerned(self) -> bool:
        """Whether the answer can be one for a call that joined: one that anybody may have, or what became of the work
        that it took over, unless that is told as the end of another's stream or came of another's deadline."""
        flight = self._flight
        if flight.verdict in (Verdict.SHARED, Verdict.HELD):
            return True
        fault = flight.run.ledger.fault
        others = flight.run.opened or (fault is not None and fault.code is Code.TIMEOUT_REQUEST)
        return self.leads and flight.verdict is not Verdict.AGAIN and not others

    def _joined_head(self) -> Headers:
        """The head of another call's answer, as this one's."""
        flight, ledger, work = self._flight, self.run.ledger, self._flight.run.ledger
        if not self.leads:
            now = flight.clock.now()
            ledger.outcome = work.outcome if work.outcome in (Outcome.STALE, Outcome.ERROR) else Outcome.CACHE
            ledger.cache = "coalesced"
            ledger.upstream, ledger.model, ledger.status = work.upstream, work.model, flight.status
            ledger.service_level, ledger.stream = work.service_level, work.stream
            ledger.committed = now
            ledger.waited = now - self.run.call.received
        cookies = (b"set-cookie", b"set-cookie2")
        fields = [field for field in without_told(flight.headers) if field[0].lower() not in cookies]
        fields += told(self.run.call, ledger)
        if work.outcome is not Outcome.STALE:
            fields.append(status_fields.forward_status(flight.forward, collapsed=True))
            if not self.leads and self.asking.http is None:
                fields.append(status_fields.CACHED_USAGE)
        return fields

    def comment(self, data: bytes) -> None:
        """Something that says nothing, to keep the agent waiting."""
        flight = self._flight
        current = self.position == flight.first + len(flight.pieces)
        if (self.begun or self.run.opened) and current and not self.agent.congested:
            self.agent.write(data)

    def pump(self) -> None:
        """Give the agent what there is, as far as it takes it."""
        if self.done or not self.begun:
            return
        flight, agent = self._flight, self.agent
        end = flight.first + len(flight.pieces)
        while self.position < end:
            if agent.congested:
                self._wake()
                return
            if self.position == 0 and not self.leads:
                self.run.ledger.first_content = flight.clock.now()
            agent.write(flight.pieces[self.position - flight.first])
            self.position += 1
        self.done = flight.over
        if self.done or agent.congested:
            self._wake()

    def land(self) -> None:
        """The flight is over, and what it left is there."""
        if self.waits or not self.begun:
            self._release()

    async def follow(self) -> None:
        """Read until the end; `fault` says why it did not come. The caller leaves the flight in any case."""
        call, clock = self.run.call, self._flight.clock
        while True:
            if self.begun and self.agent.congested:
                self.fault = await drained(self.agent, call.plan.timeouts.agent_write)
                if self.fault is not None:
                    self.agent.drop()
                    return
            # It may have been congested since it was last given something, and be so no longer.
            self.pump()
            self._flight.ease()
            if self.done:
                self._end()
            if self.done or self.released:
                return
            if self.begun and self.agent.congested:
                continue
            late = call.deadline
            if (self.begun and not call.limited) or (self.leads and not self.begun):
                late = None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                if late is None:
                    await self._waiter
                else:
                    async with asyncio.timeout(max(0.0, late - clock.now())):
                        await self._waiter
            except TimeoutError:
                self.fault = Fault(Code.TIMEOUT_REQUEST)
                return
            finally:
                self._waiter = None

    def _end(self) -> None:
        """End its answer as the flight's has ended. Only here, in the task of its own call, which is over at once then:
        when that closes a connection, it must not seem to be the agent that left."""
        flight = self._flight
        if flight.whole:
            self.agent.end(flight.trailers if self.launched else without_ours(flight.trailers))
        else:
            self.fault = self.work.fault or Fault(Code.TRUNCATED)
            self.agent.abort()

    def break_off(self, problem: Problem) -> None:
        """End an answer that has begun, as well as its agent can still be told."""
        flight, dialect, facts = self._flight, self.run.call.plan.dialect, self.run.call.facts
        answer = flight.answer
        if answer is not None and self.position == flight.first + len(flight.pieces):
            break_off(self.run.call, answer, self.agent, problem)
            return
        if answer is not None and answer.stream and answer.decoder is None and flight.first == 0:
            # Where it stands, within an event or between two, only its own part tells.
            watch = dialect.watch(facts)
            for piece in flight.pieces[: self.position]:
                watch.feed(piece)
            if not watch.midway:
                self.agent.write(watch.lead + dialect.error_event(facts, problem))
        self.agent.abort()

    def _release(self) -> None:
        self.released = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
