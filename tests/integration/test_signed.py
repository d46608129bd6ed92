"""Requests that go out signed for AWS: fresh for each attempt, over what is sent, whatever the agent's body is like."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from aws import access_keys, signature
from harness import Running, lab, proxy, route, upstream
from peers import QUICK, agent, serving
from processes import ROOT, refused
from recorder import Message, Recorder, ok

from seawall.policy import evaluate, load_text
from seawall.service import Address, Options, Service

CONVERSE = "/model/us.amazon.nova-micro-v1%3A0/converse"
ANSWER = ok(b'{"output":{"message":{"content":[]}},"stopReason":"end_turn"}', b"content-type: application/json")
BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}).encode()
JSON = {"content-type": "application/json"}


def policy(url: str, auth: str, rule: str = QUICK, dialect: str = "Bedrock") -> str:
    auth = f"auth: {{type: AWSSigV4, region: eu-west-1{auth}}}"
    return upstream("a", url, dialect, auth) + route("all", "/aws", "a", rule)


def checked(got: Message, secret: str = "") -> dict[str, str]:
    """What the request's signature says, which must be right."""
    head = got.line + b"\r\n" + b"".join(b"%b: %b\r\n" % field for field in got.fields) + b"\r\n"
    return signature(head, got.body, *([secret] if secret else []))


async def post(running: Running, body: bytes, path: str = CONVERSE, **headers: str) -> tuple[int, str]:
    async with agent(running) as client:
        got = await client.post("/aws" + path, content=body, headers={**JSON, **headers})
        return got.status_code, got.text


async def test_a_request_is_signed_over_what_arrives(tmp_path: Path) -> None:
    seen = Recorder(ANSWER)
    keys = f", credentialsFile: {access_keys(tmp_path, token='t')}"
    async with serving(seen) as port, proxy(policy(f"http://127.0.0.1:{port}/base", keys), tmp_path) as running:
        own = {"Authorization": "AWS4-HMAC-SHA256 own", "X-Amz-Date": "old", "x-amz-content-sha256": "old"}
        assert await post(running, BODY, CONVERSE + "?b=1&a=2", **own) == (
            200,
            ANSWER.partition(b"\r\n\r\n")[2].decode(),
        )
        assert (seen.last.body, seen.last.line) == (BODY, f"POST /base{CONVERSE}?b=1&a=2 HTTP/1.1".encode())
        said = checked(seen.last)
        assert (said["region"], said["service"]) == ("eu-west-1", "bedrock")
        assert [seen.last.all(name) for name in (b"x-amz-content-sha256", b"x-amz-security-token")] == [[], [b"t"]]
        assert len(seen.last.all(b"authorization")) == len(seen.last.all(b"x-amz-date")) == 1
        assert seen.last.all(b"host") == [f"127.0.0.1:{port}".encode()]


async def test_another_model_is_signed_as_well(tmp_path: Path) -> None:
    seen = Recorder(ANSWER)
    auth = f"auth: {{type: AWSSigV4, region: eu-west-1, credentialsFile: {access_keys(tmp_path)}}}"
    async with serving(seen) as port:
        text = upstream("a", f"http://127.0.0.1:{port}", "Bedrock", auth) + route("all", "/aws", "a", QUICK)
        text = text.replace(
            "{name: a, priority: 0}", "{name: a, model: 'arn:aws:bedrock:eu-west-1:1:inference-profile/x'}"
        )
        async with proxy(text, tmp_path) as running:
            assert (await post(running, BODY))[0] == 200
            path = b"/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Fx/converse"
            assert seen.last.line.split(b" ")[1] == path
            checked(seen.last)
            assert (await running.call()).model == "arn:aws:bedrock:eu-west-1:1:inference-profile/x"


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
async def test_a_body_above_the_replay_buffer_is_held_to_be_signed_and_sent_once(tmp_path: Path, kind: str) -> None:
    seen = Recorder(ok(b"{}", status=b"500 Oops"))
    keys = f", credentialsFile: {access_keys(tmp_path)}"
    body = BODY[:-1] + b', "more": "' + b"x" * 9_000_000 + b'"}'
    async with serving(seen) as port, proxy(policy(f"http://127.0.0.1:{port}", keys), tmp_path) as running:
        assert (await post(running, body, **{"content-type": kind}))[0] == 500
        assert len(seen.requests) == 1 and seen.last.body == body
        checked(seen.last)
        assert running.service._buffers.used == 0


async def test_a_body_that_comes_in_chunks_is_signed(tmp_path: Path) -> None:
    seen = Recorder(ANSWER)
    keys = f", credentialsFile: {access_keys(tmp_path)}"

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 7):
            yield BODY[at : at + 7]
            await asyncio.sleep(0)

    async with (
        serving(seen) as port,
        proxy(policy(f"http://127.0.0.1:{port}", keys), tmp_path) as running,
        agent(running) as client,
    ):
        got = await client.post(f"/aws{CONVERSE}", content=parts(), headers=JSON)
        assert got.status_code == 200 and seen.last.body == BODY
        checked(seen.last)


