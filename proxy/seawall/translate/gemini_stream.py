"""A streamed answer as Gemini's: whole answers in small, each with the next piece of text or a whole call, as
server-sent events or as the elements of one array.

A call's arguments are told whole, since the dialect has no pieces of them: when they are complete, at the latest at the
answer's end.
"""

from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
)

from seawall.translate.answer import encoded, rest, untold
from seawall.translate.gemini_answer import Json, chunk, ended, thought, told
from seawall.translate.openai_parts import decoded
from seawall.translate.types import Asked


class GenerateStream:
    """See `StreamWriter`."""

    __slots__ = ("_array", "_asked", "_called", "_model", "_said", "_written")

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        # Its usual framing, which has no word, is events.
        self._array = bool(asked.framing)
        self._model = ""
        self._said: dict[int, str] = {}
        """What was told of texts and thoughts, by the index of pydantic-ai's part."""
        self._called: set[int] = set()
        """The parts whose calls were told."""
        self._written = False

    def begin(self, model: str) -> bytes:
        self._model = model
        return b""

    def event(self, event: ModelResponseStreamEvent) -> bytes:
        match event:
            case PartStartEvent(index=index, part=(TextPart() | ThinkingPart()) as part):
                more = rest(self._said.get(index, ""), part.content)
                return self._more(index, more, thinks=isinstance(part, ThinkingPart))
            case PartDeltaEvent(index=index, delta=TextPartDelta(content_delta=text)):
                return self._more(index, text, thinks=False)
            case PartDeltaEvent(index=index, delta=ThinkingPartDelta(content_delta=text)):
                return self._more(index, text or "", thinks=True)
            case PartEndEvent(index=index, part=ToolCallPart() as part) if _complete(part):
                return self._call(index, part)
        return b""

    def end(self, response: ModelResponse) -> bytes:
        written = b"" if self._said or self._called else b"".join(map(self.event, untold(response)))
        for index, part in enumerate(response.parts):
            if isinstance(part, ToolCallPart):
                written += self._call(index, part)
        # Google's clients keep a conversation only where each piece of an answer has a part.
        parts: list[Json] = [{"text": ""}]
        written += self._event(chunk(self._asked, self._model, parts) | ended(response, parts))
        return written + (b"]" if self._array else b"")

    def _more(self, index: int, text: str, *, thinks: bool) -> bytes:
        if not text or (thinks and not self._asked.thoughts):
            return b""
        self._said[index] = self._said.get(index, "") + text
        return self._part(thought(text) if thinks else {"text": text})

    def _call(self, index: int, part: ModelResponsePart) -> bytes:
        if index in self._called:
            return b""
        one = told(self._asked, part, first=not self._called)
        self._called.add(index)
        return b"" if one is None else self._part(one)

    def _part(self, part: Json) -> bytes:
        return self._event(chunk(self._asked, self._model, [part]))

    def _event(self, data: Json) -> bytes:
        lead, self._written = (b",\r\n" if self._written else b"["), True
        return lead + encoded(data) if self._array else b"data: %b\r\n\r\n" % encoded(data)


def _complete(part: ToolCallPart) -> bool:
    """Whether nothing can come behind its arguments. Providers may go on with a call behind the start of the next."""
    args = part.args
    return isinstance(args, dict) or (
        isinstance(args, str) and decoded(args.encode(errors="surrogatepass")) is not None
    )
