"""The service that sidecars poll for their bundle: each request says what its sidecar runs, and is answered when there
is something else.

GET /v1/bundles/NAMESPACE/PROFILE
    Authorization: Bearer TOKEN              a service-account token for AUDIENCE, bound to the pod
    If-None-Match: "REVISION"                what it runs: the acknowledgement
    X-Seawall-Sequence: N                    of that; a replica that knows less waits until it has caught up
    X-Seawall-Refused: REVISION              what it would not take, and why (percent-encoded)
    X-Seawall-Error: TEXT
200 with ETag, X-Seawall-Sequence and the packed bundle; 304 when nothing else came up; 503 until all is known.
GET /v1/sidecars/NAMESPACE/PROFILE tells what each of its pods said last.

A pod reads its own namespace's bundle only.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from seawall_operator.kube import ApiError, Caller
from seawall_operator.sidecars import Key, Report

HOLD = 45.0
"""Seconds that a request waits at most; well below what makes a sidecar count as gone."""
CATCH_UP = 0.5
"""How often a replica that is behind a sidecar looks whether it still is."""
REVIEW_SECONDS, REFUSED_SECONDS = 600.0, 60.0
"""What the API server says of a token holds so long: thousands of sidecars would ask it hundreds of times a second. A
token that was taken back meanwhile reads the policy of its own namespace for a while yet."""
MAX_REVIEWS = 20_000
MAX_ERROR = 1000
BUNDLE_TYPE = "application/vnd.seawall.bundle+gzip"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """One bundle, as it is sent."""

    revision: str
    packed: bytes


Review = Callable[[str], Awaitable[Caller | None]]


class Shelf:
    """The newest bundle of each profile, and who waits for another one."""

    def __init__(self, other: Callable[[str, str], Served]) -> None:
        """`other` makes the bundle of a namespace or profile that nothing is known of."""
        self._served: dict[Key, Served] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._other = other
        self.ready = asyncio.Event()
        """Everything was read once: before, what is missing might only not be known yet."""
        self.closed = False
        self.sequence = 0
        """All bundles here hold what was known up to this: the resourceVersion of the newest change."""

    def of(self, key: Key) -> Served:
        return self._served.get(key) or self._other(*key)

    def revisions(self) -> dict[Key, str]:
        return {key: one.revision for key, one in self._served.items()}

    def put(self, namespace: str, bundles: dict[Key, Served]) -> None:
        """All bundles of a namespace, in place of those before."""
        for key in [key for key in self._served if key[0] == namespace and key not in bundles]:
            del self._served[key]
        self._served |= bundles
        if (event := self._changed.pop(namespace, None)) is not None:
            event.set()

    def close(self) -> None:
        """Nobody needs to wait any more."""
        self.closed = True
        for event in self._changed.values():
            event.set()

    def change(self, namespace: str) -> asyncio.Event:
        """Set when the namespace's bundles change next."""
        return self._changed.setdefault(namespace, asyncio.Event())


class BundleService:
    """The HTTP side."""

    def __init__(self, shelf: Shelf, review: Review, say: Callable[[Key, str, Report], None]) -> None:
        self._shelf = shelf
        self._review = review
        self._say = say
        self._reviews: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self.said: Callable[[Key], dict[str, Report]] = lambda key: {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/bundles/{namespace}/{profile}", self._bundle),
            web.get("/v1/sidecars/{namespace}/{profile}", self._sidecars),
        ]

    async def _bundle(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["namespace"], request.match_info["profile"]
        caller = await self._caller(request, key[0])
        if not self._shelf.ready.is_set():
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"}, text="not everything is known yet\n")
        running = request.headers.get("If-None-Match", "").strip('"')
        refused = request.headers.get("X-Seawall-Refused", "")
        error = unquote(request.headers.get("X-Seawall-Error", ""), errors="replace")[:MAX_ERROR]
        sequence = _number(request.headers.get("X-Seawall-Sequence", ""))
        loop = asyncio.get_running_loop()
        self._say(
            key,
            caller.pod or f"{caller.service_account}@{request.remote}",
            Report(running, refused, error, loop.time()),
        )
        served = await self._other_than({running, refused}, sequence, key, loop.time() + HOLD)
        headers = {"ETag": f'"{served.revision}"', "X-Seawall-Sequence": str(self._shelf.sequence)}
        if served.revision in (running, refused) or self._shelf.sequence < sequence:
            return web.Response(status=304, headers=headers)
        return web.Response(body=served.packed, content_type=BUNDLE_TYPE, headers=headers)

    async def _other_than(self, known: set[str], sequence: int, key: Key, end: float) -> Served:
        """The bundle, once it is none that the sidecar knows, and none older than it has; or at the end of the wait."""
        while True:
            change = self._shelf.change(key[0])
            served = self._shelf.of(key)
            behind = self._shelf.sequence < sequence
            now = asyncio.get_running_loop().time()
            if (served.revision not in known and not behind) or now >= end or self._shelf.closed:
                return served
            try:
                async with asyncio.timeout_at(min(end, now + CATCH_UP) if behind else end):
                    await change.wait()
            except TimeoutError:
                pass

    async def _sidecars(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["namespace"], request.match_info["profile"]
        await self._caller(request, key[0])
        now = asyncio.get_running_loop().time()
        return web.json_response(
            {
                "revision": self._shelf.of(key).revision,
                "sidecars": [
                    {
                        "pod": pod,
                        "running": r.running,
                        "refused": r.refused,
                        "error": r.error,
                        "secondsAgo": int(now - r.at),
                    }
                    for pod, r in sorted(self.said(key).items())
                ],
            }
        )

    async def _caller(self, request: web.Request, namespace: str) -> Caller:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"}, text="no token\n")
        try:
            caller = await self._reviewed(token.strip())
        except ApiError as error:
            log.warning("a token could not be reviewed: %s", error)
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"}, text="tokens cannot be reviewed\n") from None
        if caller is None:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"}, text="not a valid token\n")
        if caller.namespace != namespace:
            raise web.HTTPForbidden(text="a pod reads its own namespace's bundle only\n")
        return caller

    async def _reviewed(self, token: str) -> Caller | None:
        digest, now = hashlib.sha256(token.encode()).digest(), asyncio.get_running_loop().time()
        found = self._reviews.get(digest)
        if found is not None and now - found[0] < (REVIEW_SECONDS if found[1] is not None else REFUSED_SECONDS):
            return found[1]
        caller = await self._review(token)
        self._reviews[digest] = now, caller
        self._reviews.move_to_end(digest)
        while len(self._reviews) > MAX_REVIEWS:
            self._reviews.popitem(last=False)
        return caller


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else 0
