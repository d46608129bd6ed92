"""Chat completions as an agent speaks them: the request read, the answer written, plain or streamed."""

from pydantic_ai.messages import ModelResponse

from seawall.translate import openai_chat_answer, openai_chat_request
from seawall.translate.types import Asked, StreamWriter
from seawall.types import Facts


class OpenAIChat:
    """See `AgentSide`."""

    operation = "chat"

    def read(self, body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
        return openai_chat_request.read(body, facts, created=created, id_=id_)

    def whole(self, asked: Asked, response: ModelResponse, model: str) -> bytes:
        return openai_chat_answer.whole(asked, response, model)

    def stream(self, asked: Asked) -> StreamWriter:
        return openai_chat_answer.ChatWriter(asked)
