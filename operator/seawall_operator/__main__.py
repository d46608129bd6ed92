"""`seawall-operator`: the control plane, one replica of it."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import uvloop

from seawall_operator.admission import Admission
from seawall_operator.bundles import BundleService
from seawall_operator.certificates import Certificate, Mounted, Own
from seawall_operator.connection import NoCluster, find
from seawall_operator.control import Control
from seawall_operator.election import Election
from seawall_operator.handlers import Watching
from seawall_operator.kube import ApiError, Caller, Kube
from seawall_operator.logs import to_stderr
from seawall_operator.meters import Meters
from seawall_operator.options import Options, read
from seawall_operator.peers import Inbox, Outbox, Peering
from seawall_operator.reviewing import Knowledge
from seawall_operator.serve import admin_routes, listen
from seawall_operator.sidecar_container import AUDIENCE
from seawall_operator.webhooks import Webhooks

LEASE = "seawall-operator"
_LOAD_AGAIN = 2.0
SWITCH = 0.0005
"""Seconds after which a thread that computes lets another one go on; Python's own are ten times as long."""

Part = Callable[[], Coroutine[Any, Any, None]]

log = logging.getLogger("seawall_operator")


def main() -> int:
    options = read()
    to_stderr()
    # kopf asks for the user's name, which a numeric user has not.
    os.environ.setdefault("USER", "seawall")
    # Compiling takes seconds of another thread; the loop must not wait for its turn at each of its steps meanwhile.
    sys.setswitchinterval(SWITCH)
    try:
        return uvloop.run(run(options))
    except (NoCluster, OSError) as error:
        print(f"seawall-operator: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


async def run(options: Options) -> int:
    """Until a signal stops it; 1 where a bug did."""
    connection = find()
    host, port = options.listen
    # The lease has connections of its own: thousands of sidecars whose tokens are asked for must not keep it waiting.
    kube, lease, meters = Kube(connection), Kube(connection), Meters()
    namespace = options.namespace or connection.namespace
    control = Control(kube, meters, namespace)
    election = Election(lease, namespace, LEASE, options.identity, control.lead, options.advertise)
    control.writer.may_write = lambda: election.leads
    webhooks = Webhooks(kube, options.webhooks, lambda: election.leads)
    trusted = _Trusted(control.trust, webhooks.trust)
    certificate = _certificate(options, kube, namespace, election, trusted)
    watching = Watching(connection, control)
    parts: list[Part] = [control.run, election.run, watching.run, certificate.run, webhooks.run]

    async def review(token: str) -> Caller | None:
        return await kube.review_token(token, AUDIENCE)

    service = BundleService(control.shelf, review, control.say)
    service.said = lambda key: dict(control.sidecars.reports(key))
    routes = [*service.routes(), *Admission(Knowledge(control, options.image, options.url)).routes()]
    if options.peer_token is not None:
        peering = Peering(options.peer_token, lambda: trusted.authority, _host(options))
        outbox = Outbox(peering, lambda: election.leader)
        control.passed_on = outbox.put
        parts.append(outbox.run)
        routes += Inbox(peering, review, control.say).routes()
    runner, port = await listen(routes, host, port, certificate.context)
    admin_host, admin_port = options.admin
    probes = admin_routes(meters.registry, lambda: control.shelf.ready.is_set() and certificate.ready.is_set())
    admin, admin_port = await listen(probes, admin_host, admin_port)
    said = f"bundles on {host}:{port}, admin on {admin_host}:{admin_port}"
    log.info("%s", said)
    try:
        await _load(control)
        return await _at_work(parts, watching)
    finally:
        # The lease is let go by now, and nobody's poll need wait for kopf's end, which takes what is left for hung.
        control.shelf.close()
        await runner.cleanup()
        await admin.cleanup()
        await watching.end()
        await kube.close()
        await lease.close()


class _Trusted:
    """The authorities that this service is to be trusted by, and who is told of them."""

    def __init__(self, *listeners: Callable[[str], None]) -> None:
        self._listeners = listeners
        self.authority = ""

    def __call__(self, authority: str) -> None:
        self.authority = authority
        for listener in self._listeners:
            listener(authority)


def _certificate(
    options: Options, kube: Kube, namespace: str, election: Election, trusted: Callable[[str], None]
) -> Certificate:
    if options.tls_cert is not None and options.tls_key is not None:
        return Mounted(options.tls_cert, options.tls_key, options.ca, trusted)
    return Own(kube, namespace, options.tls_secret, [_host(options)], lambda: election.leads, trusted)


def _host(options: Options) -> str:
    return urlsplit(options.url).hostname or ""


async def _at_work(parts: list[Part], watching: Watching) -> int:
    """Until a signal, or until one of the parts ends, which is a bug."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    tasks = [loop.create_task(part()) for part in parts]
    await watching.started.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopping = loop.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    bugs = [end for end in ends if isinstance(end, Exception)]
    for bug in bugs:
        log.error("a bug: %r", bug, exc_info=bug)
    return 0 if stop.is_set() and not bugs else 1


async def _load(control: Control) -> None:
    while True:
        try:
            await control.load()
            return await control.recall()
        except ApiError as error:
            log.warning("the cluster cannot be read yet: %s", error)
            await asyncio.sleep(_LOAD_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
