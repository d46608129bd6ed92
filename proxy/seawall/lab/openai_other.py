"""The smaller OpenAI operations: completions, embeddings, models. Pure."""

import base64
import random
from array import array
from typing import Any

from seawall.lab.answer import Answer, Ask, Json, Mint, RejectedError, count, decide, plain, section, tokens
from seawall.lab.chat import DONE, FAMILY, SSE, data, error_event
from seawall.lab.plan import Scenario, Trouble

_DIMENSIONS = 1536
_MOST_NUMBERS = 4_000_000
"""In all vectors of one answer: what 2,048 texts of the usual size need, and a bound on memory."""


def _model(body: Json) -> str:
    model = body.get("model")
    if not isinstance(model, str):
        raise RejectedError(Trouble.INVALID, "you must provide a model parameter")
    return model


class Completions:
    name = "completions"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        given = body.get("prompt", "")
        prompt = given if isinstance(given, str) else str(given)
        ask = Ask(_model(body), prompt=prompt, input_tokens=tokens(prompt), max_tokens=count(body, "max_tokens", 16))
        said = decide(ask, scenario, mint.seed)
        head = {"id": mint.id("cmpl-", 29), "object": "text_completion", "created": mint.now, "model": ask.model}
        finish = "length" if said.cut else "stop"
        total = ask.input_tokens + said.tokens
        usage = {"prompt_tokens": ask.input_tokens, "completion_tokens": said.tokens, "total_tokens": total}

        def choice(text: str, finish: str | None) -> dict[str, object]:
            return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}

        if not body.get("stream"):
            return plain({**head, "choices": [choice(said.text, finish)], "usage": usage})
        frames = [data({**head, "choices": [choice(piece, None)]}) for piece in said.pieces]
        frames.append(data({**head, "choices": [choice("", finish)]}))
        if section(body, "stream_options").get("include_usage"):
            frames.append(data({**head, "choices": [], "usage": usage}))
        terminal = len(frames) - len(said.pieces) + 1
        return Answer([*frames, DONE], SSE, stream=True, terminal=terminal, error_event=error_event)


class Embeddings:
    name = "embeddings"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        given = body.get("input")
        if given in (None, "", []):
            raise RejectedError(Trouble.INVALID, "input: can not be empty")
        texts: list[Any] = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        size = count(body, "dimensions", _DIMENSIONS) or _DIMENSIONS
        if len(texts) > 2048 or size * len(texts) > _MOST_NUMBERS:
            raise RejectedError(Trouble.INVALID, "too many inputs or dimensions")
        packed = body.get("encoding_format") == "base64"
        used = sum(tokens(str(text)) for text in texts)
        made = [
            {"object": "embedding", "index": index, "embedding": vector(f"{mint.seed}/{text}", size, packed)}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": used, "total_tokens": used}
        return plain({"object": "list", "data": made, "model": _model(body), "usage": usage})


def vector(source: str, size: int, packed: bool) -> object:
    """A unit vector: the same for the same text."""
    rng = random.Random(source)
    raw = [rng.random() - 0.5 for _ in range(size)]
    norm = sum(value * value for value in raw) ** 0.5
    values = array("f", [value / norm for value in raw])
    return base64.b64encode(values.tobytes()).decode() if packed else values.tolist()


class Models:
    name = "models"
    family = FAMILY

    def __init__(self, names: tuple[str, ...], only: str | None = None) -> None:
        self._names = names
        self._only = only

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        if self._only is not None:
            return plain(_model_object(self._only))
        return plain({"object": "list", "data": [_model_object(name) for name in self._names]})


def _model_object(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 1735689600, "owned_by": "seawall-lab"}
