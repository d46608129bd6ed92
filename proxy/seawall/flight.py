"""One question on its way to the upstreams, and the calls that read what comes back: the one that asked, and those that
asked the same meanwhile (SEMANTICS §6, coalescing).

To the engine a flight is the agent. What it is told goes to every reader at that reader's own pace, and is recorded
from the first byte on, so that whoever joins later begins with the first event. A record that grows beyond what the
cache would keep, or for which the process has no memory left, is given up: from then on the flight goes at the pace of
its slowest reader, and nobody joins any more.

Nobody's failure is another's: readers that only joined are let go when it fails, or when its answer turns out to be for
one agent alone.
"""

import asyncio
import enum
from collections.abc import Callable

from seawall.answer import Answer
from seawall.asking import Asking
from seawall.call import Buffers, Ledger
from seawall.clock import Clock
from seawall.core import cache_http
from seawall.core import cache_status as status_fields
from seawall.core.cache import Forward, Keep, Pass, Why
from seawall.core.cache_key import varied
from seawall.core.cache_model import DETERMINISTIC_REFUSALS
from seawall.core.cache_validation import Mismatch, Updated, Validation
from seawall.dialects.base import Finish
from seawall.faults import Code, Fault, Problem
from seawall.relay import drained
from seawall.reply import told, without_told
from seawall.run import Run
from seawall.store.entry import Entry
from seawall.types import Agent, Headers, Outcome, header
from seawall.wire import without_ours


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


