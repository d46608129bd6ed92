"""Circuit breakers in whatever state a test wants them, without randomness."""

from seawall.core.breaker import Breaker, BreakerSettings, Moved, State, Ticket, Verdict

GOOD, BAD, VOID = Verdict.GOOD, Verdict.BAD, Verdict.VOID
SETTINGS = BreakerSettings(
    consecutive_failures=5,
    failure_percent=50,
    window=30.0,
    minimum_calls=10,
    slow_call=8.0,
    slow_percent=80,
    open_base=10.0,
    open_max=300.0,
    jitter_percent=20,
    forget_after=300.0,
    permits=1,
    successes=3,
    ramp_seconds=30.0,
    ramp_start_percent=10,
)


class Drawn:
    """Randomness that always draws the same; 0.5 is no jitter."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


RNG = Drawn()


def admit(breaker: Breaker, now: float = 0.0, sole: bool = False) -> Ticket:
    ticket = breaker.admit(now, RNG, sole)
    assert isinstance(ticket, Ticket)
    return ticket


def call(breaker: Breaker, verdict: Verdict, now: float = 0.0, slow: bool = False) -> tuple[Moved, ...]:
    return breaker.settle(admit(breaker, now), verdict, now, RNG, slow)


def tripped(now: float = 0.0, settings: BreakerSettings = SETTINGS) -> Breaker:
    breaker = Breaker(settings)
    for _ in range(5):
        call(breaker, BAD, now)
    assert breaker.state(now) is State.OPEN
    return breaker


def open_until(breaker: Breaker, now: float) -> float:
    until = breaker.snapshot(now).open_until
    assert until is not None
    return until


def closed_again(now: float = 0.0) -> tuple[Breaker, float]:
    breaker = tripped(now)
    now = open_until(breaker, now)
    for _ in range(3):
        call(breaker, GOOD, now)
    assert breaker.state(now) is State.CLOSED
    return breaker, now


def opened_for_long() -> tuple[Breaker, float]:
    """Open since `now`, for 80 s."""
    breaker, now = tripped(), 0.0
    for _ in range(3):
        now = open_until(breaker, now)
        call(breaker, BAD, now)
    assert open_until(breaker, now) == now + 80
    return breaker, now
