"""Which upstream a call goes to first, and which next: priorities and weights, breakers, cooldowns, fitness.

It enters a candidate (takes its breakers' tickets) or says why none can be entered; it never sends anything.
"""

from collections.abc import Iterator, Sequence

from seawall.affinity import Affinity
from seawall.call import Call
from seawall.clock import Clock, Rng
from seawall.faults import Code, Fault, Sample
from seawall.foreign import Translator
from seawall.outgoing import credential_mark
from seawall.run import Run
from seawall.runtime import Candidate
from seawall.types import CoolingDown, CredentialParked, Observer
from seawall.visit import Barred, Visit, enter

# How long a transient 429 without a hint keeps a model from being the first choice, in seconds.
COOLDOWN = 1.0
# A credential that is out of quota is tried again after so many seconds (SEMANTICS §1).
PARK = 60.0


class Candidates:
    def __init__(self, clock: Clock, rng: Rng, observe: Observer) -> None:
        self._affinity = Affinity()
        self.made = self._affinity.made
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self.translator: Translator | None = None
        """There where the policy has candidates that speak another dialect than the agent."""

    def order(self, call: Call) -> list[Candidate]:
        """Who may serve a call, in the order in which they are tried."""
        if call.facts.pinned:
            return [self._affinity.owner(call)]
        if (holder := self._affinity.holder(call)) is not None:
            return [holder]
        return self._affinity.order(call, self._rng)

    def first(self, run: Run) -> Fault | None:
        """Enter the first candidate that is admitted. Where none is, one is tried all the same where that does no
        harm: a cooldown is advice, and a sole upstream's breaker lets some calls through (SEMANTICS §3)."""
        if run.call.plan.selective:
            self._select(run)
        several = len(run.left) > 1
        if several and (self.move(run, run.left) or self._enter_resting(run)):
            return None
        retry_after: float | None = None
        for candidate in self._takers(run, run.left):
            entered = self._enter(run, candidate, sole=True)
            if isinstance(entered, Visit):
                return None
            self._skip(run, candidate, self._refusal(run, candidate))
            retry_after = min(entered.retry_after, retry_after or entered.retry_after)
        if not run.left and run.primary.target.read_only and run.call.facts.writes:
            return Fault(Code.STATEMENT_REFUSED, f"the statement {run.call.facts.writes}")
        if not run.left:
            return Fault(Code.NO_CANDIDATE, "; ".join(run.ledger.skipped))
        return Fault(Code.BREAKER_OPEN, "no upstream of this route takes calls now", hint=retry_after)

    def _select(self, run: Run) -> None:
        """Pass over those that may not, or whose model cannot, do what the request asks for (SEMANTICS §8)."""
        call = run.call
        if call.facts.writes:
            for candidate in [c for c in run.left if c.target.read_only]:
                self._pass_over(run, candidate, "takes only statements that read")
        needs = call.plan.dialect.needs(call.body.data) if call.body.whole else frozenset()
        for candidate in list(run.left):
            lacks = candidate.lacks(call.facts.model, needs)
            if lacks:
                model = candidate.model_for(call.facts.model)
                self._pass_over(run, candidate, f"{model} has no {', '.join(sorted(lacks))}")

    def _takers(self, run: Run, among: Sequence[Candidate]) -> Iterator[Candidate]:
        """Those that can be asked, each judged when it is its turn: to see what can be translated costs a
        millisecond, which no call pays that its own dialect's upstream answers."""
        for candidate in list(among):
            if self._can_be_asked(run, candidate):
                yield candidate

    def _can_be_asked(self, run: Run, candidate: Candidate) -> bool:
        if not candidate.foreign:
            return True
        assert self.translator is not None, "a policy with foreign candidates comes with a translator"
        reasons = self.translator.unfit(run.call, candidate)
        if reasons:
            self._pass_over(run, candidate, "; ".join(reasons))
        return not reasons

    def _pass_over(self, run: Run, candidate: Candidate, why: str) -> None:
        """This call cannot go there at all."""
        self._skip(run, candidate, why)
        if candidate in run.left:
            run.left.remove(candidate)
        if candidate is run.primary and run.left:
            run.primary = run.left[0]

    def move(self, run: Run, among: list[Candidate]) -> bool:
        """Enter the next of `among` that is rested and admitted."""
        for candidate in self._takers(run, among):
            if not self._rested(run, candidate):
                self._skip(run, candidate, "cooling down")
            elif isinstance(self._enter(run, candidate, sole=False), Visit):
                return True
            else:
                self._skip(run, candidate, self._refusal(run, candidate))
        return False

    def admissible(self, run: Run, candidate: Candidate) -> bool:
        """Whether `move` would enter it, chance apart; takes nothing."""
        now, upstream = self._clock.now(), candidate.upstream
        breaker = upstream.breaker(candidate.model_for(run.call.facts.model), now)
        if not self._rested(run, candidate) or upstream.transport.refuses(now) or breaker.refuses(now):
            return False
        return self._can_be_asked(run, candidate)

    def fit(self, run: Run, visit: Visit, fault: Fault) -> list[Candidate]:
        """The untried candidates that could do what this one could not."""
        among: Sequence[Candidate] = run.left
        if fault.code is Code.CONTEXT_LENGTH:
            asked = run.call.facts.model
            among = [c for c in among if c.window_for(asked) > visit.candidate.window_for(asked)]
        return list(self._takers(run, among))

    def rest(self, run: Run, visit: Visit, fault: Fault) -> None:
        """Take a throttled model, or a credential without quota, out of the first choice."""
        upstream, sample, now = visit.candidate.upstream, fault.rule.sample, self._clock.now()
        if sample is Sample.COOLDOWN:
            seconds = fault.hint or COOLDOWN
            upstream.cooldowns.rest(self._key(run, visit.candidate), now, seconds)
            self._observe(CoolingDown(upstream.name, visit.model, seconds))
        elif sample is Sample.PARK:
            upstream.cooldowns.park(self._key(run, visit.candidate), now, PARK)
            self._observe(CredentialParked(upstream.name, visit.model, PARK, fault.code.value))

    def served(self, run: Run, visit: Visit) -> None:
        """A good answer ends whatever rest there was, and its conversation stays here."""
        self._affinity.served(run.call, visit.candidate)
        cooldowns = visit.candidate.upstream.cooldowns
        if cooldowns:
            cooldowns.clear(self._key(run, visit.candidate), visit.entered)

    def _enter_resting(self, run: Run) -> bool:
        """Better one that only rests than one whose breaker is open."""
        takers = self._takers(run, run.left)
        return any(isinstance(self._enter(run, candidate, sole=False), Visit) for candidate in takers)

    def enter(self, run: Run, candidate: Candidate, *, sole: bool = False) -> Visit | Barred:
        """Take the breakers' tickets; the candidate counts as tried. `run.visit` stays where it is."""
        now = self._clock.now()
        entered = enter(candidate, candidate.model_for(run.call.facts.model), now, self._rng, sole)
        if isinstance(entered, Visit):
            if run.shadow is not None:
                entered.shadow = run.shadow.entered(candidate, sole)
            if candidate in run.left:
                run.left.remove(candidate)
            if candidate.upstream.cooldowns:
                # Takes the turn of a parked credential: one try a minute.
                candidate.upstream.cooldowns.due(self._key(run, candidate), now)
        elif run.shadow is not None:
            run.shadow.barred(candidate, sole)
        for event in entered.told:
            self._observe(event)
        return entered

    def _enter(self, run: Run, candidate: Candidate, *, sole: bool) -> Visit | Barred:
        entered = self.enter(run, candidate, sole=sole)
        if isinstance(entered, Visit):
            run.visit = entered
        return entered

    def _rested(self, run: Run, candidate: Candidate) -> bool:
        cooldowns = candidate.upstream.cooldowns
        return not cooldowns or cooldowns.seconds(self._key(run, candidate), self._clock.now()) == 0

    def _key(self, run: Run, candidate: Candidate) -> tuple[str, int]:
        return candidate.model_for(run.call.facts.model), credential_mark(run.call, candidate.target)

    def _refusal(self, run: Run, candidate: Candidate) -> str:
        """Why a candidate has just refused, for the log."""
        now, upstream = self._clock.now(), candidate.upstream
        breaker = upstream.breaker(candidate.model_for(run.call.facts.model), now)
        for name, refusing in (("breaker", breaker), ("origin's breaker", upstream.transport)):
            if refusing.refuses(now):
                return f"{name} {refusing.state(now).value.replace('_', '-')}"
        return "ramping up"

    def _skip(self, run: Run, candidate: Candidate, why: str) -> None:
        note = f"{candidate.upstream.name}: {why}"
        if note not in run.ledger.skipped:
            run.ledger.skipped.append(note)
