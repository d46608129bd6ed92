"""Azure OpenAI: OpenAI's operations below Azure's paths, with its content filter's annotations and its own words for
errors. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from seawall.lab.answer import Answer, Json, Mint, RejectedError
from seawall.lab.chat import data
from seawall.lab.families import OpenAI
from seawall.lab.operation import Operation
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.types import Headers

_DEPLOYED = re.compile(r"/openai/deployments/([^/]+)(/.+)")
_OTHER = re.compile(r"/openai(?:/v1)?(/.+)")
_SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
_FOUND = {**_SAFE, "violence": {"filtered": True, "severity": "medium"}}


class Azure(OpenAI):
    """Where its gateway answers, an error has a code and a message only; elsewhere it is OpenAI's."""

    name = "AzureOpenAI"
    _gateway: ClassVar[dict[Trouble, tuple[int, str, str]]] = {
        Trouble.AUTH: (401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
        Trouble.FORBIDDEN: (403, "AuthorizationFailed", "Access denied due to Virtual Network/Firewall rules."),
        Trouble.NOT_FOUND: (404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
        Trouble.RATE_LIMIT: (
            429,
            "429",
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded token rate limit.",
        ),
        Trouble.QUOTA: (403, "403", "Out of call volume quota. Quota will be replenished in 08:12:11."),
        Trouble.OVERLOADED: (429, "429", "The system is currently experiencing high demand and cannot process it."),
        Trouble.TIMEOUT: (408, "Timeout", "The operation was timeout."),
    }

    def status(self, trouble: Trouble) -> int:
        found = self._gateway.get(trouble)
        return super().status(trouble) if found is None else found[0]

    def error_object(self, trouble: Trouble, status: Status) -> dict[str, object]:
        found = self._gateway.get(trouble)
        if found is not None:
            return {"code": status.error_code or found[1], "message": status.message or found[2]}
        told = super().error_object(trouble, status)
        if trouble is Trouble.FILTER:
            told |= {"type": None, "param": "prompt", "status": 400}
            told["innererror"] = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": _FOUND}
        return told

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        fields = [f for f in super().headers(mint, exhausted=exhausted) if f[0].startswith(b"x-ratelimit-")]
        return [
            (b"apim-request-id", mint.id("", 32).encode()),
            (b"x-ms-region", b"Sweden Central"),
            (b"x-ms-deployment-name", b"lab"),
            *fields,
        ]


AZURE = Azure()


def deployment(path: str) -> str:
    """The deployment that a path names; "" where none."""
    found = _DEPLOYED.fullmatch(path)
    return unquote(found[1]) if found else ""


def operation(path: str, target: str, known: Mapping[tuple[str, str], Operation]) -> Operation:
    """What answers a POST below `/openai/`. Raises RejectedError."""
    found = _DEPLOYED.fullmatch(path) or _OTHER.fullmatch(path)
    inner = None if found is None else known.get(("POST", found[found.re.groups]))
    versioned = "api-version=" in target.partition("?")[2] or path.startswith("/openai/v1/")
    if inner is None or not versioned:
        raise RejectedError(Trouble.NOT_FOUND, "Resource not found")
    return Deployed(inner, deployment(path))


class Deployed:
    """An operation of OpenAI's, as a deployment has it."""

    family = AZURE

    def __init__(self, inner: Operation, name: str) -> None:
        self.name = inner.name
        self._inner = inner
        self._deployment = name

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        asked: Any = {**body, "model": self._deployment} if self._deployment else body
        answer = self._inner.answer(asked, scenario, mint)
        if answer.stream and self.name == "chat":
            answer.error_event = error_event
            # What the filter says of the prompt comes before everything else, in a chunk without choices.
            empty = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
            results = [{"prompt_index": 0, "content_filter_results": _SAFE}]
            answer.frames.insert(0, data({**empty, "prompt_filter_results": results}))
            answer.prelude += 1
        return answer


def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
    """As OpenAI's, in Azure's words."""
    return data({"error": AZURE.error_object(trouble, Status())})
