"""Model calls' answers that were kept in one form and are asked for in another one (docs/caching.md). Recorded answers
are in test_cache_wire_forms.py."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from harness import lab, proxy, route, upstream
from peers import CHAT, agent, chat

from seawall.lab import Lab

TTL = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 0}\n"
PLAIN: dict[str, Any] = chat(temperature=0)
STREAM: dict[str, Any] = chat(temperature=0, stream=True)
COUNTED: dict[str, Any] = {**STREAM, "stream_options": {"include_usage": True}}


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[tuple[Lab, httpx.AsyncClient]]:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/u/a/v1") + route("chat", "/v1", "a", TTL)
        async with proxy(policy, folder) as running, agent(running) as client:
            yield upstreams, client


def said(answer: httpx.Response) -> str:
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def test_a_stream_without_usage_makes_no_plain_answer_and_is_replaced_by_the_new_one(tmp_path: Path) -> None:
    async with place(tmp_path) as (upstreams, client):
        await client.post(CHAT, json=STREAM)
        plain = await client.post(CHAT, json=PLAIN)
        assert (plain.headers["x-seawall-outcome"], plain.headers["cache-status"]) == (
            "primary",
            "seawall; fwd=uri-miss",
        )
        assert len(upstreams.attempts()) == 2
        again = await client.post(CHAT, json=PLAIN)
        stream = await client.post(CHAT, json=COUNTED)
        assert len(upstreams.attempts()) == 2
        assert again.content == plain.content
        assert plain.json()["id"] in stream.text


async def test_a_stream_without_usage_is_given_without_it_where_it_was_kept_with_it(tmp_path: Path) -> None:
    async with place(tmp_path) as (upstreams, client):
        counted = await client.post(CHAT, json=COUNTED)
        plainly = await client.post(CHAT, json=STREAM)
        assert len(upstreams.attempts()) == 1
        assert counted.text.count('"usage":{') == 1 and '"usage":{' not in plainly.text
        assert said(plainly) == said(counted) != ""
        assert plainly.text.endswith("data: [DONE]\n\n")
