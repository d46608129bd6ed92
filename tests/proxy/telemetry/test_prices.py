"""Money is told where prices are known, and the tables are read only when somebody asks for it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import genai_prices
import pytest

from seawall.telemetry.prices import Prices
from seawall.types import Usage

ROOT = Path(__file__).parents[3]
USAGE = Usage(input=1200, output=340, cached=200, reasoning=100)


def priced(model: str, **tokens: int) -> float:
    """By the tables' own reckoning."""
    return float(genai_prices.calc_price(genai_prices.Usage(**tokens), model_ref=model).total_price)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash"])
def test_tokens_cost_what_the_tables_say(model: str) -> None:
    dollars = Prices().dollars(model, USAGE)
    # Those that the provider has cached are among the input; those of reasoning among the output.
    assert dollars == pytest.approx(priced(model, input_tokens=1200, cache_read_tokens=200, output_tokens=340))
    rates = Prices().rates(model)
    assert rates is not None
    plain, cached, output = rates
    assert 0 < cached < plain < output < 0.001


def test_more_cached_than_input_is_no_negative_price() -> None:
    dollars = Prices().dollars("gpt-4o", Usage(input=10, output=0, cached=50, reasoning=0))
    assert dollars == pytest.approx(priced("gpt-4o", input_tokens=10, cache_read_tokens=10))


@pytest.mark.parametrize("model", ["", "other", "somebodys-own-model", "gpt", "../../etc/passwd", "x" * 10_000])
def test_a_model_that_nobody_knows_costs_nothing_that_is_told(model: str) -> None:
    prices = Prices()
    assert prices.dollars(model, USAGE) is None
    assert prices.rates(model) is None


def test_without_the_package_nothing_is_told_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    prices = Prices()
    assert prices.dollars("gpt-4o", USAGE) is None
    monkeypatch.undo()
    # It is not looked for again with every scrape.
    assert prices.dollars("gpt-4o", USAGE) is None


_LAZY = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from seawall.clock import SystemClock
from seawall.telemetry.labels import PolicyNames
from seawall.telemetry.metrics import Metrics
from seawall.types import AnswerKept
registry = CollectorRegistry()
metrics = Metrics(registry, SystemClock())
metrics.apply(PolicyNames(frozenset({"chat"}), frozenset({"a"}), frozenset({"gpt-4o"})))
metrics(AnswerKept("chat", "a", "gpt-4o", "", "", 100))
assert b"seawall_cache_stores_total" in generate_latest(registry)
metrics.cache.report()
print("genai_prices" in sys.modules)
"""


def test_the_tables_are_not_imported_before_anything_was_saved() -> None:
    env = {"PYTHONPATH": str(ROOT / "proxy")}
    done = subprocess.run([sys.executable, "-c", _LAZY], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
