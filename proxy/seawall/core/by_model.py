"""What is kept for each model of one upstream. Agents choose model names, so only so much of it is kept; what was not
used for the longest time goes first.
"""

from collections import OrderedDict

from seawall.core.breaker import Breaker, State
from seawall.core.latency import Latencies

MAX_MODELS = 256


class Breakers(dict[str, Breaker]):
    """Circuits by model, in the order of their use where some may have to go."""

    __slots__ = ()

    def known(self, model: str) -> Breaker | None:
        """The one that is there, which counts as its use."""
        found = self.get(model)
        if found is not None and len(self) > MAX_MODELS // 2:
            # Order of use matters only where some may have to go.
            self[model] = self.pop(model)
        return found

    def add(self, model: str, breaker: Breaker, now: float) -> None:
        """Keep a new one. Room is made by the longest unused one that is closed anyway, else by the longest unused."""
        if len(self) >= MAX_MODELS:
            idle = (name for name, one in self.items() if one.state(now) is State.CLOSED)
            del self[next(idle, next(iter(self)))]
        self[model] = breaker


class LatenciesOf(OrderedDict[str, Latencies]):
    """First contents by model."""

    def of(self, model: str) -> Latencies:
        found = self.setdefault(model, Latencies())
        self.move_to_end(model)
        if len(self) > MAX_MODELS:
            self.popitem(last=False)
        return found
