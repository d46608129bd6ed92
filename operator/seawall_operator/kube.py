"""The API server, over aiohttp: what the operator reads and writes, and nothing else.

No call blocks the loop, each has an end, and a failure is an ApiError that says what kind of one.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from seawall.policy.documents import GROUP
from seawall_operator.connection import Connection
from seawall_operator.resources import FIELD_MANAGER, RESOURCES, VERSION, Object

TIMEOUT = 20.0
"""Seconds for one call."""
PAGE = 500
TOKEN_SECONDS = 10.0
"""How long what was read of the credential's file is used."""
_JSON = "application/json"
_CORE: Mapping[str, tuple[str, str]] = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Secret": ("/api/v1", "secrets"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "ValidatingWebhookConfiguration": ("/apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
    "MutatingWebhookConfiguration": ("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations"),
}


class ApiError(Exception):
    """A call that failed. `status` 0: no answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status or 'no answer'} {reason}: {message}")
        self.status = status
        self.reason = reason

    @property
    def gone(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        return self.status == 409

    @property
    def refused(self) -> bool:
        """For what was sent, and not for who sent it or for how the server is."""
        return 400 <= self.status < 500 and self.status not in (401, 408, 429)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token is of. `pod` "": of no pod in particular."""

    namespace: str
    service_account: str
    pod: str


class Kube:
    """One API server. Close it in the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tls: ssl.SSLContext | None = connection.tls()
        self._session: aiohttp.ClientSession | None = None
        self._token: tuple[float, str | None] = float("-inf"), None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def apply(self, body: Object, *, status: bool = False) -> dict[str, Any]:
        """Server-side apply: the fields of `body` become the operator's own, whoever had them."""
        path = path_of(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        kind = "application/apply-patch+yaml"
        return await self.call("PATCH", path + ("/status" if status else ""), body, params=params, content_type=kind)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return await self.call("GET", path_of(kind, namespace, name))

    async def create(self, body: Object) -> dict[str, Any]:
        return await self.call("POST", path_of(body["kind"], body["metadata"].get("namespace", "")), body)

    async def replace(self, body: Object) -> dict[str, Any]:
        """With the resourceVersion of `body`: a conflict where somebody else was first."""
        path = path_of(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])
        return await self.call("PUT", path, body)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        await self.call("DELETE", path_of(kind, namespace, name))

    async def list(
        self, kind: str, selector: str = "", *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], int]:
        """All objects of a kind, everywhere, and the resourceVersion that they are of."""
        items: list[dict[str, Any]] = []
        version = 0
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" if metadata_only else _JSON
        async for page in self._pages(path_of(kind, ""), selector, accept):
            items += page.get("items") or []
            text = str(page["metadata"].get("resourceVersion", ""))
            version = int(text) if text.isdecimal() else version
        return items, version

    async def _pages(self, path: str, selector: str, accept: str) -> AsyncIterator[dict[str, Any]]:
        params = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self.call("GET", path, params=params, accept=accept)
            yield page
            more = page["metadata"].get("continue")
            if not more:
                return
            params["continue"] = more

    async def review_token(self, token: str, audience: str) -> Caller | None:
        """Whose it is; None where it is nobody's, or not for this audience."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await self.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
        status = answer.get("status") or {}
        user = status.get("user") or {}
        if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
            return None
        parts = str(user.get("username", "")).split(":")
        if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
            return None
        pod = ((user.get("extra") or {}).get("authentication.kubernetes.io/pod-name") or [""])[0]
        return Caller(parts[2], parts[3], pod)

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        """Raises ApiError."""
        headers = {"Accept": accept, "User-Agent": FIELD_MANAGER}
        try:
            if token := await self._credential():
                headers["Authorization"] = f"Bearer {token}"
            data = None
            if body is not None:
                data, headers["Content-Type"] = json.dumps(body).encode(), content_type
            session = self._opened()
            url = self._connection.server + path
            async with session.request(method, url, data=data, headers=headers, params=params) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error
        try:
            answer: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError:
            raise ApiError(response.status, "NotJSON", text[:200]) from None
        if response.status >= 400:
            raise ApiError(response.status, str(answer.get("reason", "")), str(answer.get("message", ""))[:1000])
        return answer

    async def _credential(self) -> str | None:
        """Kubelets write a token's file anew long before the last one's end."""
        now = asyncio.get_running_loop().time()
        if now - self._token[0] > TOKEN_SECONDS:
            self._token = now, await asyncio.to_thread(self._connection.token)
        return self._token[1]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=20)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT))
        return self._session


def path_of(kind: str, namespace: str, name: str = "") -> str:
    """Of one object; without a name, of all of them in a namespace or, without that, everywhere."""
    if kind in RESOURCES:
        root, plural = f"/apis/{GROUP}/{VERSION}", RESOURCES[kind].plural
    else:
        root, plural = _CORE[kind]
    return f"{root}{f'/namespaces/{namespace}' if namespace else ''}/{plural}{f'/{name}' if name else ''}"
