"""What kopf does here: watch seven kinds, and hand on what it sees. The only file that knows it.

Watches only (`on.event`): no finalizers and no annotations on users' objects, and no create/update diffs that a missed
event could leave behind. kopf's peering is not used: Lease election decides who writes.
"""

import asyncio
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import aiohttp
import kopf

from seawall.policy.documents import GROUP
from seawall_operator.connection import Connection
from seawall_operator.control import Control
from seawall_operator.resources import RESOURCES, VERSION

WATCH_SECONDS = 240
"""The API server ends each watch after so long, and kopf begins it anew."""
SILENT_SECONDS = 90
"""API servers say something each minute, if only how far they are. A watch that does not is begun anew."""


class Patience:
    """Seconds between tries, without an end: kopf would end, and the operator with it, after a minute in which an API
    server answers with errors."""

    def __iter__(self) -> Iterator[float]:
        return chain((1, 1, 2, 3, 5), repeat(10))


async def _not_gone(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A definition that is not there comes back: an API server that starts answers so for a moment, too. kopf would end
    at once."""
    response = await handler(request)
    if response.status == 404:
        response.close()
        raise aiohttp.ClientConnectionError(f"404 for {request.url.path}")
    return response


def registry_of(
    connection: Connection, control: Control, sessions: list[aiohttp.ClientSession]
) -> kopf.OperatorRegistry:
    """`sessions` takes those that are to be closed in the end."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = _NoDiffs()
        settings.peering.standalone = True
        # The definitions are there before kopf starts; looking for more would need a permission on all of them.
        settings.scanning.disabled = True
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.client_timeout = WATCH_SECONDS + 30
        settings.watching.connect_timeout = 10
        settings.watching.inactivity_timeout = SILENT_SECONDS
        settings.networking.error_backoffs = Patience()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        """Again whenever a token is refused: kubelets write its file anew."""
        token = connection.token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(limit=0, ssl=connection.tls() or True)
        session = aiohttp.ClientSession(connector=connector, headers=headers, middlewares=(_not_gone,))
        sessions.append(session)
        return kopf.AiohttpSession(
            server=connection.server, default_namespace=connection.namespace, aiohttp_session=session
        )

    for resource in RESOURCES.values():

        @kopf.on.event(GROUP, VERSION, resource.plural, registry=registry, id=f"see-{resource.plural}")
        async def see(event: kopf.RawEvent, **_: Any) -> None:
            obj = event["object"]
            if "name" in obj.get("metadata", {}):
                control.observe(dict(obj), deleted=event["type"] == "DELETED")

    return registry


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf would copy each object for a comparison with the last time, which nothing here asks for."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Nowhere."""


class Watching:
    """kopf at work."""

    def __init__(self, connection: Connection, control: Control) -> None:
        self._sessions: list[aiohttp.ClientSession] = []
        self._registry = registry_of(connection, control, self._sessions)
        self._stop = asyncio.Event()
        self._kopf: asyncio.Task[None] | None = None
        self.started = asyncio.Event()
        """Its watches are about to be there, and so are the signal handlers that it sets: later ones replace them."""

    async def run(self) -> None:
        """Until cancelled, which leaves it to `end`."""
        running = kopf.operator(
            registry=self._registry, clusterwide=True, standalone=True, stop_flag=self._stop, ready_flag=self.started
        )
        self._kopf = asyncio.create_task(running)
        await asyncio.shield(self._kopf)

    async def end(self) -> None:
        self._stop.set()
        if self._kopf is not None:
            await asyncio.wait([self._kopf])
        for session in self._sessions:
            await session.close()
