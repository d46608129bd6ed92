"""An agent that engineers features: its model and its warehouse are both called through seawall.

    seawall demo                             # in one terminal: the proxy before a lab that fails on purpose
    python examples/feature_agent.py         # in another (needs pydantic-ai-slim[openai] and httpx)

seawall repeats and moves what can safely be repeated. What is left to an agent is here: idempotency keys, so that a
job may be sent again; failures told to the model instead of raised; and going on from the history when a stream broke
after its first words had already arrived.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import httpx
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, AgentRunResultEvent, ModelRetry, RunContext, ToolReturn
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelQuotaExceededError, ModelRequestRejectedError
from pydantic_ai.messages import FunctionToolCallEvent, FunctionToolResultEvent, ModelMessage, ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RunUsage

Output = TypeVar("Output", bound=BaseModel)
Format = Literal["json", "csv", "ndjson"]
Priority = Literal["low", "normal", "high", "critical"]

INSTRUCTIONS = "You engineer features from warehouse tables. Look at the data before you propose; keep SQL read-only."


class Step(BaseModel):
    """Something that happened in a run. `detail` of an answer says what seawall did for it."""

    kind: Literal["call", "answer", "resumed", "done"]
    name: str
    detail: str = ""


class Result(BaseModel, Generic[Output]):
    """How a run ended. `output` is there if and only if `success`; else `error` says why."""

    success: bool
    output: Output | None = None
    error: str | None = None
    steps: list[Step] = []
    tokens: int = 0


class State(BaseModel):
    """What an agent keeps from one run to the next; as JSON it survives a restart."""

    history: list[ModelMessage] = []
    jobs: dict[str, str] = {}
    """Name → id of every job that was saved."""
    runs: int = 0
    tokens: int = 0


class Feature(BaseModel):
    name: str = Field(examples=["revenue_30d"])
    sql: str
    reason: str


class FeatureSet(BaseModel):
    """What the agent of this example is asked for."""

    table: str
    features: list[Feature] = Field(min_length=1)


class WarehouseError(Exception):
    """The warehouse did not answer well, and seawall could not help. `mistake`: the request itself is wrong."""

    def __init__(self, message: str, *, mistake: bool = False) -> None:
        super().__init__(message)
        self.mistake = mistake


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    told: str
    """What seawall says about the call: `primary, 1 attempt`."""


class Warehouse:
    """The warehouse's HTTP API, below seawall's route for it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._kept: dict[tuple[str, Format], tuple[float, Answer]] = {}

    async def query(
        self, sql: str, timeout: float, output_format: Format, cache_seconds: int, priority: Priority
    ) -> Answer:
        """Run a statement; an answer younger than `cache_seconds` (0: none) is not asked for again."""
        key, now = (sql, output_format), time.monotonic()
        self._kept = {known: kept for known, kept in self._kept.items() if kept[0] > now}
        if cache_seconds and key in self._kept:
            return replace(self._kept[key][1], told="kept from before")
        body = {"sql": sql, "format": output_format, "timeout_seconds": timeout, "priority": priority}
        # A POST is repeated only if it carries a key: without one nobody can know that a second run does no harm.
        answer = await self._send("POST", "queries", body, key=str(uuid.uuid4()), timeout=timeout)
        if cache_seconds:
            self._kept[key] = (now + cache_seconds, answer)
        return answer

    async def save_job(self, name: str, sql: str, schedule: str) -> Answer:
        """Saving the same job again, in a resumed run say, is the same job."""
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"job:{name}:{schedule}:{sql}"))
        return await self._send("POST", "jobs", {"name": name, "sql": sql, "schedule": schedule}, key=key)

    async def pipeline_status(self, pipeline: str) -> Answer:
        return await self._send("GET", f"pipelines/{pipeline}/status")

    async def _send(
        self, method: str, path: str, body: object = None, *, key: str | None = None, timeout: float = 60.0
    ) -> Answer:
        headers = {"idempotency-key": key} if key else {}
        try:
            async with asyncio.timeout(timeout):  # of the whole, what seawall does for it included
                answer = await self._http.request(method, path, json=body, headers=headers, timeout=None)
        except (httpx.HTTPError, TimeoutError) as error:
            raise WarehouseError(f"{type(error).__name__}: {error}") from error
        if answer.is_error:
            mistake = answer.status_code in (400, 404, 422)
            raise WarehouseError(f"HTTP {answer.status_code}: {answer.text[:500]}", mistake=mistake)
        outcome, attempts = (answer.headers.get(f"x-seawall-{name}", "?") for name in ("outcome", "attempts"))
        return Answer(answer.text, f"{outcome}, {attempts} attempt{'s' * (attempts != '1')}")


