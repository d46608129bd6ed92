"""THE hot path, top to bottom: candidates in order, attempts, retry, failover, commit, relay, the end.

The order of strategies is written here and nowhere else; machines do not know each other. Whatever happens, tickets
and slots are settled exactly once, in a `finally`, and one CallEnded tells the story.
"""

import asyncio
from collections.abc import Iterable

from seawall.answer import Answer, Limit, Terms, receive, soonest
from seawall.call import Buffers, Call
from seawall.candidates import Candidates
from seawall.clock import Clock, Rng
from seawall.core.breaker import Refused
from seawall.core.limit import Queued, Slot
from seawall.core.retry import Next, Retry, Standing, Wait
from seawall.faults import Category, Code, Fault
from seawall.outgoing import request_for
from seawall.relay import Agent, relay
from seawall.reply import problem_answer, problem_for, told, upstream_headers
from seawall.run import Run
from seawall.runtime import Upstream
from seawall.settlement import Settlement
from seawall.types import Observer, Outcome, Safety, ServiceLevel
from seawall.upstream.exchange import Exchange
from seawall.upstream.pool import Pool
from seawall.visit import Visit

# Operations whose answers may give out ids of state; `other` holds files, batches and conversations.
STATEFUL = frozenset({"responses", "other"})


class Engine:
    """Runs calls. One per process; all lasting state is in the upstreams' machines."""

    def __init__(self, pool: Pool, clock: Clock, rng: Rng, observe: Observer, buffers: Buffers) -> None:
        self._pool = pool
        self._clock = clock
        self._rng = rng
        self._buffers = buffers
        self._candidates = Candidates(clock, rng, observe)
        self._settlement = Settlement(clock, rng, observe)
        self._waiters: dict[Queued, asyncio.Future[None]] = {}
        self.calls = 0
        """Calls under way."""
        self.streams = 0
        """Committed streams under way."""

    # -- a call ----------------------------------------------------------------------------------------------------

    async def run(self, call: Call, agent: Agent) -> None:
        """Answer one call. Raises nothing but CancelledError, when the agent has gone."""
        order = call.plan.order(self._rng)
        run = Run(call, agent, order[0], list(order))
        self.calls += 1
        try:
            fault = self._candidates.first(run) or await self._try(run)
            if run.answer is not None:
                await self._pass_on(run, run.answer)
            elif fault is not None:
                self._refuse(run, fault)
        except asyncio.CancelledError:
            run.ledger.fault = Fault(Code.AGENT_GONE)
            raise
        except Exception:
            run.ledger.fault = fault = Fault(Code.INTERNAL)
            if not agent.started:
                self._refuse(run, fault)
            raise
        finally:
            self.calls -= 1
            self._close(run)
            self._settlement.tell(run)

    async def _try(self, run: Run) -> Fault | None:
        """Attempts until there is a good answer (None), or the fault that ends the call."""
        call, ledger = run.call, run.ledger
        while True:
            visit = run.visit
            assert visit is not None
            started = self._clock.now()
            fault = await self._attempt(run, visit)
            if fault is None:
                self._settlement.attempted(run, visit, None, started, "")
                return None
            self._candidates.rest(run, visit, fault)
            wait, then = self._decide(run, visit, fault)
            self._settlement.attempted(run, visit, fault, started, then)
            if wait is None or run.visit is not visit:
                self._settlement.leave(visit, fault)
            if wait is None:
                return fault
            self._shelve(run)
            if wait:
                await asyncio.sleep(wait)
                ledger.waited += wait
            if call.deadline is not None and self._clock.now() >= call.deadline:
                return Fault(Code.TIMEOUT_REQUEST)

    def _decide(self, run: Run, visit: Visit, fault: Fault) -> tuple[float | None, str]:
        """What follows a failed attempt, also in words: seconds until the next one, at `run.visit`, which may be
        another upstream by then; or None: the call is over."""
        call, now, upstream = run.call, self._clock.now(), visit.candidate.upstream
        if run.retry is None:
            facts = call.facts
            run.retry = Retry(call.plan.retry, facts.safety, pinned=facts.pinned, sdk_retry_count=call.sdk_retries)
        again = call.body.replayable and not run.agent.started
        others = self._candidates.fit(run, visit, fault) if again else []
        while True:
            standing = Standing(
                at=visit.candidate,
                another=bool(others),
                admissible=any(self._candidates.admissible(run, c) for c in others),
                listed=_listed(call, fault),
                open=visit.breaker.refuses(now) or visit.transport.refuses(now),
                probe=visit.probe,
                left=None if call.deadline is None else call.deadline - now,
                repeatable=again,
            )
            decision = run.retry.next(fault, standing, lambda: upstream.budget.withdraw(now), self._rng)
            run.ledger.retries = run.retry.retries
            if isinstance(decision, Wait):
                return decision.seconds, f"retry in {decision.seconds:.2f} s"
            if not isinstance(decision, Next):
                return None, ""
            if self._candidates.move(run, others):
                assert run.visit is not None
                return 0.0, f"failover to {run.visit.candidate.upstream.name}"
            # None of the others took the call (a ramp draws lots, say): what would it be without them?
            others = []

    def _may_try_again(self, run: Run) -> bool:
        """Whether holding the answer back can still do any good."""
        call = run.call
        if not call.body.replayable or call.facts.safety is Safety.UNSAFE:
            return False
        retries = call.plan.retry.attempts - call.sdk_retries - run.ledger.retries
        return retries > 0 or bool(run.left)

    # -- an attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, run: Run, visit: Visit) -> Fault | None:
        """One request to one upstream. An answer goes to `run.answer`, with its slot; what comes back is why it is
        not a good one."""
        before = self._clock.now()
        upstream = visit.candidate.upstream
        slot = await self._slot(run.call, upstream)
        if isinstance(slot, Fault):
            return slot
        exchange: Exchange | Fault | None = None
        received = False
        try:
            terms = self._terms(run, visit)
            exchange = await self._send(run, visit, terms)
            if isinstance(exchange, Fault):
                return exchange
            fault = await exchange.head()
            if fault is not None:
                visit.blameless = self._not_its_fault(run, fault, exchange, terms)
                return fault
            # Whatever a stream's call is answered with: an error whose body stalls must not hold it for ever.
            late = terms.first_content_by if run.call.facts.stream else None
            exchange.expect_by(*soonest(terms.fixed, (late, Code.TIMEOUT_FIRST_CONTENT)))
            arriving = run.arriving = Answer(exchange, visit.candidate, self._buffers)
            fault = await receive(run.call, arriving, terms, self._clock)
            received = fault is None
            return fault or arriving.fault
        finally:
            run.ledger.waited += self._clock.now() - before
            if isinstance(exchange, Exchange):
                # What the agent took for its upload says nothing about the upstream either.
                visit.entered += exchange.agents_seconds
            if received and run.arriving is not None:
                if run.answer is not None:
                    run.answer.close()
                run.answer, run.slot, run.terms = run.arriving, (upstream, slot), terms
            else:
                if run.arriving is not None:
                    run.arriving.release()
                if isinstance(exchange, Exchange):
                    exchange.close()
                self._free(upstream, slot)

    def _terms(self, run: Run, visit: Visit) -> Terms:
        call, timeouts, started = run.call, visit.candidate.timeouts, self._clock.now()
        attempt: Limit = (_after(started, timeouts.backend_request), Code.TIMEOUT_ATTEMPT)
        if timeouts.request_set:
            # An Upstream's own limit on the whole call, tighter than the rule's, ends the attempt there only.
            attempt = soonest(attempt, (call.received + timeouts.request, Code.TIMEOUT_ATTEMPT))
        run.arriving = None
        return Terms(
            timeouts,
            started,
            fixed=soonest((call.deadline, Code.TIMEOUT_REQUEST), attempt),
            committed=soonest(
                (call.deadline if call.plan.timeouts.request_set else None, Code.TIMEOUT_REQUEST), attempt
            ),
            hold=self._may_try_again(run),
            min_progress=call.plan.min_progress,
        )

    async def _send(self, run: Run, visit: Visit, terms: Terms) -> Exchange | Fault:
        call, target, timeouts = run.call, visit.candidate.target, terms.timeouts
        request = request_for(call, visit.candidate)
        if isinstance(request, Fault):
            return request
        run.ledger.attempts += 1
        # What was spent in our own queue and back-off says nothing about the upstream.
        visit.entered = terms.started
        if visit.untried:
            visit.untried = False
            visit.candidate.upstream.budget.deposit(terms.started)
        by, _ = soonest((terms.started + timeouts.connect, Code.CONNECT_TIMEOUT), terms.fixed)
        assert by is not None
        sent = await self._pool.send(target.endpoint, request, by - terms.started, run.agent.inform)
        if isinstance(sent, Fault):
            return sent
        visit.connected = True
        first_byte = _after(terms.started, timeouts.first_byte)
        first_content = terms.first_content_by if call.facts.stream else None
        late = soonest((first_byte, Code.TIMEOUT_FIRST_BYTE), (first_content, Code.TIMEOUT_FIRST_CONTENT))
        sent.expect_by(*soonest(terms.fixed, late))
        return sent

    def _not_its_fault(self, run: Run, fault: Fault, exchange: Exchange, terms: Terms) -> bool:
        """A limit that the agent's upload, or our own queue and back-off, had used up for the most part says nothing
        about the upstream."""
        if fault.rule.category is not Category.TIMEOUT:
            return False
        others = agents = exchange.agents_seconds
        if fault.code is Code.TIMEOUT_REQUEST:
            others += terms.started - run.call.received
        return others > self._clock.now() - terms.started - agents

    async def _slot(self, call: Call, upstream: Upstream) -> Slot | Fault:
        """A place among the upstream's parallel requests, after a wait if need be."""
        limiter, now = upstream.limiter, self._clock.now()
        admitted = limiter.admit(now, call.deadline)
        if isinstance(admitted, Slot):
            return admitted
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
        self.wake(limiter.cancel(admitted, self._clock.now()))
        return Fault(Code.QUEUE_TIMEOUT, f"waited {self._clock.now() - now:.1f} s for {upstream.name}", hint=1.0)

    def _free(self, upstream: Upstream, slot: Slot) -> None:
        self.wake(upstream.limiter.release(slot, self._clock.now()))

    def wake(self, granted: Iterable[Queued]) -> None:
        """Calls that have got a place go on."""
        for queued in granted:
            future = self._waiters.get(queued)
            if future is not None and not future.done():
                future.set_result(None)

    # -- the answer ------------------------------------------------------------------------------------------------

    async def _pass_on(self, run: Run, answer: Answer) -> None:
        """Commit: from here on nothing can be changed any more."""
        call, ledger, visit, terms = run.call, run.ledger, run.visit, run.terms
        assert visit is not None and terms is not None
        ledger.fault = answer.fault
        ledger.upstream = answer.candidate.upstream.name
        ledger.model = answer.candidate.model_for(call.facts.model)
        ledger.status = answer.exchange.status
        ledger.outcome = _outcome(run, answer)
        ledger.service_level = ServiceLevel.DEGRADED if answer.candidate.group else ServiceLevel.FULL
        if answer.fault is None and answer.held and call.facts.operation in STATEFUL:
            state = call.plan.dialect.state_made(answer.held[0])
            if state:
                self._candidates.made(answer.candidate.upstream.key, state)
        ledger.committed = now = self._clock.now()
        visit.committed(now)
        exchange = answer.exchange
        run.agent.start(exchange.status, upstream_headers(call, ledger, exchange.headers), reason=exchange.reason)
        ledger.stream = answer.stream
        self.streams += answer.stream
        try:
            fault = await relay(call, answer, terms, run.agent, self._clock)
        finally:
            self.streams -= answer.stream
            ledger.usage, ledger.answered = answer.usage, answer.model
        if fault is not None:
            ledger.fault = fault

    def _refuse(self, run: Run, fault: Fault) -> None:
        """Answer with an error of our own, in the agent's dialect."""
        call, ledger = run.call, run.ledger
        if run.visit is not None:
            ledger.upstream, ledger.model = run.visit.candidate.upstream.name, run.visit.model
        ledger.fault, ledger.status, ledger.service_level = fault, fault.rule.status, ServiceLevel.OFFLINE
        problem = problem_for(fault, call.id, upstream=ledger.upstream, attempts=ledger.attempts)
        headers, body = problem_answer(call.plan.dialect, call.facts, problem)
        headers += told(call, ledger)
        if ledger.retries:
            headers.append((b"x-should-retry", b"false"))
        run.agent.start(fault.rule.status, headers)
        run.agent.write(body)
        run.agent.end()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _shelve(self, run: Run) -> None:
        """Another attempt follows: keep a whole error in case nothing better comes, drop one that still flows."""
        if run.slot is not None:
            self._free(*run.slot)
            run.slot = None
        if run.answer is not None and not run.answer.whole:
            run.answer.close()
            run.answer = None

    def _close(self, run: Run) -> None:
        """Give everything back."""
        ledger, visit = run.ledger, run.visit
        if run.answer is not None:
            run.answer.close()
        if run.slot is not None:
            self._free(*run.slot)
        if run.arriving is not None:
            ledger.first_content = run.arriving.first_content
        if visit is not None:
            self._settlement.leave(visit, ledger.fault, ledger.first_content)
            if ledger.fault is None:
                self._candidates.served(run, visit)


def _listed(call: Call, fault: Fault) -> bool:
    """A larger context window is what a context-length error may always move to; the rest is up to `fallbackOn`."""
    return fault.code is Code.CONTEXT_LENGTH or fault.rule.fallback_on in call.plan.fallback_on


def _outcome(run: Run, answer: Answer) -> Outcome:
    if answer.fault is not None:
        return Outcome.ERROR
    if answer.candidate is not run.primary:
        return Outcome.FAILOVER
    return Outcome.RETRY if run.ledger.retries else Outcome.PRIMARY


def _after(start: float, seconds: float | None) -> float | None:
    return None if seconds is None else start + seconds
