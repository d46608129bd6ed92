"""The Anthropic agents' side of translation: `POST /v1/messages`, read and answered. Pure: bytes in, values out, and
the other way round.
"""

from pydantic_ai.messages import ModelResponse

from seawall.translate import anthropic_answer, anthropic_request
from seawall.translate.anthropic_stream import MessagesStream
from seawall.translate.types import Asked, StreamWriter
from seawall.types import Facts


class AnthropicMessages:
    """See `seawall.translate.types.AgentSide`."""

    operation = "messages"

    def read(self, body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
        return anthropic_request.read(body, created=created, id_=id_)

    def whole(self, asked: Asked, response: ModelResponse, model: str) -> bytes:
        return anthropic_answer.whole(asked, response, model)

    def stream(self, asked: Asked) -> StreamWriter:
        return MessagesStream(asked)