@dataclass
class Deps:
    """What is injected into every tool."""

    warehouse: Warehouse
    state: State = field(default_factory=State)


async def told(work: Awaitable[Answer]) -> ToolReturn:
    """A mistake is the model's to correct; an outage is a fact that it can work around."""
    try:
        answer = await work
    except WarehouseError as error:
        if error.mistake:
            raise ModelRetry(str(error)) from error
        return ToolReturn(f"failed, go on without it: {error}", metadata=f"failed: {error}")
    return ToolReturn(answer.text, metadata=answer.told)


async def execute_query(
    ctx: RunContext[Deps],
    sql: Annotated[str, Field(examples=["SELECT region, SUM(amount) FROM orders GROUP BY region"])],
    timeout_seconds: Annotated[float, Field(ge=1, le=600)] = 30,
    output_format: Format = "json",
    cache_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300,
    priority: Priority = "normal",
) -> ToolReturn:
    """Run one read-only SQL statement and return its rows.

    Args:
        ctx: The run.
        sql: The statement.
        timeout_seconds: How long to wait for it.
        output_format: How the rows come back.
        cache_seconds: How old a kept result may be; 0 for a fresh one.
        priority: Which queries the warehouse runs first.
    """
    return await told(ctx.deps.warehouse.query(sql, timeout_seconds, output_format, cache_seconds, priority))


async def save_job(
    ctx: RunContext[Deps],
    name: Annotated[str, Field(examples=["revenue-by-region"])],
    sql: str,
    schedule: Annotated[str, Field(examples=["@daily"])] = "@daily",
) -> ToolReturn:
    """Save a statement as a scheduled job; returns its id and status."""

    async def saved() -> Answer:
        answer = await ctx.deps.warehouse.save_job(name, sql, schedule)
        ctx.deps.state.jobs[name] = json.loads(answer.text)["id"]
        return answer

    return await told(saved())


async def get_pipeline_status(
    ctx: RunContext[Deps], pipeline: Annotated[str, Field(examples=["orders"], pattern=r"^[\w-]+$")]
) -> ToolReturn:
    """Tell how fresh the data of a pipeline is."""
    return await told(ctx.deps.warehouse.pipeline_status(pipeline))


class FeatureAgent(Generic[Output]):
    """Answers requests with a value of `output_type`, and remembers them in `state`.

    resumes: how often a run whose stream broke goes on from its history. pause: seconds before it does, doubled each
    time.
    """

    def __init__(
        self,
        model: Model,
        warehouse: Warehouse,
        output_type: type[Output],
        *,
        state: State | None = None,
        resumes: int = 3,
        pause: float = 0.5,
    ) -> None:
        self.state = state or State()
        self._warehouse = warehouse
        self._resumes = resumes
        self._pause = pause
        # pydantic-ai runs the tools that one answer of the model calls concurrently.
        self._agent: Agent[Deps, Output] = Agent(
            model,
            deps_type=Deps,
            output_type=output_type,
            instructions=INSTRUCTIONS,
            tools=[execute_query, save_job, get_pipeline_status],
            retries=2,
        )

    async def run(self, request: str, state: State | None = None) -> Result[Output]:
        """One request, after those before it."""
        async with aclosing(self.stream(request, state)) as events:
            async for event in events:
                if isinstance(event, Result):
                    return event
        raise AssertionError("a stream ends with its result")

    async def batch(self, requests: Iterable[str], parallel: int = 3) -> list[Result[Output]]:
        """Requests that know nothing of each other, at most `parallel` at a time; results in their order."""
        places = asyncio.Semaphore(parallel)

        async def one(request: str) -> Result[Output]:
            async with places:
                return await self.run(request, State())

        return await asyncio.gather(*(one(request) for request in requests))

    async def stream(self, request: str, state: State | None = None) -> AsyncGenerator[Step | Result[Output], None]:
        """Every step as it happens, then the result. A run that fails leaves the history as it was before."""
        state = state or self.state
        usage, steps = RunUsage(), list[Step]()
        prompt: str | None = request
        history = list(state.history)
        for resumed in range(self._resumes + 1):
            deps = Deps(self._warehouse, state)
            async with self._agent.run_stream_events(prompt, message_history=history, deps=deps, usage=usage) as events:
                try:
                    async for event in events:
                        if isinstance(event, AgentRunResultEvent):
                            state.history = event.result.all_messages()
                            yield self._ended(state, usage, steps, event.result.output)
                            return
                        if step := step_of(event):
                            steps.append(step)
                            yield step
                except AgentRunError as error:
                    if resumed == self._resumes or not passing(error):
                        yield self._ended(state, usage, steps, None, f"gave up: {error}")
                        return
                    # An answer that broke off is forgotten; tools that were done by then are not run again.
                    history, prompt = whole(events.all_messages()), None
                    steps.append(Step(kind="resumed", name=type(error).__name__, detail=str(error)[:200]))
            yield steps[-1]
            await asyncio.sleep(self._pause * 2**resumed)

    def _ended(
        self, state: State, usage: RunUsage, steps: list[Step], output: Output | None, error: str | None = None
    ) -> Result[Output]:
        state.runs += 1
        state.tokens += usage.total_tokens
        steps.append(Step(kind="done", name="failed" if error else "ok", detail=f"{usage.total_tokens} tokens"))
        return Result[Output](success=error is None, output=output, error=error, steps=steps, tokens=usage.total_tokens)


