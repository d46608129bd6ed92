"""One call followed from its beginning to its end: at each point at which a policy decides, what would it have done?"""

import math
from dataclasses import replace
from typing import Any

from seawall.call import Call
from seawall.core.breaker import State
from seawall.core.retry import Next, Retry, Standing, Stop, Wait
from seawall.core.shadow import missed
from seawall.faults import Code, Fault
from seawall.runtime import Candidate, PlanShadow
from seawall.shadow.book import Comparison, Shadows, harmless
from seawall.shadow.stay import Stay
from seawall.types import Outcome

_TIMEOUTS = {
    Code.TIMEOUT_REQUEST: "request",
    Code.TIMEOUT_ATTEMPT: "attempt",
    Code.TIMEOUT_FIRST_BYTE: "first_byte",
    Code.TIMEOUT_FIRST_CONTENT: "first_content",
}
_BY_HAND = (State.ISOLATED, State.FORCED_CLOSED)


def follow(shadows: Shadows, call: Call, *, by_hand: bool) -> "Trace | None":
    """A call begins. by_hand: an operator keeps it from all upstreams, so that no policy has a say in it."""
    shadow = call.plan.shadow
    return None if shadow is None or by_hand or shadows.broken else Trace(shadows, call, shadow)


class Trace(Comparison):
    """One call under the policies that are only evaluated."""

    __slots__ = ("_barred", "_delay", "_fallen", "_hedged", "_last", "_leading", "_retry", "_standings")

    def __init__(self, shadows: Shadows, call: Call, plan: PlanShadow) -> None:
        super().__init__(shadows, call, plan)
        self._barred: set[str] = set()
        self._retry: Retry | None = None
        self._standings: list[Standing] = []
        self._leading: Stay | None = None
        """Where the present attempt, or the race of them, began."""
        self._last: Stay | None = None
        """Where the attempt was made that decided."""
        self._delay: float | None = None
        """After so many seconds it would be hedged, infinity: never; None: that is not asked."""
        self._hedged = False
        self._fallen: Fault | None = None
        if plan.offline != call.plan.offline:
            self.compare("offline", None, *(("offline", "online") if plan.offline else ("online", "offline")))

    # -- which upstream --------------------------------------------------------------------------------------------

    @harmless
    def entered(self, candidate: Candidate, sole: bool) -> Stay | None:
        """The real circuits have admitted the call."""
        machines = candidate.upstream.shadow
        if machines is None:
            return None
        now, model = self.shadows.clock.now(), candidate.model_for(self.call.facts.model)
        held, moves = machines.admit(model, now, self.shadows.rng, sole)
        stay = Stay(self, candidate, machines, model, held)
        stay.tell(moves)
        if machines.transport is not None and not self._by_hand(candidate, model, now):
            self.compare("admission", candidate, "refuse" if held is None else "admit", "admit")
        return stay

    @harmless
    def barred(self, candidate: Candidate, sole: bool) -> None:
        """They have refused it."""
        machines, upstream = candidate.upstream.shadow, candidate.upstream
        if machines is None or machines.transport is None or upstream.key in self._barred:
            return
        self._barred.add(upstream.key)
        now, model = self.shadows.clock.now(), candidate.model_for(self.call.facts.model)
        if not self._by_hand(candidate, model, now):
            would = "refuse" if machines.refuses(model, now, sole) else "admit"
            self.compare("admission", candidate, would, "refuse")

    @staticmethod
    def _by_hand(candidate: Candidate, model: str, now: float) -> bool:
        """An operator decides, and would whatever the policy said."""
        upstream = candidate.upstream
        return upstream.breaker(model, now).state(now) in _BY_HAND or upstream.transport.state(now) in _BY_HAND

    # -- an attempt ------------------------------------------------------------------------------------------------

    @harmless
    def begins(self, stay: Stay | None, *, first: bool) -> None:
        """An attempt, or a race of them, begins. first: at this upstream, and no probe of it."""
        self._leading = self._last = stay
        self._hedged, self._delay = False, None
        hedging, call = self.plan.hedging, self.call
        if stay is None or not self.plan.hedges or not first:
            return
        if call.sdk_retries or not call.body.kept or not call.facts.raceable:
            return
        stay.machines.hedges.deposit()
        self._delay = math.inf
        if hedging is not None:
            measured = stay.machines.latencies.of(stay.model)
            self._delay = measured.hedging_delay() if hedging.delay is None else hedging.delay

    def hedged(self) -> None:
        """The race starts one more attempt that no failure called for."""
        self._hedged = True

    @harmless
    def attempted(self, stay: Stay | None, fault: Fault | None, first_content: float | None) -> None:
        """It has ended: without a good answer, or (fault None) with one that is passed on now."""
        self._last = stay
        if fault is not None:
            self._measure(fault, first_content)
            self._leading = self._last = None

    def _measure(self, fault: Fault | None, content: float | None) -> None:
        """Hold what was measured against the hedging delay and the limits, in the order of time."""
        now, last = self.shadows.clock.now(), self._last
        limits = None if last is None else last.limits()
        late = None if limits is None or last is None else missed(limits, last.head_at, content, now)
        hedge = self._hedge(fault, content, now)
        hedge_first = hedge is not None and not (late and late[1] < hedge[0])
        if hedge is not None and hedge_first:
            self._compare_hedge(hedge[1])
        if limits is not None and last is not None and not self.apart:
            would, did = late[0] if late else "none", _TIMEOUTS.get(fault.code, "none") if fault else "none"
            self.compare("timeout", last.candidate, would, did)
            last.late = None if would == "none" != did else late is not None
        if hedge is not None and not hedge_first:
            self._compare_hedge(hedge[1])

    def _hedge(self, fault: Fault | None, content: float | None, now: float) -> tuple[float, bool] | None:
        """When the first upstream would have been hedged, and whether it was still waited for by then; None where that
        is not asked, or nobody knows."""
        leading, delay = self._leading, self._delay
        if leading is None or delay is None or leading.sent_at is None:
            return None
        decided = leading is self._last
        until = content if decided and content is not None else leading.settled_at or now
        waited = until - leading.sent_at
        failed = leading.settled_at is not None or (decided and fault is not None and fault.code is not Code.AGENT_GONE)
        if not failed:
            leading.machines.latencies.of(leading.model).add(waited)
            if not decided and waited < delay < math.inf:
                return None  # another has won before this one would have been hedged
        return leading.sent_at + delay, waited >= delay

    def _compare_hedge(self, waiting: bool) -> None:
        leading, delay = self._leading, self._delay
        assert leading is not None and delay is not None
        would = waiting and leading.machines.hedge(self.shadows.clock.now(), capped=delay > 0)
        self.compare("hedge", leading.candidate, "hedge" if would else "none", "hedge" if self._hedged else "none")

    # -- after a failure -------------------------------------------------------------------------------------------

    def deciding(self, standing: Standing) -> None:
        """What the real decision goes by. There may be several, where nobody took the call in the end."""
        self._standings.append(standing)

    @harmless
    def decided(self, stay: Stay | None, candidate: Candidate, fault: Fault, did: str) -> None:
        """The real decision: `retry`, `failover` or `give_up`."""
        standings, self._standings = self._standings, []
        if self.apart or not standings:
            return
        call, plan, now = self.call, self.plan, self.shadows.clock.now()
        if self._retry is None:
            facts = call.facts
            self._retry = Retry(plan.retry, facts.safety, pinned=facts.pinned, sdk_retry_count=call.sdk_retries)
        # Without machines of its own here there is nothing to say about the budget.
        withdraw = (lambda: did == "retry") if stay is None else lambda: stay.machines.budget.withdraw(now)
        for real in standings:
            standing = self._standing(real, stay, fault, now)
            decision = self._retry.next(fault, standing, withdraw, self.shadows.rng)
            if not isinstance(decision, Next):
                break
        if isinstance(decision, Next) and did != "failover" and not standing.admissible:
            nobody = replace(standing, another=False, admissible=False)
            decision = self._retry.next(fault, nobody, withdraw, self.shadows.rng)
        if plan.retries or plan.timed or (stay is not None and stay.machines.decides):
            would = {Wait: "retry", Next: "failover", Stop: "give_up"}[type(decision)]
            self.compare("failure", candidate, would, did)

    def _standing(self, real: Standing, stay: Stay | None, fault: Fault, now: float) -> Standing:
        """The real one, as it would have been."""
        changed: dict[str, Any] = {"listed": fault.listed(self.plan.fallback_on)}
        if self.plan.timed and self.deadline is not None:
            changed["left"] = self.deadline - now
        if stay is not None and stay.held is not None:
            changed["open"], changed["probe"] = stay.held.open(now), stay.held.probe
        return replace(real, **changed)

    # -- the end ---------------------------------------------------------------------------------------------------

    def fell(self, fault: Fault) -> None:
        """No upstream has given a good answer, and the chain asks for another."""
        self._fallen = fault

    @harmless
    def over(self, fault: Fault | None, first_content: float | None, outcome: Outcome) -> None:
        """The call ends."""
        self._measure(fault, first_content)
        self._leading = self._last = None
        if not self.plan.answers:
            return
        did = "answer" if self._fallen is None else "static" if outcome is Outcome.STATIC else "error"
        if self.plan.offline and not self.call.plan.offline:
            # That is where the ways parted; but what offline mode would have answered is known.
            self.apart = False
            self.compare("answer", None, "static" if self._static(Fault(Code.OFFLINE)) else "error", did)
        elif self._fallen is not None:
            self.compare("answer", None, "static" if self._static(self._fallen) else "error", did)

    def _static(self, fault: Fault) -> bool:
        """Whether there would be a StaticResponse to it."""
        static, call = self.plan.static, self.call
        if static is None or not fault.rule.outage:
            return False
        return static.status >= 400 or call.plan.dialect.static(call.facts, static.text, call.id, 0) is not None
