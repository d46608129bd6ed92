"""What kopf does here: watch what users write, and hand on what it sees. The only file that knows it.

Watches only (`on.event`): no finalizers and no annotations on users' objects, and no create/update diffs that a missed
event could leave behind. kopf's peering is not used: Lease election decides who writes.
"""

import asyncio
from typing import Any

import kopf

from seawall.policy.documents import GROUP
from seawall_operator.connection import Connection
from seawall_operator.control import Control
from seawall_operator.resources import RESOURCES, VERSION, WRITTEN_BY_USERS

WATCH_SECONDS = 240
"""The API server ends each watch after so long, and kopf begins it anew."""
SILENT_SECONDS = 90
"""API servers say something each minute, if only how far they are. A watch that does not is begun anew."""


def registry_of(connection: Connection, control: Control) -> kopf.OperatorRegistry:
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

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=connection.server,
            ca_path=connection.ca_file,
            token=connection.token(),
            certificate_path=connection.client_file,
            private_key_path=connection.client_file,
            default_namespace=connection.namespace,
        )

    for resource in (RESOURCES[kind] for kind in WRITTEN_BY_USERS):

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
        self._registry = registry_of(connection, control)
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
            await self._kopf
