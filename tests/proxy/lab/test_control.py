"""The control endpoint: attempts, scripts, connections, grammar; and the endpoints that show what arrives."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from seawall.lab import Lab, start_lab

CHAT = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def http(lab: Lab) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=lab.url, timeout=10) as client:
        yield client


async def test_attempts_tell_timings_bytes_and_digest_but_no_secret(http: httpx.AsyncClient) -> None:
    headers = {"authorization": "Bearer sk-secret", "x-lab-key": "mine"}
    sent = await http.post("/u/east/v1/chat/completions", json={**CHAT, "model": "lab-latency-50ms"}, headers=headers)
    told = await http.get("/_lab/attempts", params={"upstream": "east", "key": "mine"})
    (attempt,) = told.json()["attempts"]
    assert attempt["dialect"] == "OpenAI"
    assert attempt["operation"] == "chat"
    assert attempt["model"] == "lab-latency-50ms"
    assert attempt["fault"] == "latency-50ms"
    assert attempt["healthy"] is True
    assert attempt["status"] == 200
    assert attempt["path"] == "/v1/chat/completions"
    assert attempt["bytes_out"] == len(sent.content)
    assert attempt["body_sha256"] == hashlib.sha256(sent.request.content).hexdigest()
    assert attempt["received"] + 0.05 <= attempt["first_byte"] <= attempt["end"]
    assert "authorization" in [name.lower() for name in attempt["header_names"]]
    assert "sk-secret" not in told.text
    assert sent.headers["x-lab-attempt"] == str(attempt["number"])


async def test_a_client_that_goes_away_is_noted(lab: Lab, http: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await http.post("/v1/chat/completions", json={**CHAT, "model": "lab-silent"}, timeout=0.1)
    for _ in range(400):
        if lab.attempts()[0].end is not None:
            break
        await asyncio.sleep(0.005)
    (attempt,) = lab.attempts()
    assert attempt.gone
    assert attempt.status is None
    assert not attempt.healthy


@pytest.mark.parametrize(
    ("fault", "status"),
    [("garbage", None), ("early-hints+reset", None), ("early-hints+429", 429), ("bad-header", 200), ("bad-chunk", 200),
     ("huge-1k", 200), ("reset", None), ("502", 502)],
)  # fmt: skip
async def test_an_attempt_has_the_status_that_was_sent(
    lab: Lab, http: httpx.AsyncClient, fault: str, status: int | None
) -> None:
    with contextlib.suppress(httpx.TransportError):
        await http.post("/v1/chat/completions", json=CHAT, headers={"x-lab-fault": fault})
    (attempt,) = lab.attempts()
    assert attempt.status == status
    assert (attempt.first_byte is None) is (fault == "reset")


async def test_what_is_kept_of_a_request_is_bounded(lab: Lab, http: httpx.AsyncClient) -> None:
    long = "m" * 5000
    headers = [(f"x-{number}-{long[:200]}", "v") for number in range(60)]
    for body, fields in (({**CHAT, "model": long}, headers), (CHAT, [("x-lab-fault", "ok" + long)])):
        answer = await http.post("/v1/chat/completions", json=body, headers=fields)
        assert answer.status_code == 400
        assert "4096 characters" in answer.json()["error"]["message"]
    await http.post("/" + long, json=CHAT, headers={"x-lab-key": long})
    assert all(len(msgspec.json.encode(attempt)) < 20_000 for attempt in lab.attempts())


async def test_a_body_that_is_nested_without_end_is_no_document(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/chat/completions", content=b"[" * 100_000)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_attempts_can_be_forgotten(http: httpx.AsyncClient) -> None:
    await http.post("/v1/chat/completions", json=CHAT)
    assert (await http.delete("/_lab/attempts")).json() == {"total": 0}
    assert (await http.get("/_lab/attempts")).json() == {"total": 0, "attempts": []}


async def test_a_script_is_set_used_shown_and_removed(http: httpx.AsyncClient) -> None:
    script = {"upstream": "east", "steps": ["503", {"fault": "429-retry-after-1", "times": 2}]}
    assert (await http.post("/_lab/script", json=script)).status_code == 200
    east = [(await http.post("/u/east/v1/chat/completions", json=CHAT)).status_code for _ in range(4)]
    west = (await http.post("/u/west/v1/chat/completions", json=CHAT)).status_code
    assert (east, west) == ([503, 429, 429, 200], 200)
    (shown,) = (await http.get("/_lab/script")).json()["scripts"]
    assert shown["used"] == 4
    assert shown["upstream"] == "east"
    assert (await http.delete("/_lab/script", params={"upstream": "west"})).json() == {"removed": 0}
    assert (await http.delete("/_lab/script")).json() == {"removed": 1}


@pytest.mark.parametrize(
    "body",
    ['{"steps": ["nonsense"]}', '{"stepz": []}', "{", '{"steps": [], "schedule": []}', '{"steps": [3]}'],
)
async def test_a_bad_script_is_refused_with_a_reason(http: httpx.AsyncClient, body: str) -> None:
    answer = await http.post("/_lab/script", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_a_script_may_name_path_and_model(http: httpx.AsyncClient) -> None:
    for script in ({"path": "/v1/models", "steps": ["500"]}, {"model": "gpt", "steps": ["502"]}):
        await http.post("/_lab/script", json=script)
    assert (await http.get("/v1/models")).status_code == 500
    assert (await http.post("/v1/chat/completions", json={**CHAT, "model": "other"})).status_code == 200
    assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 502


async def test_open_connections_are_counted_without_the_one_that_asks(lab: Lab, http: httpx.AsyncClient) -> None:
    assert (await http.get("/_lab/connections")).json() == {"open": 0}
    _, writer = await asyncio.open_connection("127.0.0.1", int(lab.url.rsplit(":", 1)[1]))
    for _ in range(400):
        if lab.connections == 2:
            break
        await asyncio.sleep(0.005)
    assert (await http.get("/_lab/connections")).json() == {"open": 1}
    writer.close()
    await writer.wait_closed()


async def test_the_grammar_is_listed(http: httpx.AsyncClient) -> None:
    grammar = (await http.get("/_lab/grammar")).json()
    assert {"word", "example", "effect"} == set(grammar["words"][0])
    assert "p" in grammar["parameters"]


async def test_unknown_control_paths_name_the_known_ones(http: httpx.AsyncClient) -> None:
    answer = await http.get("/_lab/nothing")
    assert answer.status_code == 404
    assert "attempts" in answer.json()["error"]


async def test_inspect_shows_the_request_as_it_arrived(http: httpx.AsyncClient) -> None:
    seen = (await http.put("/u/east/inspect?a=1", content=b"abc", headers=[("X-Two", "1"), ("X-Two", "2")])).json()
    assert (seen["method"], seen["target"], seen["body_bytes"]) == ("PUT", "/u/east/inspect?a=1", 3)
    assert [value for name, value in seen["headers"] if name == "X-Two"] == ["1", "2"]


async def test_echo_streams_a_body_back(lab: Lab, http: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(64):
            yield bytes([number]) * 65536

    answer = await http.post("/echo", content=parts(), headers={"content-type": "x/y"})
    assert answer.headers["content-type"] == "x/y"
    assert answer.content == b"".join([part async for part in parts()])
    assert lab.attempts()[0].bytes_in == lab.attempts()[0].bytes_out == 64 * 65536


async def test_bytes_have_the_asked_length_and_head_none(http: httpx.AsyncClient) -> None:
    assert len((await http.get("/bytes/100001")).content) == 100001
    head = await http.head("/bytes/100001")
    assert (head.content, head.headers["content-length"]) == (b"", "100001")


async def test_unknown_paths_answer_404_in_the_dialect(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/nothing")).json()["error"]["type"] == "invalid_request_error"
    anthropic = await http.get("/v1/nothing", headers={"anthropic-version": "2023-06-01"})
    assert anthropic.json()["error"]["type"] == "not_found_error"


async def test_a_busy_port_is_an_oserror(lab: Lab) -> None:
    with pytest.raises(OSError, match="in use"):
        await start_lab(port=int(lab.url.rsplit(":", 1)[1]))


async def test_closing_ends_what_hangs() -> None:
    lab = await start_lab()
    async with httpx.AsyncClient(base_url=lab.url) as client:
        body = {**CHAT, "model": "lab-silent"}
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body, timeout=10))
        while not lab.attempts():
            await asyncio.sleep(0.005)
        await lab.close()
        with pytest.raises(httpx.TransportError):
            await asking
    assert lab.connections == 0
