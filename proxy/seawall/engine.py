"""THE hot path, top to bottom: candidates in order, attempts, retry, failover, commit, relay, settlement.

The order of strategies is written here and nowhere else; machines do not know each other. Whatever happens, tickets
and slots are settled exactly once, in a `finally`, and one CallEnded tells the story.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from seawall.answer import Answer, Limit, Terms, receive, soonest
from seawall.call import Buffers, Call, Ledger
from seawall.clock import Clock, Rng
from seawall.core.breaker import Refused
from seawall.core.limit import Queued, Slot
from seawall.core.retry import Next, Retry, Standing, Wait
from seawall.faults import Code, Fault, Sample
from seawall.outgoing import credential_mark, request_for
from seawall.relay import Agent, relay
from seawall.reply import problem_answer, problem_for, told, upstream_headers
from seawall.runtime import Candidate, Upstream
from seawall.types import (
    AttemptEnded,
    CallEnded,
    CoolingDown,
    CredentialParked,
    Observer,
    Outcome,
    Safety,
    ServiceLevel,
)
from seawall.upstream.exchange import Exchange
from seawall.upstream.pool import Pool
from seawall.visit import Visit, enter

# How long a transient 429 without a hint keeps a model from being the first choice, in seconds.
COOLDOWN = 1.0
# A credential that is out of quota is tried again after so many seconds (SEMANTICS §1).
PARK = 60.0


@dataclass(slots=True)
class Run:
    """What one call holds while it is under way; `Engine._close` gives all of it back."""

    call: Call
    agent: Agent
    primary: Candidate
    left: list[Candidate]
    """Not tried yet, in order."""
    ledger: Ledger = field(default_factory=Ledger)
    visit: Visit | None = None
    answer: Answer | None = None
    """The latest answer of an upstream: the good one, or an error that is passed on if nothing better comes."""
    slot: tuple[Upstream, Slot] | None = None
    terms: Terms | None = None
    retry: Retry | None = None


class Engine:
    """Runs calls. One per process; all lasting state is in the upstreams' machines."""

    def __init__(self, pool: Pool, clock: Clock, rng: Rng, observe: Observer, buffers: Buffers) -> None:
        self._pool = pool
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._buffers = buffers
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
            fault = self._first(run) or await self._try(run)
            if run.answer is not None:
                await self._pass_on(run, run.answer)
            elif fault is not None:
                self._refuse(run, fault)
        except asyncio.CancelledError:
            run.ledger.fault = Fault(Code.AGENT_GONE)
            raise
        finally:
            self.calls -= 1
            self._close(run)
            self._tell(run)

    async def _try(self, run: Run) -> Fault | None:
        """Attempts until there is a good answer (None), or the fault that ends the call."""
        call, ledger = run.call, run.ledger
        while True:
            visit = run.visit
            assert visit is not None
            started = self._clock.now()
            fault = await self._attempt(run, visit)
            if fault is None:
                self._attempted(run, visit, None, started, "")
                return None
            wait = self._decide(run, visit, fault, started)
            if wait is None:
                return fault
            self._shelve(run)
            if wait:
                await asyncio.sleep(wait)
                ledger.waited += wait
            if call.deadline is not None and self._clock.now() >= call.deadline:
                return Fault(Code.TIMEOUT_REQUEST)

    def _decide(self, run: Run, visit: Visit, fault: Fault, started: float) -> float | None:
        """After a failed attempt: seconds until the next one (at `run.visit`), or None: the call is over."""
        call, now, upstream = run.call, self._clock.now(), visit.candidate.upstream
        self._rest(run, visit, fault, now)
        if run.retry is None:
            facts = call.facts
            run.retry = Retry(call.plan.retry, facts.safety, pinned=facts.pinned, sdk_retry_count=call.sdk_retries)
        again = call.body.replayable and not run.agent.started
        others = self._fit(run, visit, fault) if again else []
        standing = Standing(
            at=visit.candidate,
            another=bool(others),
            admissible=any(self._admissible(run, c, now) for c in others),
            listed=self._listed(run, fault),
            open=visit.breaker.refuses(now) or upstream.transport.refuses(now),
            probe=visit.probe,
            left=None if call.deadline is None else call.deadline - now,
            repeatable=again,
        )
        decision = run.retry.next(fault, standing, lambda: upstream.budget.withdraw(now), self._rng)
        run.ledger.retries = run.retry.retries
        if isinstance(decision, Wait):
            self._attempted(run, visit, fault, started, f"retry in {decision.seconds:.2f} s")
            return decision.seconds
        if isinstance(decision, Next) and self._move(run, others):
            assert run.visit is not None
            self._attempted(run, visit, fault, started, f"failover to {run.visit.candidate.upstream.name}")
            self._leave(visit, fault)
            return 0.0
        self._attempted(run, visit, fault, started, "")
        self._leave(visit, fault)
        return None

    def _may_try_again(self, run: Run) -> bool:
        """Whether holding the answer back can still do any good."""
        call = run.call
        if not call.body.replayable or call.facts.safety is Safety.UNSAFE:
            return False
        retries = call.plan.retry.attempts - call.sdk_retries - run.ledger.retries
        return retries > 0 or bool(run.left)

    # -- candidates ------------------------------------------------------------------------------------------------

    def _first(self, run: Run) -> Fault | None:
        """Enter the first candidate that is admitted. Where none is, one is tried all the same where that does no
        harm: a cooldown is advice, and a sole upstream's breaker lets some calls through (SEMANTICS §3)."""
        if run.call.facts.pinned:
            # Conversation state lives at one upstream: always the first that the rule names.
            run.primary = run.call.plan.groups[0][0]
            run.left = [run.primary]
        if len(run.left) > 1 and self._move(run, list(run.left)):
            return None
        retry_after: float | None = None
        for candidate in list(run.left):
            self._rested(run, candidate, self._clock.now(), take=True)
            entered = self._enter(run, candidate, sole=True)
            if isinstance(entered, Visit):
                return None
            self._skip(run, candidate, "breaker open")
            retry_after = min(entered.retry_after, retry_after or entered.retry_after)
        run.ledger.fault = Fault(Code.BREAKER_OPEN, "no upstream of this route takes calls now", hint=retry_after)
        return run.ledger.fault

    def _move(self, run: Run, among: list[Candidate]) -> bool:
        """Enter the next of `among` that is rested and admitted."""
        for candidate in list(among):
            if not self._rested(run, candidate, self._clock.now(), take=True):
                self._skip(run, candidate, "cooling down")
            elif isinstance(self._enter(run, candidate, sole=False), Visit):
                return True
            else:
                self._skip(run, candidate, "breaker open")
        return False

    def _enter(self, run: Run, candidate: Candidate, *, sole: bool) -> Visit | Refused:
        model = candidate.model_for(run.call.facts.model)
        now = self._clock.now()
        entered = enter(candidate, model, now, self._rng, sole)
        if isinstance(entered, Visit):
            run.visit = entered
            run.left.remove(candidate)
            for event in entered.admitted(now):
                self._observe(event)
        return entered

    def _admissible(self, run: Run, candidate: Candidate, now: float) -> bool:
        """Whether `_move` would enter it, chance apart; takes nothing."""
        upstream = candidate.upstream
        breaker = upstream.breaker(candidate.model_for(run.call.facts.model), now)
        return (
            self._rested(run, candidate, now, take=False)
            and not upstream.transport.refuses(now)
            and not breaker.refuses(now)
        )

    def _rested(self, run: Run, candidate: Candidate, now: float, *, take: bool) -> bool:
        cooldowns = candidate.upstream.cooldowns
        if not cooldowns:
            return True
        key = self._rest_key(run, candidate)
        return cooldowns.due(key, now) if take else cooldowns.seconds(key, now) == 0

    def _rest_key(self, run: Run, candidate: Candidate) -> tuple[str, int]:
        return candidate.model_for(run.call.facts.model), credential_mark(run.call, candidate.upstream)

    def _skip(self, run: Run, candidate: Candidate, why: str) -> None:
        note = f"{candidate.upstream.name}: {why}"
        if note not in run.ledger.skipped:
            run.ledger.skipped.append(note)

    def _fit(self, run: Run, visit: Visit, fault: Fault) -> list[Candidate]:
        """The untried candidates that could do what this one could not."""
        if fault.code is Code.CONTEXT_LENGTH:
            asked = run.call.facts.model
            return [c for c in run.left if c.window_for(asked) > visit.candidate.window_for(asked)]
        return run.left

    def _listed(self, run: Run, fault: Fault) -> bool:
        """A larger context window is what a context-length error may always move to; the rest is up to `fallbackOn`."""
        return fault.code is Code.CONTEXT_LENGTH or fault.rule.fallback_on in run.call.plan.fallback_on

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
        answer: Answer | Fault | None = None
        try:
            run.terms = terms = self._terms(run, visit)
            exchange = await self._send(run, visit, terms)
            if isinstance(exchange, Fault):
                return exchange
            fault = await exchange.head()
            if fault is not None:
                return fault
            # Whatever a stream's call is answered with: an error whose body stalls must not hold it for ever.
            late = terms.first_content_by if run.call.facts.stream else None
            exchange.expect_by(*soonest(terms.fixed, (late, Code.TIMEOUT_FIRST_CONTENT)))
            answer = await receive(run.call, exchange, visit.candidate, terms, self._buffers, self._clock)
            return answer if isinstance(answer, Fault) else answer.fault
        finally:
            run.ledger.waited += self._clock.now() - before
            if isinstance(answer, Answer):
                if run.answer is not None:
                    run.answer.close()
                run.answer, run.slot = answer, (upstream, slot)
            else:
                if isinstance(exchange, Exchange):
                    exchange.close()
                self._free(upstream, slot)

    def _terms(self, run: Run, visit: Visit) -> Terms:
        started, timeouts = self._clock.now(), visit.candidate.timeouts
        limit = timeouts.backend_request
        attempt_by = None if limit is None else started + limit
        fixed = soonest((run.call.deadline, Code.TIMEOUT_REQUEST), (attempt_by, Code.TIMEOUT_ATTEMPT))
        return Terms(timeouts, started, fixed, self._may_try_again(run), run.call.plan.min_progress)

    async def _send(self, run: Run, visit: Visit, terms: Terms) -> Exchange | Fault:
        call, upstream, timeouts = run.call, visit.candidate.upstream, terms.timeouts
        request = request_for(call, visit.candidate)
        if isinstance(request, Fault):
            return request
        run.ledger.attempts += 1
        if visit.first:
            visit.first = False
            # What was spent in our own queue says nothing about the upstream.
            visit.entered = terms.started
            upstream.budget.deposit(terms.started)
        by, code = soonest((terms.started + timeouts.connect, Code.CONNECT_TIMEOUT), terms.fixed)
        assert by is not None
        sent = await self._pool.send(upstream.endpoint, request, by - terms.started, run.agent.inform)
        if isinstance(sent, Fault):
            return Fault(code, sent.detail) if sent.code is Code.CONNECT_TIMEOUT else sent
        visit.connected = True
        first_byte = _after(terms.started, timeouts.first_byte)
        first_content = terms.first_content_by if call.facts.stream else None
        limits: tuple[Limit, Limit] = (
            (first_byte, Code.TIMEOUT_FIRST_BYTE), (first_content, Code.TIMEOUT_FIRST_CONTENT),
        )  # fmt: skip
        sent.expect_by(*soonest(terms.fixed, *limits))
        return sent

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
            ledger.first_content = answer.first_content
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

    # -- settlement ------------------------------------------------------------------------------------------------

    def _rest(self, run: Run, visit: Visit, fault: Fault, now: float) -> None:
        """Take a throttled model, or a credential without quota, out of the first choice."""
        upstream, sample = visit.candidate.upstream, fault.rule.sample
        if sample is Sample.COOLDOWN:
            seconds = fault.hint or COOLDOWN
            upstream.cooldowns.rest(self._rest_key(run, visit.candidate), now, seconds)
            self._observe(CoolingDown(upstream.name, visit.model, seconds))
        elif sample is Sample.PARK:
            upstream.cooldowns.park(self._rest_key(run, visit.candidate), now, PARK)
            self._observe(CredentialParked(upstream.name, visit.model, PARK, fault.code.value))

    def _leave(self, visit: Visit, fault: Fault | None, first_content: float | None = None) -> None:
        """The call's sample for this upstream, once, whatever happened."""
        if visit.settled:
            return
        if visit.first and fault is not None:
            # Nothing was sent: whatever ended the call says nothing about this upstream.
            fault = Fault(Code.NO_CANDIDATE)
        now, upstream = self._clock.now(), visit.candidate.upstream
        slow_call = upstream.breaker_settings.slow_call
        waited = (now if first_content is None else first_content) - visit.entered
        told = fault is None or (fault.code is Code.AGENT_GONE and not visit.first)
        slow = slow_call is not None and waited > slow_call and told
        for event in visit.settle(fault, slow, now, self._rng):
            self._observe(event)
        if fault is None or fault.rule.sample is Sample.BAD:
            upstream.health.record(now, fault is None, waited if fault is None else None)

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
        ledger, answer = run.ledger, run.answer
        if answer is not None:
            answer.close()
        if run.slot is not None:
            self._free(*run.slot)
        if run.visit is not None:
            self._leave(run.visit, ledger.fault, ledger.first_content)
            if ledger.fault is None and run.visit.candidate.upstream.cooldowns:
                key = self._rest_key(run, run.visit.candidate)
                run.visit.candidate.upstream.cooldowns.clear(key, run.visit.entered)

    def _attempted(self, run: Run, visit: Visit, fault: Fault | None, started: float, then: str) -> None:
        self._observe(
            AttemptEnded(
                call_id=run.call.id,
                route=run.call.plan.route,
                upstream=visit.candidate.upstream.name,
                model=visit.model,
                number=run.ledger.attempts,
                result="ok" if fault is None else fault.code.value,
                status=_status(run, fault),
                seconds=self._clock.now() - started,
                detail="" if fault is None else fault.detail,
                next=then,
            )
        )

    def _tell(self, run: Run) -> None:
        call, ledger, now = run.call, run.ledger, self._clock.now()
        until = now if ledger.committed is None else ledger.committed
        first = ledger.first_content
        self._observe(
            CallEnded(
                call_id=call.id,
                route=call.plan.route,
                rule=call.plan.rule,
                dialect=call.plan.dialect.name,
                operation=call.facts.operation,
                method=call.head.method,
                path=call.head.path,
                upstream=ledger.upstream,
                model=ledger.answered or ledger.model or call.facts.model,
                outcome=ledger.outcome if ledger.fault is None else Outcome.ERROR,
                fault="" if ledger.fault is None else ledger.fault.code.value,
                status=ledger.status,
                attempts=ledger.attempts,
                retries=ledger.retries,
                stream=ledger.stream,
                service_level=ledger.service_level,
                seconds=now - call.received,
                first_content_seconds=None if first is None else first - call.received,
                overhead_seconds=max(0.0, until - call.received - ledger.waited),
                request_bytes=call.body.size,
                answer_bytes=run.agent.sent_bytes,
                usage=ledger.usage,
                skipped=tuple(ledger.skipped),
            )
        )


def _outcome(run: Run, answer: Answer) -> Outcome:
    if answer.fault is not None:
        return Outcome.ERROR
    if answer.candidate is not run.primary:
        return Outcome.FAILOVER
    return Outcome.RETRY if run.ledger.retries else Outcome.PRIMARY


def _status(run: Run, fault: Fault | None) -> int | None:
    if fault is not None:
        return fault.status
    return None if run.answer is None else run.answer.exchange.status


def _after(start: float, seconds: float | None) -> float | None:
    return None if seconds is None else start + seconds
