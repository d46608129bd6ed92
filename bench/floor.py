#!/usr/bin/env python3
"""The floor: what passing a call through costs on aiohttp's server and client, with no policy, log or metric at all.

    floor.py PORT UPSTREAM_ORIGIN [--ca FILE]

Figures are told relative to it, because it stands for the plainest proxy that anyone would write in Python. It does
nothing that a pass-through need not do, and nothing in it is slowed down.
"""

import argparse
import asyncio
import ssl

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

_OWN_HOP = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


def _travelling(fields: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict([(name, value) for name, value in fields.items() if name.lower() not in _OWN_HOP])


class PassThrough:
    """Sends every request on to one origin, and its answer back."""

    def __init__(self, session: aiohttp.ClientSession, origin: str) -> None:
        self._session = session
        self._origin = origin

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        target = f"{self._origin}{request.rel_url}"
        async with self._session.request(
            request.method, target, data=body, headers=_travelling(request.headers), allow_redirects=False
        ) as answer:
            fields = _travelling(answer.headers)
            if answer.content_length is not None:
                return web.Response(status=answer.status, headers=fields, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=fields)
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


async def serve(port: int, origin: str, ca: str | None) -> None:
    """Listen on 127.0.0.1 until cancelled."""
    tls = ssl.create_default_context(cafile=ca) if ca else True
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=("accept", "accept-encoding", "user-agent"),
    ) as session:
        server = web.Server(PassThrough(session, origin), access_log=None)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=4096)
        await listener.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("origin", help="such as http://127.0.0.1:9001")
    parser.add_argument("--ca", metavar="FILE", help="trust the certificates in this file (PEM) for the upstream")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.origin.rstrip("/"), arguments.ca))


if __name__ == "__main__":
    main()
