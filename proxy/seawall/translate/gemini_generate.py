"""The Gemini agents' side of translation: `generateContent` and `streamGenerateContent`, read and answered. Pure: bytes
in, values out, and the other way round.
"""

from pydantic_ai.messages import ModelResponse

from seawall.translate import gemini_answer, gemini_request
from seawall.translate.gemini_stream import GenerateStream
from seawall.translate.types import Asked, StreamWriter
from seawall.types import Facts


class GeminiGenerate:
    """See `seawall.translate.types.AgentSide`."""

    operation = "generate"

    def read(self, body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
        return gemini_request.read(body, facts, created=created, id_=id_)

    def whole(self, asked: Asked, response: ModelResponse, model: str) -> bytes:
        return gemini_answer.whole(asked, response, model)

    def stream(self, asked: Asked) -> StreamWriter:
        return GenerateStream(asked)
