"""A call's stay at one upstream: however many attempts it takes there, one sample for each breaker (SEMANTICS §3)."""

from dataclasses import dataclass

from seawall.clock import Rng
from seawall.core.breaker import Breaker, Moved, Refused, Ticket, Verdict
from seawall.faults import Code, Fault, Sample
from seawall.runtime import Candidate
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
    settled: bool = False
    untried: bool = True
    """No attempt was made here yet."""
    blameless: bool = False
    """What went wrong was our doing or the agent's: the sample says nothing."""
    connected: bool = False
    """The request went out on a connection: the origin can be reached."""

    @property
    def probe(self) -> bool:
        """Whether this call tests a half-open breaker; such a one is not repeated there."""
        return self.ticket.probe or self.transport_ticket.probe

    def admitted(self, now: float) -> list[BreakerMoved]:
        """What the admission did to the breakers: an opening that is over becomes half-open with the first call."""
        if not (self.ticket.moved or self.transport_ticket.moved):
            return []
        upstream = self.candidate.upstream
        return moves(upstream.name, self.model, self.ticket.moved, now) + moves(
            upstream.name, self.candidate.target.endpoint.origin, self.transport_ticket.moved, now
        )

    def committed(self, now: float) -> None:
        """A stream was committed: permits are free for the next probe, the samples come at the stream's end."""
        self.breaker.committed(self.ticket, now)
        self.transport.committed(self.transport_ticket, now)

    def settle(self, fault: Fault | None, slow: bool, now: float, rng: Rng) -> list[BreakerMoved]:
        """Give both samples. `fault` None is a good answer."""
        if self.settled:
            return []
        self.settled = True
        upstream = self.candidate.upstream
        answer = transport = Verdict.GOOD
        if fault is not None and (self.untried or self.blameless):
            answer = transport = Verdict.VOID
        elif fault is not None:
            bad = fault.rule.sample is Sample.BAD
            if fault.code in TRANSPORT:
                answer, transport = Verdict.VOID, Verdict.BAD
            else:
                answer = Verdict.BAD if bad else Verdict.VOID
                transport = Verdict.GOOD if self.connected else Verdict.VOID
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


def enter(candidate: Candidate, model: str, now: float, rng: Rng, sole: bool) -> Visit | Refused:
    """Ask both breakers; a Refused takes no ticket away."""
    upstream = candidate.upstream
    breaker = upstream.breaker(model, now)
    if breaker.refuses(now, sole):
        # Asked first, so that the transport's breaker is not moved to half-open for nothing.
        refused = breaker.admit(now, rng, sole=sole)
        assert isinstance(refused, Refused)
        return refused
    transport = upstream.transport
    admitted = transport.admit(now, rng, sole=sole)
    if isinstance(admitted, Refused):
        return admitted
    ticket = breaker.admit(now, rng, sole=sole)
    if isinstance(ticket, Refused):
        transport.settle(admitted, Verdict.VOID, now, rng)
        return ticket
    return Visit(candidate, model, breaker, ticket, transport, admitted, now)
