"""What a foreign provider gets to see: the policy's key and nothing of the agent's, over the upstream's own TLS and
proxy."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from across import INJECTED, OWN, key_file, only, routes
from asking import good
from harness import Running, proxy, upstream
from peers import agent, request_head, serving
from secure import authority
from stage import ONE_TRY

ASK: list[Any] = [{"role": "user", "content": "hi"}]
ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("/openai/v1/chat/completions?own-query=1", {"messages": ASK}, "Anthropic"),
    "responses": ("/openai/v1/responses?own-query=1", {"input": "hi"}, "Anthropic"),
    "messages": ("/anthropic/v1/messages?beta=true&own-query=1", {"messages": ASK, "max_tokens": 9}, "OpenAI"),
    "generate": (
        f"/gemini/v1beta/models/m:generateContent?key={OWN}&own-query=1",
        {"contents": [{"parts": [{"text": "hi"}]}]},
        "OpenAI",
    ),
}
# Whatever an SDK or a browser may send of itself; none of it is for another provider.
TELLING = {
    "authorization": f"Bearer {OWN}", "x-api-key": OWN, "api-key": OWN, "x-goog-api-key": OWN,
    "cookie": f"session={OWN}", "proxy-authorization": f"Basic {OWN}",
    "openai-organization": "org-of-the-agent", "openai-project": "proj-of-the-agent",
    "anthropic-beta": "beta-of-the-agent", "anthropic-version": "2023-06-01", "x-stainless-lang": "of-the-agent",
    "x-forwarded-for": "10.9.8.7", "user-agent": "of-the-agent/1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-1-01", "x-request-id": "of-the-agent",
    "idempotency-key": "of-the-agent", "referer": "http://of-the-agent.test/", "origin": "http://of-the-agent.test",
}  # fmt: skip
USER = "user-of-the-agent"


class Tap:
    """Answers well, and keeps every byte that came."""

    def __init__(self, dialect: str) -> None:
        self.answer = good(dialect)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(length))
            writer.write(self.answer)

    def fields(self) -> list[tuple[str, str]]:
        lines = self.heads[-1].decode().split("\r\n")[1:-2]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def policy(folder: Path, url: str, dialect: str, extra: str = "", auth: str = "") -> str:
    """One upstream, which both names stand for, so that `routes` finds it."""
    spec = f"auth: {{type: APIKey, keyFile: {key_file(folder)}{auth}}}\n{extra}"
    return "".join(upstream(name, url, dialect, spec) for name in "oag")


async def answered(running: Running, operation: str, **headers: str) -> int:
    path, body, _ = ASKED[operation]
    async with agent(running) as http:
        users = {"messages": {"metadata": {"user_id": USER}}, "generate": {"labels": {"user": USER}}}
        sent = {"model": "m", **body, **users.get(operation, {"user": USER})}
        return (await http.post(path, json=sent, headers=headers)).status_code


@pytest.mark.parametrize("operation", ASKED)
async def test_only_the_policys_key_goes_out_and_nothing_of_the_agents(tmp_path: Path, operation: str) -> None:
    tap = Tap(ASKED[operation][2])
    async with serving(tap) as port:
        url = f"http://127.0.0.1:{port}/base" + ("/v1" if tap.answer == good("OpenAI") else "")
        async with proxy(policy(tmp_path, url, ASKED[operation][2]) + routes(only, ONE_TRY), tmp_path) as running:
            assert await answered(running, operation, **TELLING) == 200
            everything = b"".join(tap.heads + tap.bodies)
            for telling in (
                OWN,
                "of-the-agent",
                "10.9.8.7",
                "own-query",
                "beta=true",
                "0af7651916cd43dd",
                "seawall.test",
            ):
                assert telling.encode() not in everything, telling
            assert everything.count(INJECTED.encode()) == 1
            fields = dict(tap.fields())
            assert len(fields) == len(tap.fields())
            bearer = ASKED[operation][2] == "OpenAI"
            credential = ("authorization", f"Bearer {INJECTED}") if bearer else ("x-api-key", INJECTED)
            assert credential in tap.fields()
            wanted = {"host", "accept", "content-type", "content-length", "user-agent", credential[0]}
            assert set(fields) - wanted <= {"anthropic-version", "anthropic-beta"}, fields
            assert fields["host"] == f"127.0.0.1:{port}"
            # Nor does it stay here.
            assert INJECTED not in repr(running.events) and OWN not in repr(running.events)


@pytest.mark.parametrize("operation", ASKED)
async def test_a_field_that_policy_names_carries_the_key_alone(tmp_path: Path, operation: str) -> None:
    tap = Tap(ASKED[operation][2])
    async with serving(tap) as port:
        text = policy(tmp_path, f"http://127.0.0.1:{port}", ASKED[operation][2], auth=", header: x-token, scheme: Key")
        async with proxy(text + routes(only, ONE_TRY), tmp_path) as running:
            assert await answered(running, operation) == 200
            fields = dict(tap.fields())
            assert fields["x-token"] == f"Key {INJECTED}"
            assert not {"authorization", "x-api-key"} & set(fields)


async def test_a_foreign_upstream_without_a_readable_key_is_passed_over_and_sent_nothing(tmp_path: Path) -> None:
    tap = Tap("Anthropic")
    async with serving(tap) as port:
        text = policy(tmp_path, f"http://127.0.0.1:{port}", "Anthropic")
        (tmp_path / "key").unlink()
        async with proxy(text + routes(only, ONE_TRY), tmp_path) as running:
            assert await answered(running, "chat") == 502
            assert (await running.call()).fault == "CREDENTIAL_UNREADABLE"
            assert tap.heads == []


@pytest.mark.parametrize("operation", ASKED)
async def test_the_upstreams_tls_settings_hold(tmp_path: Path, operation: str) -> None:
    ours, theirs, tap = authority(tmp_path, "ours"), authority(tmp_path, "theirs"), Tap(ASKED[operation][2])
    async with serving(tap, ours.server("provider.test")) as port:
        for settings, fault in (
            (f"caFile: {ours.file}, serverName: provider.test", ""),
            (f"caFile: {ours.file}", "TLS_FAILED"),
            (f"caFile: {theirs.file}, serverName: provider.test", "TLS_FAILED"),
            ("verification: None", ""),
        ):
            text = policy(tmp_path, f"https://127.0.0.1:{port}", ASKED[operation][2], f"tls: {{{settings}}}\n")
            async with proxy(text + routes(only, ONE_TRY), tmp_path) as running:
                assert await answered(running, operation) == (502 if fault else 200)
                call = await running.call()
                assert call.fault == fault, settings
                # The origin is to blame, as it is where nothing is translated.
                transport = running.upstream(call.upstream).transport
                snapshot = transport.snapshot(running.service._clock.now())
                assert snapshot.consecutive_failures == (1 if fault else 0)


@pytest.mark.parametrize("operation", ASKED)
async def test_the_environments_proxy_is_taken_where_policy_says_so_only(
    tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydantic-ai and the SDKs would read the environment by themselves."""
    seen: list[bytes] = []
    tap = Tap(ASKED[operation][2])

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await request_head(reader)
        seen.append(head)
        writer.write(tap.answer)

    async with serving(between) as proxy_port, serving(tap) as port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        for url, extra in (
            (f"http://127.0.0.1:{port}", ""),
            ("http://provider.test/base", "proxy: {mode: Environment}\n"),
        ):
            text = policy(tmp_path, url, ASKED[operation][2], extra)
            async with proxy(text + routes(only, ONE_TRY), tmp_path) as running:
                assert await answered(running, operation) == 200
            assert (len(seen), len(tap.heads)) == (int(bool(extra)), 1)
        assert seen[0].startswith(b"POST http://provider.test:80/base/") and OWN.encode() not in seen[0]


async def test_keys_of_the_environment_are_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://of-the-environment.test")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://of-the-environment.test")
    for operation, (_, _, dialect) in ASKED.items():
        tap = Tap(dialect)
        async with serving(tap) as port:
            text = policy(tmp_path, f"http://127.0.0.1:{port}", dialect)
            async with proxy(text + routes(only, ONE_TRY), tmp_path) as running:
                assert await answered(running, operation) == 200
            assert b"of-the-environment" not in b"".join(tap.heads + tap.bodies)
            assert json.loads(tap.bodies[0])["model"] == "m"
