"""A call's stay at one upstream as it would have been: beside the `Visit`, fed by whoever handles the real one."""

from seawall.core.breaker import Verdict
from seawall.core.shadow import Held, Limits, Shadow, ShadowMove, place
from seawall.runtime import Candidate
from seawall.shadow.book import Comparison, Part, harmless
from seawall.types import ShadowMoved


class Stay(Part):
    """A call's stay at one upstream, beside the `Visit`. held: None where no circuit is kept, or it would have
    refused."""

    __slots__ = ("candidate", "head_at", "held", "late", "machines", "model", "sent_at", "settled_at", "trace")

    def __init__(
        self, trace: Comparison, candidate: Candidate, machines: Shadow, model: str, held: Held | None
    ) -> None:
        super().__init__(trace.shadows)
        self.trace = trace
        self.candidate = candidate
        self.machines = machines
        self.model = model
        self.held = held
        self.sent_at: float | None = None
        """Of the latest attempt."""
        self.head_at: float | None = None
        self.settled_at: float | None = None
        self.late: bool | None = False
        """It would have missed a limit here. None: it really has, and the policy would have waited on."""

    @harmless
    def asks(self) -> None:
        """An attempt wants a place among the upstream's parallel requests."""
        wanted = self.machines.settings.places
        if wanted is not None:
            # By how many really run and wait: nobody is counted twice, and no place can be lost.
            real = self.candidate.upstream.limiter.snapshot()
            load = real.active + real.pending
            would, did = place(load, *wanted), place(load, real.max_parallel, real.max_pending)
            self.trace.compare("place", self.candidate, would, did, go_on="refuse" not in (would, did))

    @harmless
    def sent(self, now: float, *, first: bool) -> None:
        """An attempt was sent. first: it is the call's first one here, and no hedge."""
        self.sent_at, self.head_at = now, None
        if first:
            self.machines.budget.deposit(now)

    def headed(self, now: float) -> None:
        """Its head is there."""
        self.head_at = now

    @harmless
    def committed(self, now: float) -> None:
        if self.held is not None:
            self.held.committed(now)

    @harmless
    def settle(self, verdicts: tuple[Verdict, Verdict], waited: float) -> None:
        """Its end, as the real circuits are told of it. waited: seconds without content, as far as they count."""
        now = self.settled_at = self.shadows.clock.now()
        if self.held is None or self.machines.settings.breaker is None:
            return
        answer, transport = verdicts
        slow_call = self.machines.settings.breaker.slow_call
        slow = slow_call is not None and waited > slow_call
        if self.late is None:
            answer, slow = Verdict.VOID, False
        elif self.late and transport is not Verdict.VOID:
            answer = Verdict.BAD
        self.tell(self.held.settle(answer, transport, now, self.shadows.rng, slow))

    def tell(self, moves: list[ShadowMove]) -> None:
        """Events of circuits that would have moved."""
        now, name = self.shadows.clock.now(), self.candidate.upstream.name
        for move in moves:
            moved, key = move.moved, self.machines.origin if move.transport else self.model
            until = None if moved.until is None else max(0.0, moved.until - now)
            self.shadows.observe(ShadowMoved(name, key, moved.before.value, moved.after.value, moved.reason, until))

    def limits(self) -> Limits | None:
        """When the present attempt would have to be where; None where they are the enforced ones, or none is under
        way."""
        trace, sent = self.trace, self.sent_at
        if sent is None or not (trace.plan.timed or self.candidate.shadow is not None):
            return None
        timeouts, received = self.candidate.shadow or self.candidate.timeouts, trace.call.received
        attempt = None if timeouts.backend_request is None else sent + timeouts.backend_request
        if timeouts.request_set:
            # An Upstream's own limit on the whole call ends the attempt there.
            whole = received + timeouts.request
            attempt = whole if attempt is None else min(attempt, whole)
        first_content = timeouts.first_content if trace.call.facts.stream else None
        return Limits(
            request=trace.deadline,
            attempt=attempt,
            first_byte=None if timeouts.first_byte is None else sent + timeouts.first_byte,
            first_content=None if first_content is None else sent + first_content,
        )
