"""From an upstream's head to an answer that may be committed, or a fault while everything may still be changed.

This is the held part of a stream's life (SEMANTICS §5: HEADERS, PRELUDE) and its counterpart for plain answers. It
reads and classifies; whether to try again is the engine's decision.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from seawall.call import Buffers, Call
from seawall.clock import Clock
from seawall.decode import Decoder, Opaque, decoder_for
from seawall.dialects.base import Watch
from seawall.faults import Code, Fault
from seawall.runtime import Candidate, Commit, Timeouts
from seawall.types import Headers, Usage, header
from seawall.upstream.exchange import Limit
from seawall.websocket.end import End
from seawall.wire import content_length

# A stream's beginning is held up to here while another attempt is possible; an error's body, to classify it; and a
# plain answer of an operation without a contract.
PRELUDE = 64 * 1024


class Source(Protocol):
    """An upstream's answer as it arrives, in the agent's dialect: an `upstream.exchange.Exchange`, or what translation
    makes of one.

    agents_seconds: so long the request waited for its agent. connected: it went out, so that the origin can be reached.
    end: of a WebSocket that the upstream has granted. judged: what the answer means, where its own dialect has said so
    already. usage: likewise.
    """

    status: int
    reason: bytes
    headers: Headers
    trailers: Headers
    complete: bool
    judged: Fault | None

    @property
    def end(self) -> End | None: ...
    @property
    def agents_seconds(self) -> float: ...
    @property
    def connected(self) -> bool: ...
    @property
    def usage(self) -> Usage | None: ...
    async def head(self) -> Fault | None:
        """Wait for status and fields; None when they are there."""

    async def read(self) -> bytes | Fault:
        """What has arrived of the body, or wait for some; b"" at its proper end."""

    def expect_by(self, deadline: float | None, code: Code) -> None: ...
    def expect_within(self, seconds: float | None, code: Code) -> None: ...
    def close(self) -> None:
        """Give it up, or be done with it; at once."""


def soonest(one: Limit, other: Limit) -> Limit:
    """The limit that ends first; the first one where neither is set."""
    if other[0] is None or (one[0] is not None and one[0] <= other[0]):
        return one
    return other


def after(start: float, seconds: float | None) -> float | None:
    return None if seconds is None else start + seconds


@dataclass(slots=True)
class Answer:
    """An upstream's answer, as far as it has been read.

    held: bytes for the agent that are not released yet. whole: nothing more will come, the end was proper.
    fault: what this answer means, when it is an error; it may still be passed on as it is.
    """

    exchange: Source
    candidate: Candidate
    buffers: Buffers
    stream: bool = False
    held: list[bytes] = field(default_factory=list)
    whole: bool = False
    watch: Watch | None = None
    decoder: Decoder | None = None
    fault: Fault | None = None
    first_content: float | None = None
    """When the first content came, on the clock."""
    opening: bytes = b""
    """What it begins with, decoded, as far as that was read while it was held."""
    model: str = ""
    usage: Usage | None = None
    taken: int = 0

    def hold(self, data: bytes) -> bool:
        """Keep bytes back; False when the process's buffer budget is spent (they are kept all the same)."""
        self.held.append(data)
        if not self.buffers.take(len(data)):
            return False
        self.taken += len(data)
        return True

    def release(self) -> None:
        """Return the held bytes to the budget."""
        self.buffers.give(self.taken)
        self.taken = 0

    def close(self) -> None:
        """Give the answer up, or be done with it."""
        self.release()
        self.exchange.close()


