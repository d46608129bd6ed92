"""The certificate that sidecars, the API server and other replicas know this service by: mounted files, as cert-manager
gives them, or the operator's own, which all replicas have from one Secret in its namespace and the leader renews.

Either is read anew while it is served: a handshake takes what is there by then, and connections that are open stay.
Who is to trust it is told before it is shown.
"""

import asyncio
import base64
import binascii
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from seawall_operator.authority import Held, held, renewed
from seawall_operator.kube import ApiError, Kube

LOOK = 5.0
"""Seconds between two looks at files or Secret."""
FIRST_LOOK = 0.5
"""The same while there is no certificate yet."""

Trust = Callable[[str], None]
"""Is told the authorities that this service is to be trusted by, PEM, each time that they are read."""

log = logging.getLogger(__name__)


class Certificate(Protocol):
    """`context` is complete once `ready` is set; before, no handshake succeeds."""

    context: ssl.SSLContext
    ready: asyncio.Event

    async def run(self) -> None:
        """Until cancelled."""
        ...


class Mounted:
    """Of files that somebody else rotates."""

    def __init__(self, certificate: Path, key: Path, authority: Path | None, trust: Trust) -> None:
        """`authority` None: whoever must trust it knows how. Raises OSError, or ssl.SSLError, for files that cannot be
        used."""
        self._files = (certificate, key)
        self._authority = authority
        self._trust = trust
        self._seen = self._stamp()
        self.context = _context()
        self.context.load_cert_chain(certificate, key)
        self.ready = asyncio.Event()
        self.ready.set()

    async def run(self) -> None:
        """What cannot be used leaves what was used before."""
        while True:
            try:
                if self._authority is not None:
                    self._trust(await asyncio.to_thread(self._authority.read_text))
                seen = self._stamp()
                if seen != self._seen:
                    self.context.load_cert_chain(*self._files)
                    self._seen = seen
                    log.info("the certificate was read anew")
            except (OSError, ssl.SSLError) as error:
                log.warning("the certificate's files cannot be used: %s", error)
            await asyncio.sleep(LOOK)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        found = [os.stat(file) for file in self._files]  # noqa: PTH116 - through the Secret's symlinks
        return tuple((status.st_mtime_ns, status.st_ino) for status in found)


class Own:
    """One that the operator makes itself."""

    def __init__(
        self, kube: Kube, namespace: str, name: str, hosts: Sequence[str], leads: Callable[[], bool], trust: Trust
    ) -> None:
        """`namespace`, `name`: of the Secret. `hosts`: what the certificate is for."""
        self._kube = kube
        self._namespace, self._name = namespace, name
        self._hosts = hosts
        self._leads = leads
        self._trust = trust
        self._shown = Held()
        self.context = _context()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """What cannot be read or written leaves what was used before."""
        while True:
            try:
                await self._step()
            except (ApiError, OSError, ssl.SSLError) as error:
                log.warning("the Secret %s/%s cannot be used: %s", self._namespace, self._name, error)
            await asyncio.sleep(LOOK if self.ready.is_set() else FIRST_LOOK)

    async def _step(self) -> None:
        secret = await self._read()
        there = _decoded(secret.get("data") or {}) if secret is not None else Held()
        if self._leads() and (wanted := renewed(there, self._hosts, datetime.now(UTC))) is not None:
            await self._write(secret, wanted)
            there = wanted
        if there == self._shown or not there.certificate:
            return
        self._trust(there.authorities)
        await asyncio.to_thread(_load, self.context, there.certificate + there.key)
        self._shown = there
        self.ready.set()
        log.info("the certificate was taken from the Secret %s/%s", self._namespace, self._name)

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._kube.get("Secret", self._namespace, self._name)
        except ApiError as error:
            if error.gone:
                return None
            raise

    async def _write(self, before: dict[str, Any] | None, wanted: Held) -> None:
        """Fails where another replica was first: then theirs is read."""
        data = {name: base64.b64encode(text.encode()).decode() for name, text in wanted.files().items()}
        if before is not None:
            await self._kube.replace({**before, "data": data})
            log.info("the certificate in the Secret %s/%s was renewed", self._namespace, self._name)
            return
        labels = {"app.kubernetes.io/managed-by": "seawall-operator", "app.kubernetes.io/part-of": "seawall"}
        metadata = {"name": self._name, "namespace": self._namespace, "labels": labels}
        head = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata}
        await self._kube.create({**head, "data": data})


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _decoded(data: dict[str, str]) -> Held:
    try:
        return held({name: base64.b64decode(text).decode() for name, text in data.items()})
    except (binascii.Error, UnicodeDecodeError):
        return Held()


def _load(context: ssl.SSLContext, pem: str) -> None:
    """ssl takes files only: one in memory where there is such a thing, so that the key is on no disk."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(pem.encode())
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return
    with tempfile.NamedTemporaryFile() as file_:
        file_.write(pem.encode())
        file_.flush()
        context.load_cert_chain(file_.name)
