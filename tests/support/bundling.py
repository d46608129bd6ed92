"""The operator's bundle service without a cluster: bundles are put on its shelf by hand, and every token is good."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from seawall.policy import EffectivePolicy, evaluate, load_text
from seawall.policy.bundle import Bundle, bundle, pack
from seawall_operator.bundles import Asker, BundleService
from seawall_operator.callers import Callers
from seawall_operator.kube import Caller
from seawall_operator.serve import listen
from seawall_operator.shelf import Served, Shelf
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
    """Those that questions came over."""
    slow_reviews: bool = False
    reviewing: int = 0
    waiting: Callable[[], int] = lambda: 0
    """Questions without an answer."""
    _end: Callable[[], Awaitable[None]] | None = None

    async def close(self) -> None:
        """Once."""
        self.shelf.close()
        if self._end is not None:
            end, self._end = self._end, None
            await end()

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
        running.reviewing += 1
        try:
            await asyncio.sleep(60 if running.slow_reviews else 0)
        finally:
            running.reviewing -= 1
        return Caller("team", "default", "pod-1") if token == "good" else None

    service = _Noted(running.shelf, Callers(review), lambda key, pod, report: running.said.append(report))
    running.waiting = lambda: service.waiting
    service.connections = running.connections
    listening = await listen([], "127.0.0.1", port, tls, service)
    running._end = listening.close
    running.url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.port}"
    try:
        yield running
    finally:
        await running.close()


class _Noted(BundleService):
    connections: set[object]

    def ask(self, asker: Asker, key: Key, fields: Mapping[str, str]) -> None:
        self.connections.add(asker)
        super().ask(asker, key, fields)
