"""One request to one upstream, from the wait for a place to an answer that could be committed.

It decides nothing about other attempts. What an attempt holds (place, exchange, held bytes) is its own until whoever
asked for it gives it back with `close`.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from seawall.answer import Answer, Source, Terms, after, receive, soonest
from seawall.call import Buffers, Call, Ledger
from seawall.clock import Clock
from seawall.core.breaker import Refused
from seawall.core.limit import Queued, Slot, Waiting
from seawall.faults import Category, Code, Fault
from seawall.foreign import Translator
from seawall.keep_alive import KeepAlive
from seawall.outgoing import request_for
from seawall.runtime import Upstream
from seawall.tracing import carried, new_span
from seawall.types import Agent, Headers, Usage
from seawall.upstream.exchange import Limit
from seawall.upstream.pool import Pool
from seawall.visit import Visit


@dataclass(slots=True)
class Attempt:
    """hold: another attempt is possible, so nothing of the answer need be released yet. raced: others run against it.
    extra: load that the upstream would not have had without a race; it is no ground for further retries.
    keep_alive: of the call, where it has one. span: its id in the call's trace, once it is sent; "" without one.

    fault: why there is no good answer. answer: as far as it came; where it has `arrived`, it could be passed on, be it
    good or an upstream's own error. number: 1 for the call's first request; 0 while none was sent.
    """

    visit: Visit
    started: float
    hold: bool
    raced: bool = False
    extra: bool = False
    keep_alive: KeepAlive | None = None
    number: int = 0
    span: str = ""
    made: bool = False
    """It has come to its end, without a bug and without being cancelled."""
    fault: Fault | None = None
    answer: Answer | None = None
    arrived: bool = False
    terms: Terms | None = None
    slot: Slot | None = None
    exchange: Source | None = None

    @property
    def good(self) -> bool:
        """There is an answer, and nothing against it."""
        return self.arrived and self.fault is None

    @property
    def first_content(self) -> float | None:
        return None if self.answer is None else self.answer.first_content

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as the answer has told of them."""
        answer = self.answer
        if answer is None:
            return None
        return answer.exchange.usage or (answer.usage if answer.watch is None else answer.watch.usage)

    @property
    def status(self) -> int | None:
        """Of the upstream's answer, if one came."""
        if self.fault is not None:
            return self.fault.status
        return None if self.answer is None else self.answer.exchange.status


