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
from collections.abc import Callable

from msgspec.structs import replace

from seawall.answer import Answer
from seawall.asking import Asking
from seawall.call import Buffers
from seawall.clock import Clock
from seawall.core import cache_http
from seawall.core import cache_status as status_fields
from seawall.core.cache import Forward, Keep, Pass, Why, without
from seawall.core.cache_key import varied
from seawall.core.cache_model import DETERMINISTIC_REFUSALS
from seawall.core.cache_validation import Mismatch, Updated, Validation
from seawall.dialects.base import Finish
from seawall.reader import Reader, Verdict
from seawall.run import Run
from seawall.store.entry import Entry
from seawall.types import Headers, Outcome, header

_CODED = frozenset({b"content-encoding", b"content-length"})


class Flight:
    """See types.Agent for what the engine tells it. run: its own, which works in the stead of its readers'.

    kept: the entry that was found, if one was. validates: it is asked whether that still holds. landed: what was made
    of the answer, where that could be kept; it is there once the flight is over.
    """

    def __init__(
        self, asking: Asking, forward: Forward, clock: Clock, buffers: Buffers, kept: Entry | None, *, validates: bool
    ) -> None:
        self.asking = asking
        self.forward = forward
        self.kept = kept
        self.validates = validates
        self.renews = False
        """Nobody need wait for it: what it brings is kept."""
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
        self.void = False
        """A write has come between: what it brings is not kept."""
        self.unlist: Callable[[Flight], None] = lambda flight: None
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
        self._keep: Keep | Pass = Pass(Why.INCOMPLETE)
        """What is to be done with the answer, as far as its head says."""
        self._comment = asking.call.plan.dialect.keep_alive
        self._eased: asyncio.Future[None] | None = None

    # -- what the engine tells ---------------------------------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        if (leader := self.leader) is not None:
            leader.agent.inform(status, headers)

    def start(self, status: int, headers: Headers, *, reason: bytes = b"") -> None:
        if self.run.committed:
            self._begin(status, headers, reason)
        elif (leader := self.leader) is not None and leader.launched:
            # A stream that is held back is opened for the one that asked; to those who joined nothing is promised.
            leader.agent.start(status, headers, reason=reason)

    def write(self, data: bytes) -> None:
        if not data:
            return
        if not self.run.committed or data == self._comment:
            for reader in self.readers:
                reader.comment(data)
            return
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
            work = self.run.ledger
            reader.run.ledger = replace(work, skipped=list(work.skipped), notes=list(work.notes))
            if self.readers:
                self._hand_over(self.readers[0])
        if self.readers or self.renews:
            self.ease()
        elif not self.over:
            self.unlist(self)
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

    def _begin(self, status: int, headers: Headers, reason: bytes) -> None:
        if self.run.opened:
            # What is in a coding is unpacked, since the head that was opened announces none.
            headers = without(headers, _CODED)
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
        if self.run.opened and ledger.fault is not None:
            # It is told in a stream, which suits nobody who has not got one.
            return Verdict.FAILED
        if ledger.outcome is Outcome.STALE:
            return Verdict.SHARED
        if not self.from_upstream or answer is None:
            return Verdict.FAILED
        head = self.head_of(answer)
        self._keep = self.asking.keep(head, None, Finish())
        if self.kept is not None and self.validates:
            self.validation = self.asking.validated(self.kept, head)
            if isinstance(self.validation, Updated):
                ledger.cache = "revalidated"
                return Verdict.HELD
            if isinstance(self.validation, Mismatch):
                return Verdict.AGAIN
        if self.asking.http is not None:
            # Also of a refusal its fields say whose it is.
            shared = isinstance(self._keep, Keep) and self._keep.fresh_seconds > 0
        elif ledger.fault is not None:
            # Where agents pay with keys of their own, what one may not have another may.
            shared = ledger.fault.code in DETERMINISTIC_REFUSALS and not self.asking.settings.shared
        else:
            shared = isinstance(self._keep, Keep)
        if shared:
            return Verdict.SHARED
        return Verdict.PRIVATE if ledger.fault is None else Verdict.FAILED

    def head_of(self, answer: Answer) -> cache_http.Answer:
        """The upstream's own, with the times that an age is reckoned from."""
        exchange = answer.exchange
        return cache_http.Answer(exchange.status, exchange.headers, self.asked_at, self.began_at)

    def is_variant_of(self, asking: Asking) -> bool:
        """Whether this answer is another call's as well: it depends on nothing in which they differ (RFC 9111 §4.1)."""
        if self.kept is not None and (self.verdict is Verdict.HELD or self.run.ledger.outcome is Outcome.STALE):
            vary = tuple(name for name, _ in self.kept.vary)
        else:
            vary = self._keep.vary if isinstance(self._keep, Keep) else ()
        mine, its = self.asking.call.head.headers, asking.call.head.headers
        return not vary or varied(b"", vary, mine) == varied(b"", vary, its)

    def is_readable_for(self, asking: Asking) -> bool:
        """Whether its bytes will do for another call as they come: in a coding that it takes."""
        if asking.http is not None or header(self.headers, b"content-encoding") is None:
            return True
        return _coding(self.asking.call.head.headers) == _coding(asking.call.head.headers)

    def _finish(self, *, whole: bool) -> None:
        if self.over:
            return
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
        self.unlist(self)
        for reader in list(self.readers):
            # There will be nothing to wait for, and what it waits with would pile up.
            reader.land()

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
        """It is over, however it ended. The record is in the store now, or of no use."""
        self.over = True
        self._buffers.give(self._taken)
        self._taken = 0
        for reader in list(self.readers):
            reader.land()
            # Where it was broken off, those who read it are told nowhere else.
            reader.pump()


def _coding(headers: Headers) -> bytes:
    return (header(headers, b"accept-encoding") or b"").strip().lower()
