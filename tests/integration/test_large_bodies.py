"""Bodies that are too large to be sent twice, or come when the buffers are full: where they go is still up to what they
say, and never to chance."""

import json
from pathlib import Path

import pytest
from harness import Running, proxy, route, upstream
from peers import CHAT, agent, serving
from recorder import Recorder, ok

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
JSON = {"content-type": "application/json"}


def by_model(first: int, second: int) -> str:
    """gpt-* goes to a, and claude-* to b under another name."""
    rule = """\
    - matches: [{{path: {{type: PathPrefix, value: /v1}}, models: ["{models}"]}}]
      backendRefs: [{ref}]
"""
    return (
        upstream("a", f"http://127.0.0.1:{first}/v1")
        + upstream("b", f"http://127.0.0.1:{second}/v1")
        + "---\napiVersion: seawall.dev/v1alpha1\nkind: AgentRoute\nmetadata: {name: chat}\nspec:\n  rules:\n"
        + rule.format(models="gpt-*", ref="{name: a}")
        + rule.format(models="claude-*", ref="{name: b, model: other}")
    )


def large(model: str, size: int) -> bytes:
    # The SDKs write the model behind the messages.
    return json.dumps({"messages": [{"role": "user", "content": "x" * size}], "model": model}).encode()


async def post(running: Running, body: bytes) -> tuple[int, str | None]:
    async with agent(running) as client:
        got = await client.post(CHAT, content=body, headers=JSON)
        return got.status_code, got.headers.get("x-seawall-upstream")


async def test_a_body_above_the_replay_buffer_goes_where_its_model_says(tmp_path: Path) -> None:
    a, b = (
        Recorder(ok(ANSWER, b"content-type: application/json")),
        Recorder(ok(ANSWER, b"content-type: application/json")),
    )
    async with serving(a) as first, serving(b) as second, proxy(by_model(first, second), tmp_path) as running:
        body = large("claude-x", 5_000_000)
        assert await post(running, body) == (200, "b")
        # Its override is carried out, and nothing else of it changes.
        assert b.last.body == body.replace(b'"claude-x"', b'"other"')
        assert a.requests == []
        assert await post(running, large("gpt-x", 5_000_000)) == (200, "a")
        assert running.service._buffers.used == 0


async def test_a_body_whose_model_cannot_be_found_is_refused_where_the_model_decides(tmp_path: Path) -> None:
    a, b = Recorder(ok(ANSWER)), Recorder(ok(ANSWER))
    async with serving(a) as first, serving(b) as second:
        async with proxy(by_model(first, second), tmp_path) as running:
            assert (await post(running, large("claude-x", 34_000_000)))[0] == 413
        async with proxy(by_model(first, second), tmp_path, buffer_budget=65536) as running:
            status, _ = await post(running, large("claude-x", 1_000_000))
            assert (status, (await running.call()).fault) == (503, "QUEUE_FULL")
        assert (a.requests, b.requests) == ([], [])


@pytest.mark.parametrize("size", [5_000_000, 34_000_000])
async def test_a_large_body_flows_where_one_upstream_takes_all(tmp_path: Path, size: int) -> None:
    recorder = Recorder(ok(ANSWER, b"content-type: application/json"))
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1") + route("chat", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            body = large("gpt-x", size)
            assert (await post(running, body))[0] == 200
            assert recorder.last.body == body
            assert (await running.call()).model == ("gpt-x" if size < 32_000_000 else "")
