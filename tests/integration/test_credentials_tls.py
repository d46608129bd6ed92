"""Keys from mounted files, TLS to upstreams, and HTTP proxies on the way: what an upstream's policy says about access."""

import asyncio
import base64
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from harness import Running, lab, proxy, route, upstream
from peers import QUICK, answer, chat, request_head, serving, wire
from processes import start

NO_RETRY = "retry: {attempts: 0}\n"
GOOD = b'{"choices": [], "model": "gpt"}'


class Recorder:
    """An upstream that answers well and keeps the heads it got."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append(await request_head(reader))
            writer.write(answer(GOOD))

    def fields(self, name: bytes) -> list[bytes]:
        """Of the latest request."""
        lines = [line.partition(b":") for line in self.heads[-1].split(b"\r\n")]
        return [value.strip() for key, _, value in lines if key.lower() == name]


def one(url: str, extra: str = "", rule: str = NO_RETRY, dialect: str = "OpenAI") -> str:
    return upstream("a", url, dialect, extra) + route("models", "/v1", "a", rule)


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "extra", "name", "value"),
    [
        ("OpenAI", "", b"authorization", b"Bearer secret-1"),
        ("Anthropic", "", b"x-api-key", b"secret-1"),
        ("Generic", ", header: x-token, scheme: Key", b"x-token", b"Key secret-1"),
    ],
)
async def test_a_key_from_a_file_replaces_the_agents_own(
    tmp_path: Path, dialect: str, extra: str, name: bytes, value: bytes
) -> None:
    key, seen = tmp_path / "key", Recorder()
    key.write_text("secret-1\n")
    auth = f"auth: {{type: APIKey, keyFile: {key}{extra}}}\n"
    async with (
        serving(seen) as port,
        proxy(one(f"http://127.0.0.1:{port}", auth, dialect=dialect), tmp_path) as running,
    ):
        mine = "authorization: Bearer of-the-agent\r\nx-api-key: of-the-agent\r\nconnection: close\r\n"
        got = await wire(running, chat(), headers=mine)
        assert (got.status, seen.fields(name)) == (200, [value])
        if dialect != "Generic":
            assert b"of-the-agent" not in seen.heads[0]
        assert b"secret-1" not in got.data
        assert "secret-1" not in repr(running.events) + repr(running.upstream("a").credential)


async def test_without_a_key_of_ours_the_agents_is_passed_through(tmp_path: Path) -> None:
    seen = Recorder()
    async with serving(seen) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        await wire(running, chat(), headers="Authorization: Bearer mine\r\nconnection: close\r\n")
        assert seen.fields(b"authorization") == [b"Bearer mine"]
        assert b"\r\nAuthorization: Bearer mine\r\n" in seen.heads[0]
        assert seen.fields(b"host") == [f"127.0.0.1:{port}".encode()]


async def test_a_changed_key_is_taken_and_one_that_vanishes_for_a_moment_stays(tmp_path: Path) -> None:
    key, seen = tmp_path / "key", Recorder()
    key.write_text("first")
    auth = f"auth: {{type: APIKey, keyFile: {key}}}\n"
    async with serving(seen) as port, proxy(one(f"http://127.0.0.1:{port}", auth), tmp_path) as running:

        async def sent() -> list[bytes]:
            await wire(running, chat())
            return seen.fields(b"authorization")

        async def becomes(wanted: bytes) -> None:
            async with asyncio.timeout(5):
                while await sent() != [wanted]:
                    await asyncio.sleep(0.05)

        assert await sent() == [b"Bearer first"]
        replacement = tmp_path / "key.new"
        replacement.write_text("second")
        os.replace(replacement, key)  # noqa: PTH105 - atomic, as the kubelet does it
        await becomes(b"Bearer second")
        key.unlink()
        await asyncio.sleep(1.1)
        assert await sent() == [b"Bearer second"]


async def test_a_key_that_is_gone_at_a_reload_is_told_and_the_call_moves_on(tmp_path: Path) -> None:
    auth = f"auth: {{type: APIKey, keyFile: {tmp_path}/none}}\n"
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/v1", extra=auth) + upstream("b", f"{upstreams.url}/v1")
        async with proxy(policy + route("models", "/v1", "a b", QUICK), tmp_path) as running:
            assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"b"
            assert running.attempts[0].result == "CREDENTIAL_UNREADABLE"
            assert len(upstreams.attempts()) == 1
        async with proxy(one(f"{upstreams.url}/v1", auth), tmp_path) as running:
            got = await wire(running, chat())
            assert (got.status, json.loads(got.body)["seawall"]["code"]) == (502, "CREDENTIAL_UNREADABLE")
            assert running.upstream("a").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0


@pytest.mark.parametrize("field", ["auth: {type: APIKey, keyFile: FILE}\n", "tls: {caFile: FILE}\n"])
@pytest.mark.parametrize("content", [None, "", "nonsense"])
async def test_an_unusable_file_is_one_line_and_exit_code_2_at_the_start(
    tmp_path: Path, field: str, content: str | None
) -> None:
    if content == "nonsense" and "keyFile" in field:
        content = "two\nlines"
    file, policy = tmp_path / "mounted", tmp_path / "policy.yaml"
    if content is not None:
        file.write_text(content)
    policy.write_text(one("https://127.0.0.1:1/v1", field.replace("FILE", str(file))))
    process = await start(policy, tmp_path)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert (errors.count(b"\n"), str(file).encode() in errors) == (1, True), errors.decode()


# -- TLS ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, and what trusts it."""

    ca: trustme.CA
    file: Path

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    made = []
    for name in ("ours", "other"):
        ca, file = trustme.CA(), tmp_path_factory.mktemp("ca") / f"{name}.pem"
        ca.cert_pem.write_to_path(str(file))
        made.append(Authority(ca, file))
    return made[0], made[1]


