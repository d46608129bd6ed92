"""What the emulated model says: reads nothing, sends nothing, knows no dialect. Deterministic for a seed and a prompt.

A dialect turns a request into an `Ask`, `decide` says whether to call tools or to answer, and the dialect writes that
as an `Answer`: the frames in which it leaves.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from seawall.lab.plan import Scenario, Trouble
from seawall.lab.schema import SchemaError, instance
from seawall.types import Headers

Json = Mapping[str, Any]
encode = msgspec.json.Encoder().encode
_OUTPUT_TOOL = "final_result"  # pydantic-ai's name for the tool that carries the final answer
_TEXT = (
    "the sea rises and the wall holds while gulls wheel over a grey harbour where tide tables hang beside lamps "
    "boats lean on their ropes and keepers count waves until morning brings calm water salt wind and news from afar"
)
_WORDS = tuple(_TEXT.split())


class RejectedError(Exception):
    """A request that the real provider would refuse as well."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message


class Mint:
    """Ids for one attempt: the same for the same seed and attempt number."""

    __slots__ = ("_count", "_seed", "attempt", "now", "seed")

    def __init__(self, seed: int, attempt: int, now: float) -> None:
        self.seed = seed
        self.attempt = attempt
        self.now = int(now)
        self._seed = b"%d/%d/" % (seed, attempt)
        self._count = 0

    def id(self, prefix: str, size: int = 24) -> str:
        """`prefix` and `size` (up to 64) hexadecimal digits; another one at each call."""
        self._count += 1
        return prefix + blake2b(self._seed + b"%d" % self._count, digest_size=32).hexdigest()[:size]


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: Any


@dataclass(slots=True)
class Ask:
    """What matters of a request, in no dialect.

    choice: auto, none, required, or the name of a tool after `=`. rounds: of tool results since the user last spoke.
    called: tools that were called since then. schema: of the structured answer that is asked for.
    """

    model: str
    stream: bool = False
    prompt: str = ""
    input_tokens: int = 1
    tools: list[Tool] = field(default_factory=list)
    choice: str = "auto"
    parallel: bool = True
    rounds: int = 0
    called: set[str] = field(default_factory=set)
    schema: Any = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Said:
    """The answer: text in the pieces in which it streams, or tool calls."""

    pieces: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    cut: bool = False
    """`max_tokens` ended it."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return len(self.pieces) + sum(len(slices(call.arguments)) + 4 for call in self.calls)


@dataclass(slots=True)
class Answer:
    """A healthy answer, ready to send.

    frames: the body, in the pieces in which it leaves (one SSE event each). prelude: how many come before the first
    content. terminal: how many at the end tell that it is whole. error_event makes the stream's error frame from
    (trouble, failed, frames sent so far). malformed spoils a frame, where that is not JSON behind `data:`. failed makes
    the body of a 200 that tells of an error, where that is not the provider's usual one.
    """

    frames: list[bytes]
    content_type: bytes = b"application/json"
    status: int = 200
    stream: bool = False
    prelude: int = 0
    terminal: int = 0
    headers: Headers = field(default_factory=list)
    error_event: Callable[[Trouble, bool, int], bytes] | None = None
    malformed: Callable[[bytes], bytes] | None = None
    failed: Callable[[Trouble], bytes] | None = None


def plain(body: object, status: int = 200) -> Answer:
    """A whole JSON answer."""
    return Answer([encode(body)], status=status)


def tokens(text: str) -> int:
    """About as many as a tokenizer counts: one per four characters, at least 1."""
    return max(len(text) // 4, 1)


def slices(text: str, size: int = 8) -> list[str]:
    """The pieces in which a tool call's arguments stream."""
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def decide(ask: Ask, scenario: Scenario, seed: int) -> Said:
    """Call tools, or give the final answer, as text, as JSON for the asked schema, or through an output tool."""
    outputs = [tool for tool in ask.tools if tool.name.startswith(_OUTPUT_TOOL)]
    functions = [tool for tool in ask.tools if not tool.name.startswith(_OUTPUT_TOOL)]
    if ask.choice.startswith("="):
        chosen = [tool for tool in ask.tools if tool.name == ask.choice[1:]][:1]
        if chosen:
            return _call(chosen, scenario)
    if ask.choice != "none" and not scenario.no_tools and ask.rounds < scenario.rounds:
        chosen = _chosen(functions, ask, scenario)
        if chosen:
            return _call(chosen if ask.parallel else chosen[:1], scenario)
    if ask.choice != "none":
        if outputs:
            return _call(outputs[:1], scenario)
        if ask.choice == "required" and functions:
            fresh = [tool for tool in functions if tool.name not in ask.called]
            return _call([*fresh, functions[-1]][:1], scenario)
    return _text(ask, scenario, seed)


def _chosen(functions: list[Tool], ask: Ask, scenario: Scenario) -> list[Tool]:
    if scenario.all_tools:
        return functions
    if scenario.tools:
        return [tool for name in scenario.tools for tool in functions if tool.name == name]
    named = [tool for tool in functions if tool.name in ask.prompt]
    return named or functions[:1]


def _call(tools: list[Tool], scenario: Scenario) -> Said:
    return Said(
        calls=tuple(
            ToolCall(tool.name, scenario.args if scenario.args is not None else _generated(tool.schema))
            for tool in tools
        )
    )


def _generated(schema: object) -> str:
    try:
        return encode(instance(schema)).decode()
    except SchemaError as error:
        raise RejectedError(Trouble.INVALID, str(error)) from error


def _text(ask: Ask, scenario: Scenario, seed: int) -> Said:
    if scenario.text is not None:
        words = scenario.text.split(" ")
    elif ask.schema is not None:
        return Said(tuple(slices(_generated(ask.schema))))
    else:
        source = random.Random(f"{seed}/{ask.prompt}")
        words = source.choices(_WORDS, k=12 if scenario.tokens is None else scenario.tokens)
    cut = ask.max_tokens is not None and len(words) > ask.max_tokens
    if cut:
        words = words[: ask.max_tokens]
    return Said(tuple(word if not at else " " + word for at, word in enumerate(words)), cut=cut)


def spoken(content: object) -> str:
    """The text in a message's content: a string, or a list of parts that have one."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def section(body: Json, name: str) -> Json:
    """The object `name` of a body; an empty one where it is absent or something else."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def listed(body: Json, name: str) -> list[Json]:
    """The objects in the list `name` of a body; RejectedError when it is no list."""
    value = body.get(name) or []
    if not isinstance(value, list):
        raise RejectedError(Trouble.INVALID, f"{name}: must be a list")
    return [item for item in value if isinstance(item, dict)]


def count(body: Json, name: str, default: int | None = None) -> int | None:
    """The whole number `name` of a body; RejectedError when it is something else or below 1."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RejectedError(Trouble.INVALID, f"{name}: must be a whole number above 0")
    return value
