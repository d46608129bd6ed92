"""Recorded requests asked twice through a proxy with a cache, and why answers are not kept: by docs/caching.md's words,
read from the recordings as they lie there, without anything of the project."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from harness import Running, until
from recorded import Recording
from replay_server import Message, Tee, ask
from wired import RUNS, dialect_of

from seawall.types import AnswerKept

RULE = (
    "retry: {attempts: 0}\ncache: {mode: Enabled, ttl: 1h, nondeterministic: Allow, toolCalls: Allow, maxEntry: 4Mi}\n"
)

# What agents run themselves, and what only chooses among those; any other tool runs at the provider.
_OWN_TOOLS = {
    "OpenAI": {"function", "custom"},
    "Anthropic": {"custom", "tool_search_tool_bm25_20251119"},
    "Gemini": {"functionDeclarations"},
}
_MODEL_CALLS = ("/chat/completions", "/responses", "/embeddings", "/messages", "enerateContent", "EmbedContents")

# Recorded answers that ended in none of the ways that are known as good, and what they say.
UNFINISHED = {
    "test_google_model_max_tokens_thinking_model_empty_response 0": "finishReason MAX_TOKENS",
    "test_mistral_model_thinking_part_iter 0": "content in parts",
    "test_openai_responses_verbosity 0": "status complete",
    "test_snowflake_model_simple 0": "finish_reason ",
    "test_snowflake_model_streaming 0": "not a whole answer",
    "test_snowflake_native_output 0": "finish_reason ",
    "test_snowflake_thinking 0": "finish_reason ",
    "test_snowflake_thinking 1": "finish_reason ",
    "test_snowflake_thinking_streaming 0": "not a whole answer",
}


@dataclass(frozen=True)
class Reason:
    """named: in docs/caching.md. holds: of a request and its answer. whys: of the event that tells it; none where the
    call passes the cache by."""

    named: str
    holds: Callable[[Recording, Message], object]
    whys: tuple[str, ...] = ()


def name(recording: Recording) -> str:
    return f"{recording.cassette.rpartition('/')[2].removesuffix('.yaml')} {recording.nth}"


def _of(*dialects: str) -> Callable[[Recording, Message], object]:
    return lambda recording, _: dialect_of(recording.host) in dialects


def _asks_for(member: str) -> Callable[[Recording, Message], object]:
    return lambda recording, _: recording.json.get(member)


def _no_model_call(recording: Recording, _: Message) -> bool:
    """Nor a path that only ends like one of the API's."""
    path = recording.target.partition("?")[0]
    known = recording.method == "POST" and path.endswith(_MODEL_CALLS) and ("/v1" in path or path == "/responses")
    return not known and dialect_of(recording.host) != "Generic"


def _hosted(recording: Recording, _: Message) -> bool:
    tools: list[dict[str, Any]] = recording.json.get("tools") or []
    dialect = dialect_of(recording.host)
    if dialect == "Gemini":
        named = {member for tool in tools for member in tool}
    else:
        named = {tool.get("type") or ("function" if "function" in tool else "custom") for tool in tools}
    return bool(named - _OWN_TOOLS.get(dialect, named))


REASONS = (
    Reason("dialect Bedrock", _of("Bedrock")),
    Reason("methods other than GET and HEAD", lambda r, _: dialect_of(r.host) == "Generic" and r.method != "GET"),
    Reason("operations that are not known here", _no_model_call),
    Reason("`background`", _asks_for("background")),
    Reason("`previous_response_id`", _asks_for("previous_response_id")),
    Reason("`conversation`", _asks_for("conversation")),
    Reason("MCP servers", _asks_for("mcp_servers")),
    Reason("hosted tools", lambda r, _: _asks_for("web_search_options")(r, _) or _asks_for("plugins")(r, _)),
    Reason("hosted tools", _hosted),
    Reason(
        "`no-store`, of the request or the answer",
        lambda _, answer: b"no-store" in (answer.header(b"cache-control") or b""),
        ("answer says no-store",),
    ),
    # Such as would be repeated have no lifetime of their own, the rest have no business in a cache.
    Reason("errors, but for `negativeTtl`", lambda r, _: r.failed, ("status", "no lifetime")),
    Reason("stopped at a length", lambda r, _: name(r) in UNFINISHED, ("did not finish normally",)),
)


def reason(recording: Recording, answer: Message) -> Reason | None:
    """Why its answer is not kept; None: it is."""
    return next((one for one in REASONS if one.holds(recording, answer)), None)


@dataclass(frozen=True)
class Twice:
    """first, second: the answers. asked: whether the second one reached the upstream. told: of the first one's
    answer."""

    first: Message
    second: Message
    asked: bool
    told: list[AnswerKept]


async def once(
    running: Running, recording: Recording, run: str, encoding: str = ""
) -> tuple[Message, list[AnswerKept]]:
    """Ask for a recording, and wait until that is over."""
    ended, told = len(running.calls), len(running.events)
    answer = await ask(running.service.port, recording.request(run, f"/at/{recording.host}", encoding=encoding))
    await until(lambda: len(running.calls) > ended)
    return answer, [event for event in running.events[told:] if isinstance(event, AnswerKept)]


async def twice(running: Running, between: Tee, recording: Recording, encoding: str = "") -> Twice:
    """Ask two times, as a tenant that asks for nothing else: some recordings differ in their answers only."""
    number = next(RUNS)
    alone = replace(recording, headers=[*recording.headers, (b"x-user-id", b"%d" % number)])
    first, told = await once(running, alone, f"run {number} first", encoding)
    again = f"run {number} second"
    second, _ = await once(running, alone, again, encoding)
    return Twice(first, second, bool(between.requests[again]), told)
