"""`seawall-operator`: the control plane, one replica of it."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import uvloop

from seawall_operator.bundles import AUDIENCE, BundleService
from seawall_operator.connection import NoCluster, find
from seawall_operator.control import Control
from seawall_operator.election import Election
from seawall_operator.handlers import watch
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
    """Until a signal stops it."""
    connection = find()
    kube, meters = Kube(connection), Meters()
    control = Control(kube, meters)
    namespace = arguments.namespace or connection.namespace
    election = Election(kube, namespace, LEASE, arguments.identity, control.lead)
    certificate = Certificate(arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None
    host, port = _address(arguments.listen)
    if certificate is None and host not in ("127.0.0.1", "::1"):
        raise OSError("sidecars send tokens: --listen needs --tls-cert and --tls-key, unless it is 127.0.0.1")

    service = BundleService(control.shelf, lambda token: kube.review_token(token, AUDIENCE), control.say)
    service.said = lambda key: dict(control.sidecars.reports(key))
    stop = asyncio.Event()
    runner, port = await listen(service.routes(), host, port, certificate.context if certificate else None)
    admin_host, admin_port = _address(arguments.admin)
    admin, admin_port = await listen(admin_routes(meters.registry, control.shelf.ready.is_set), admin_host, admin_port)
    print(
        f"seawall-operator: bundles on {host}:{port}, admin on {admin_host}:{admin_port}", file=sys.stderr, flush=True
    )
    try:
        await _load(control)
        others = [control.run(), election.run(), *([certificate.watch()] if certificate else [])]
        tasks = [asyncio.ensure_future(one) for one in others]
        watching = asyncio.ensure_future(watch(connection, control, stop))
        # kopf ends with a signal; anything else ends only by a bug.
        await asyncio.wait([*tasks, watching], return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, watching, return_exceptions=True)
        bugs = [r for r in results if isinstance(r, Exception)]
        for bug in bugs:
            log.error("a bug: %r", bug, exc_info=bug)
        return 1 if bugs else 0
    finally:
        await runner.cleanup()
        await admin.cleanup()
        await kube.close()


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