class Terms(msgspec.Struct, frozen=True):
    """What one attempt has to keep to.

    fixed: when it must be over while nothing is committed. committed: likewise afterwards, where a default
    `timeouts.request` no longer counts. hold: another attempt is possible, so nothing need be released yet.
    content_first: a race, which nothing but content can win, whatever the buffers hold already. agent_write: so
    long the agent may read nothing of what is written; None: whoever reads sees to that.
    """

    timeouts: Timeouts
    started: float
    fixed: Limit
    committed: Limit
    hold: bool
    content_first: bool
    min_progress: tuple[int, float] | None
    agent_write: float | None

    @property
    def connect_by(self) -> Limit:
        return soonest((self.started + self.timeouts.connect, Code.CONNECT_TIMEOUT), self.fixed)

    @property
    def first_content_by(self) -> float | None:
        return after(self.started, self.timeouts.first_content)

    def before_head(self, stream: bool) -> Limit:
        first_byte: Limit = (after(self.started, self.timeouts.first_byte), Code.TIMEOUT_FIRST_BYTE)
        late = (self.first_content_by if stream else None, Code.TIMEOUT_FIRST_CONTENT)
        return soonest(self.fixed, soonest(first_byte, late))

    def before_content(self, stream: bool) -> Limit:
        """Once there is a head, whatever it says: an error whose body stalls must not hold a stream's call for ever."""
        late = self.first_content_by if stream else None
        return soonest(self.fixed, (late, Code.TIMEOUT_FIRST_CONTENT))


async def receive(
    call: Call, answer: Answer, terms: Terms, clock: Clock, held: Callable[[], None] | None
) -> Fault | None:
    """Read an answer, whose head is there, up to the point where it may be committed. A Fault: it cannot be passed on;
    `answer.fault`: it can, but is no good one. The caller gives up or closes the answer. `held` is called where it is
    a stream that is held back."""
    exchange = answer.exchange
    if exchange.end is not None:
        answer.first_content = clock.now()
        return Fault(Code.CONNECTION_LOST, "the upstream granted a WebSocket and closed") if exchange.end.gone else None
    if exchange.status >= 400:
        return await _error(call, answer, clock)
    if _is_stream(call, exchange):
        return await _stream(call, answer, terms, clock, held)
    return await _plain(call, answer, terms, clock)


def _is_json(exchange: Source) -> bool:
    kind = header(exchange.headers, b"content-type")
    return kind is not None and kind[:16].lower() == b"application/json"


def _is_stream(call: Call, exchange: Source) -> bool:
    kind = header(exchange.headers, b"content-type")
    return kind is not None and kind[:40].lower().startswith(call.plan.dialect.stream_type(call.facts))


async def _error(call: Call, answer: Answer, clock: Clock) -> Fault | None:
    """Read and classify an error. Its first 64 KiB tell what it is."""
    exchange = answer.exchange
    broken = await _collect(answer, PRELUDE)
    answer.decoder = decoder_for(exchange.headers)
    answer.opening = body = _decoded(answer, b"".join(answer.held)) or b""
    answer.fault = exchange.judged or call.plan.dialect.judge(
        call.facts, exchange.status, exchange.headers, body, clock.wall()
    )
    if isinstance(broken, Fault):
        return answer.fault or broken
    return None


async def _plain(call: Call, answer: Answer, terms: Terms, clock: Clock) -> Fault | None:
    """A plain answer is held whole where that keeps the next attempt open; JSON always, since no client can use a part
    of it: so none is cut short, and an error in it counts as one even where nothing else can be tried."""
    exchange, plan = answer.exchange, call.plan
    # Speech, images and files flow as they come, whatever the operation.
    contract = call.facts.operation != "other" and _is_json(exchange)
    length = 0 if exchange.complete else content_length(exchange.headers)
    limit = plan.max_hold if contract else PRELUDE
    fits = length <= limit if length is not None else contract
    # What may give out an id of conversation state is read before it is passed on, so that the id finds its owner.
    read = terms.hold or contract or (call.facts.pinned and _is_json(exchange))
    if not read or not fits or plan.commit is Commit.HEADERS:
        return None
    broken = await _collect(answer, limit)
    if isinstance(broken, Fault):
        return broken
    answer.first_content = clock.now()
    if not answer.whole or not _is_json(exchange):
        return None
    answer.decoder = decoder_for(exchange.headers)
    body = _decoded(answer, b"".join(answer.held))
    if body is None:
        return None
    answer.opening = body
    if not contract:
        return None
    # Tokens are billed for a filtered answer too.
    answer.model, answer.usage = plan.dialect.answered(call.facts, body)
    answer.fault = fault = plan.dialect.judge(
        call.facts, exchange.status, exchange.headers, body, clock.wall(), whole=True
    )
    # What is cut or not what was promised is nobody's own word, and not passed on while we can still speak.
    return fault if fault is not None and fault.code in (Code.TRUNCATED, Code.MALFORMED_EVENT) else None


