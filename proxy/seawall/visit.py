"""A call's stay at one upstream: however many attempts it takes there, one sample for each breaker (SEMANTICS §3)."""

from dataclasses import dataclass

from seawall.clock import Rng
from seawall.core.breaker import Breaker, Moved, Refused, Ticket, Verdict
from seawall.core.circuit import Lot
from seawall.faults import Code, Fault, Sample
from seawall.runtime import Candidate
from seawall.shadow import Stay
from seawall.types import BreakerMoved

# What says something about the way to an origin rather than about a model behind it.
TRANSPORT = frozenset({Code.DNS_FAILED, Code.CONNECT_FAILED, Code.CONNECT_TIMEOUT, Code.TLS_FAILED})


@dataclass(slots=True)
class Visit:
    """Tickets of both breakers; settled once, by `settle`."""

    candidate: Candidate
    model: str
    breaker: Breaker
    ticket: Ticket
    transport: Breaker
    """Of the origin at the time; a reload may give the upstream another."""
    transport_ticket: Ticket
    entered: float
    told: tuple[BreakerMoved, ...] = ()
    """What the admission moved: an opening that is over becomes half-open with the first call."""
    settled: bool = False
    untried: bool = True
    """No attempt was made here yet."""
    blameless: bool = False
    """What went wrong was our doing or the agent's: the sample says nothing."""
    connected: bool = False
    """The request went out on a connection: the origin can be reached."""
    shadow: Stay | None = None
    """The same stay under a policy that is only evaluated."""

    @property
    def probe(self) -> bool:
        """Whether this call tests a half-open breaker; such a one is not repeated there."""
        return self.ticket.probe or self.transport_ticket.probe

    def committed(self, now: float) -> None:
        """A stream was committed: permits are free for the next probe, the samples come at the stream's end."""
        self.breaker.committed(self.ticket, now)
        self.transport.committed(self.transport_ticket, now)
        if self.shadow is not None:
            self.shadow.committed(now)

    def verdicts(self, fault: Fault | None) -> tuple[Verdict, Verdict]:
        """What the call's end says about the model, and about the origin. `fault` None is a good answer."""
        if fault is None:
            return Verdict.GOOD, Verdict.GOOD
        if self.untried or self.blameless:
            return Verdict.VOID, Verdict.VOID
        if fault.code in TRANSPORT:
            return Verdict.VOID, Verdict.BAD
        answer = Verdict.BAD if fault.rule.sample is Sample.BAD else Verdict.VOID
        return answer, Verdict.GOOD if self.connected else Verdict.VOID

    def settle(self, fault: Fault | None, slow: bool, now: float, rng: Rng) -> list[BreakerMoved]:
        """Give both samples. `fault` None is a good answer."""
        if self.settled:
            return []
        self.settled = True
        upstream = self.candidate.upstream
        answer, transport = self.verdicts(fault)
        told = self.breaker.settle(self.ticket, answer, now, rng, slow=slow)
        told_transport = self.transport.settle(self.transport_ticket, transport, now, rng)
        if not (told or told_transport):
            return []
        return moves(upstream.name, self.model, told, now) + moves(
            upstream.name, self.candidate.target.endpoint.origin, told_transport, now
        )


def moves(upstream: str, key: str, moved: tuple[Moved, ...], now: float) -> list[BreakerMoved]:
    """A breaker's moves as events."""
    return [
        BreakerMoved(upstream, key, m.before.value, m.after.value, m.reason, m.until and max(0.0, m.until - now))
        for m in moved
    ]


@dataclass(frozen=True, slots=True)
class Barred:
    """A breaker refused. retry_after: seconds. told: what asking has moved all the same."""

    retry_after: float
    told: tuple[BreakerMoved, ...] = ()


def enter(candidate: Candidate, model: str, now: float, rng: Rng, sole: bool) -> Visit | Barred:
    """Ask both breakers; a Barred takes no ticket away."""
    upstream = candidate.upstream
    breaker, transport = upstream.breaker(model, now), upstream.transport
    lot = Lot(rng)
    for asked in (breaker, transport):
        if asked.refuses(now, sole):
            # Before either gives a ticket, so that neither is moved to half-open for nothing.
            refused = asked.admit(now, lot, sole=sole)
            assert isinstance(refused, Refused)
            return Barred(refused.retry_after)
    ticket = breaker.admit(now, lot, sole=sole)
    if isinstance(ticket, Refused):
        return Barred(ticket.retry_after)
    admitted = transport.admit(now, lot, sole=sole)
    told: list[BreakerMoved] = []
    if ticket.moved:
        told += moves(upstream.name, model, ticket.moved, now)
    if isinstance(admitted, Refused):
        breaker.settle(ticket, Verdict.VOID, now, rng)
        return Barred(admitted.retry_after, tuple(told))
    if admitted.moved:
        told += moves(upstream.name, candidate.target.endpoint.origin, admitted.moved, now)
    return Visit(candidate, model, breaker, ticket, transport, admitted, now, tuple(told))