class Flight:
    """See types.Agent for what the engine tells it. run: its own, which works in the stead of its readers'.

    kept: an entry that is to be validated. landed: what was made of the answer, where that could be kept; it is there
    once the flight is over.
    """

    def __init__(
        self, asking: Asking, forward: Forward, clock: Clock, buffers: Buffers, *, kept: Entry | None, renews: bool
    ) -> None:
        self.asking = asking
        self.forward = forward
        self.kept = kept
        self.renews = renews
        self.run: Run
        self.task: asyncio.Task[None]
        self.clock = clock
        self.began_at = clock.wall()
        """When the answer began; until then when it was asked for."""
        self.asked_at = self.began_at
        self.answer: Answer | None = None
        self.verdict: Verdict | None = None
        self.validation: Validation | None = None
        self.landed: Entry | None = None
        self.full: Callable[[Flight], None] = lambda flight: None
        """Is told when nobody can join any more."""
        self.readers: list[Reader] = []
        self.status = 0
        self.headers: Headers = []
        self.reason = b""
        self.pieces: list[bytes] = []
        self.first = 0
        """How many pieces were let go before those."""
        self.recording = True
        self.over = False
        self.whole = False
        """It ended properly."""
        self.trailers: Headers = []
        self.cut = False
        self.sent_bytes = 0
        self._buffers = buffers
        self._taken = 0
        self._comment = asking.call.plan.dialect.keep_alive
        self._eased: asyncio.Future[None] | None = None

    # -- what the engine tells ---------------------------------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        if (leader := self.leader) is not None:
            leader.agent.inform(status, headers)

    def start(self, status: int, headers: Headers, *, reason: bytes = b"") -> None:
        if self.run.committed:
            self._begin(status, headers, reason)
        elif (leader := self.leader) is not None:
            # A stream that is held back is opened for the one that asked; to those who joined nothing is promised.
            leader.agent.start(status, headers, reason=reason)

    def write(self, data: bytes) -> None:
        if not data:
            return
        if not self.run.committed or data == self._comment:
            for reader in self.readers:
                reader.comment(data)
            return
        if self.verdict is None:
            # The stream was opened before: its own head comes only now.
            self._begin(200, self._own_head(), b"OK")
        self.sent_bytes += len(data)
        self.pieces.append(data)
        self._record(len(data))
        for reader in list(self.readers):
            reader.pump()
        self._slide()

    def end(self, trailers: Headers | None = None) -> None:
        self.trailers = trailers or []
        self._finish(whole=True)

    def abort(self) -> None:
        self._finish(whole=False)

    def drop(self) -> None:
        self._finish(whole=False)

    @property
    def congested(self) -> bool:
        return not self.recording and any(reader.agent.congested for reader in self.readers)

    @property
    def unsent_bytes(self) -> int:
        """Of the slowest reader."""
        return max((reader.behind + reader.agent.unsent_bytes for reader in self.readers), default=0)

    async def drain(self) -> None:
        while self.congested:
            self._eased = asyncio.get_running_loop().create_future()
            await self._eased

    # -- readers -----------------------------------------------------------------------------------------------------

    @property
    def leader(self) -> "Reader | None":
        """The reader that the work is done for, and billed to."""
        return self.readers[0] if self.readers and self.readers[0].leads else None

    @property
    def joinable(self) -> bool:
        """Whether one more reader would get the answer from its first byte."""
        return self.recording and not self.over and self.verdict in (None, Verdict.SHARED, Verdict.HELD)

    def add(self, reader: "Reader") -> None:
        if not self.readers:
            self._hand_over(reader)
        self.readers.append(reader)
        if self.verdict is not None:
            reader.begin()

    def leave(self, reader: "Reader") -> None:
        """A reader has got all, or has gone. The next one takes its place; with the last one the work ends."""
        if reader not in self.readers:
            return
        self.readers.remove(reader)
        if reader.leads and not self.over:
            # What was done up to here is its; what follows is told of by whoever is next.
            reader.run.ledger = _copied(self.run.ledger)
            if self.readers:
                self._hand_over(self.readers[0])
        if self.readers or self.renews:
            self.ease()
        elif not self.over:
            self.run.ledger.fault = reader.fault
            self.task.cancel()

    def _hand_over(self, reader: "Reader") -> None:
        reader.leads = True
        own, reader.run.ledger = reader.run.ledger, self.run.ledger
        if reader.begun:
            # It was told that it got another call's answer, and has: only what follows is its own.
            reader.run.ledger.cache = own.cache

    def ease(self) -> None:
        """A reader has caught up, or left."""
        self._slide()
        if self._eased is not None and not self._eased.done() and not self.congested:
            self._eased.set_result(None)

    # -- the answer --------------------------------------------------------------------------------------------------

    @property
    def from_upstream(self) -> bool:
        """Whether what has begun is an upstream's answer, good or not."""
        ledger = self.run.ledger
        return ledger.committed is not None and ledger.outcome not in (Outcome.STALE, Outcome.STATIC)

    def _own_head(self) -> Headers:
        """An opened stream's fields, for readers to which nothing was opened."""
        answer = self.run.kept.answer if self.run.kept is not None else None
        fields = [] if answer is None else answer.exchange.headers
        dropped = (b"content-length", b"content-encoding", b"transfer-encoding", b"connection")
        return [field for field in fields if field[0].lower() not in dropped]

    def _begin(self, status: int, headers: Headers, reason: bytes) -> None:
        self.status, self.headers, self.reason = status, headers, reason
        if self.from_upstream and self.run.kept is not None:
            self.answer = self.run.kept.answer
        self.began_at = self.clock.wall()
        if self.run.ledger.cache:
            # Stale: the engine has said so.
            self.forward_fields: Headers = []
        else:
            self.run.ledger.cache = "miss"
            self.forward_fields = [status_fields.forward_status(self.forward)]
        self.verdict = self._judge()
        for reader in list(self.readers):
            reader.begin()

    def _judge(self) -> Verdict:
        ledger, answer = self.run.ledger, self.answer
        if ledger.outcome is Outcome.STALE:
            return Verdict.SHARED
        if not self.from_upstream or answer is None:
            return Verdict.FAILED
        head = self.head_of(answer)
        if self.kept is not None:
            self.validation = self.asking.validated(self.kept, head)
            if isinstance(self.validation, Updated):
                ledger.cache = "revalidated"
                return Verdict.HELD
            if isinstance(self.validation, Mismatch):
                return Verdict.AGAIN
        if ledger.fault is not None:
            return Verdict.SHARED if ledger.fault.code in DETERMINISTIC_REFUSALS else Verdict.FAILED
        keep = self.asking.keep(head, None, Finish())
        if isinstance(keep, Pass):
            return Verdict.PRIVATE
        return Verdict.SHARED if self.asking.http is None or keep.fresh_seconds > 0 else Verdict.PRIVATE

    def head_of(self, answer: Answer) -> cache_http.Answer:
        """The upstream's own, with the times that an age is reckoned from."""
        exchange = answer.exchange
        return cache_http.Answer(exchange.status, exchange.headers, self.asked_at, self.began_at)

    def fits(self, asking: Asking) -> bool:
        """Whether the bytes of this answer will do for another call as they come: it asks for the same variant (RFC
        9111 §4.1), in a coding that it takes."""
        if self.answer is None:
            return True
        fields = self.answer.exchange.headers
        mine, its = self.asking.call.head.headers, asking.call.head.headers
        if header(fields, b"content-encoding") is not None and _coding(mine) != _coding(its):
            return False
        keep = self.asking.keep(self.head_of(self.answer), None, Finish())
        vary = keep.vary if isinstance(keep, Keep) else ()
        return not vary or varied(b"", vary, mine) == varied(b"", vary, its)

    def _finish(self, *, whole: bool) -> None:
        if self.over:
            return
        if self.verdict is None:
            self._begin(200 if self.run.opened else self.run.ledger.status, self._own_head(), b"")
        self.over, self.whole = True, whole
        for reader in list(self.readers):
            reader.pump()

    # -- the record --------------------------------------------------------------------------------------------------

    def _record(self, size: int) -> None:
        if not self.recording:
            return
        buffers = self._buffers
        # The other half is for what calls need to be tried again.
        room = buffers.used + size <= buffers.limit // 2
        if room and self.sent_bytes <= self.asking.settings.max_entry and buffers.take(size):
            self._taken += size
            return
        self.recording = False
        self.full(self)

    def _slide(self) -> None:
        """Let go what all readers have, where there is no record."""
        if self.recording:
            return
        slowest = min((reader.position for reader in self.readers), default=self.first + len(self.pieces))
        if slowest > self.first:
            del self.pieces[: slowest - self.first]
            self.first = slowest

    def why_not_kept(self) -> Pass | None:
        """What of the flight itself keeps its answer from being kept."""
        if not self.recording:
            return Pass(Why.TOO_LARGE)
        return None if self.whole else Pass(Why.INCOMPLETE)

    def close(self) -> None:
        """Give the record's bytes back to the budget: it is in the store now, or of no use."""
        self._buffers.give(self._taken)
        self._taken = 0
        for reader in list(self.readers):
            reader.land()


