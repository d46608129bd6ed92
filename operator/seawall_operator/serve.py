"""The operator's ports: bundles and webhooks over TLS, and probes and metrics."""

import ssl
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


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
    """/livez: the loop turns. /readyz: everything was read once, and there is a certificate to serve it with."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="not ready to serve yet\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/livez", live), web.get("/readyz", is_ready), web.get("/metrics", metrics)]
