"""The operator's command line: each option is a variable too, and what is typed beats it."""

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from seawall_operator.sidecar_container import Traces

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Options:
    """`namespace` "": the pod's own. `tls_cert` None: the operator makes its own certificate, in `tls_secret`.
    `traces`: of the sidecars."""

    listen: Address
    admin: Address
    namespace: str
    identity: str
    image: str
    url: str
    tls_cert: Path | None
    tls_key: Path | None
    ca: Path | None
    tls_secret: str
    webhooks: str
    advertise: str
    peer_token: Path | None
    traces: Traces | None


def read(words: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Options:
    """Ends the process, with a line that says why, for what cannot be read."""
    parser = argparse.ArgumentParser(prog="seawall-operator", description="The control plane of seawall.")

    def option(flag: str, default: str, text: str) -> None:
        name = "SEAWALL_OPERATOR_" + flag.removeprefix("--").replace("-", "_").upper()
        known = f"default {default}; " if default else ""
        parser.add_argument(flag, default=environment.get(name) or default, help=f"{text} ({known}{name})")

    option("--listen", "0.0.0.0:8443", "HOST:PORT for sidecars and webhooks")
    option("--admin", "0.0.0.0:8080", "HOST:PORT for probes and metrics")
    option("--namespace", "", "of the lease and the Secret; else the pod's own")
    option("--identity", f"{socket.gethostname()}-{os.getpid()}", "of this replica in the lease")
    option("--image", "seawall:latest", "of the sidecars")
    option("--url", "https://seawall-operator.seawall.svc:8443", "under which sidecars reach this service")
    option("--tls-cert", "", "file with this service's certificate, PEM; none: the operator makes its own")
    option("--tls-key", "", "file with its key")
    option("--ca", "", "file with the authority that sidecars and the API server trust it by, PEM")
    option("--tls-secret", "seawall-operator-tls", "Secret in its namespace for the certificate that it makes")
    option("--webhooks", "seawall-operator", "name of the webhook configurations whose caBundle it writes")
    option("--advertise", "", "https://IP:PORT at which other replicas reach this one; none: it is the only one")
    option("--peer-token", "", "file with the token that replicas know each other by")
    option("--traces-endpoint", "", "where sidecars send traces, by OTLP over HTTP; none: they make none")
    option("--traces-ratio", "1", "of how many calls, 0 to 1, where agents have not decided that themselves")
    found = parser.parse_args(words)
    if bool(found.tls_cert) != bool(found.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    if not urlsplit(found.url).hostname:
        parser.error(f"--url: {found.url!r} names no host")
    if found.ca and not found.tls_cert:
        parser.error("--ca is of the certificate in --tls-cert")
    return Options(
        listen=_address(parser, "--listen", found.listen),
        admin=_address(parser, "--admin", found.admin),
        namespace=found.namespace,
        identity=found.identity,
        image=found.image,
        url=found.url,
        tls_cert=Path(found.tls_cert) if found.tls_cert else None,
        tls_key=Path(found.tls_key) if found.tls_key else None,
        ca=Path(found.ca) if found.ca else None,
        tls_secret=found.tls_secret,
        webhooks=found.webhooks,
        advertise=found.advertise,
        peer_token=Path(found.peer_token) if found.peer_token else None,
        traces=_traces(parser, found.traces_endpoint, found.traces_ratio),
    )


def _traces(parser: argparse.ArgumentParser, endpoint: str, ratio: str) -> Traces | None:
    if not endpoint:
        return None
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        parser.error(f"--traces-endpoint: {endpoint!r} is no URL, such as http://collector.monitoring.svc:4318")
    try:
        share = float(ratio)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        parser.error(f"--traces-ratio: {ratio!r} is not between 0 and 1")
    return Traces(endpoint, share)


def _address(parser: argparse.ArgumentParser, flag: str, text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        parser.error(f"{flag}: {text!r} is not HOST:PORT, such as 0.0.0.0:8443")
    return host.strip("[]"), int(port)