def _coding(headers: Headers) -> bytes:
    return (header(headers, b"accept-encoding") or b"").strip().lower()


def _copied(ledger: Ledger) -> Ledger:
    names = Ledger.__dataclass_fields__
    copy = Ledger(**{name: getattr(ledger, name) for name in names})
    copy.skipped, copy.notes = list(ledger.skipped), list(ledger.notes)
    return copy


class Reader:
    """One call that reads a flight. run: its own. leads: the work is done for it.

    done: it has been told everything. released: it gets nothing from this flight. waits: it gets what the flight has
    made of its answer once that has landed.
    """

    def __init__(self, run: Run, flight: Flight, asking: Asking) -> None:
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
        if verdict in (Verdict.HELD, Verdict.AGAIN):
            self.waits = True
        elif self.leads and self.asking is flight.asking:
            self.begun = True
            run.begin(flight.status, [*flight.headers, *flight.forward_fields], reason=flight.reason)
        elif verdict is not Verdict.SHARED and not self.leads:
            self._release()
        elif not flight.fits(self.asking):
            self.waits = True
        else:
            self.begun = True
            run.begin(flight.status, self._joined_head(), reason=flight.reason)
            self.pump()

    def _joined_head(self) -> Headers:
        """The head of another call's answer, as this one's."""
        flight, ledger, work = self._flight, self.run.ledger, self._flight.run.ledger
        if not self.leads:
            now = flight.clock.now()
            ledger.outcome = Outcome.STALE if work.outcome is Outcome.STALE else Outcome.CACHE
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
        opened = self.begun or (self.leads and flight.run.opened)
        if opened and current and not self.agent.congested:
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
        if flight.over:
            self.done = True
            if flight.whole:
                agent.end(flight.trailers if self.leads else without_ours(flight.trailers))
            else:
                self.fault = flight.run.ledger.fault or Fault(Code.TRUNCATED)
                agent.abort()
            self._wake()
        elif agent.congested:
            self._wake()

    def land(self) -> None:
        """The flight is over, and what it left is there."""
        if self.waits or not self.begun:
            self._release()

    async def follow(self) -> None:
        """Read until the end; `fault` says why it did not come. The caller leaves the flight in any case."""
        call, clock = self.run.call, self._flight.clock
        while not (self.done or self.released):
            if self.begun and self.agent.congested:
                self.fault = await drained(self.agent, call.plan.timeouts.agent_write)
                if self.fault is not None:
                    self.agent.drop()
                    return
                self.pump()
                self._flight.ease()
                continue
            late = call.deadline
            if (self.begun and not call.plan.timeouts.request_set) or (self.leads and not self.begun):
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

    def break_off(self, problem: Problem) -> None:
        """End an answer that has begun, as well as its agent can still be told."""
        flight, dialect, facts = self._flight, self.run.call.plan.dialect, self.run.call.facts
        answer = flight.answer
        if answer is not None and answer.stream and answer.decoder is None and flight.first == 0:
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
