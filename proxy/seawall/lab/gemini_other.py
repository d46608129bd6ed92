"""The smaller Gemini operations: embeddings, countTokens, models. Pure."""

from seawall.lab.answer import Answer, Json, Mint, RejectedError, plain, spoken
from seawall.lab.families import Gemini
from seawall.lab.gemini import listed, member, read, section
from seawall.lab.openai_other import vector
from seawall.lab.plan import Scenario, Trouble

_DIMENSIONS = 768


class Embed:
    name = "embeddings"
    family = Gemini()

    def __init__(self, model: str, *, several: bool) -> None:
        self._model = model
        self._several = several

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        requests = listed(body, "requests") if self._several else [body]
        if not requests or len(requests) > 100:
            raise RejectedError(Trouble.INVALID, "* BatchEmbedContentsRequest.requests: 1 to 100 must be given")
        for request in requests:
            named = request.get("model")
            if isinstance(named, str) and named.rpartition("/")[2] != self._model:
                raise RejectedError(Trouble.INVALID, "The model of a request does not match the path's")
        made = [{"values": _values(request, mint)} for request in requests]
        return plain({"embeddings": made} if self._several else {"embedding": made[0]})


def _values(request: Json, mint: Mint) -> object:
    text = spoken(section(request, "content").get("parts"))
    if not text:
        raise RejectedError(Trouble.INVALID, "* EmbedContentRequest.content: content is empty")
    size = member(request, "outputDimensionality") or _DIMENSIONS
    if not isinstance(size, int) or not 1 <= size <= 4096:
        raise RejectedError(Trouble.INVALID, "outputDimensionality must be between 1 and 4096")
    return vector(f"{mint.seed}/{text}", size, packed=False)


class CountTokens:
    name = "count_tokens"
    family = Gemini()

    def __init__(self, model: str) -> None:
        self._model = model

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        total = read(self._model, False, section(body, "generateContentRequest") or body).input_tokens
        return plain({"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]})


class Models:
    name = "models"
    family = Gemini()
    names = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001")

    def __init__(self, only: str | None) -> None:
        self._only = only

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        return plain(_model(self._only) if self._only else {"models": [_model(name) for name in self.names]})


def _model(name: str) -> dict[str, object]:
    methods = ["generateContent", "countTokens", "embedContent"]
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods, **limits}
