"""The operator's ports: bundles and webhooks over TLS, and probes and metrics."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from seawall_operator.bundles import BundleService
from seawall_operator.polling import Polls
from seawall_operator.tls import Secured

BACKLOG = 1024
"""Thousands of sidecars come back at once when a replica has gone."""


@dataclass(frozen=True, slots=True)
class Listening:
    """One port."""

    port: int
    close: Callable[[], Awaitable[None]]


async def listen(
    routes: list[web.RouteDef],
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    bundles: BundleService | None = None,
) -> Listening:
    """Serve; port 0 takes any. Raises OSError."""
    app = web.Application(client_max_size=4 * 2**20)
    app.add_routes(routes)
    # A sidecar that goes away need not be waited for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    assert runner.server is not None
    polls = Polls(bundles, runner.server) if bundles is not None else None
    made: Callable[[], asyncio.BaseProtocol] = polls or runner.server
    secured = made if tls is None else partial(Secured, tls, made)
    server = await asyncio.get_running_loop().create_server(secured, host, port, backlog=BACKLOG)

    async def close() -> None:
        server.close()
        if polls is not None:
            polls.close()
        await runner.cleanup()

    return Listening(server.sockets[0].getsockname()[1], close)


def admin_routes(registry: CollectorRegistry, ready: Callable[[], bool]) -> list[web.RouteDef]:
    """/livez: the loop turns. /readyz: everything was read once, and there is a certificate to serve it with."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="not ready to serve yet\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/livez", live), web.get("/readyz", is_ready), web.get("/metrics", metrics)]