async def _stream(
    call: Call, answer: Answer, terms: Terms, clock: Clock, held: Callable[[], None] | None
) -> Fault | None:
    """Hold a stream until its first content, or whole with `commit: Complete`, or not at all with `Headers`."""
    exchange, plan = answer.exchange, call.plan
    answer.stream = True
    answer.decoder = decoder_for(exchange.headers)
    answer.watch = watch = plan.dialect.watch(call.facts, exchange.headers)
    complete = plan.commit is Commit.COMPLETE
    if plan.commit is Commit.HEADERS or not (terms.hold or complete):
        return None
    if held is not None and not isinstance(answer.decoder, Opaque):
        held()
    limit = plan.max_hold if complete else PRELUDE
    size = 0
    exchange.expect_within(terms.timeouts.stream_idle, Code.TIMEOUT_STREAM_IDLE)
    while True:
        data = await exchange.read()
        if isinstance(data, Fault):
            if not watch.terminal:
                return data
            # What broke off behind its terminal event was whole.
            answer.whole = True
            return None
        if not data:
            rest = watch.end()
            answer.hold(rest if answer.decoder is None else b"")
            answer.whole = True
            return _verdict(answer, watch) if watch.fault else _whole(watch)
        size += len(data)
        if not _take_in(answer, watch, data) and (answer.watch is None or not terms.content_first):
            return None
        if watch.content and answer.first_content is None:
            answer.first_content = clock.now()
            exchange.expect_by(*terms.fixed)
        if watch.fault is not None:
            return _verdict(answer, watch)
        if (watch.content and not complete) or size > limit:
            return None


def _take_in(answer: Answer, watch: Watch, data: bytes) -> bool:
    """Show the next bytes to the watch and hold what may be released; False when nothing more can be seen or held."""
    if answer.decoder is None:
        answer.opening = answer.opening or data
        return answer.hold(watch.feed(data))
    plain = answer.decoder.feed(data)
    answer.opening = answer.opening or plain or b""
    if plain is None:
        answer.watch = None
        answer.hold(data)
        return False
    watch.feed(plain)
    return answer.hold(data)


def _whole(watch: Watch) -> Fault | None:
    if watch.terminal:
        return None
    return Fault(Code.TRUNCATED, "the stream ended without its terminal event")


def _verdict(answer: Answer, watch: Watch) -> Fault | None:
    """An error event is the upstream's own word and may be passed on; a malformed event, or half of one, may not."""
    fault = watch.fault
    assert fault is not None
    if fault.code in (Code.MALFORMED_EVENT, Code.TRUNCATED):
        return fault
    answer.fault = fault
    return None


async def _collect(answer: Answer, limit: int) -> Fault | None:
    """Hold the body up to `limit` bytes, and say in `answer.whole` whether that was all of it."""
    size = 0
    while True:
        data = await answer.exchange.read()
        if isinstance(data, Fault):
            return data
        if not data:
            answer.whole = True
            return None
        size += len(data)
        if not answer.hold(data) or size > limit:
            return None


def _decoded(answer: Answer, body: bytes) -> bytes | None:
    return body if answer.decoder is None else answer.decoder.feed(body)
