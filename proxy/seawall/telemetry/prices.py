"""What tokens would have cost, from the tables of the package genai-prices, which its maker keeps up with the
providers. It is imported when somebody first asks, and takes 12 MB; without it (`pip install seawall[prices]`) nothing
is told of money.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

from seawall.types import Usage

# Prices are told per million tokens, and rise with the length of a context: this many count as a short one.
_SAMPLE = 1000

Rates = tuple[float, float, float]
"""US dollars per token: of input, of input that the provider has cached, and of output."""


class Prices:
    """Rates by model. Those of a model that nobody knows are None."""

    def __init__(self) -> None:
        self._known: dict[str, Rates | None] = {}
        self._missing = False

    def rates(self, model: str) -> Rates | None:
        """May take a tenth of a second the first time; not for the event loop."""
        if model in self._known:
            return self._known[model]
        if self._missing or importlib.util.find_spec("genai_prices") is None:
            self._missing = True
            return None
        import genai_prices

        found = self._known[model] = _rates(genai_prices.calc_price, genai_prices.Usage, model)
        return found

    def dollars(self, model: str, usage: Usage) -> float | None:
        """None where the model's price is not known."""
        rates = self.rates(model)
        if rates is None:
            return None
        cached = min(usage.cached, usage.input)
        return (usage.input - cached) * rates[0] + cached * rates[1] + usage.output * rates[2]


def _rates(price: Callable[..., Any], usage: Callable[..., Any], model: str) -> Rates | None:
    def rate(**tokens: int) -> float:
        return float(price(usage(**tokens), model_ref=model).total_price) / _SAMPLE

    try:
        return (
            rate(input_tokens=_SAMPLE),
            rate(input_tokens=_SAMPLE, cache_read_tokens=_SAMPLE),
            rate(output_tokens=_SAMPLE),
        )
    except LookupError:
        return None
