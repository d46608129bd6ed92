"""The composition root of `seawall serve`: makes every part once, hands it its dependencies, and takes it
down in order.

Start: policy → runtime → ingress → admin → file watch. Stop (SIGTERM, SIGINT or the drain action): stop accepting,
let calls finish up to a limit, close the rest.
"""

import asyncio
import importlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from seawall.call import Buffers
from seawall.clock import Clock, SystemClock, system_rng
from seawall.compile import compile_policy
from seawall.dialects import REGISTRY
from seawall.engine import Engine
from seawall.foreign import Translator, load, require
from seawall.policy import EffectivePolicy
from seawall.reload import Reloader
from seawall.runtime import Runtime
from seawall.server.agent import AgentHandler
from seawall.server.listener import Server, serve
from seawall.store.places import Places, Stores
from seawall.telemetry.access_log import AccessLog
from seawall.telemetry.labels import PolicyNames
from seawall.telemetry.lines import LineWriter
from seawall.telemetry.live import LiveCollector
from seawall.telemetry.metrics import Metrics
from seawall.telemetry.recent import Recent
from seawall.telemetry.text_log import TextLog, wants_colour
from seawall.telemetry.tracer import load as load_tracer
from seawall.types import Event, Observer, Reloaded
from seawall.upstream import sigv4
from seawall.upstream.pool import Pool
from seawall.view import View

if TYPE_CHECKING:
    from seawall.follow import Follower, Following
    from seawall.policy.bundle import Bundle
    from seawall.server.admin import Admin


log = logging.getLogger(__name__)

