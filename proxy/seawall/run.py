"""What one call holds while it is under way. Whoever puts something in here sees to it that the engine gives
it back at the call's end."""

from dataclasses import dataclass, field

from seawall.attempt import Attempt
from seawall.call import Call, Ledger
from seawall.core.retry import Retry
from seawall.relay import Agent
from seawall.runtime import Candidate
from seawall.shadow import Trace
from seawall.visit import Visit


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
