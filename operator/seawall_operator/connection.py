"""Where the API server is and how to prove who asks: a pod's service account, or a kubeconfig. Nothing of a credential
ever reaches a log or a repr."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCluster(Exception):
    """There is no API server to be found. Its text says what was looked for."""


@dataclass(frozen=True, slots=True)
class Connection:
    """`token_file` is read again for each request that needs it: kubelets rotate it."""

    server: str
    namespace: str = "default"
    ca_file: Path | None = None
    token_text: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_file: Path | None = field(default=None, repr=False)
    """Certificate and key, PEM."""

    def token(self) -> str | None:
        """Raises OSError where its file cannot be read."""
        return self.token_file.read_text().strip() if self.token_file is not None else self.token_text

    def tls(self) -> ssl.SSLContext | None:
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.client_file is not None:
            context.load_cert_chain(self.client_file)
        return context


def find(environment: Mapping[str, str] = os.environ) -> Connection:
    """KUBECONFIG, else the pod's service account, else ~/.kube/config. Raises NoCluster."""
    if named := environment.get("KUBECONFIG"):
        return from_kubeconfig(Path(named.split(os.pathsep)[0]))
    if (host := environment.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file():
        host = f"[{host}]" if ":" in host else host
        return Connection(
            f"https://{host}:{environment.get('KUBERNETES_SERVICE_PORT', '443')}",
            (SERVICE_ACCOUNT / "namespace").read_text().strip(),
            SERVICE_ACCOUNT / "ca.crt",
            token_file=SERVICE_ACCOUNT / "token",
        )
    return from_kubeconfig(Path(environment.get("HOME", "/")) / ".kube" / "config")


def from_kubeconfig(path: Path) -> Connection:
    """Its current context. Raises NoCluster for one that is not there, or that needs a program to log in."""
    try:
        data = yaml.safe_load(path.read_text())
        context = _named(data, "contexts", data["current-context"])["context"]
        cluster = _named(data, "clusters", context["cluster"])["cluster"]
        user = _named(data, "users", context["user"])["user"]
        server = str(cluster["server"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise NoCluster(f"{path}: no usable kubeconfig ({type(error).__name__})") from None
    if "exec" in user or "auth-provider" in user:
        raise NoCluster(f"{path}: its user logs in with a program, which the operator does not run")
    return Connection(
        server.rstrip("/"),
        context.get("namespace", "default"),
        _file(path, cluster, "certificate-authority"),
        user.get("token"),
        Path(user["tokenFile"]) if "tokenFile" in user else None,
        _client(path, user),
    )


def _named(data: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in data[kind] if one["name"] == name)
    return found


def _file(config: Path, data: Mapping[str, Any], name: str) -> Path | None:
    if name in data:
        return Path(config.parent, str(data[name])).resolve()
    return _written(base64.b64decode(data[f"{name}-data"])) if f"{name}-data" in data else None


def _client(config: Path, user: Mapping[str, Any]) -> Path | None:
    certificate, key = (_file(config, user, name) for name in ("client-certificate", "client-key"))
    if certificate is None or key is None:
        return None
    return _written(certificate.read_bytes() + b"\n" + key.read_bytes())


def _written(content: bytes) -> Path:
    """ssl takes files only."""
    handle, name = tempfile.mkstemp(prefix="seawall-kube-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return Path(name)