# Within what a pod has beyond its drain (five seconds, see SidecarProfile).
_TRACES_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Address:
    """host:port to listen on; port 0 takes any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises ValueError with a message for people."""
        host, found, port = text.rpartition(":")
        if not found or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:4100")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    def with_port(self, port: int) -> "Address":
        """The address that was had, where any port would do."""
        return Address(self.host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Options:
    """How one process runs; policy is what it does.

    drain_seconds: how long calls may take to finish at the end. buffer_budget: bytes, see SEMANTICS §2.
    """

    policies: tuple[Path, ...]
    listen: Address
    admin: Address
    admin_socket: Path
    log_format: str = "json"
    drain_seconds: float = 25.0
    buffer_budget: int = 64 * 1024 * 1024
    cache: Places = field(default_factory=Places)
    traces: bool = False
    """They are made, and sent as the OTEL_* variables say."""
    following: "Following | None" = None
    """Where policies come from instead of the files, which then only hold where there are none."""


class Events:
    """Hands every event to every observer."""

    def __init__(self) -> None:
        self.observers: list[Observer] = []
        self.reloaded: Callable[[Reloaded], None] = lambda event: None
        """Takes policies only; one call fewer for every other event."""

    def __call__(self, event: Event, /) -> None:
        for observer in self.observers:
            observer(event)
        if isinstance(event, Reloaded):
            self.reloaded(event)


class Service:
    """One running proxy."""

    def __init__(self, options: Options, *, log_fd: int = 1, clock: Clock | None = None) -> None:
        """`log_fd` takes the access log; it stays the caller's to close. Raises OSError where traces are asked for and
        cannot be made."""
        self.options = options
        self._clock = clock = clock or SystemClock()
        self.events = Events()
        self._tracer = load_tracer(clock) if options.traces else None
        self._buffers = Buffers(options.buffer_budget)
        self._pool = Pool(clock)
        self._runtime: Runtime | None = None
        self._bundle: Bundle | None = None
        self._otherwise: EffectivePolicy | None = None
        self._translator: Translator | None = None
        self.engine = Engine(self._pool, clock, system_rng(), self.events, self._buffers)
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._metrics = Metrics(self._registry, clock)
        self._stores = Stores(options.cache, clock, self._metrics.cache.store)
        self._metrics.cache.stats = self._stores.stats
        self._recent = Recent(clock)
        self.view = View(lambda: self._runtime, self.engine, self._buffers, self._metrics, self.events, clock)
        self._writer = LineWriter(log_fd, name="access-log")
        log: Observer = AccessLog(self._writer, clock)
        if options.log_format == "text":
            log = TextLog(self._writer, clock, colour=wants_colour(log_fd, os.environ))
        tracer = self._tracer
        spans = dict if tracer is None else tracer.spans
        self._live = LiveCollector(self._registry, self.view, self._metrics.labels, {"access": self._writer}, spans)
        self.events.observers += [self._metrics, log, self._recent]
        if tracer is not None:
            self.events.observers.append(tracer)
        self.events.reloaded = self.view.remember
        self._ingress: Server | None = None
        self._admin: Admin | None = None
        self.admin_port = 0
        self._stop = asyncio.Event()
        self.view.on_drain = self._stop.set
        self.view.stores = self._stores.opened

    @property
    def port(self) -> int:
        assert self._ingress is not None
        return self._ingress.port

    def prepare(self, policy: EffectivePolicy) -> None:
        """Import what a policy needs and the process does not have yet; may be called from another thread, since that
        can take seconds. Raises OSError where it is not installed."""
        self._stores.require(policy.stores)
        for name in policy.dialects:
            REGISTRY[name].load()
        if policy.signed:
            sigv4.require()
        if policy.translated:
            require(policy.translated)
            self._translator = self._translator or load(self._pool, self._clock)

    def apply(self, policy: EffectivePolicy) -> None:
        """Take a policy that was prepared. Raises OSError where a file that it names cannot be used; then nothing has
        changed."""
        compiled = compile_policy(policy, self._runtime, self._clock)
        if self._translator is not None:
            self._translator.prepare(compiled.runtime.foreign())
            self.engine.translate_by(self._translator)
        if policy.stores or self.engine.cached is not None:
            self.engine.cache_in(self._stores).prepare(compiled.runtime.plans)
            for kind in sorted(policy.stores):
                # What it keeps from before can be looked at and purged, whether or not a call has asked for it.
                self._stores.of(kind)
        self._runtime = compiled.runtime
        self.engine.wake(compiled.granted)
        names = _names(compiled.runtime)
        self._metrics.apply(names)
        self.engine.shadows.keep(names.routes, names.upstreams)
        if self._tracer is not None:
            self._tracer.apply(compiled.runtime.upstreams.values())

    async def start(self, policy: EffectivePolicy, bundles: "Sequence[Bundle]" = ()) -> None:
        """Listen, under the first of the bundles that can be used, else under `policy`. Raises OSError for an address
        that cannot be had, or a file of `policy` that cannot be used."""
        self._otherwise = policy
        self._bundle = next((bundle for bundle in bundles if self._usable(bundle)), None)
        if self._bundle is None:
            self.prepare(policy)
            self.apply(policy)
        elif self._bundle.policy.routes:
            policy = self._bundle.policy
        begin = None if self._tracer is None else self._tracer.begin
        handler = AgentHandler(self._current, self.engine, self._buffers, self.events, self._clock, begin)
        listen = self.options.listen
        self._ingress = await serve(handler, listen.host, listen.port, refuse=handler.refuse, clock=self._clock)
        # aiohttp takes longer to import than all of seawall: agents need not wait for it.
        await asyncio.to_thread(importlib.import_module, "seawall.server.admin")
        from seawall.server.admin import Admin, Pages

        pages = Pages(self.view, self._live, self._registry, self._recent, self.view, self._clock)
        self._admin = Admin(pages)
        admin = self.options.admin
        self.admin_port = await self._admin.start(admin.host, admin.port, self.options.admin_socket)
        self.events(Reloaded(policy.revision))

    async def run(self) -> None:
        """Serve until told to stop; finish what is under way."""
        loop = asyncio.get_running_loop()
        reloader = self._reloader()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, reloader.ask)
        watch = loop.create_task(reloader.run())
        try:
            await self._stop.wait()
        finally:
            watch.cancel()
            await self.close(self.options.drain_seconds)

    def _usable(self, bundle: "Bundle") -> bool:
        """Take it, where that can be done: an agent must start whatever was left for its sidecar."""
        policy = bundle.policy if bundle.policy.routes else self._otherwise
        assert policy is not None
        try:
            self.prepare(policy)
            self.apply(policy)
        except OSError as error:
            log.warning("a kept bundle is not used: %s: %s", error.filename or "policy", error.strerror or error)
            return False
        return True

    def _reloader(self) -> "Reloader | Follower":
        following = self.options.following
        if following is None:
            return Reloader(self.options.policies, self.prepare, self.apply, self.events)
        # Only where there is an operator to follow: it takes a tenth of the start.
        from seawall.follow import Follower

        assert self._otherwise is not None
        return Follower(following, self._bundle, self._otherwise, self.prepare, self.apply, self.events)

    async def close(self, grace: float = 0.0) -> None:
        self.view.draining = True
        if self._ingress is not None:
            await self._ingress.close(grace)
        if self.engine.cached is not None:
            await self.engine.cached.close()
        await self._stores.close()
        await self._pool.close()
        if self._tracer is not None:
            await self._tracer.close(_TRACES_SECONDS)
        if self._admin is not None:
            await self._admin.close()
        self._writer.close()

    def _current(self) -> Runtime:
        assert self._runtime is not None
        return self._runtime


def _names(runtime: Runtime) -> PolicyNames:
    upstreams = runtime.upstreams.values()
    return PolicyNames(
        routes=frozenset(plan.route for plan in runtime.plans),
        upstreams=frozenset(u.name for u in upstreams),
        models=frozenset(name for plan in runtime.plans for group in plan.groups for c in group for name in c.models()),
        origins=frozenset(u.target.endpoint.origin for u in upstreams),
    )
