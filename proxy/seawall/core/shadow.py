"""What one upstream's machines would do under the settings of a policy that is only evaluated (`enforcement: Shadow`).

They are fed with what really happened and act on nothing. What they cannot know, the outcome of a call that was not
made, they never guess: a circuit that would have refused a call learns nothing from its answer.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seawall.core.breaker import Breaker, BreakerSettings, Moved, Refused, Ticket, Verdict
from seawall.core.budget import Budget, HedgeBudget
from seawall.core.by_model import Breakers, LatenciesOf
from seawall.core.circuit import Lot

if TYPE_CHECKING:
    from seawall.clock import Rng


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """breaker, places: None where they are the enforced ones, so that there is nothing to compare. places: parallel
    requests, and those that may wait for a place. percent, interval, min_per_second: of the retry budget;
    `budgeted`: it differs from the enforced one."""

    breaker: BreakerSettings | None
    places: tuple[int, int] | None
    percent: float
    interval: float
    min_per_second: float
    budgeted: bool


@dataclass(frozen=True, slots=True)
class ShadowMove:
    """A circuit would have moved. `transport`: that of the origin."""

    moved: Moved
    transport: bool = False


class Held:
    """The tickets of one call for both circuits; settle them once."""

    __slots__ = ("_breaker", "_ticket", "_transport", "_transport_ticket")

    def __init__(self, breaker: Breaker, ticket: Ticket, transport: Breaker, transport_ticket: Ticket) -> None:
        self._breaker = breaker
        self._ticket = ticket
        self._transport = transport
        self._transport_ticket = transport_ticket

    @property
    def probe(self) -> bool:
        return self._ticket.probe or self._transport_ticket.probe

    def open(self, now: float) -> bool:
        """Whether further calls would be refused by now."""
        return self._breaker.refuses(now) or self._transport.refuses(now)

    def committed(self, now: float) -> None:
        self._breaker.committed(self._ticket, now)
        self._transport.committed(self._transport_ticket, now)

    def settle(
        self, answer: Verdict, transport: Verdict, now: float, rng: "Rng", slow: bool = False
    ) -> list[ShadowMove]:
        told = [ShadowMove(m) for m in self._breaker.settle(self._ticket, answer, now, rng, slow=slow)]
        origin = self._transport.settle(self._transport_ticket, transport, now, rng)
        return told + [ShadowMove(m, transport=True) for m in origin]


class Shadow:
    """Of one upstream. It belongs to the upstream's identity and survives reloads as the real machines do."""

    def __init__(self, settings: ShadowSettings, origin: str) -> None:
        self.settings = settings
        self.origin = origin
        self.budget = Budget(settings.percent, settings.interval, settings.min_per_second)
        self.hedges = HedgeBudget()
        self.latencies = LatenciesOf()
        self.breakers = Breakers()
        self.transport = None if settings.breaker is None else Breaker(settings.breaker)

    def configure(self, settings: ShadowSettings, origin: str) -> None:
        """Take new settings in place. A circuit that is no longer wanted is forgotten, and so is another origin's."""
        self.settings = settings
        self.budget.configure(settings.percent, settings.interval, settings.min_per_second)
        if settings.breaker is None:
            self.breakers.clear()
            self.transport = None
            return
        for breaker in self.breakers.values():
            breaker.configure(settings.breaker)
        if self.transport is None or origin != self.origin:
            self.transport = Breaker(settings.breaker)
        else:
            self.transport.configure(settings.breaker)
        self.origin = origin

    @property
    def decides(self) -> bool:
        """Whether it can make a difference to what follows a failure."""
        return self.settings.budgeted or self.settings.breaker is not None

    def refuses(self, model: str, now: float, sole: bool = False) -> bool:
        """Whether a call would be refused for sure; takes nothing."""
        breaker = self.breakers.get(model)
        return (breaker is not None and breaker.refuses(now, sole)) or (
            self.transport is not None and self.transport.refuses(now, sole)
        )

    def admit(self, model: str, now: float, rng: "Rng", sole: bool) -> tuple[Held | None, list[ShadowMove]]:
        """Ask both circuits for a call that was really admitted: tickets, or None where they would have refused it."""
        transport, settings = self.transport, self.settings.breaker
        if transport is None or settings is None or self.refuses(model, now, sole):
            return None, []
        breaker = self.breakers.known(model)
        if breaker is None:
            breaker = Breaker(settings)
            self.breakers.add(model, breaker, now)
        lot = Lot(rng)
        ticket = breaker.admit(now, lot, sole)
        if isinstance(ticket, Refused):
            return None, []
        told = [ShadowMove(moved) for moved in ticket.moved]
        admitted = transport.admit(now, lot, sole)
        if isinstance(admitted, Refused):
            breaker.settle(ticket, Verdict.VOID, now, rng)
            return None, told
        told += [ShadowMove(moved, transport=True) for moved in admitted.moved]
        return Held(breaker, ticket, transport, admitted), told

    def hedge(self, now: float, capped: bool) -> bool:
        """Whether there would be the means for one more request at once; takes them. capped: as a share of calls."""
        if self.budget.spent(now):
            return False
        return not capped or (self.hedges.withdraw() and self.budget.withdraw(now))


def place(wanted: int, parallel: int | None, pending: int) -> str:
    """What becomes of one more request: `admit`, `queue` or `refuse`. wanted: those that run or wait already. parallel:
    places, None for any number; pending: places in the queue."""
    if parallel is None or wanted < parallel:
        return "admit"
    return "queue" if wanted < parallel + pending else "refuse"


@dataclass(frozen=True, slots=True)
class Limits:
    """When which part of an attempt has to be there, on the clock; None: no limit."""

    request: float | None = None
    attempt: float | None = None
    first_byte: float | None = None
    first_content: float | None = None


def missed(limits: Limits, head: float | None, content: float | None, end: float) -> tuple[str, float] | None:
    """The first limit that an attempt has missed, and when that was. head, content: when they came, None: not before
    the end. The order decides between limits that end together."""
    found = [
        (by, name)
        for name, by, came in (
            ("request", limits.request, end),
            ("attempt", limits.attempt, end),
            ("first_byte", limits.first_byte, end if head is None else head),
            ("first_content", limits.first_content, end if content is None else content),
        )
        if by is not None and came >= by
    ]
    if not found:
        return None
    by, name = min(found, key=lambda one: one[0])
    return name, by
