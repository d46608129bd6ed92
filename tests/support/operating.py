"""The operator as a process of its own, beside a control plane of the tests' own."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trustme
from kube import Cluster

ROOT = Path(__file__).parents[2]
_GREETING = re.compile(rb"bundles on 127\.0\.0\.1:(\d+), admin on 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Operating:
    process: Process
    url: str
    admin_url: str
    ca_file: Path
    log: Path

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(15):
            return await self.process.wait()


@asynccontextmanager
async def operating(
    kube: Cluster,
    folder: Path,
    *words: str,
    port: int = 0,
    own_certificate: bool = False,
    through: str = "",
    account: tuple[str, str] | None = None,
    ready: bool = True,
) -> AsyncIterator[Operating]:
    """`folder` takes its certificate and its log. `port`: of an operator that was there before. `own_certificate`: it
    makes its own, for 127.0.0.1, and `ca_file` is not written. `through`: the URL of a line to the API server.
    `account`: namespace and name of the service account that it works as; else one of the tests' own. `ready`: wait
    until it is."""
    ca_file, server = folder / "operator-ca.pem", folder / "operator.pem"
    if not ca_file.exists() and not own_certificate:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(ca_file)
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(server)
    home = account[0] if account else "kube-system"
    options = ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--namespace", home]
    tls = ["--tls-cert", str(server), "--tls-key", str(server), "--ca", str(ca_file)]
    tls = ["--url", "https://127.0.0.1:8443"] if own_certificate else tls
    kubeconfig = await asyncio.to_thread(_own_kubeconfig, kube, folder, through or kube.url, account)
    paths = os.pathsep.join(str(ROOT / name) for name in ("proxy", "operator"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "seawall_operator", *options, *tls, *words, stderr=PIPE,
        env={**os.environ, "PYTHONPATH": paths, "KUBECONFIG": str(kubeconfig)},
    )  # fmt: skip
    log = folder / f"operator-{process.pid}.log"
    assert process.stderr is not None
    copying: asyncio.Task[None] | None = None
    try:
        found, said = None, b""
        async with asyncio.timeout(20):
            while found is None and (line := await process.stderr.readline()):
                found, said = _GREETING.search(line), said + line
        assert found is not None, said.decode()
        copying = asyncio.create_task(_copy(process.stderr, log))
        if ready:
            await _ready(int(found[2]))
        urls = f"https://127.0.0.1:{int(found[1])}", f"http://127.0.0.1:{int(found[2])}"
        yield Operating(process, *urls, ca_file, log)
    except BaseException:
        if log.exists():
            print(log.read_text()[-4000:], file=sys.stderr)
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if copying is not None:
            await copying


def _own_kubeconfig(kube: Cluster, folder: Path, url: str, account: tuple[str, str] | None) -> Path:
    """Of a service account that may do what the operator needs, and nothing else."""
    file = folder / "operator-kubeconfig"
    if not file.exists():
        if account is None:
            kube.kubectl("apply", "--server-side", "-f", str(ROOT / "tests" / "cluster" / "operator-rbac.yaml"))
        namespace, name = account or ("kube-system", "seawall-operator")
        token = kube.kubectl("create", "token", name, "-n", namespace, "--duration=1h")
        file.write_text(kube.kubeconfig.read_text().replace(kube.token, token.strip()).replace(kube.url, url))
    return file


async def _ready(port: int) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code != 200:
            await asyncio.sleep(0.05)


async def _copy(stream: asyncio.StreamReader, log: Path) -> None:
    with log.open("wb") as file:
        async for line in stream:
            file.write(line)
            file.flush()
