"""An OpenAI conversation, put together turn by turn as pydantic-ai keeps it: requests and responses in alternation."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from seawall.translate.calls import Calls
from seawall.translate.openai_parts import File, Findings

_ORIGIN = "openai"
"""Who is taken to have written the earlier answers: ids of items go back to nobody else."""


class Turns:
    """What was said so far. at: seconds since 1970, for all of it, so that the same request always reads the same."""

    __slots__ = ("_at", "_calls", "_heard", "_said", "_turns")

    def __init__(self, at: int) -> None:
        self._at = datetime.fromtimestamp(at, UTC)
        self._calls = Calls()
        self._turns: list[ModelMessage] = []
        self._heard: list[ModelRequestPart] = []
        self._said: list[ModelResponsePart] = []

    def system(self, texts: Sequence[str]) -> None:
        for text in texts:
            self._hear(SystemPromptPart(text, timestamp=self._at))

    def user(self, content: str | Sequence[UserContent]) -> None:
        self._hear(UserPromptPart(content, timestamp=self._at))

    def result(self, found: Findings, at: str, call: object, content: str | Sequence[str | File]) -> None:
        """What a tool answered. A call that was never made has no name, without which other providers take none."""
        made = self._calls.answer(call) if isinstance(call, str) else None
        if made is None:
            found.refuse(at, "answers no tool call of this conversation")
            return
        name, id_ = made
        # A tool that said nothing has no words, rather than empty ones, which Anthropic refuses.
        value = content if isinstance(content, str) and content else [one for one in content if one]
        self._hear(ToolReturnPart(name, value, id_, timestamp=self._at))

    def assistant(self, *parts: ModelResponsePart) -> None:
        """More of the same answer, until something else is heard or `close` ends it."""
        self._end_request()
        for part in parts:
            if isinstance(part, ToolCallPart):
                part.tool_call_id = self._calls.make(part.tool_call_id, part.tool_name)
        self._said.extend(parts)

    def close(self) -> None:
        """Ends what is open, a request or an answer."""
        self._end_request()
        if self._said:
            self._turns.append(ModelResponse(self._said, timestamp=self._at, provider_name=_ORIGIN))
            self._said = []

    def messages(self) -> list[ModelMessage]:
        self.close()
        return self._turns

    def _hear(self, part: ModelRequestPart) -> None:
        if self._said:
            self.close()
        self._heard.append(part)

    def _end_request(self) -> None:
        if self._heard:
            self._turns.append(ModelRequest(self._heard, timestamp=self._at))
            self._heard = []


def joined(content: Sequence[str | File]) -> str | list[str | File]:
    """A tool's result. Texts that follow each other become one, since several would be sent as a JSON list."""
    merged: list[str | File] = []
    for one in content:
        if isinstance(one, str) and merged and isinstance(merged[-1], str):
            merged[-1] = f"{merged[-1]}\n{one}"
        else:
            merged.append(one)
    match merged:
        case []:
            return ""
        case [str(text)]:
            return text
    return merged