def passing(error: AgentRunError) -> bool:
    """Whether the same request may go well later."""
    return isinstance(error, ModelAPIError) and not isinstance(
        error, ModelQuotaExceededError | ModelRequestRejectedError
    )


def step_of(event: object) -> Step | None:
    match event:
        case FunctionToolCallEvent(part=part):
            return Step(kind="call", name=part.tool_name, detail=part.args_as_json_str())
        case FunctionToolResultEvent(part=part):
            return Step(kind="answer", name=part.tool_name, detail=str(part.metadata or ""))
    return None


def whole(messages: list[ModelMessage]) -> list[ModelMessage]:
    """The history up to the last request that has no answer yet."""
    while messages and isinstance(messages[-1], ModelResponse) and messages[-1].state == "interrupted":
        messages = messages[:-1]
    return messages


async def work(arguments: argparse.Namespace, state: State) -> bool:
    """One request, step by step, then a batch. Returns whether all went well."""
    base = arguments.base_url.rstrip("/")
    # seawall retries, and its timeouts hold: a second layer of either would only be in its way.
    openai = AsyncOpenAI(base_url=f"{base}/openai/v1", api_key=arguments.api_key, max_retries=0, timeout=630)
    async with openai, httpx.AsyncClient(base_url=f"{base}/warehouse") as http:
        model = OpenAIChatModel(arguments.model, provider=OpenAIProvider(openai_client=openai))
        agent = FeatureAgent(model, Warehouse(http), FeatureSet, state=state)
        results: list[Result[FeatureSet]] = []
        async with aclosing(agent.stream(arguments.request)) as events:
            async for event in events:
                print(line(event), flush=True)
                results += [event] if isinstance(event, Result) else []
        regions = ("north", "east", "south", "west")
        results += await agent.batch([f"Use execute_query on orders_{r}." for r in regions], arguments.parallel)
    good, tokens = sum(r.success for r in results), sum(r.tokens for r in results)
    print(f"batch    {good} of {len(results)} ok, with the first; {tokens} tokens")
    print(f"state    {len(state.history)} messages, {state.tokens} tokens, jobs: {', '.join(state.jobs) or 'none'}")
    return good == len(results)


def line(event: Step | Result[Any]) -> str:
    if isinstance(event, Step):
        return f"{event.kind:<8} {event.name} {event.detail}"
    return f"result   {event.output.model_dump_json() if event.output else event.error}"


def main() -> int:
    wanted = "Use get_pipeline_status, execute_query and save_job to propose features for the table orders."
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("request", nargs="?", default=wanted, help="what to ask for (default: %(default)s)")
    parser.add_argument("--base-url", default="http://127.0.0.1:4100", help="of seawall (default: %(default)s)")
    parser.add_argument("--model", default="gpt-4o-mini", help="default: %(default)s")
    parser.add_argument("--api-key", default="none", help="passed through to the provider; the lab takes any")
    parser.add_argument("--parallel", type=int, default=3, help="requests of the batch at a time (default: 3)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep history and jobs here for the next start")
    arguments = parser.parse_args()
    kept: Path | None = arguments.state
    state = State.model_validate_json(kept.read_bytes()) if kept and kept.exists() else State()
    good = asyncio.run(work(arguments, state))
    if kept:
        kept.write_text(state.model_dump_json(), "utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
