"""A Kubernetes control plane of the tests' own on free ports of 127.0.0.1: etcd, an API server and its controllers, and
the real kubectl to speak with it. No nodes: pods are objects here. Stopped with the test run, whatever its end.
"""

import csv
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from daemons import Daemons, daemons
from kubernetes_binaries import binaries
from ports import free_port

READY_SECONDS = 60.0
SERVICE_ADDRESS = "10.96.0.1"
"""Of the Service `kubernetes`: the first of the API server's range."""
_ISSUER = "https://kubernetes.default.svc"


@dataclass(frozen=True)
class Cluster:
    """A running control plane. `kubeconfig` is an administrator's."""

    url: str
    kubeconfig: Path
    ca_file: Path
    folder: Path
    kubectl_path: Path
    token: str
    ready_after: float
    """Seconds from the start of etcd."""
    enter: tuple[str, ...] = ()
    """What a command begins with to be where it runs."""

    def kubectl(self, *words: str, stdin: str = "", check: bool = True, seconds: float = 30.0) -> str:
        """What it prints; with `check` it must succeed."""
        done = self.run(*words, stdin=stdin, seconds=seconds)
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def run(self, *words: str, stdin: str = "", seconds: float = 30.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(*words), input=stdin, env=self._environment(), capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip

    def popen(self, *words: str) -> "subprocess.Popen[str]":
        """One that goes on; its output is to be read."""
        return subprocess.Popen(self._command(*words), env=self._environment(), stdout=subprocess.PIPE, text=True)

    def _command(self, *words: str) -> list[str]:
        return [*self.enter, str(self.kubectl_path), *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}

    def apply(self, *objects: Mapping[str, Any], words: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        """`kubectl apply --server-side` of plain objects."""
        text = "\n---\n".join(json.dumps(one) for one in objects)
        return self.run("apply", "--server-side", "--force-conflicts", "-f", "-", *words, stdin=text)

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def namespace(self, name: str) -> str:
        """A new one, with what its controllers put there."""
        self.kubectl("create", "namespace", name)
        self.furnished(name)
        return name

    def furnished(self, namespace: str) -> None:
        """Wait for the service account that pods have."""
        self.kubectl("wait", "-n", namespace, "--for=create", "serviceaccount/default", "--timeout=20s")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a control plane runs: the address that it is reached at, and what a command begins with to be there."""

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()


@contextmanager
def cluster(*, controllers: bool = True, place: Place | None = None) -> Iterator[Cluster]:
    """Start one and wait until it is ready. `controllers`: garbage collection, namespaces, service accounts."""
    programs, place = binaries(), place or Place()
    with daemons(place.enter) as processes:
        yield _start(programs, processes, place, controllers=controllers)


def _start(programs: Mapping[str, Path], processes: Daemons, place: Place, *, controllers: bool) -> Cluster:
    folder, address = processes.folder, place.address
    token = secrets.token_hex(16)
    _write_keys(folder, token, address)
    began = time.monotonic()
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    client, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    processes.start(
        programs["etcd"], "--data-dir", "etcd", "--unsafe-no-fsync", "--log-level=error",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
    )  # fmt: skip
    server = processes.start(
        programs["kube-apiserver"], f"--etcd-servers={client}", f"--bind-address={address}", f"--secure-port={port}",
        # Nobody's pods can reach a loopback address: it is no endpoint of the Service `kubernetes`.
        f"--advertise-address={address}", f"--endpoint-reconciler-type={'lease' if place.enter else 'none'}",
        "--tls-cert-file=server.pem", "--kubelet-client-certificate=kubelet-client.pem",
        "--kubelet-client-key=kubelet-client.pem", "--kubelet-preferred-address-types=InternalIP",
        "--tls-private-key-file=server.pem", "--client-ca-file=ca.pem", "--token-auth-file=tokens.csv",
        "--authorization-mode=Node,RBAC", "--service-account-key-file=sa.pub",
        "--service-cluster-ip-range=10.96.0.0/16", "--service-account-signing-key-file=sa.key",
        f"--service-account-issuer={_ISSUER}", f"--api-audiences={_ISSUER}",
    )  # fmt: skip
    url = f"https://{address}:{port}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(url, folder / "ca.pem", token)))
    kubeconfig.chmod(0o600)
    found = Cluster(url, kubeconfig, folder / "ca.pem", folder, programs["kubectl"], token, 0.0, place.enter)
    while found.run("get", "--raw", "/readyz").stdout != "ok":
        assert server.poll() is None, "kube-apiserver ended at once"
        assert time.monotonic() - began < READY_SECONDS, "kube-apiserver does not become ready"
        time.sleep(0.1)
    ready = time.monotonic() - began
    if controllers:
        processes.start(
            programs["kube-controller-manager"], f"--kubeconfig={kubeconfig}", "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}", "--service-account-private-key-file=sa.key", "--root-ca-file=ca.pem",
            "--leader-elect=false", "--use-service-account-credentials=true", "--allocate-node-cidrs=false",
            f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}",
        )  # fmt: skip
    return replace(found, ready_after=ready)


def _write_keys(folder: Path, token: str, address: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    names = {address, "127.0.0.1", SERVICE_ADDRESS, "localhost", "kubernetes", "kubernetes.default.svc"}
    served = authority.issue_cert(*sorted(names))
    served.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    asking = authority.issue_cert("kube-apiserver", common_name="kube-apiserver")
    asking.private_key_and_cert_chain_pem.write_to_path(folder / "kubelet-client.pem")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / "sa.key").write_bytes(key.private_bytes(*private))
    public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "sa.pub").write_bytes(key.public_key().public_bytes(*public))
    with (folder / "tokens.csv").open("w", newline="") as file:
        csv.writer(file).writerow([token, "admin", "admin", "system:masters"])


def _kubeconfig(url: str, ca_file: Path, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(ca_file)}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
