"""Which upstream a call belongs to by what it asks for: a model that can do it, and the one that knows the talk."""

from pathlib import Path
from typing import Any

import pytest
from harness import Running, lab, proxy, route, upstream
from peers import CHAT, agent

from seawall.lab import Lab

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
TALK = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
STICKY = "sticky: Conversation\nretry: {attempts: 0}\n"


def policy(upstreams: Lab, backends: str, rule: str, a: str = "", b: str = "") -> str:
    return (
        upstream("a", f"{upstreams.url}/u/a/v1", extra=a)
        + upstream("b", f"{upstreams.url}/u/b/v1", extra=b)
        + route("chat", "/v1", backends, rule)
    )


async def served_by(running: Running, **fields: Any) -> str:
    async with agent(running) as client:
        got = await client.post(CHAT, json={"model": "gpt", "messages": TALK, **fields})
        return got.headers["x-seawall-upstream"]


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({"tools": TOOLS, "tool_choice": "none"}, "Tools"),
        ({"messages": IMAGE}, "Images"),
        ({"response_format": SCHEMA}, "JSONSchema"),
    ],
)
async def test_a_model_that_cannot_do_it_is_passed_over_by_name(
    tmp_path: Path, fields: dict[str, Any], lacks: str
) -> None:
    others = ", ".join({"Tools", "Images", "JSONSchema"} - {lacks})
    a = f"models: [{{name: gpt, capabilities: [{others}]}}]\n"
    async with lab() as upstreams, proxy(policy(upstreams, "a b", "", a), tmp_path) as running:
        assert await served_by(running, **fields) == "b"
        call = await running.call()
        assert call.skipped == (f"a: gpt has no {lacks}",)
        assert call.outcome.value == "primary"
        # What it can do, it is asked for, and so is a model of which nothing is told.
        assert await served_by(running) == "a"
        assert await served_by(running, model="other", **fields) == "a"


async def test_when_no_model_can_do_it_the_agent_is_told_why(tmp_path: Path) -> None:
    blind = "models: [{name: gpt, capabilities: [Tools]}]\n"
    async with lab() as upstreams, proxy(policy(upstreams, "a b", "", blind, blind), tmp_path) as running:
        async with agent(running) as client:
            got = await client.post(CHAT, json={"model": "gpt", "messages": IMAGE})
        assert (got.status_code, got.json()["seawall"]["code"]) == (503, "NO_CANDIDATE")
        assert "a: gpt has no Images; b: gpt has no Images" in got.json()["error"]["message"]
        assert not upstreams.attempts()


async def test_a_conversation_stays_with_one_upstream_and_conversations_are_shared_out(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams, "a|b", STICKY), tmp_path) as running:
        homes = set()
        for number in range(12):
            talk = [{"role": "user", "content": f"talk {number}"}]
            first = await served_by(running, messages=talk)
            for turn in range(4):
                talk = [*talk, {"role": "assistant", "content": "well"}, {"role": "user", "content": f"and {turn}"}]
                assert await served_by(running, messages=talk) == first
            homes.add(first)
        assert homes == {"a", "b"}


async def test_after_a_failover_the_conversation_does_not_flip_back(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams, "a b", STICKY), tmp_path) as running:
        assert await served_by(running) == "a"
        upstreams.script(["503"], upstream="a")
        assert await served_by(running) == "b"
        # a is well again, but this conversation goes on with b, and others begin with a.
        assert await served_by(running) == "b"
        assert await served_by(running, messages=[{"role": "user", "content": "new"}]) == "a"
        # b fails now: the conversation moves on, and stays there.
        upstreams.script(["503"], upstream="b")
        assert [await served_by(running), await served_by(running)] == ["a", "a"]


async def test_without_sticky_the_first_priority_takes_over_again(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams, "a b", "retry: {attempts: 0}\n"), tmp_path) as running:
        upstreams.script(["503"], upstream="a")
        assert [await served_by(running), await served_by(running)] == ["b", "a"]
