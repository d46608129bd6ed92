"""THE hot path, top to bottom: candidates in order, attempts, retry, failover, commit, relay, the end.

The order of strategies is written here and nowhere else; machines do not know each other. Whatever happens, tickets
and slots are settled exactly once, in a `finally`, and one CallEnded tells the story.
"""

import asyncio
from functools import partial

from seawall.answer import Answer, Terms
from seawall.attempt import Attempt, Attempts
from seawall.cached import Cached
from seawall.call import Buffers, Call, reading
from seawall.candidates import Candidates
from seawall.clock import Clock, Rng, system_rng
from seawall.core.retry import Next, Retry, Standing, Wait
from seawall.ending import cut, fail_late, fall_back, problem_of, refuse
from seawall.faults import Code, Fault, Sample
from seawall.foreign import Translator
from seawall.keep_alive import KeepAlive
from seawall.keeping import Stores
from seawall.outgoing import credential_mark
from seawall.racing import Racing
from seawall.relay import relay
from seawall.reply import closing, upstream_headers
from seawall.run import Run
from seawall.runtime import Plan
from seawall.settlement import Settlement
from seawall.shadow import Shadows, follow
from seawall.turns import Turns
from seawall.types import Agent, Made, Observer, Outcome, Safety, ServiceLevel
from seawall.upgraded import hold
from seawall.upstream.pool import Pool
from seawall.visit import Visit

# Operations whose answers may give out ids of state; `other` holds files, batches and conversations, `statement`,
# `query`, `job` and `poll` are the warehouses'.
STATEFUL = frozenset({"responses", "other", "statement", "query", "job", "poll"})


