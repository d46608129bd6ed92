"""The operator's certificate in a real cluster: made, shared, renewed, and the API server's webhooks with it."""

import asyncio
import base64
import json
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from kube import Cluster
from kube_objects import route
from operating import Operating, operating

from seawall_operator.authority import LEAF_LIFE, Held, held, renewed

SECRET = ("-n", "kube-system", "secret", "seawall-operator-tls")
NAME = "seawall-operator"


def stored(kube: Cluster) -> Held:
    data = kube.get(*SECRET)["data"]
    return held({name: base64.b64decode(text).decode() for name, text in data.items()})


def serial(of: Held) -> int:
    return x509.load_pem_x509_certificate(of.certificate.encode()).serial_number


def shown(operator: Operating, authorities: str) -> int:
    """The serial number of the certificate that a new connection sees; it must be one to trust."""
    host, port = urlsplit(operator.url).hostname, urlsplit(operator.url).port
    assert host is not None and port is not None
    context = ssl.create_default_context(cadata=authorities)
    with socket.create_connection((host, port), 5) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"").serial_number


async def until_shown(operator: Operating, authorities: str, wanted: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if await asyncio.to_thread(shown, operator, authorities) == wanted:
                    return
            except ssl.SSLError:
                pass
            await asyncio.sleep(0.2)


def configurations(operator: Operating, namespace: str) -> list[dict[str, Any]]:
    """As the chart has them, without a caBundle."""
    found = []
    for kind, path in (("ValidatingWebhookConfiguration", "validate"), ("MutatingWebhookConfiguration", "inject")):
        rule = {"apiGroups": ["seawall.dev"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"]}
        hook = {
            "name": f"{path}.seawall.dev", "rules": [rule], "clientConfig": {"url": f"{operator.url}/{path}"},
            "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        }  # fmt: skip
        head = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": NAME}}
        found.append({**head, "webhooks": [hook]})
    return found


async def reviewed(kube: Cluster, namespace: str) -> bool:
    """Whether the API server has asked the webhook: only that knows of a reference that leads nowhere."""
    probe = {**route("probe"), "metadata": {"name": "probe", "namespace": namespace}}
    done = await asyncio.to_thread(kube.apply, probe, words=("--dry-run=server",))
    assert done.returncode == 0, done.stderr
    return "there is no Upstream" in done.stderr


async def until_reviewed(kube: Cluster, namespace: str) -> None:
    async with asyncio.timeout(40):
        while not await reviewed(kube, namespace):
            await asyncio.sleep(0.3)


@pytest.fixture
async def namespace(kube: Cluster) -> AsyncIterator[str]:
    yield await asyncio.to_thread(kube.namespace, f"c-{secrets.token_hex(4)}")
    for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
        await asyncio.to_thread(kube.run, "delete", kind, NAME)
    await asyncio.to_thread(kube.run, "delete", *SECRET)


async def test_a_certificate_is_made_renewed_and_replaced_and_the_webhooks_go_on_being_called(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with operating(kube, tmp_path, own_certificate=True) as operator:
        first = stored(kube)
        await until_shown(operator, first.authorities, serial(first))
        done = await asyncio.to_thread(kube.apply, *configurations(operator, namespace))
        assert done.returncode == 0, done.stderr
        await until_reviewed(kube, namespace)
        token = await asyncio.to_thread(
            kube.kubectl, "create", "token", "default", "-n", namespace, "--audience=seawall-operator"
        )
        path = f"/v1/bundles/{namespace}/default"
        asking = asyncio.create_task(ask_on_one_connection(operator, first.authorities, path, token.strip()))
        # As if it had been made 80 of its 90 days ago.
        aged = renewed(Held(), ["127.0.0.1"], days_ago(80))
        assert aged is not None
        await asyncio.to_thread(put, kube, aged)
        async with asyncio.timeout(30):
            while serial(second := await asyncio.to_thread(stored, kube)) in (serial(first), serial(aged)):
                await asyncio.sleep(0.2)
        assert second.authorities == aged.authorities, "renewing a certificate changes nobody's trust"
        await until_shown(operator, second.authorities, serial(second))
        await until_reviewed(kube, namespace)

        # Deleting the Secret makes everything anew, as after a key has leaked.
        await asyncio.to_thread(kube.kubectl, "delete", *SECRET)
        await asyncio.to_thread(kube.kubectl, "wait", "--for=create", *SECRET, "--timeout=20s")
        third = await asyncio.to_thread(stored, kube)
        assert third.authorities not in (second.authorities, first.authorities)
        await until_shown(operator, third.authorities, serial(third))
        await until_reviewed(kube, namespace)
        written = kube.get("validatingwebhookconfiguration", NAME)["webhooks"][0]["clientConfig"]["caBundle"]
        assert base64.b64decode(written).decode() == third.authorities
        assert not asking.done(), "a connection that was open has stayed"
        asking.cancel()
        assert await operator.stop() == 0


async def test_two_replicas_show_one_certificate_and_sidecars_are_told_what_to_trust(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    document = {**route("chat"), "metadata": {"name": "chat", "namespace": namespace}}
    assert (await asyncio.to_thread(kube.apply, document)).returncode == 0
    one = operating(kube, tmp_path, "--identity", "one", own_certificate=True)
    two = operating(kube, tmp_path, "--identity", "two", own_certificate=True)
    async with one as first, two as second:
        made = await asyncio.to_thread(stored, kube)
        for operator in (first, second):
            assert await asyncio.to_thread(shown, operator, made.authorities) == serial(made)
        await asyncio.to_thread(
            kube.kubectl, "wait", "-n", namespace, "--for=create", "configmap/seawall-ca", "--timeout=20s"
        )
        assert kube.get("-n", namespace, "configmap", "seawall-ca")["data"]["ca.crt"] == made.authorities
        # The one that does not lead leaves the Secret alone, and takes over what is made while it leads.
        assert await first.stop() == 0
        await asyncio.to_thread(kube.kubectl, "delete", *SECRET)
        await asyncio.to_thread(kube.kubectl, "wait", "--for=create", *SECRET, "--timeout=30s")
        after = await asyncio.to_thread(stored, kube)
        await until_shown(second, after.authorities, serial(after))
        assert await second.stop() == 0


async def test_the_authority_of_a_mounted_certificate_reaches_the_webhooks_too(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with operating(kube, tmp_path) as operator:
        done = await asyncio.to_thread(kube.apply, *configurations(operator, namespace))
        assert done.returncode == 0, done.stderr
        await until_reviewed(kube, namespace)
        written = json.loads(kube.kubectl("get", "mutatingwebhookconfiguration", NAME, "-o", "json"))
        assert base64.b64decode(written["webhooks"][0]["clientConfig"]["caBundle"]) == operator.ca_file.read_bytes()
        # Somebody puts back what is in git, and objects pass without being reviewed until that is made good.
        for one in configurations(operator, namespace):
            replaced = await asyncio.to_thread(kube.run, "replace", "-f", "-", stdin=json.dumps(one))
            assert replaced.returncode == 0, replaced.stderr
        assert not await reviewed(kube, namespace)
        await until_reviewed(kube, namespace)
        assert await operator.stop() == 0


async def ask_on_one_connection(operator: Operating, authorities: str, path: str, token: str) -> None:
    """Polls, one after the other, for as long as that goes well."""
    url = urlsplit(operator.url)
    trust = ssl.create_default_context(cadata=authorities)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=trust)
    revision = ""
    try:
        while True:
            known = f"If-None-Match: {revision}\r\n" if revision else ""
            writer.write(f"GET {path} HTTP/1.1\r\nHost: o\r\nAuthorization: Bearer {token}\r\n{known}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith(("HTTP/1.1 200", "HTTP/1.1 304")), head
            fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
            await reader.readexactly(int(fields.get("Content-Length", 0)) if " 200 " in head[:13] else 0)
            revision = fields["ETag"]
    finally:
        writer.close()


def days_ago(days: int) -> datetime:
    assert timedelta(days=days) < LEAF_LIFE
    return datetime.now(UTC) - timedelta(days=days)


def put(kube: Cluster, wanted: Held) -> None:
    data = {name: base64.b64encode(text.encode()).decode() for name, text in wanted.files().items()}
    kube.kubectl("patch", *SECRET, "--type=merge", "-p", json.dumps({"data": data}))
