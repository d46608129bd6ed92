"""What the lab's paths lead to."""

from typing import Protocol

from seawall.lab.answer import Answer, Json, Mint
from seawall.lab.families import Family
from seawall.lab.plan import Scenario


class Operation(Protocol):
    """One endpoint of a provider."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> Family: ...
    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        """The healthy answer. Raises RejectedError where the real provider would refuse the request."""
