"""The admin server: probes, metrics, reports and the dashboard on a TCP port; the same with actions on a Unix socket,
which only this user may open. It reads live state through Protocols, and offers nothing that changes anything over TCP.
"""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from seawall.clock import Clock
from seawall.server import dashboard
from seawall.server.controls import Controls, UnknownNameError
from seawall.store.base import Unavailable, Which
from seawall.telemetry import report
from seawall.telemetry.live import LiveCollector
from seawall.telemetry.process import resident_bytes
from seawall.telemetry.recent import Recent
from seawall.types import ServiceLevel

PATHS = ("/", "/livez", "/readyz", "/startupz", "/health", "/state", "/cache", "/metrics")
ACTIONS = (
    "POST /actions/breakers/{upstream}/isolate",
    "POST /actions/breakers/{upstream}/force-close",
    "POST /actions/breakers/{upstream}/reset",
    "POST /actions/offline",
    "POST /actions/online",
    "POST /actions/purge",
    "POST /actions/drain",
)

PURGED_BY = ("route", "upstream", "model", "key")

_OPENMETRICS = "application/openmetrics-text"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Pages:
    """The handlers, over what they show and what they control."""

    def __init__(
        self,
        live: report.LiveState,
        collector: LiveCollector,
        registry: CollectorRegistry,
        recent: Recent,
        controls: Controls,
        clock: Clock,
    ) -> None:
        self._live = live
        self._collector = collector
        self._registry = registry
        self._recent = recent
        self._controls = controls
        self._clock = clock
        self._scraping = asyncio.Lock()

    async def home(self, request: web.Request) -> web.Response:
        text = dashboard.page(self._live.snapshot(), self._recent.events(), self._clock.wall(), resident_bytes())
        headers = {**_HEADERS, "Content-Security-Policy": dashboard.CONTENT_SECURITY_POLICY}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def livez(self, request: web.Request) -> web.Response:
        """The event loop turns: it just has."""
        return _json({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        process = self._live.snapshot().process
        if not process.ready:
            return _problem(503, "NOT_READY", "no usable policy yet")
        if process.draining:
            return _problem(503, "DRAINING", "draining: takes no new calls")
        return _json({"status": "ok"})

    async def startupz(self, request: web.Request) -> web.Response:
        if not self._live.snapshot().process.ready:
            return _problem(503, "NOT_READY", "no usable policy yet")
        return _json({"status": "ok"})

    async def health(self, request: web.Request) -> web.Response:
        """503 when nothing can be served, so that a plain monitor needs to look at the status only."""
        snapshot = self._live.snapshot()
        full = report.health(snapshot, self._clock.wall(), resident_bytes())
        return _json(full, 503 if report.service_level(snapshot) is ServiceLevel.OFFLINE else 200)

    async def state(self, request: web.Request) -> web.Response:
        return _json(report.state(self._live.snapshot()))

    async def cache(self, request: web.Request) -> web.Response:
        return _json(self._controls.cache())

    async def metrics(self, request: web.Request) -> web.Response:
        """Text or OpenMetrics by Accept. Machines are read here; writing thousands of lines is left to a thread, so
        that no streamed event waits for it."""
        # Decided here: the library's reading of Accept fails on a version that is no number.
        wanted = _OPENMETRICS if _OPENMETRICS in request.headers.get("Accept", "").lower() else ""
        encode, content_type = choose_encoder(wanted)
        async with self._scraping:
            self._collector.take()
            body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    # Actions

    async def breaker(self, request: web.Request) -> web.Response:
        verb, upstream = request.match_info["verb"], request.match_info["upstream"]
        if unknown := sorted(set(request.query) - {"model"}):
            # A misspelt `model` would act on the whole upstream.
            return _problem(400, "BAD_REQUEST", f"unknown parameter {unknown[0]!r}; known: model")
        act = {"isolate": self._controls.isolate, "force-close": self._controls.force_close}.get(
            verb, self._controls.reset
        )
        try:
            breakers = act(upstream, request.query.get("model"))
        except UnknownNameError as error:
            return _problem(404, "NOT_FOUND", str(error), known=error.known)
        return _json({"action": verb, "upstream": upstream, "breakers": msgspec.to_builtins(list(breakers))})

    async def offline(self, request: web.Request) -> web.Response:
        verb = request.match_info["verb"]
        if unknown := sorted(set(request.query) - {"route"}):
            # A misspelt `route` would act on all of them.
            return _problem(400, "BAD_REQUEST", f"unknown parameter {unknown[0]!r}; known: route")
        try:
            held = self._controls.set_offline(request.query.get("route"), verb == "offline")
        except UnknownNameError as error:
            return _problem(404, "NOT_FOUND", str(error), known=error.known)
        return _json({"action": verb, "offline": list(held)})

    async def purge(self, request: web.Request) -> web.Response:
        """Forget kept answers: all, or those that agree with every parameter."""
        if unknown := sorted(set(request.query) - set(PURGED_BY)):
            # A misspelt one would purge them all.
            return _problem(400, "BAD_REQUEST", f"unknown parameter {unknown[0]!r}; known: {', '.join(PURGED_BY)}")
        given = {name: request.query.get(name, "") for name in PURGED_BY}
        try:
            prefix = bytes.fromhex(given.pop("key"))
        except ValueError:
            return _problem(400, "BAD_REQUEST", "key is the beginning of a key, in hexadecimal digits")
        try:
            purged = await self._controls.purge(Which(**given, prefix=prefix))
        except Unavailable as error:
            return _problem(503, "STORE_UNAVAILABLE", str(error))
        return _json({"action": "purge", "purged": dict(purged)})

    async def drain(self, request: web.Request) -> web.Response:
        self._controls.drain()
        return _json({"action": "drain", "draining": True}, 202)

    async def forbidden(self, request: web.Request) -> web.Response:
        return _problem(403, "SOCKET_ONLY", "actions are taken on the admin Unix socket only; use `seawall admin`")


def application(pages: Pages, *, actions: bool) -> web.Application:
    """`actions`: this is the Unix socket; elsewhere they are refused."""
    app = web.Application(middlewares=[_json_errors(PATHS + (ACTIONS if actions else ()))])
    handlers = (
        pages.home,
        pages.livez,
        pages.readyz,
        pages.startupz,
        pages.health,
        pages.state,
        pages.cache,
        pages.metrics,
    )
    for path, handler in zip(PATHS, handlers, strict=True):
        app.router.add_get(path, handler)
    if actions:
        app.router.add_post("/actions/breakers/{upstream:.+}/{verb:isolate|force-close|reset}", pages.breaker)
        app.router.add_post("/actions/{verb:offline|online}", pages.offline)
        app.router.add_post("/actions/purge", pages.purge)
        app.router.add_post("/actions/drain", pages.drain)
    else:
        app.router.add_route("*", "/actions{rest:(/.*)?}", pages.forbidden)
    return app


class Admin:
    """The running servers. `start` and `close` once each."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._runners: list[web.AppRunner] = []
        self._unix: asyncio.Server | None = None
        self._socket: _SocketFile | None = None

    async def start(self, host: str, port: int, socket_path: Path | None = None) -> int:
        """Listen; returns the TCP port (for `port` 0). Raises OSError with a message that names address or path."""
        try:
            runner = await self._runner(actions=False)
            site = web.TCPSite(runner, host, port)
            await site.start()
            if socket_path is not None:
                await self._listen_unix(socket_path)
        except BaseException:
            await self.close()
            raise
        bound: int = runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Stop listening, end what is under way within a second, remove the socket file."""
        if self._unix is not None:
            self._unix.close()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        if self._socket is not None:
            self._socket.remove()
        self._unix = self._socket = None

    async def _runner(self, *, actions: bool) -> web.AppRunner:
        app = application(self._pages, actions=actions)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def _listen_unix(self, path: Path) -> None:
        runner = await self._runner(actions=True)
        listener = private_socket(path)
        self._socket = _SocketFile(path)
        assert runner.server is not None  # made by its setup
        self._unix = await asyncio.get_running_loop().create_unix_server(runner.server, sock=listener)


class _SocketFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = path.stat().st_ino

    def remove(self) -> None:
        """Unlink it, unless another process has taken the path over since."""
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass


def private_socket(path: Path) -> socket.socket:
    """A bound Unix socket of mode 0600, in a directory that is created with mode 0700 where there is none. A socket
    file that nobody answers any more is replaced. Raises OSError with a message that names the path."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        # Not yet listening, so nobody can have connected between the two.
        path.chmod(0o600)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno or errno.EINVAL, f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"cannot listen on {path}: it exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # not ours to open, or its backlog is full: somebody has it
    raise OSError(errno.EADDRINUSE, f"cannot listen on {path}: {os.strerror(errno.EADDRINUSE)}")


def _json_errors(known: Sequence[str]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = _problem(405, "METHOD_NOT_ALLOWED", f"{request.path} takes {allowed}", known=known)
            answer.headers["Allow"] = allowed
            return answer
        except web.HTTPException as error:
            code = "NOT_FOUND" if error.status == 404 else "BAD_REQUEST"
            return _problem(error.status, code, f"{error.reason}: {request.path}", known=known)

    return middleware


def _json(value: object, status: int = 200) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json", headers=_HEADERS)


def _problem(status: int, code: str, message: str, known: Sequence[str] = ()) -> web.Response:
    error: dict[str, object] = {"code": code, "message": message}
    if known:
        error["known"] = list(known)
    return _json({"error": error}, status)
