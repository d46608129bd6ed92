"""The example agent through a real proxy, before a lab that breaks both its model and its warehouse."""

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from harness import Running, lab, proxy, route, upstream
from openai import AsyncOpenAI
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from seawall.lab import Lab

EXAMPLE = Path(__file__).parents[2] / "examples" / "feature_agent.py"
ALL_TOOLS = "Use get_pipeline_status, execute_query and save_job on orders."
QUICK = "retry: {backoff: {base: 10ms, max: 20ms}}"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("feature_agent", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["feature_agent"] = module  # pydantic looks its annotations up there
    spec.loader.exec_module(module)
    return module


def policy(url: str) -> str:
    breaker = "circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}\n"
    generous = breaker + "retryConstraint: {minRetryRate: {count: 100, interval: 1s}}"
    return (
        upstream("east", f"{url}/u/east/v1", extra=generous)
        + upstream("west", f"{url}/u/west/v1", extra=generous)
        + upstream("warehouse", f"{url}/u/warehouse/warehouse", "Generic", generous)
        + route("chat", "/openai/v1", "east west", QUICK)
        + route("warehouse", "/warehouse", "warehouse", QUICK)
    )


@asynccontextmanager
async def agent(example: ModuleType, folder: Path, **options: Any) -> AsyncIterator[tuple[Any, Running, Lab]]:
    """The example's agent, the proxy that it calls, and the lab behind that."""
    async with lab() as upstreams, proxy(policy(upstreams.url), folder) as running:
        client = AsyncOpenAI(base_url=f"{running.url}/openai/v1", api_key="none", max_retries=0)
        async with client, httpx.AsyncClient(base_url=f"{running.url}/warehouse") as http:
            model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
            warehouse = example.Warehouse(http)
            yield example.FeatureAgent(model, warehouse, example.FeatureSet, pause=0.01, **options), running, upstreams


def called(result: Any) -> list[str]:
    return sorted(step.name for step in result.steps if step.kind == "call")


async def test_it_answers_in_its_type_after_calling_its_tools_at_once(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (agent_, _, upstreams):
        upstreams.script(["latency-100ms"], upstream="warehouse", repeat=True)
        result = await agent_.run(ALL_TOOLS)
        assert result.success and result.error is None
        assert isinstance(result.output, example.FeatureSet)
        assert called(result) == ["execute_query", "get_pipeline_status", "save_job"]
        assert result.tokens > 0
        seen = upstreams.attempts(upstream="warehouse")
        assert len(seen) == 3
        assert max(a.received for a in seen) < min(a.end or 0.0 for a in seen), "the tools ran one after the other"


async def test_it_goes_on_while_model_and_warehouse_both_fail(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (agent_, running, upstreams):
        upstreams.script(["reset", "503", "cut-prelude"], upstream="east", then="reset-0")
        upstreams.script(["503", "ok"], upstream="west", repeat=True)
        upstreams.script(["503", "reset", "reset", "502"], upstream="warehouse")
        result = await agent_.run(ALL_TOOLS)
        assert result.success, result.error
        assert called(result) == ["execute_query", "get_pipeline_status", "save_job"]
        answers = [step.detail for step in result.steps if step.kind == "answer"]
        assert any("retry" in detail for detail in answers)
        failed = [a for a in running.attempts if a.result != "ok"]
        assert {a.upstream for a in failed} >= {"east", "warehouse"}


async def test_a_stream_that_breaks_after_its_first_words_is_gone_on_with(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (agent_, _, upstreams):
        # The first answer calls the tools; the second, which holds the output, breaks off twice.
        upstreams.script(["ok", "cut-4", "unclean-4", "ok"], upstream="east")
        result = await agent_.run(ALL_TOOLS)
        assert result.success, result.error
        assert [step.kind for step in result.steps].count("resumed") == 2
        assert called(result) == ["execute_query", "get_pipeline_status", "save_job"], "a tool ran twice"
        assert len(upstreams.attempts(upstream="warehouse")) == 3


async def test_a_warehouse_that_stays_down_is_told_to_the_model(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (agent_, _, upstreams):
        upstreams.script(["500"], upstream="warehouse", repeat=True)
        result = await agent_.run("Use execute_query on orders.")
        assert result.success
        assert any(step.detail.startswith("failed: HTTP 500") for step in result.steps)
        assert agent_.state.jobs == {}


async def test_a_model_that_stays_down_ends_the_run_and_keeps_the_history(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path, resumes=1) as (agent_, _, upstreams):
        await agent_.run("Use get_pipeline_status on orders.")
        before = list(agent_.state.history)
        upstreams.script(["500"], model="gpt-4o-mini", repeat=True)
        result = await agent_.run("Again, please.")
        assert not result.success
        assert result.output is None
        assert result.error.startswith("gave up")
        assert agent_.state.history == before


@pytest.mark.parametrize("fault", ["quota", "invalid"])
async def test_what_will_not_pass_is_not_tried_again(example: ModuleType, tmp_path: Path, fault: str) -> None:
    async with agent(example, tmp_path) as (agent_, running, upstreams):
        upstreams.script([fault], model="gpt-4o-mini", repeat=True)
        result = await agent_.run("Again, please.")
        assert not result.success
        assert [step.kind for step in result.steps] == ["done"]
        assert len(running.calls) == 1


async def test_state_and_history_go_on_from_run_to_run_and_survive_as_json(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (agent_, _, _):
        await agent_.run("Use save_job on orders.")
        first = len(agent_.state.history)
        agent_.state = example.State.model_validate_json(agent_.state.model_dump_json())
        await agent_.run("Use get_pipeline_status on orders.")
        assert len(agent_.state.history) > first
        said = str(agent_.state.history)
        assert "Use save_job on orders." in said and "Use get_pipeline_status on orders." in said
        assert list(agent_.state.jobs) == ["revenue-by-region"]
        assert agent_.state.runs == 2


async def test_a_batch_keeps_to_its_places_and_order(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (agent_, _, upstreams):
        upstreams.script(["503", "latency-20ms"], upstream="east", repeat=True)
        upstreams.script(["latency-20ms"], upstream="west", repeat=True)
        results = await agent_.batch([f"Use execute_query on table_{n}." for n in range(6)], parallel=2)
        assert [result.success for result in results] == [True] * 6
        chats = [a for a in upstreams.attempts() if a.operation == "chat"]
        most = max(sum(a.received <= b.received < (a.end or 0.0) for a in chats) for b in chats)
        assert most == 2
        assert agent_.state.history == []


async def test_a_query_is_kept_for_as_long_as_was_said(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (_, running, upstreams):
        async with httpx.AsyncClient(base_url=f"{running.url}/warehouse") as http:
            warehouse = example.Warehouse(http)
            one = await warehouse.query("SELECT 1", 5, "csv", 60, "high")
            two = await warehouse.query("SELECT 1", 5, "csv", 60, "high")
            three = await warehouse.query("SELECT 1", 5, "csv", 0, "high")
        assert one.text == two.text == three.text
        assert (one.told, two.told) == ("primary, 1 attempt", "kept from before")
        assert len(upstreams.attempts(upstream="warehouse")) == 2


async def test_a_query_does_not_wait_for_longer_than_was_said(example: ModuleType, tmp_path: Path) -> None:
    async with agent(example, tmp_path) as (_, running, upstreams):
        upstreams.script(["silent"], upstream="warehouse", repeat=True)
        async with httpx.AsyncClient(base_url=f"{running.url}/warehouse") as http:
            with pytest.raises(example.WarehouseError, match="TimeoutError"):
                await example.Warehouse(http).query("SELECT 1", 0.2, "json", 0, "low")


def test_the_command_says_what_it_takes() -> None:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "--base-url" in ran.stdout
