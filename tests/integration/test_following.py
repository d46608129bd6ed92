"""A proxy that follows an operator: what runs, what is kept for the next start, what is refused and said."""

import gzip
import json
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from bundling import Bundling, bundling, made
from harness import route, until, upstream
from ports import free_port
from processes import Served, served

from seawall.cli import main
from seawall.follow import FILE
from seawall.policy.bundle import SCHEMA, Bundle, pack
from seawall_operator import bundles

OTHERWISE = upstream("main", "http://127.0.0.1:9/v1") + route("through", "/through", "main")


def policy(name: str, extra: str = "") -> str:
    return upstream("main", "http://127.0.0.1:9/v1") + route(name, f"/{name}", "main", extra)


async def state(proxy: Served) -> tuple[str, list[str]]:
    """Revision, and the routes' names."""
    async with httpx.AsyncClient() as client:
        found: dict[str, Any] = (await client.get(f"{proxy.admin_url}/state")).json()
    return found["process"]["revision"], [one["route"] for one in found["routes"]]


class Pod:
    """Files as a pod's sidecar has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy, self.token = folder / "policy.yaml", folder / "token"
        self.policy.write_text(OTHERWISE)
        self.token.write_text("good\n")
        self.state, self.mounted = folder / "state", folder / "mounted" / FILE
        self.state.mkdir()
        self.mounted.parent.mkdir()

    @property
    def kept(self) -> Path:
        return self.state / FILE

    def sidecar(self, url: str, *more: str) -> Any:
        words = ["--operator", url, "--profile", "team/default", "--operator-token", str(self.token)]
        return served(
            self.policy, self.folder, *words, "--state", str(self.state), "--bundle", str(self.mounted), *more
        )


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


async def runs(operator: Bundling, one: Bundle) -> None:
    await until(operator.has(running=one.revision), 10)


async def test_a_bundle_is_run_acknowledged_and_kept(pod: Pod) -> None:
    async with bundling() as operator:
        first = made(policy("first"))
        operator.put(first)
        async with pod.sidecar(operator.url) as proxy:
            await runs(operator, first)
            assert await state(proxy) == (first.revision, ["team/first"])
            assert pod.kept.read_bytes() == pack(first)
            second = made(policy("second"), 2)
            began = time.monotonic()
            operator.put(second)
            await runs(operator, second)
            assert time.monotonic() - began < 1.0
            assert await state(proxy) == (second.revision, ["team/second"])


async def test_the_best_that_was_kept_runs_while_the_operator_is_away(pod: Pod) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    first, second = made(policy("first")), made(policy("second"), 2)
    pod.kept.write_bytes(pack(first))
    pod.mounted.write_bytes(pack(second))
    async with pod.sidecar(nobody) as proxy:
        assert await state(proxy) == (first.revision, ["team/first"])
    pod.kept.write_bytes(pack(first)[:-9])
    async with pod.sidecar(nobody) as proxy:
        assert await state(proxy) == (second.revision, ["team/second"])
    pod.mounted.unlink()
    async with pod.sidecar(nobody) as proxy:
        assert (await state(proxy))[1] == ["through"]


async def test_a_kept_bundle_that_this_pod_cannot_use_does_not_keep_it_from_starting(pod: Pod) -> None:
    text = upstream("main", "https://127.0.0.1:9/v1", extra="tls: {caFile: /nowhere/ca.pem}") + route("a", "/a", "main")
    pod.kept.write_bytes(pack(made(text)))
    async with pod.sidecar(f"http://127.0.0.1:{free_port()}") as proxy:
        assert (await state(proxy))[1] == ["through"]


async def test_an_operator_that_comes_back_is_followed_again(pod: Pod) -> None:
    port = free_port()
    async with pod.sidecar(f"http://127.0.0.1:{port}"):
        async with bundling(port) as operator:
            first = made(policy("first"))
            operator.put(first)
            await runs(operator, first)
        async with bundling(port) as operator:
            operator.put(first)
            await runs(operator, first)


def altered(one: Bundle) -> bytes:
    data = json.loads(gzip.decompress(pack(one)))
    data["policy"]["routes"][0]["rules"][0]["fields"]["retry.attempts"][0] = 9
    return gzip.compress(json.dumps(data).encode())


def of_version(one: Bundle, schema: int) -> bytes:
    data = json.loads(gzip.decompress(pack(one)))
    return gzip.compress(json.dumps({**data, "schema": schema}).encode())


def from_afar(one: Bundle) -> bytes:
    return of_version(one, SCHEMA + 2)


FAR = f"its schema version is {SCHEMA + 2}, and this version understands {SCHEMA - 1} to {SCHEMA + 1}"


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
async def test_an_operator_that_is_a_version_older_or_newer_is_followed(pod: Pod, schema: int) -> None:
    async with bundling() as operator:
        first = made(policy("first"))
        operator.put(first, of_version(first, schema))
        async with pod.sidecar(operator.url) as proxy:
            await runs(operator, first)
            assert await state(proxy) == (first.revision, ["team/first"])


@pytest.mark.parametrize(("spoil", "words"), [(altered, "does not name its content"), (from_afar, FAR)])
async def test_a_bundle_that_cannot_be_used_is_refused_with_the_reason_and_the_old_one_stays(
    pod: Pod, spoil: Any, words: str
) -> None:
    async with bundling() as operator:
        first, second = made(policy("first")), made(policy("second"), 2)
        operator.put(first)
        async with pod.sidecar(operator.url) as proxy:
            await runs(operator, first)
            operator.put(second, spoil(second))
            await until(operator.has(first.revision, second.revision))
            assert words in operator.said[-1].error
            assert await state(proxy) == (first.revision, ["team/first"])
            assert pod.kept.read_bytes() == pack(first)
            third = made(policy("third"), 3)
            operator.put(third)
            await runs(operator, third)


async def test_a_file_that_the_policy_names_and_this_pod_lacks_is_a_reason_to_refuse(pod: Pod) -> None:
    async with bundling() as operator:
        first = made(policy("first"))
        operator.put(first)
        async with pod.sidecar(operator.url):
            await runs(operator, first)
            tls = upstream("main", "https://127.0.0.1:9/v1", extra="tls: {caFile: /nowhere/ca.pem}")
            second = made(tls + route("a", "/a", "main"), 2)
            operator.put(second)
            await until(operator.has(first.revision, second.revision))
            assert operator.said[-1].error == "/nowhere/ca.pem: No such file or directory"


async def test_what_was_refused_for_a_file_is_run_once_the_file_is_there(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "HOLD", 0.2)
    file = tmp_path / "late.pem"
    async with bundling() as operator:
        first = made(policy("first"))
        operator.put(first)
        async with pod.sidecar(operator.url):
            await runs(operator, first)
            tls = upstream("main", "https://127.0.0.1:9/v1", extra=f"tls: {{caFile: {file}}}\n")
            second = made(tls + route("a", "/a", "main"), 2)
            operator.put(second)
            await until(operator.has(first.revision, second.revision))
            trustme.CA().cert_pem.write_to_path(file)
            await runs(operator, second)


async def test_questions_are_asked_over_one_connection_until_the_authority_changes(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "HOLD", 0.1)
    authorities, server = [trustme.CA(), trustme.CA()], ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = tmp_path / "ca.pem"
    authorities[0].cert_pem.write_to_path(file)
    authorities[0].issue_cert("127.0.0.1").configure_cert(server)
    async with bundling(tls=server) as operator:
        operator.put(made(policy("first")))
        async with pod.sidecar(operator.url, "--operator-ca", str(file)):
            await until(lambda: len(operator.said) >= 3, 10)
            assert len(operator.connections) == 1
            # Both are trusted before the second one is shown, as whoever rotates must see to.
            file.write_bytes(authorities[0].cert_pem.bytes() + authorities[1].cert_pem.bytes())
            await until(lambda: len(operator.connections) == 2, 10)
            authorities[1].issue_cert("127.0.0.1").configure_cert(server)
            file.write_bytes(authorities[1].cert_pem.bytes())
            await until(lambda: len(operator.connections) == 3, 10)
            number = len(operator.said)
            await until(lambda: len(operator.said) > number, 10)


async def test_a_replica_that_lags_does_not_take_a_sidecar_back(pod: Pod) -> None:
    port = free_port()
    newest, old = made(policy("newest"), 10), made(policy("old"), 9)
    async with pod.sidecar(f"http://127.0.0.1:{port}") as proxy:
        async with bundling(port) as operator:
            operator.put(newest)
            await runs(operator, newest)
        async with bundling(port) as operator:
            operator.put(old)
            await runs(operator, newest)
            assert (await state(proxy))[0] == newest.revision
            # It has caught up.
            next_one = made(policy("next"), 11)
            operator.put(next_one)
            await runs(operator, next_one)


async def test_a_namespace_without_routes_passes_calls_through(pod: Pod) -> None:
    async with bundling() as operator:
        first = made(policy("first"))
        operator.put(first)
        async with pod.sidecar(operator.url) as proxy:
            await runs(operator, first)
            empty = made(upstream("main", "http://127.0.0.1:9/v1") + "---\n", 2)
            operator.put(empty)
            await runs(operator, empty)
            assert (await state(proxy))[1] == ["through"]


async def test_a_token_is_read_anew_for_each_question(pod: Pod) -> None:
    pod.token.write_text("expired")
    async with bundling() as operator:
        first = made(policy("first"))
        operator.put(first)
        async with pod.sidecar(operator.url):
            await until(pod.token.exists)
            assert operator.said == []
            pod.token.write_text("good")
            await runs(operator, first)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--operator", "http://example.com:8443", "--profile", "a/b"], "is no https URL"),
        (["--operator", "https://example.com:8443"], "--operator needs --profile"),
        (["--operator", "https://example.com:8443", "--profile", "team"], "is not NAMESPACE/NAME"),
    ],
)
def test_half_an_operator_is_told_in_one_line(
    pod: Pod, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--policy", str(pod.policy), *words]) == 2
    errors = capsys.readouterr().err
    assert said in errors and len(errors.splitlines()) == 1
