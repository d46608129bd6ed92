"""What one call holds while it is under way. Whoever puts something in here sees to it that the engine gives
it back at the call's end."""

from dataclasses import dataclass, field
from typing import Protocol

from seawall.attempt import Attempt
from seawall.call import Call, Ledger
from seawall.core.retry import Retry
from seawall.faults import Fault
from seawall.keep_alive import KeepAlive
from seawall.runtime import Candidate
from seawall.shadow import Trace
from seawall.types import Agent, Headers, TraceContext
from seawall.visit import Visit


class Reserve(Protocol):
    """A stale answer from the cache."""

    def give(self, run: "Run", fault: Fault) -> bool:
        """Answer with it, if it may be given still; `fault`: why no upstream has one."""


@dataclass(slots=True)
class Run:
    """One call at work."""

    call: Call
    agent: Agent
    primary: Candidate
    left: list[Candidate]
    """Not tried yet, in order."""
    ledger: Ledger = field(default_factory=Ledger)
    visit: Visit | None = None
    attempt: Attempt | None = None
    """The latest one, or that which won a race."""
    kept: Attempt | None = None
    """The latest whose answer could be passed on: the good one, or an error if nothing better comes."""
    retry: Retry | None = None
    shadow: Trace | None = None
    """What a policy that is only evaluated would have done; None where there is none."""
    keep_alive: KeepAlive | None = None
    """For a stream, where the policy has one."""
    committed: bool = False
    """The agent's answer has begun: nothing can be changed any more."""
    reserve: "Reserve | None" = None
    """A kept answer for the case that nobody has one."""
    work: "Run | None" = None
    """Of the flight that asks in its stead, where one does: see flight.py."""
    joined: TraceContext | None = None
    """Of the call that asked before it, whose flight it reads; None where that is not traced."""

    @property
    def opened(self) -> bool:
        """The agent has a head of ours, and comments: no other status can be told any more, but all else is open."""
        keep_alive = self.keep_alive if self.work is None else self.work.keep_alive
        return keep_alive is not None and keep_alive.opened

    def begin(self, status: int, headers: Headers, *, reason: bytes = b"") -> None:
        """Commit: begin the agent's answer, or go on with one that has been opened."""
        self.committed = True
        if self.keep_alive is not None:
            self.keep_alive.commit()
        if not self.opened or self.call.flight:
            # A flight has readers to which nothing was opened.
            self.agent.start(status, headers, reason=reason)