class Attempts:
    """Makes attempts. One per process; `waiting` are calls that queue for a place."""

    def __init__(self, pool: Pool, clock: Clock, buffers: Buffers) -> None:
        self._pool = pool
        self._clock = clock
        self._buffers = buffers
        self.translator: Translator | None = None
        """There where the policy has candidates that speak another dialect than the agent."""
        self._waiters: dict[Queued, asyncio.Future[None]] = {}

    async def make(self, call: Call, attempt: Attempt, agent: Agent, ledger: Ledger) -> None:
        """Fill `attempt` in. Where it is cancelled, or nothing has arrived, it holds nothing in the end."""
        if attempt.visit.shadow is not None:
            attempt.visit.shadow.asks()
        slot = await self._slot(call, attempt.visit.candidate.upstream)
        if isinstance(slot, Fault):
            attempt.fault, attempt.made = slot, True
            return
        attempt.slot = slot
        try:
            attempt.fault = await self._converse(call, attempt, agent, ledger)
            attempt.made = True
        finally:
            if attempt.exchange is not None:
                # What the agent took for its upload says nothing about the upstream.
                attempt.visit.entered += attempt.exchange.agents_seconds
            if not attempt.arrived:
                self.close(attempt)

    async def _converse(self, call: Call, attempt: Attempt, agent: Agent, ledger: Ledger) -> Fault | None:
        visit = attempt.visit
        terms = attempt.terms = self._terms(call, attempt)
        exchange = await self._send(call, attempt, terms, agent, ledger)
        if isinstance(exchange, Fault):
            return exchange
        attempt.exchange = exchange
        fault = await exchange.head()
        visit.connected |= exchange.connected
        if fault is not None:
            if exchange.connected:
                visit.blameless = self.not_its_fault(call, fault, exchange, terms)
            else:
                visit.blameless = self._too_late_to_connect(call, fault, terms)
            return fault
        if visit.shadow is not None:
            visit.shadow.headed(self._clock.now())
        exchange.expect_by(*terms.before_content(call.facts.stream))
        attempt.answer = answer = Answer(exchange, visit.candidate, self._buffers)
        held = None if attempt.keep_alive is None else attempt.keep_alive.held
        fault = await receive(call, answer, terms, self._clock, held)
        attempt.arrived = fault is None
        if fault is not None:
            visit.blameless = self.not_its_fault(call, fault, exchange, terms)
        return fault or answer.fault

    def _terms(self, call: Call, attempt: Attempt) -> Terms:
        timeouts, started = attempt.visit.candidate.timeouts, self._clock.now()
        limit: Limit = (after(started, timeouts.backend_request), Code.TIMEOUT_ATTEMPT)
        rule = call.plan.timeouts
        if timeouts.request_set and (not rule.request_set or timeouts.request < rule.request):
            # An Upstream's own limit on the whole call, tighter than the rule's, ends the attempt there only.
            limit = soonest(limit, (call.received + timeouts.request, Code.TIMEOUT_ATTEMPT))
        late = call.deadline if call.limited else None
        return Terms(
            timeouts,
            started,
            fixed=soonest((call.deadline, Code.TIMEOUT_REQUEST), limit),
            committed=soonest((late, Code.TIMEOUT_REQUEST), limit),
            agent_write=None if call.flight else timeouts.agent_write,
            hold=attempt.hold,
            content_first=attempt.raced,
            min_progress=call.plan.min_progress,
        )

    async def _send(self, call: Call, attempt: Attempt, terms: Terms, agent: Agent, ledger: Ledger) -> Source | Fault:
        visit, candidate = attempt.visit, attempt.visit.candidate
        by, code = terms.connect_by
        assert by is not None
        credential = candidate.target.credential
        left = by - terms.started
        if credential is not None and not credential.usable:
            await credential.prepare(left)
            left = by - self._clock.now()
        traced: Headers = []
        if call.trace is not None:
            attempt.span = new_span()
            traced = carried(call.trace, attempt.span)
        request = None if candidate.foreign else request_for(call, candidate, again=not visit.untried, traced=traced)
        if isinstance(request, Fault):
            return request
        if left <= 0:
            # The agent's upload, our queue or a back-off has used the call's time up: nothing is asked any more.
            visit.blameless = True
            return Fault(code)
        ledger.attempts += 1
        attempt.number = ledger.attempts
        # What was spent in our own queue and back-off says nothing about the upstream.
        visit.entered = terms.started
        if visit.shadow is not None:
            visit.shadow.sent(terms.started, first=visit.untried and not attempt.extra)
        if visit.untried:
            visit.untried = False
            if not attempt.extra:
                candidate.upstream.budget.deposit(terms.started)
        sent: Source | Fault
        if request is None:
            assert self.translator is not None, "a policy with foreign candidates comes with a translator"
            sent = self.translator.exchange(call, candidate, terms, attempt.number, traced)
        else:
            sent = await self._pool.send(candidate.target.endpoint, request, left, agent.inform)
        if isinstance(sent, Fault):
            visit.blameless = self._too_late_to_connect(call, sent, terms)
            return sent
        sent.expect_by(*terms.before_head(call.facts.stream))
        return sent

    def _too_late_to_connect(self, call: Call, fault: Fault, terms: Terms) -> bool:
        """Whether most of a call's time was gone before it could connect, so that the call's own limit ended it."""
        ours = terms.started - call.received > self._clock.now() - terms.started
        return ours and fault.code is Code.CONNECT_TIMEOUT and terms.connect_by[1] is Code.TIMEOUT_REQUEST

    def not_its_fault(self, call: Call, fault: Fault, exchange: Source, terms: Terms) -> bool:
        """A limit that the agent's upload, or our own queue and back-off, had used up for the most part says nothing
        about the upstream."""
        if fault.rule.category is not Category.TIMEOUT:
            return False
        others = agents = exchange.agents_seconds
        if fault.code is Code.TIMEOUT_REQUEST:
            others += terms.started - call.received
        return others > self._clock.now() - terms.started - agents

    async def _slot(self, call: Call, upstream: Upstream) -> Slot | Fault:
        """A place among the upstream's parallel requests, after a wait if need be."""
        limiter, now = upstream.limiter, self._clock.now()
        admitted = limiter.admit(now, call.deadline, call.hints.priority)
        if isinstance(admitted, Slot):
            return admitted
        if isinstance(admitted, Queued) and admitted.instead_of is not None:
            self.wake([admitted.instead_of])
        if isinstance(admitted, Refused):
            detail = f"{upstream.name} has all its parallel requests taken and its queue full"
            return Fault(Code.QUEUE_FULL, detail, hint=admitted.retry_after)
        self._waiters[admitted] = future = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(admitted.expires - now):
                await future
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.wake(limiter.cancel(admitted, self._clock.now()))
            raise
        finally:
            del self._waiters[admitted]
        if admitted.slot is not None:
            return admitted.slot
        if admitted.state is Waiting.SHED:
            return Fault(Code.QUEUE_FULL, f"a call of higher priority waits for {upstream.name} instead", hint=1.0)
        self.wake(limiter.cancel(admitted, self._clock.now()))
        return Fault(Code.QUEUE_TIMEOUT, f"waited {self._clock.now() - now:.1f} s for {upstream.name}", hint=1.0)

    def close(self, attempt: Attempt) -> None:
        """Give everything back, once."""
        if attempt.answer is not None:
            attempt.answer.close()
        elif attempt.exchange is not None:
            attempt.exchange.close()
        self.leave(attempt)

    def leave(self, attempt: Attempt) -> None:
        """Give the place back; an answer that is whole may be kept without one."""
        if attempt.slot is not None:
            slot, attempt.slot = attempt.slot, None
            self.wake(attempt.visit.candidate.upstream.limiter.release(slot, self._clock.now()))

    def replace(self, kept: Attempt | None, attempt: Attempt) -> Attempt:
        """An answer takes the place of the one that was kept."""
        if kept is not None and kept is not attempt:
            self.close(kept)
        return attempt

    def shelve(self, kept: Attempt | None) -> Attempt | None:
        """Another attempt follows: a whole error is kept in case nothing better comes, one that still flows is not."""
        if kept is None:
            return None
        if kept.answer is not None and kept.answer.whole:
            self.leave(kept)
            return kept
        self.close(kept)
        return None

    def wake(self, granted: Iterable[Queued]) -> None:
        """Calls that have got a place go on."""
        for queued in granted:
            future = self._waiters.get(queued)
            if future is not None and not future.done():
                future.set_result(None)
