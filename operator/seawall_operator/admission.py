"""The admission webhooks (admission.k8s.io/v1), over HTTP: POST /validate for documents, POST /inject for pods.

They never say no for a reason of their own: what goes wrong here, and what is not known yet, lets the object pass with
a warning. The webhook configurations say `failurePolicy: Ignore` for the same reason.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from aiohttp import web

from seawall_operator.inject import Patch
from seawall_operator.resources import RESOURCES, Object
from seawall_operator.review import Opinion

THREADS = 2
"""Reviews at a time, in threads of their own: whoever reaches this port may ask for any number, and must not
keep the operator's other work from its turn."""
MOST = 32
"""Reviews that wait. More than an API server waits for (its timeout) is of no use."""
TOO_BUSY = "seawall: not reviewed, the operator has too much to do"

log = logging.getLogger(__name__)


class Reviewer(Protocol):
    """What is known."""

    @property
    def ready(self) -> bool: ...

    def opinion(self, obj: Object) -> Callable[[], Opinion]:
        """What is known is looked up at once; what follows from it may take seconds, in a thread."""
        ...

    def farewell(self, obj: Object) -> Callable[[], Opinion]:
        """Of an upstream that is to be deleted."""
        ...

    def patch(self, pod: Object, namespace: str) -> Patch: ...


class Admission:
    """The HTTP side."""

    def __init__(self, reviewer: Reviewer) -> None:
        self._reviewer = reviewer
        self._threads = ThreadPoolExecutor(THREADS, "review")
        self._waiting = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/validate", self._validate), web.post("/inject", self._inject)]

    async def _validate(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._of_document)

    async def _inject(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._of_pod)

    async def _answer(
        self, request: web.Request, decide: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    ) -> web.Response:
        try:
            asked = (await request.json())["request"]
            uid = str(asked["uid"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise web.HTTPBadRequest(text="not an AdmissionReview\n") from None
        try:
            answer = await decide(asked)
        except Exception:
            log.exception("a bug: a review failed, and the object passes")
            answer = {"allowed": True, "warnings": ["seawall: not reviewed, for an error of its own"]}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, **answer}}
        return web.json_response(body)

    async def _of_document(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        deleted = asked.get("operation") == "DELETE"
        obj = asked.get("oldObject" if deleted else "object")
        if not isinstance(obj, Mapping) or obj.get("kind") not in RESOURCES or asked.get("subResource"):
            return {"allowed": True}
        if not self._reviewer.ready:
            return {"allowed": True, "warnings": ["seawall: not reviewed, the operator is just starting"]}
        if self._waiting >= MOST:
            return {"allowed": True, "warnings": [TOO_BUSY]}
        found = await self._made(self._reviewer.farewell(obj) if deleted else self._reviewer.opinion(obj))
        if found.errors:
            message = "; ".join(found.errors)
            return {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": message}}
        return {"allowed": True, "warnings": list(found.warnings)}

    async def _made(self, opinion: Callable[[], Opinion]) -> Opinion:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, opinion)
        finally:
            self._waiting -= 1

    async def _of_pod(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        pod = asked.get("object")
        if not isinstance(pod, Mapping) or not self._reviewer.ready:
            return {"allowed": True}
        patch = self._reviewer.patch(pod, str(asked.get("namespace", "")))
        answer: dict[str, Any] = {"allowed": True, "warnings": patch.warnings}
        if patch.steps:
            encoded = base64.b64encode(json.dumps(patch.steps).encode()).decode()
            answer |= {"patchType": "JSONPatch", "patch": encoded}
        return answer
