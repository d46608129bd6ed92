"""The circuit breaker of one upstream and model, or of one origin (SEMANTICS §3). It admits calls and learns how they
ended; it must never let an answer from before its last move decide anything, nor keep a permit that was given back.

Theory of operation. Every move starts a new epoch and a ticket carries the epoch in which it was given, so whatever
began before a trip, a recovery or an action by hand is stale: its sample is dropped, and its permit ended with the
epoch. Time moves the machine lazily: an opening that is over becomes half-open when the next call asks.

    CLOSED -> OPEN                      too many failures, or too many slow calls
    OPEN -> HALF_OPEN                   the opening is over and a call asks; that call is the first probe
    HALF_OPEN -> CLOSED | OPEN          enough good probes | a bad one, for twice as long
    any -> ISOLATED | FORCED_CLOSED | CLOSED    by hand

A `sole` caller has no other candidate and nothing stale or static to answer with. For it an opening lasts 30 s at most,
and while no probe may go a tenth of its calls is let through. Such a call is no probe and its end decides nothing: with
one success in three, a hundred calls let through would soon hold three good ones in a row, which probes, each of which
puts the whole opening at stake, would not. For the same reason it does not lengthen the opening when it fails.
"""

from typing import TYPE_CHECKING

from seawall.core.circuit import BreakerSettings, BreakerSnapshot, Moved, State, Ticket, Verdict
from seawall.core.refusal import SOON, Refused
from seawall.core.window import PARTS, Window

if TYPE_CHECKING:
    from seawall.clock import Rng

__all__ = ["Breaker", "BreakerSettings", "BreakerSnapshot", "Moved", "Refused", "State", "Ticket", "Verdict"]

_CALLS, _FAILURES, _SLOW = range(3)
# By name: under Python 3.11 each look-up of a member on its class costs as much as the rest of an admission.
_CLOSED, _OPEN, _HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
_ISOLATED, _FORCED_CLOSED = State.ISOLATED, State.FORCED_CLOSED
_GOOD, _BAD, _VOID = Verdict.GOOD, Verdict.BAD, Verdict.VOID