class Engine:
    """Runs calls. One per process; all lasting state is in the upstreams' machines."""

    def __init__(self, pool: Pool, clock: Clock, rng: Rng, observe: Observer, buffers: Buffers) -> None:
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._candidates = Candidates(clock, rng, observe)
        self._settlement = Settlement(clock, rng, observe)
        self._buffers = buffers
        self._attempts = Attempts(pool, clock, buffers)
        self._racing = Racing(self._attempts, self._candidates, self._settlement, clock, observe)
        self._turns = Turns()
        self.shadows = Shadows(clock, system_rng(), observe)
        self.wake = self._attempts.wake
        """Calls whose place a reload has granted go on."""
        self.cached: Cached | None = None
        """There where a policy has a cache."""
        self.offline: set[str] = set()
        """Routes that an operator has taken offline; "" stands for all."""
        self.calls = 0
        """Calls under way."""
        self.streams = 0
        """Committed streams under way."""

    def translate_by(self, translator: Translator) -> None:
        """Have calls to candidates of other dialects translated."""
        self._attempts.translator = self._candidates.translator = translator

    def cache_in(self, stores: Stores) -> Cached:
        """Answer calls from what is kept, where their rules say so."""
        if self.cached is None:
            self.cached = Cached(stores, self._clock, self._buffers, self._observe, self._answer, self._fly)
        return self.cached

    # -- a call ----------------------------------------------------------------------------------------------------

    async def run(self, call: Call, agent: Agent) -> None:
        """Answer one call. Raises nothing but CancelledError, when the agent has gone."""
        run = Run(call, agent, call.plan.groups[0][0], [])
        self.calls += 1
        try:
            if call.plan.cache is None or self.cached is None or call.upgrade is not None:
                await self._answer(run)
            else:
                await self.cached.answer(run)
        except asyncio.CancelledError:
            run.ledger.fault = Fault(Code.DRAINING if agent.cut else Code.AGENT_GONE)
            if agent.cut:
                cut(run, run.ledger.fault)
            raise
        except Exception:
            run.ledger.fault = fault = Fault(Code.INTERNAL)
            if not run.committed:
                refuse(run, fault)
            raise
        finally:
            self.calls -= 1
            self._close(run)
            self._settlement.tell(run)

    async def _fly(self, run: Run) -> None:
        """The same for a flight of the cache's (flight.py), whose readers tell of it."""
        try:
            await self._answer(run)
        except asyncio.CancelledError:
            run.ledger.fault = run.ledger.fault or Fault(Code.AGENT_GONE)
            raise
        except Exception:
            run.ledger.fault = fault = Fault(Code.INTERNAL)
            if not run.committed:
                refuse(run, fault)
            raise
        finally:
            self._close(run)

    async def _answer(self, run: Run) -> None:
        """Have the upstreams answer, or whatever stands in for them."""
        call = run.call
        order = self._candidates.order(call)
        run.primary, run.left = order[0], order
        seconds = call.plan.keep_alive
        if seconds is not None and call.facts.stream and call.plan.dialect.keep_alive:
            run.keep_alive = KeepAlive(call, run.agent, self._clock, seconds)
        if call.plan.shadow is not None:
            by_hand = self.is_offline(call.plan) and not call.plan.offline
            run.shadow = follow(self.shadows, call, by_hand=by_hand)
        if call.facts.session:
            await self._in_turn(run)
        else:
            await self._serve(run)

    async def _in_turn(self, run: Run) -> None:
        """The same, once the calls before it of the same session are over."""
        call, started = run.call, self._clock.now()
        session = (call.plan.route, call.facts.session, credential_mark(call, run.primary.target))
        limit = call.received + call.plan.timeouts.request if call.deadline is None else call.deadline
        fault = await self._turns.take(session, limit - started)
        run.ledger.waited += self._clock.now() - started
        if fault is not None:
            refuse(run, fault)
            return
        try:
            await self._serve(run)
        finally:
            self._turns.give(session)

    async def _serve(self, run: Run) -> None:
        call = run.call
        fault = self._offline(call) or self._candidates.first(run) or await self._try(run)
        if fault is not None and fall_back(run, fault, int(self._clock.wall())):
            pass
        elif run.kept is not None:
            await self._pass_on(run, run.kept)
        elif fault is not None:
            refuse(run, fault)

    async def _try(self, run: Run) -> Fault | None:
        """Attempts until there is a good answer (None), or the fault that ends the call."""
        call, ledger = run.call, run.ledger
        while True:
            attempt = await self._attempt(run)
            visit, fault = attempt.visit, attempt.fault
            if attempt.arrived:
                run.kept = self._attempts.replace(run.kept, attempt)
            if run.shadow is not None:
                run.shadow.attempted(visit.shadow, fault, attempt.first_content)
            if fault is None:
                self._settlement.attempted(run, attempt)
                return None
            sent_before = run.retry is not None and run.retry.sent
            if sent_before and fault.status == 409 and call.facts.made is not None:
                if await self._made_before(run, attempt, call.facts.made):
                    return None
                self._settlement.leave(visit, fault)
                return fault
            self._candidates.rest(run, visit, fault)
            wait, then = self._decide(run, visit, fault)
            if run.shadow is not None:
                did = "give_up" if wait is None else "retry" if run.visit is visit else "failover"
                run.shadow.decided(visit.shadow, visit.candidate, fault, did)
            self._settlement.attempted(run, attempt, then)
            if wait is None or run.visit is not visit:
                self._settlement.leave(visit, fault)
            if wait is None:
                return fault
            run.kept = self._attempts.shelve(run.kept)
            if wait:
                await asyncio.sleep(wait)
                ledger.waited += wait
            if call.deadline is not None and self._clock.now() >= call.deadline:
                return Fault(Code.TIMEOUT_REQUEST)

    async def _attempt(self, run: Run) -> Attempt:
        """One request to the upstream that the call is at, or a race that begins there."""
        assert run.visit is not None
        started = self._clock.now()
        if run.shadow is not None:
            run.shadow.begins(run.visit.shadow, first=run.visit.untried and not run.visit.probe)
        try:
            if self._racing.wanted(run):
                run.attempt = await self._racing.run(run)
            else:
                run.attempt = Attempt(run.visit, started, self._may_try_again(run), keep_alive=run.keep_alive)
                await self._attempts.make(run.call, run.attempt, run.agent, run.ledger)
        finally:
            run.ledger.waited += self._clock.now() - started
        return run.attempt

    async def _made_before(self, run: Run, conflict: Attempt, made: Made) -> bool:
        """What this call asked to be made is there, so an attempt of it was done although its answer was lost: read
        that, and keep it as the answer. Asked once; where it can not be had, the conflict stands."""
        self._settlement.attempted(run, conflict, "reading what was made")
        self._attempts.leave(conflict)
        started = self._clock.now()
        found = Attempt(conflict.visit, started, hold=True)
        try:
            await self._attempts.make(reading(run.call, made), found, run.agent, run.ledger)
        finally:
            run.ledger.waited += self._clock.now() - started
            if not found.good:
                self._attempts.close(found)
        self._settlement.attempted(run, found)
        if found.good:
            run.attempt = run.kept = self._attempts.replace(run.kept, found)
        return found.good

    def _decide(self, run: Run, visit: Visit, fault: Fault) -> tuple[float | None, str]:
        """What follows a failed attempt, also in words: seconds until the next one, at `run.visit`, which may be
        another upstream by then; or None: the call is over."""
        call, now, upstream = run.call, self._clock.now(), visit.candidate.upstream
        if run.retry is None:
            facts = call.facts
            run.retry = Retry(call.plan.retry, facts.safety, pinned=facts.pinned, sdk_retry_count=call.sdk_retries)
        again = call.body.replayable and not run.committed
        others = self._candidates.fit(run, visit, fault) if again else []
        while True:
            standing = Standing(
                at=visit.candidate,
                another=bool(others),
                admissible=any(self._candidates.admissible(run, c) for c in others),
                listed=fault.listed(call.plan.fallback_on),
                open=visit.breaker.refuses(now) or visit.transport.refuses(now),
                probe=visit.probe,
                left=None if call.deadline is None else call.deadline - now,
                repeatable=again,
            )
            if run.shadow is not None:
                run.shadow.deciding(standing)
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

    # -- the answer ------------------------------------------------------------------------------------------------

    async def _pass_on(self, run: Run, attempt: Attempt) -> None:
        """Commit: from here on nothing can be changed any more."""
        call, ledger, visit = run.call, run.ledger, attempt.visit
        answer, terms = attempt.answer, attempt.terms
        assert answer is not None and terms is not None
        ledger.fault = answer.fault
        ledger.upstream = answer.candidate.upstream.name
        ledger.model = answer.candidate.model_for(call.facts.model)
        ledger.status = answer.exchange.status
        ledger.outcome = _outcome(run, attempt)
        ledger.service_level = _level(attempt)
        if answer.fault is None and answer.opening and call.facts.operation in STATEFUL:
            state = call.plan.dialect.state_made(answer.opening, answer.exchange.headers)
            if state:
                self._candidates.made(answer.candidate.upstream.key, state)
        if answer.fault is None and call.facts.session:
            self._candidates.made(answer.candidate.upstream.key, call.facts.session)
        ledger.committed = now = self._clock.now()
        visit.committed(now)
        exchange = answer.exchange
        if run.opened and not answer.stream:
            fail_late(run, answer)
            visit.blameless |= answer.fault is None
            return
        if exchange.end is not None:
            await self._hold(run, answer, terms, visit)
            return
        # A stream that may yet break must not have a length: once that is reached, nothing could tell of the break.
        unframed = answer.stream and not answer.whole and call.head.method != "HEAD"
        fields = upstream_headers(call, ledger, exchange.headers, unframed=unframed)
        run.begin(exchange.status, fields, reason=exchange.reason)
        ledger.stream = answer.stream
        self.streams += answer.stream
        try:
            read = answer.exchange.read if run.keep_alive is None else run.keep_alive.reading(answer)
            late = closing(call, ledger) if run.opened else []
            fault = await relay(call, answer, terms, run.agent, self._clock, partial(problem_of, run), read, late)
        finally:
            self.streams -= answer.stream
            ledger.usage, ledger.answered = answer.usage, answer.model
        if fault is not None:
            ledger.fault = fault
            visit.blameless |= self._attempts.not_its_fault(call, fault, exchange, terms)

    async def _hold(self, run: Run, answer: Answer, terms: Terms, visit: Visit) -> None:
        """A WebSocket, from its grant to its end."""
        run.ledger.stream = True
        self.streams += 1
        try:
            run.ledger.fault = fault = await hold(run, answer, terms, self._clock)
        finally:
            self.streams -= 1
        # Both sides were silent.
        visit.blameless |= fault is not None and fault.code is Code.TIMEOUT_STREAM_IDLE

    def _offline(self, call: Call) -> Fault | None:
        """Whether no upstream may be asked."""
        return Fault(Code.OFFLINE) if self.is_offline(call.plan) else None

    def is_offline(self, plan: Plan) -> bool:
        """By policy, or by hand."""
        return plan.offline or (bool(self.offline) and not self.offline.isdisjoint(("", plan.route)))

    # -- the end ---------------------------------------------------------------------------------------------------

    def _close(self, run: Run) -> None:
        """Give everything back."""
        ledger, visit = run.ledger, run.visit
        if run.kept is not None:
            self._attempts.close(run.kept)
        if run.keep_alive is not None:
            run.keep_alive.close()
        if run.opened:
            ledger.status, ledger.stream = 200, True
        if run.attempt is not None:
            ledger.first_content = run.attempt.first_content
        if run.call.trace is not None:
            self._settlement.traced(run)
        if run.shadow is not None:
            run.shadow.over(ledger.fault, ledger.first_content, ledger.outcome)
        if visit is not None:
            self._settlement.leave(visit, ledger.fault, ledger.first_content)
            if ledger.fault is None:
                self._candidates.served(run, visit)


def _level(attempt: Attempt) -> ServiceLevel:
    """What the agent is served by this answer."""
    if attempt.fault is not None and attempt.fault.rule.sample is Sample.BAD:
        return ServiceLevel.OFFLINE
    return ServiceLevel.DEGRADED if attempt.visit.candidate.group else ServiceLevel.FULL


def _outcome(run: Run, attempt: Attempt) -> Outcome:
    if run.ledger.failed:
        return Outcome.ERROR
    if attempt.extra:
        return Outcome.HEDGE
    if attempt.visit.candidate is not run.primary:
        return Outcome.FAILOVER
    return Outcome.RETRY if run.ledger.retries else Outcome.PRIMARY
