"""An ingress in this process, for tests of the server alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seawall.server.http1 import Handler
from seawall.server.limits import Limits
from seawall.server.listener import Server, serve


@asynccontextmanager
async def ingress(handler: Handler, limits: Limits | None = None) -> AsyncIterator[Server]:
    """A server that all connections must have left in the end, without being cut."""
    server = await serve(handler, "127.0.0.1", 0, limits=limits or Limits(sweep=0.05))
    try:
        yield server
        async with asyncio.timeout(3):
            while server.connections:
                await asyncio.sleep(0.005)
    finally:
        await server.close()
