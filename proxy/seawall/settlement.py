"""The end of attempts and calls: breaker and health samples, once each, and the events that tell the story."""

from msgspec import UNSET
from msgspec.structs import replace

from seawall.attempt import Attempt
from seawall.clock import Clock, Rng
from seawall.faults import Code, Fault, Sample
from seawall.run import Run
from seawall.tracing import marked, tell
from seawall.types import AttemptEnded, AttemptTraced, CallEnded, Observer, Outcome, TraceContext
from seawall.visit import Visit

# Nobody waited for what it would have answered.
_UNHEARD = frozenset({Code.AGENT_GONE, Code.RACE_LOST})


# A race's losers are no failures (SEMANTICS §4).
_RESULTS = {Code.RACE_LOST: "cancelled"}


class Settlement:
    def __init__(self, clock: Clock, rng: Rng, observe: Observer) -> None:
        self._clock = clock
        self._rng = rng
        self._observe = observe

    def leave(self, visit: Visit, fault: Fault | None, first_content: float | None = None) -> None:
        """The call's sample for this upstream, once, whatever happened. An agent that left after it had waited for
        longer than `slowCall` counts as a slow sample."""
        if visit.settled:
            return
        now, upstream = self._clock.now(), visit.candidate.upstream
        slow_call = upstream.breaker_settings.slow_call
        waited = (now if first_content is None else first_content) - visit.entered
        judged = fault is None or (fault.code in _UNHEARD and not visit.untried and not visit.blameless)
        slow = slow_call is not None and waited > slow_call and judged
        if visit.shadow is not None:
            visit.shadow.settle(visit.verdicts(fault), waited if judged else 0.0)
        for event in visit.settle(fault, slow, now, self._rng):
            self._observe(event)
        if fault is None:
            upstream.health.record(now, True, waited)
        elif fault.rule.sample is Sample.BAD and not visit.blameless and not visit.untried:
            upstream.health.record(now, False)

    def attempted(self, run: Run, attempt: Attempt, then: str = "") -> None:
        """Tell of an attempt. `then`: what follows it."""
        fault, trace = attempt.fault, run.call.trace
        ended = self._ended(run, attempt, fault, then)
        if trace is None or not attempt.number:
            self._observe(ended)
            return
        ended = marked(ended, trace, attempt.span)
        self._observe(ended)
        if fault is not None:
            self._observe(self._traced(run, attempt, ended, trace))

    def traced(self, run: Run) -> None:
        """Tell of the one attempt of a traced call whose end was not known before the call's own: what answered it, or
        what was under way when it broke off."""
        call, attempt = run.call, run.attempt
        if call.trace is None or attempt is None or not attempt.number or attempt.fault is not None:
            return
        ended = replace(self._ended(run, attempt, run.ledger.fault), usage=run.ledger.usage)
        self._observe(self._traced(run, attempt, ended, call.trace))

    def _ended(self, run: Run, attempt: Attempt, fault: Fault | None, then: str = "") -> AttemptEnded:
        return AttemptEnded(
            call_id=run.call.id,
            route=run.call.plan.route,
            upstream=attempt.visit.candidate.upstream.name,
            model=attempt.visit.model,
            number=attempt.number,
            result="ok" if fault is None else _RESULTS.get(fault.code, fault.code.value),
            status=attempt.status,
            seconds=self._clock.now() - attempt.started,
            detail="" if fault is None else fault.detail,
            next=then,
            usage=attempt.usage if fault is not None else None,
        )

    def _traced(self, run: Run, attempt: Attempt, ended: AttemptEnded, trace: TraceContext) -> AttemptTraced:
        first, answer = attempt.first_content, attempt.answer
        return AttemptTraced(
            trace=trace,
            span_id=attempt.span,
            attempt=ended,
            method=run.call.head.method,
            operation=run.call.facts.operation,
            stream=run.call.facts.stream if answer is None else answer.stream,
            hedge=attempt.extra,
            answered="" if answer is None else answer.model,
            first_content_seconds=None if first is None else first - attempt.started,
        )

    def tell(self, run: Run) -> None:
        """The one event of a call."""
        call, ledger, now, work = run.call, run.ledger, self._clock.now(), run.work or run
        until = now if ledger.committed is None else ledger.committed
        first = ledger.first_content
        tell(
            self._observe,
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
                outcome=Outcome.ERROR if ledger.failed else ledger.outcome,
                fault="" if ledger.fault is None else ledger.fault.code.value,
                status=ledger.status,
                attempts=ledger.attempts,
                retries=ledger.retries,
                stream=ledger.stream,
                service_level=ledger.service_level,
                seconds=now - call.received,
                first_content_seconds=None if first is None else max(0.0, first - call.received),
                overhead_seconds=max(0.0, until - call.received - ledger.waited),
                request_bytes=call.body.size,
                answer_bytes=run.agent.sent_bytes,
                usage=ledger.usage,
                skipped=tuple(ledger.skipped),
                opened=True if work.opened else UNSET,
                keep_alives=UNSET if work.keep_alive is None else work.keep_alive.comments or UNSET,
                shadow=UNSET if work.shadow is None else work.shadow.told,
                cache=ledger.cache or UNSET,
                cache_key=ledger.cache_key or UNSET,
                saved=ledger.saved or UNSET,
            ),
            call.trace,
            link=run.joined if ledger.cache == "coalesced" else None,
        )