class Breaker:
    """One circuit. All methods are O(1) amortised; only tickets are allocated while it is closed."""

    __slots__ = (
        "_closed_at",
        "_consecutive",
        "_epoch",
        "_for_slowness",
        "_level",
        "_opened_at",
        "_out",
        "_ramping",
        "_reason",
        "_settings",
        "_state",
        "_successes",
        "_until",
        "_window",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._window = Window(settings.window / PARTS, PARTS, 3)
        self._state = _CLOSED
        self._reason = ""
        self._epoch = 0
        self._consecutive = 0
        self._successes = 0
        self._out = 0
        self._level = -1
        self._for_slowness = False
        self._ramping = False
        self._closed_at = self._opened_at = self._until = 0.0

    def configure(self, settings: BreakerSettings) -> None:
        """Take new settings in place. State, epoch, counts and the end of a running opening stay as they are."""
        self._settings = settings
        self._window.rescale(settings.window / PARTS)

    # Admission

    def admit(self, now: float, rng: "Rng", sole: bool = False) -> Ticket | Refused:
        """Ask for leave to make a call."""
        state = self._state
        if state is _CLOSED:
            if not self._ramping or sole or rng.random() * 100 < self._ramp_percent(now):
                return Ticket(self._epoch)
            return Refused(SOON)
        if state is _FORCED_CLOSED:
            return Ticket(self._epoch)
        if state is _ISOLATED:
            # Nobody knows when a person lifts it; an agent may ask again after the shortest opening.
            return Refused(self._settings.open_base)
        return self._admit_while_open(now, rng, sole)

    def refuses(self, now: float, sole: bool = False) -> bool:
        """Whether `admit` would refuse for sure; asking costs no permit and no randomness. False promises nothing
        (the ramp, or a sole caller's luck, still decides)."""
        state = self._state
        if state is _OPEN:
            return not sole and now < self._until
        if state is _HALF_OPEN:
            return not sole and self._out >= max(1, self._settings.permits)
        return state is _ISOLATED

    def _admit_while_open(self, now: float, rng: "Rng", sole: bool) -> Ticket | Refused:
        settings = self._settings
        moved: tuple[Moved, ...] = ()
        wait = SOON
        if self._state is _OPEN:
            until = min(self._until, self._opened_at + settings.sole_open_max) if sole else self._until
            if now >= until:
                moved = (self._move(_HALF_OPEN, "open time is over"),)
            wait = until - now
        if self._state is _HALF_OPEN and self._out < max(1, settings.permits):
            self._out += 1
            return Ticket(self._epoch, True, moved)
        if sole and rng.random() * 100 < settings.sole_pass_percent:
            return Ticket(self._epoch)
        return Refused(wait)

    def _ramp_percent(self, now: float) -> float:
        """Share of calls admitted now; ends the ramp when it has reached the top."""
        settings = self._settings
        passed = now - self._closed_at
        if not self._ramping or passed >= settings.ramp_seconds:
            self._ramping = False
            return 100.0
        start = settings.ramp_start_percent
        return start + (100 - start) * passed / settings.ramp_seconds

    # How a call ended

    def committed(self, ticket: Ticket, now: float) -> None:
        """A stream began to reach the agent: free its permit, so that it does not keep the next probe waiting for
        minutes. Its sample still comes at its end."""
        del now
        if ticket.holds:
            ticket.holds = False
            if ticket.epoch == self._epoch:
                self._out -= 1

    def settle(self, ticket: Ticket, verdict: Verdict, now: float, rng: "Rng", slow: bool = False) -> tuple[Moved, ...]:
        """Say how the call ended. Stale tickets and those already settled change nothing.

        slow: first content came later than `slow_call`; with VOID, the agent left after it had waited for longer.
        Returns the moves that followed, mostly none.
        """
        if not ticket.live:
            return ()
        ticket.live = False
        if ticket.holds:
            self.committed(ticket, now)
        if ticket.epoch != self._epoch:
            return ()
        slow = slow and self._settings.slow_call is not None
        state = self._state
        if state is _CLOSED or state is _FORCED_CLOSED:
            return self._sampled(verdict, now, rng, slow)
        if state is _HALF_OPEN and ticket.probe:
            return self._probed(verdict, now, rng, slow)
        return ()

    def _probed(self, verdict: Verdict, now: float, rng: "Rng", slow: bool) -> tuple[Moved, ...]:
        # An agent that gave up on a slow probe has seen no recovery, else impatient agents would keep a black
        # hole half-open for ever. A good but slow one is no recovery only from an opening for slowness.
        if verdict is _BAD or (slow and (verdict is _VOID or self._for_slowness)):
            return (self._open(now, rng, "a probe failed" if verdict is _BAD else "a probe was slow"),)
        if verdict is _VOID:
            return ()
        self._successes += 1
        if self._successes < self._settings.successes:
            return ()
        moved = self._move(_CLOSED, f"{self._successes} good probes")
        self._recover(now)
        self._ramping = True
        return (moved,)

    def _sampled(self, verdict: Verdict, now: float, rng: "Rng", slow: bool) -> tuple[Moved, ...]:
        if verdict is _VOID and not slow:
            return ()
        window = self._window
        window.add(now, _CALLS)
        if slow:
            window.add(now, _SLOW)
        if verdict is _GOOD:
            self._consecutive = 0
        elif verdict is _BAD:
            self._consecutive += 1
            window.add(now, _FAILURES)
        reason = self._reason_to_trip()
        if not reason or self._state is _FORCED_CLOSED:
            return ()
        if now - self._closed_at >= self._settings.forget_after:
            self._level = -1
        return (self._open(now, rng, reason),)

    def _reason_to_trip(self) -> str:
        settings = self._settings
        calls, failures, slow = self._window.sums
        self._for_slowness = False
        if 0 < settings.consecutive_failures <= self._consecutive:
            return f"{self._consecutive} consecutive failures"
        if calls < settings.minimum_calls:
            return ""
        if failures and failures * 100 >= settings.failure_percent * calls > 0:
            return f"{failures} of {calls} calls failed"
        if slow and slow * 100 >= settings.slow_percent * calls > 0:
            self._for_slowness = True
            return f"{slow} of {calls} calls were slow"
        return ""

    # By hand

    def isolate(self, now: float) -> tuple[Moved, ...]:
        """Refuse every call, a sole caller's too, until another action."""
        return self._by_hand(_ISOLATED, "isolated by hand", now)

    def force_close(self, now: float) -> tuple[Moved, ...]:
        """Admit every call and never trip, until another action. Samples are still counted, for the report."""
        return self._by_hand(_FORCED_CLOSED, "forced closed by hand", now)

    def reset(self, now: float) -> tuple[Moved, ...]:
        """Close and forget everything, as if just made; no ramp."""
        return self._by_hand(_CLOSED, "reset by hand", now)

    def _by_hand(self, after: State, reason: str, now: float) -> tuple[Moved, ...]:
        moved = self._move(after, reason)
        self._recover(now)
        self._level = -1
        return (moved,) if moved.before is not after else ()

    # Moves

    def _move(self, after: State, reason: str, until: float | None = None) -> Moved:
        moved = Moved(self._state, after, reason, until)
        self._state = after
        self._reason = reason
        self._epoch += 1
        self._out = self._successes = self._consecutive = 0
        self._ramping = False
        return moved

    def _open(self, now: float, rng: "Rng", reason: str) -> Moved:
        settings = self._settings
        self._level += 1
        length = min(settings.open_max, settings.open_base * 2.0 ** min(self._level, 64))
        length *= 1 + settings.jitter_percent / 100 * (2 * rng.random() - 1)
        self._opened_at = now
        self._until = now + length
        return self._move(_OPEN, reason, self._until)

    def _recover(self, now: float) -> None:
        """Old samples must not trip a circuit that was just closed."""
        self._closed_at = now
        self._window.clear()

    # What it looks like from outside

    def state(self, now: float) -> State:
        """As a caller with other candidates sees it: an opening that is over is half-open before anyone asked."""
        if self._state is _OPEN and now >= self._until:
            return _HALF_OPEN
        return self._state

    def snapshot(self, now: float) -> BreakerSnapshot:
        self._window.advance(now)
        calls, failures, slow = self._window.sums
        state = self.state(now)
        return BreakerSnapshot(
            state=state,
            reason=self._reason,
            calls=calls,
            failure_rate=failures / calls if calls else 0.0,
            slow_rate=slow / calls if calls else 0.0,
            consecutive_failures=self._consecutive,
            open_until=self._until if state is _OPEN else None,
            level=self._shown_level(now),
            permits_out=self._out,
            ramp_percent=self._ramp_percent(now) if state in (_CLOSED, _FORCED_CLOSED) else 0.0,
        )

    def _shown_level(self, now: float) -> int:
        if self._state is _OPEN or self._state is _HALF_OPEN:
            return self._level
        return 0 if now - self._closed_at >= self._settings.forget_after else self._level + 1
