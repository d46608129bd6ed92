"""The operator's bundle service without a cluster: bundles are put on its shelf by hand, and every token is good."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from seawall.policy import EffectivePolicy, evaluate, load_text
from seawall.policy.bundle import Bundle, bundle, pack
from seawall_operator.bundles import BundleService, Served, Shelf
from seawall_operator.kube import Caller
from seawall_operator.serve import listen
from seawall_operator.sidecars import Key, Report

KEY: Key = ("team", "default")


def made(text: str, sequence: int = 1) -> Bundle:
    """Of a policy text without namespaces."""
    loaded = evaluate(load_text(text.replace("metadata: {", "metadata: {namespace: team, "), "policy.yaml"))
    assert loaded.policy is not None, "\n".join(map(str, loaded.issues))
    return bundle(*KEY, sequence, loaded.policy)


@dataclass(eq=False)
class Bundling:
    """A running service, and every word of its sidecars."""

    shelf: Shelf
    url: str = ""
    said: list[Report] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    """Where questions came from."""

    def put(self, one: Bundle, packed: bytes | None = None) -> None:
        self.shelf.sequence = one.sequence
        self.shelf.put(KEY[0], {KEY: Served(one.revision, packed or pack(one))})
        self.shelf.ready.set()

    def has(self, running: str = "", refused: str = "") -> Callable[[], bool]:
        """Whether a sidecar said last that it runs, and would not take, these revisions."""
        return lambda: bool(self.said) and (self.said[-1].running, self.said[-1].refused) == (running, refused)


def _nothing(namespace: str, profile: str) -> Served:
    empty = bundle(namespace, profile, 0, EffectivePolicy({}, (), ""))
    return Served(empty.revision, pack(empty))


@asynccontextmanager
async def bundling(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Bundling]:
    running = Bundling(Shelf(_nothing))

    async def review(token: str) -> Caller | None:
        return Caller("team", "default", "pod-1") if token == "good" else None

    async def noted(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        running.connections.add(request.transport.get_extra_info("peername"))
        return await bundle_route.handler(request)

    service = BundleService(running.shelf, review, lambda key, pod, report: running.said.append(report))
    bundle_route, *others = service.routes()
    runner, port = await listen([web.get(bundle_route.path, noted), *others], "127.0.0.1", port, tls)
    running.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield running
    finally:
        running.shelf.close()
        await runner.cleanup()