async def test_a_body_that_is_too_large_to_be_held_is_refused(tmp_path: Path) -> None:
    seen = Recorder(ANSWER)
    keys = f", credentialsFile: {access_keys(tmp_path)}"
    async with serving(seen) as port, proxy(policy(f"http://127.0.0.1:{port}", keys), tmp_path) as running:
        status, text = await post(running, b"x" * (33 << 20), **{"content-type": "application/octet-stream"})
        assert (status, json.loads(text)["seawall"]["code"]) == (413, "BODY_TOO_LARGE")
        assert seen.requests == []


async def test_where_the_buffers_are_full_it_is_told_when_to_come_again(tmp_path: Path) -> None:
    seen = Recorder(ANSWER)
    keys = f", credentialsFile: {access_keys(tmp_path)}"
    async with (
        serving(seen) as port,
        proxy(policy(f"http://127.0.0.1:{port}", keys), tmp_path, buffer_budget=50_000) as running,
    ):
        status, text = await post(running, b"x" * 400_000)
        assert (status, json.loads(text)["seawall"]["code"]) == (503, "QUEUE_FULL")
        assert seen.requests == []


async def test_every_attempt_has_a_signature_of_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = (datetime(2026, 11, 29, 12, minute) for minute in range(60))
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: next(times))
    seen = Recorder(ok(b"{}", status=b"500 Oops"))
    keys = f", credentialsFile: {access_keys(tmp_path)}"
    async with serving(seen) as port, proxy(policy(f"http://127.0.0.1:{port}", keys), tmp_path) as running:
        assert (await post(running, BODY))[0] == 500
        assert [request.all(b"x-amz-date") for request in seen.requests] == [
            [b"20261129T120000Z"], [b"20261129T120100Z"], [b"20261129T120200Z"],
        ]  # fmt: skip
        assert len({checked(request)["signature"] for request in seen.requests}) == 3


async def test_keys_that_are_missing_fail_over(tmp_path: Path) -> None:
    async with lab() as upstreams:
        auth = "auth: {{type: AWSSigV4, region: eu-west-1, credentialsFile: {}}}"
        text = upstream("a", f"{upstreams.url}/u/a", "Bedrock", auth.format(tmp_path / "none"))
        text += upstream("b", f"{upstreams.url}/u/b", "Bedrock", auth.format(access_keys(tmp_path)))
        async with proxy(text + route("all", "/aws", "a b", QUICK), tmp_path) as running:
            assert (await post(running, BODY))[0] == 200
            assert [attempt.upstream for attempt in upstreams.attempts()] == ["b"]
        async with proxy(text + route("all", "/aws", "a", QUICK), tmp_path) as running:
            status, said = await post(running, BODY)
            error = json.loads(said)
            assert (status, error["__type"]) == (502, "InternalServerException")
            assert error["seawall"]["code"] == "CREDENTIAL_UNREADABLE"
            assert "none: No such file" in error["message"]


async def test_any_http_api_of_aws_can_be_signed_for(tmp_path: Path) -> None:
    seen = Recorder(ANSWER)
    keys = f", service: execute-api, credentialsFile: {access_keys(tmp_path)}"
    async with serving(seen) as port:
        async with proxy(policy(f"http://127.0.0.1:{port}", keys, dialect="Generic"), tmp_path) as running:
            assert (await post(running, BODY, "/stage/things"))[0] == 200
        assert checked(seen.last)["service"] == "execute-api"


async def test_a_file_that_cannot_be_read_keeps_a_process_from_starting(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(policy("http://127.0.0.1:9", f", credentialsFile: {tmp_path}/none"))
    code, errors = await refused(file, tmp_path)
    assert code == 2
    assert f"{tmp_path}/none: error: Upstream default/a spec.auth.credentialsFile: cannot be read" in errors


async def test_without_the_library_a_process_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = evaluate(load_text(policy("http://127.0.0.1:9", f", credentialsFile: {access_keys(tmp_path)}"), "p.yaml"))
    assert loaded.policy is not None
    anywhere = Address("127.0.0.1", 0)
    service = Service(Options((), anywhere, anywhere, tmp_path / "socket"))
    monkeypatch.setattr("seawall.upstream.sigv4.importlib.util.find_spec", lambda _: None)
    with pytest.raises(OSError, match=r"needs seawall\[bedrock\] to be installed"):
        service.prepare(loaded.policy)
    await service.close()


def test_it_is_not_imported_where_no_policy_signs() -> None:
    code = (
        "import sys, seawall.serve, seawall.lab; sys.exit(any(n.startswith(('boto', 'urllib3')) for n in sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
