"""`seawall-operator`: the control plane, one replica of it."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from seawall_operator.bundles import AUDIENCE, BundleService
from seawall_operator.connection import NoCluster, find
from seawall_operator.control import Control
from seawall_operator.election import Election
from seawall_operator.handlers import Watching
from seawall_operator.kube import ApiError, Kube
from seawall_operator.meters import Meters
from seawall_operator.serve import Certificate, admin_routes, listen

LEASE = "seawall-operator"
_LOAD_AGAIN = 2.0

log = logging.getLogger("seawall_operator")


def main() -> int:
    arguments = _parser().parse_args()
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format='{"time":"%(asctime)s","level":"%(levelname)s","message":"%(message)s"}',
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # kopf asks for the user's name, which a numeric user has not.
    os.environ.setdefault("USER", "seawall")
    try:
        return uvloop.run(run(arguments))
    except (NoCluster, OSError) as error:
        print(f"seawall-operator: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


async def run(arguments: argparse.Namespace) -> int:
    """Until a signal stops it; 1 where a bug did."""
    connection = find()
    certificate = Certificate(arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None
    host, port = _address(arguments.listen)
    if certificate is None and host not in ("127.0.0.1", "::1"):
        raise OSError("sidecars send tokens: --listen needs --tls-cert and --tls-key, unless it is 127.0.0.1")
    kube, meters = Kube(connection), Meters()
    control = Control(kube, meters)
    namespace = arguments.namespace or connection.namespace
    election = Election(kube, namespace, LEASE, arguments.identity, control.lead)
    service = BundleService(control.shelf, lambda token: kube.review_token(token, AUDIENCE), control.say)
    service.said = lambda key: dict(control.sidecars.reports(key))
    watching = Watching(connection, control)

    runner, port = await listen(service.routes(), host, port, certificate.context if certificate else None)
    admin_host, admin_port = _address(arguments.admin)
    probes = admin_routes(meters.registry, control.shelf.ready.is_set)
    admin, admin_port = await listen(probes, admin_host, admin_port)
    print(
        f"seawall-operator: bundles on {host}:{port}, admin on {admin_host}:{admin_port}", file=sys.stderr, flush=True
    )
    parts = [control.run, election.run, watching.run, *([certificate.watch] if certificate else [])]
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


async def _at_work(parts: list[Callable[[], Coroutine[Any, Any, None]]], watching: Watching) -> int:
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
            return await control.load()
        except ApiError as error:
            log.warning("the cluster cannot be read yet: %s", error)
            await asyncio.sleep(_LOAD_AGAIN)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="seawall-operator", description="The control plane of seawall.")
    environment = os.environ

    def option(flag: str, default: str, text: str) -> None:
        name = "SEAWALL_OPERATOR_" + flag.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(flag, default=environment.get(name) or default, help=f"{text} ({name})")

    option("--listen", "0.0.0.0:8443", "HOST:PORT for sidecars")
    option("--admin", "0.0.0.0:8080", "HOST:PORT for probes and metrics")
    option("--namespace", "", "of the lease; else the pod's own")
    option("--identity", f"{socket.gethostname()}-{os.getpid()}", "of this replica in the lease")
    for flag, text in (("--tls-cert", "certificate of the bundle service, PEM"), ("--tls-key", "its key")):
        name = "SEAWALL_OPERATOR_" + flag.removeprefix("--").replace("-", "_").upper()
        value = environment.get(name)
        parser.add_argument(flag, type=Path, default=Path(value) if value else None, help=f"{text} ({name})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
