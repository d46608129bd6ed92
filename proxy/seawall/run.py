"""What one call holds while it is under way. Whoever puts something in here sees to it that the engine gives
it back at the call's end."""

from dataclasses import dataclass, field

from seawall.answer import Answer, Terms
from seawall.call import Call, Ledger
from seawall.core.limit import Slot
from seawall.core.retry import Retry
from seawall.relay import Agent
from seawall.runtime import Candidate, Upstream
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
    arriving: Answer | None = None
    """What is being read in the present attempt."""
    answer: Answer | None = None
    """The latest answer of an upstream: the good one, or an error that is passed on if nothing better comes."""
    slot: tuple[Upstream, Slot] | None = None
    terms: Terms | None = None
    retry: Retry | None = None
