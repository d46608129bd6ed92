"""Keys from mounted files and TLS to upstreams: what an upstream's policy says about access."""

import asyncio
import json
import os
import time
from pathlib import Path

import httpx
import pytest
from harness import lab, proxy, route, upstream
from peers import QUICK, Recorder, chat, serving, wire
from processes import refused
from secure import Authority, authority, code

NO_RETRY = "retry: {attempts: 0}\n"


def one(url: str, extra: str = "", dialect: str = "OpenAI", rule: str = NO_RETRY) -> str:
    return upstream("a", url, dialect, extra) + route("models", "/v1", "a", rule)


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "extra", "name", "value"),
    [
        ("OpenAI", "", b"authorization", b"Bearer secret-1"),
        ("AzureOpenAI", "", b"api-key", b"secret-1"),
        ("AzureOpenAI", ", header: Authorization, scheme: Bearer", b"authorization", b"Bearer secret-1"),
        ("Anthropic", "", b"x-api-key", b"secret-1"),
        ("Gemini", "", b"x-goog-api-key", b"secret-1"),
        ("Gemini", ", header: Authorization, scheme: Bearer", b"authorization", b"Bearer secret-1"),
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
        assert "secret-1" not in repr(running.events) + repr(running.upstream("a").target.credential)


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("?key=of-the-agent", ""),
        ("?alt=sse&key=of-the-agent", "?alt=sse"),
        ("?key=of-the-agent&alt=sse&%6Bey=of-the-agent", "?alt=sse"),
        ("?a=%2F&access_token=of-the-agent&&b", "?a=%2F&&b"),
        ("?monkey=1&KEY=2", "?monkey=1&KEY=2"),
        ("?", "?"),
    ],
)
async def test_a_key_from_a_file_replaces_the_one_in_a_query(tmp_path: Path, query: str, sent: str) -> None:
    key, seen = tmp_path / "key", Recorder()
    key.write_text("secret-1\n")
    auth = f"auth: {{type: APIKey, keyFile: {key}}}\n"
    async with (
        serving(seen) as port,
        proxy(one(f"http://127.0.0.1:{port}", auth, dialect="Gemini"), tmp_path) as running,
    ):
        mine = "x-goog-api-key: of-the-agent\r\nconnection: close\r\n"
        got = await wire(running, {}, path=f"/v1/models/g:generateContent{query}", headers=mine)
        assert got.status == 200
        assert seen.heads[0].split(b" ")[1] == f"/models/g:generateContent{sent}".encode()
        assert b"of-the-agent" not in seen.heads[0] and seen.fields(b"x-goog-api-key") == [b"secret-1"]


async def test_agents_whose_keys_are_in_the_query_rest_one_by_one(tmp_path: Path) -> None:
    """A limit is a credential's: who has another key is asked for at once."""
    async with lab() as upstreams:
        policy = "".join(upstream(name, f"{upstreams.url}/u/{name}", "Gemini") for name in "ab")
        upstreams.script(["429-retry-after-60"], upstream="a")
        async with proxy(policy + route("models", "/gemini", "a b", NO_RETRY), tmp_path) as running:
            answered = []
            for key in ("first", "first", "second", "first"):
                path = f"/gemini/v1beta/models/g:generateContent?key={key}"
                got = await wire(running, {"contents": [{"parts": [{"text": "hi"}]}]}, path=path)
                answered.append(got.field(b"x-seawall-upstream"))
            assert answered == [b"b", b"b", b"a", b"b"]


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


async def test_a_key_file_that_became_unusable_is_told_until_it_is_mended(tmp_path: Path) -> None:
    key, seen = tmp_path / "key", Recorder()
    key.write_text("first")
    auth = f"auth: {{type: APIKey, keyFile: {key}}}\n"
    async with (
        serving(seen) as port,
        proxy(one(f"http://127.0.0.1:{port}", auth), tmp_path) as running,
        httpx.AsyncClient(base_url=running.admin_url) as admin,
    ):

        async def shown() -> tuple[str, object, object, bool]:
            health = (await admin.get("/health")).json()["upstreams"]["a"]
            state = (await admin.get("/state")).json()["upstreams"][0]
            page = (await admin.get("/metrics")).text
            gauge = 'seawall_credential_unreadable{upstream="a"} 1.0' in page
            return health["service_level"], health["credential"], state["credential"], gauge

        async def becomes(level: str) -> tuple[str, object, object, bool]:
            async with asyncio.timeout(5):
                while (found := await shown())[0] != level:
                    await asyncio.sleep(0.05)
            return found

        assert await shown() == ("full", None, None, False)
        key.write_text("")
        _, told, state, gauge = await becomes("degraded")
        assert isinstance(told, dict)
        assert (told["last_key_in_use"], str(key) in told["problem"], state, gauge) == (True, True, told, True)
        assert f"credential {key}" in (await admin.get("/")).text
        assert (await wire(running, chat())).status == 200
        assert seen.fields(b"authorization") == [b"Bearer first"]
        key.write_text("second")
        assert await becomes("full") == ("full", None, None, False)


async def test_an_upstream_whose_file_never_held_a_key_is_offline(tmp_path: Path) -> None:
    auth = f"auth: {{type: APIKey, keyFile: {tmp_path}/none}}\n"
    async with (
        proxy(one("http://127.0.0.1:9/v1", auth), tmp_path) as running,
        httpx.AsyncClient(base_url=running.admin_url) as admin,
    ):
        health = await admin.get("/health")
        assert (health.status_code, health.json()["service_level"]) == (503, "offline")
        assert health.json()["upstreams"]["a"]["credential"]["last_key_in_use"] is False


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
    status, errors = await refused(policy, tmp_path)
    assert (status, errors.count("\n"), str(file) in errors) == (2, 1, True), errors


# -- TLS ---------------------------------------------------------------------------------------------------------------

Pair = tuple[Authority, Authority]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("authorities")
    return authority(folder, "ours"), authority(folder, "other")


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
        policy = one(f"https://127.0.0.1:{port}", f"tls: {{{said}}}\n" if said else "", rule=QUICK)
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


@pytest.mark.parametrize(
    "path",
    ["/v1/../other", "/v1/%2e%2E/other", "/v1/..%2fother", "/v1/%252e%252e/other", "/v1/..;/other", "/v1/..%5Cother"],
)
async def test_an_injected_key_does_not_follow_dot_segments_out_of_its_route(tmp_path: Path, path: str) -> None:
    key, seen = tmp_path / "key", Recorder()
    key.write_text("secret-1\n")
    async with (
        serving(seen) as port,
        proxy(one(f"http://127.0.0.1:{port}", f"auth: {{type: APIKey, keyFile: {key}}}\n"), tmp_path) as running,
    ):
        got = await wire(running, chat(), path=path)
        assert (got.status, seen.heads) == (400, [])
