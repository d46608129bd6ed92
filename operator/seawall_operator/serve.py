"""The operator's ports: bundles for sidecars over TLS, and probes and metrics. Certificates are read again when their
files change, so that whoever rotates them need not tell.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

LOOK = 10.0
"""Seconds between two looks at the certificate's files."""

log = logging.getLogger(__name__)


class Certificate:
    """A server's context over files that may change."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises OSError, or ssl.SSLError, for files that cannot be used."""
        self._files = (certificate, key)
        self._seen = self._stamp()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(certificate, key)

    async def watch(self) -> None:
        """Until cancelled. What cannot be used leaves what was used before."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                seen = self._stamp()
                if seen != self._seen:
                    self.context.load_cert_chain(*self._files)
                    self._seen = seen
                    log.info("the certificate was read anew")
            except (OSError, ssl.SSLError) as error:
                log.warning("the new certificate cannot be used: %s", error)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        found = [os.stat(file) for file in self._files]  # noqa: PTH116 - through the Secret's symlinks
        return tuple((status.st_mtime_ns, status.st_ino) for status in found)


async def listen(
    routes: list[web.RouteDef], host: str, port: int, tls: ssl.SSLContext | None = None
) -> tuple[web.AppRunner, int]:
    """Serve; the port that was had, where 0 took any. Clean the runner up in the end. Raises OSError."""
    app = web.Application(client_max_size=4 * 2**20)
    app.add_routes(routes)
    # A sidecar that goes away need not be waited for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    await site.start()
    found: int = runner.addresses[0][1]
    return runner, found


def admin_routes(registry: CollectorRegistry, ready: Callable[[], bool]) -> list[web.RouteDef]:
    """/livez: the loop turns. /readyz: everything was read once, so that bundles can be served."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="reading the cluster\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/livez", live), web.get("/readyz", is_ready), web.get("/metrics", metrics)]
