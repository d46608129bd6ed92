"""After the commit: bytes go to the agent as they come, with backpressure, under the stream's contract (SEMANTICS §5).

A broken stream is never passed off as whole: the agent gets its dialect's error event and an unclean end. Per event
this costs one wake-up, one look by the dialect's watch and one write.
"""

import asyncio
from collections.abc import Callable

from seawall.answer import Answer, Terms, soonest
from seawall.call import Call
from seawall.clock import Clock
from seawall.dialects.base import Watch
from seawall.faults import Code, Fault, Problem
from seawall.keep_alive import Read
from seawall.types import Agent, Headers
from seawall.wire import without_ours


async def relay(
    call: Call, answer: Answer, terms: Terms, agent: Agent, clock: Clock, problem: Callable[[Fault], Problem],
    read: Read, late: Headers,
) -> Fault | None:  # fmt: skip
    """Release what is held, then everything that follows, to the end. Returns the fault that ended it, which the
    agent has been told of (as `problem`) as well as it still can be.

    read: gives the rest of a stream that can be looked into. late: fields that the answer's head does not have.
    """
    for data in answer.held:
        agent.write(data)
    answer.held.clear()
    answer.release()
    fault = await drained(agent, terms.agent_write) if agent.congested else None
    if fault is not None or answer.whole:
        pass
    elif answer.stream and answer.watch is not None:
        fault = await _stream(answer, answer.watch, terms, agent, clock, read)
    elif answer.stream:
        fault = await _blind(answer, agent, terms)
    else:
        fault = await _plain(answer, terms, agent, clock)
    watch = answer.watch
    if watch is not None:
        answer.model, answer.usage = watch.model, answer.exchange.usage or watch.usage
    if fault is None:
        agent.end(without_ours(answer.exchange.trailers) + late)
        return watch.fault if watch is not None else answer.fault
    if fault.code is Code.AGENT_STALLED:
        agent.drop()
        return fault
    break_off(call, answer, agent, problem(fault))
    return fault


def break_off(call: Call, answer: Answer, agent: Agent, problem: Problem) -> None:
    """Tell the agent that its answer ends here, as well as it still can be told, and end it uncleanly."""
    if answer.stream and answer.decoder is None and _speaks(answer.watch):
        # Whole events only have been released, so this one is read as an event of its own.
        lead = answer.watch.lead if answer.watch is not None else b""
        agent.write(lead + call.plan.dialect.error_event(call.facts, problem))
    agent.abort()


def _speaks(watch: Watch | None) -> bool:
    """Whether an error event of ours would be read, and is the first: the upstream may have told of its own fault."""
    if watch is None:
        return True
    told = watch.fault is not None and watch.fault.code not in (Code.MALFORMED_EVENT, Code.TRUNCATED)
    return not (watch.midway or told)


async def _stream(answer: Answer, watch: Watch, terms: Terms, agent: Agent, clock: Clock, read: Read) -> Fault | None:
    exchange, decoder = answer.exchange, answer.decoder
    progress = _Progress(terms.min_progress, clock.now(), watch)
    first = None if watch.content else terms.first_content_by
    exchange.expect_within(terms.timeouts.stream_idle, Code.TIMEOUT_STREAM_IDLE)
    exchange.expect_by(*soonest(terms.committed, (first, Code.TIMEOUT_FIRST_CONTENT)))
    while True:
        data = await read()
        if isinstance(data, Fault):
            # What broke off behind its terminal event was whole.
            return None if watch.terminal else data
        if not data:
            rest = watch.end()
            fault = _at_end(watch)
            if fault is None and decoder is None:
                # Behind the beginning of an event, the error event that follows a fault would not be read as one.
                agent.write(rest)
            return fault
        if decoder is None:
            agent.write(watch.feed(data))
        else:
            plain = decoder.feed(data)
            if plain is None:
                answer.watch = None
                agent.write(data)
                return await _blind(answer, agent, terms)
            watch.feed(plain)
            agent.write(data)
        if watch.content and answer.first_content is None:
            answer.first_content = clock.now()
            exchange.expect_by(*terms.committed)
        if watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT:
            return watch.fault
        if progress.too_slow(clock):
            return Fault(Code.STREAM_TOO_SLOW, "the stream comes more slowly than streaming.minProgress")
        if agent.congested:
            if fault := await drained(agent, terms.agent_write):
                return fault
            progress.restart(clock.now())


def _at_end(watch: Watch) -> Fault | None:
    fault = watch.fault
    if fault is not None and fault.code is Code.MALFORMED_EVENT:
        return fault
    if watch.terminal:
        return None
    if fault is None:
        return Fault(Code.TRUNCATED, "the stream ended without its terminal event")
    # Any other fault is an error event, the upstream's own word for how it ended.
    return fault if fault.code is Code.TRUNCATED else None


async def _plain(answer: Answer, terms: Terms, agent: Agent, clock: Clock) -> Fault | None:
    """An answer that is not held. A default `timeouts.request` bounds silence only: a long download that goes on
    would have finished in a direct call."""
    exchange = answer.exchange
    exchange.expect_within(terms.timeouts.request, Code.TIMEOUT_REQUEST)
    exchange.expect_by(*terms.committed)
    while True:
        data = await exchange.read()
        if isinstance(data, Fault):
            return data
        if not data:
            return None
        if answer.first_content is None:
            answer.first_content = clock.now()
        agent.write(data)
        if agent.congested and (fault := await drained(agent, terms.agent_write)):
            return fault


async def _blind(answer: Answer, agent: Agent, terms: Terms) -> Fault | None:
    """A stream in a coding that cannot be looked into (any longer)."""
    answer.exchange.expect_within(terms.timeouts.stream_idle, Code.TIMEOUT_STREAM_IDLE)
    answer.exchange.expect_by(*terms.committed)
    while True:
        data = await answer.exchange.read()
        if isinstance(data, Fault):
            return data
        if not data:
            return None
        agent.write(data)
        if agent.congested and (fault := await drained(agent, terms.agent_write)):
            return fault


async def drained(agent: Agent, seconds: float | None) -> Fault | None:
    """Wait for the agent, for as long as it reads anything at all in so many seconds. None: for as long as it takes."""
    while agent.congested:
        unsent = agent.unsent_bytes
        try:
            async with asyncio.timeout(seconds):
                await agent.drain()
        except TimeoutError:
            if agent.unsent_bytes >= unsent:
                return Fault(Code.AGENT_STALLED, f"the agent read nothing for {seconds} s")
        else:
            break
    return None


class _Progress:
    """`streaming.minProgress`: so many content events in so many seconds, judged whenever an event arrives (a stream
    that is silent is `streamIdle`'s)."""

    __slots__ = ("_events", "_interval", "_seen", "_since", "_watch")

    def __init__(self, minimum: tuple[int, float] | None, now: float, watch: Watch) -> None:
        self._events, self._interval = minimum or (0, 0.0)
        self._watch = watch
        self._since = now
        self._seen = watch.progress

    def restart(self, now: float) -> None:
        """The agent was the slow one."""
        self._since, self._seen = now, self._watch.progress

    def too_slow(self, clock: Clock) -> bool:
        if not self._events or self._watch.terminal:
            return False
        now = clock.now()
        if now - self._since < self._interval:
            return False
        slow = self._watch.progress - self._seen < self._events
        self._since, self._seen = now, self._watch.progress
        return slow