async def code(running: Running) -> tuple[int, str]:
    """Status and seawall's code for one call; "" for a good one."""
    got = await wire(running, chat())
    return got.status, json.loads(got.body).get("seawall", {}).get("code", "")


Pair = tuple[Authority, Authority]


async def test_an_upstream_with_a_given_ca_is_reached_over_tls(tmp_path: Path, authorities: Pair) -> None:
    ours, _ = authorities
    seen = Recorder()
    async with serving(seen, ours.server("127.0.0.1")) as port:
        policy = one(f"https://127.0.0.1:{port}", f"tls: {{caFile: {ours.file}}}\n")
        async with proxy(policy, tmp_path) as running:
            for _ in range(3):
                assert await code(running) == (200, "")
            assert len(seen.heads) == 3
            assert running.service._pool.connections == 1


@pytest.mark.parametrize(
    ("name", "tls", "wanted"),
    [
        ("127.0.0.1", "caFile: OTHER", (502, "TLS_FAILED")),
        ("127.0.0.1", "", (502, "TLS_FAILED")),
        ("model.example", "caFile: OURS", (502, "TLS_FAILED")),
        ("model.example", "caFile: OURS, serverName: model.example", (200, "")),
        ("model.example", "verification: None", (200, "")),
    ],
    ids=["another CA", "system CAs", "another name", "serverName", "no verification"],
)
async def test_a_certificate_is_verified_as_the_policy_says(
    tmp_path: Path, authorities: Pair, name: str, tls: str, wanted: tuple[int, str]
) -> None:
    ours, other = authorities
    said = tls.replace("OURS", str(ours.file)).replace("OTHER", str(other.file))
    async with serving(Recorder(), ours.server(name)) as port:
        policy = one(f"https://127.0.0.1:{port}", f"tls: {{{said}}}\n" if said else "", QUICK)
        async with proxy(policy, tmp_path) as running:
            assert await code(running) == wanted
            transport = running.upstream("a").transport.snapshot(time.monotonic())
            assert transport.consecutive_failures == (wanted[0] != 200)
            assert len(running.attempts) == (1 if wanted[0] == 200 else 3)


async def test_a_tls_handshake_that_hangs_or_is_no_tls_is_a_transport_fault(tmp_path: Path) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    for handle, wanted in ((mute, (504, "CONNECT_TIMEOUT")), (plain, (502, "TLS_FAILED"))):
        async with serving(handle) as port:
            policy = one(f"https://127.0.0.1:{port}", rule=NO_RETRY + "timeouts: {connect: 150ms}\n")
            async with proxy(policy, tmp_path) as running:
                assert await code(running) == wanted


# -- HTTP proxies ------------------------------------------------------------------------------------------------------


@dataclass
class Tunnels:
    """A tiny proxy: CONNECT, and plain requests, which it answers itself. `refuse`: the status of its refusals."""

    refuse: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await request_head(reader))
        method, target, _ = self.heads[-1].split(b"\r\n")[0].split(b" ")
        if self.refuse:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self.refuse)
            return
        if method != b"CONNECT":
            writer.write(answer(GOOD))
            return
        host, _, port = target.decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.close()


Environment = Callable[[int], None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    def point(port: int) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://user:pass%20word@127.0.0.1:{port}")
            monkeypatch.delenv(name.lower(), raising=False)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

    return point


@asynccontextmanager
async def tunnelled(tunnels: Tunnels, environment: Environment) -> AsyncIterator[None]:
    async with serving(tunnels) as port:
        environment(port)
        yield


PAIR = b"Basic " + base64.b64encode(b"user:pass word")


async def test_tls_goes_through_the_environments_proxy_if_asked(
    tmp_path: Path, authorities: Pair, environment: Environment
) -> None:
    ours, tunnels, seen = authorities[0], Tunnels(), Recorder()
    async with serving(seen, ours.server("127.0.0.1")) as port, tunnelled(tunnels, environment):
        tls = f"tls: {{caFile: {ours.file}}}\n"
        async with proxy(one(f"https://127.0.0.1:{port}", tls + "proxy: {mode: Environment}\n"), tmp_path) as running:
            assert await code(running) == (200, "")
            assert tunnels.heads[0].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n".encode())
            assert PAIR in tunnels.heads[0]
            # What is meant for the proxy stays with it.
            assert seen.fields(b"proxy-authorization") == []
        async with proxy(one(f"https://127.0.0.1:{port}", tls), tmp_path) as running:
            assert await code(running) == (200, "")
            assert len(tunnels.heads) == 1


async def test_plain_requests_name_the_whole_url_to_the_proxy(tmp_path: Path, environment: Environment) -> None:
    tunnels = Tunnels()
    async with (
        tunnelled(tunnels, environment),
        proxy(one("http://model.example/api", "proxy: {mode: Environment}\n"), tmp_path) as running,
    ):
        assert await code(running) == (200, "")
        head = tunnels.heads[0]
        assert head.startswith(b"POST http://model.example:80/api/chat/completions HTTP/1.1\r\n")
        assert PAIR in head


async def test_a_refused_tunnel_is_a_connection_fault(tmp_path: Path, environment: Environment) -> None:
    async with (
        tunnelled(Tunnels(refuse=407), environment),
        proxy(one("https://model.example", "proxy: {mode: Environment}\n"), tmp_path) as running,
    ):
        assert await code(running) == (502, "CONNECT_FAILED")
        assert "407" in running.attempts[0].detail
