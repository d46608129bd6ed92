"""Requests as agents sent them to one provider, put to a provider of the other dialect: each is translated into one
that the other API takes, or refused by the name of what stands in its way. Nothing of the agent's own goes along."""

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from across import OTHER, OWN, across
from harness import until
from peers import agent
from recorded import ABSENT, WIRE, Recording
from wired import ANTHROPIC, RECORDED, SPEAKS_OPENAI

from seawall.faults import Code

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

PATHS = {
    "chat/completions": "/openai/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "messages": "/anthropic/v1/messages",
}
GEMINI = re.compile(r"[^/]+:(?:streamG|g)enerateContent(?:\?alt=sse)?$")
NEVER_SENT = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


def path_of(recording: Recording) -> str | None:
    if recording.method == "POST" and (call := GEMINI.search(recording.target)) is not None:
        return f"/gemini/v1beta/models/{call[0]}"
    if recording.host not in SPEAKS_OPENAI | {ANTHROPIC} or recording.method != "POST" or not recording.json:
        return None
    target = recording.target.partition("?")[0]
    return next((PATHS[end] for end in PATHS if target.endswith(f"/{end}")), None)


ASKED = [(path, recording) for recording in RECORDED if (path := path_of(recording)) is not None]


async def test_every_recorded_request_is_translated_or_refused_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    translated = refused = 0
    limit = asyncio.Semaphore(6)
    async with across(tmp_path) as at, agent(at.running) as http:

        async def one(path: str, recording: Recording) -> None:
            nonlocal translated, refused
            fields = [(n, v) for n, v in recording.headers if n.decode().lower() not in NEVER_SENT]
            fields += [(b"authorization", f"Bearer {OWN}".encode()), (b"x-api-key", OWN.encode())]
            async with limit:
                got = await http.post(path, content=recording.body, headers=fields)
            why = f"{recording.host} {recording.cassette} {recording.nth}: {got.text[:300]}"
            if got.status_code == 200:
                translated += 1
                stream = got.headers["content-type"].startswith("text/event-stream")
                assert stream is bool(recording.json.get("stream") or "alt=sse" in path), why
                return
            refused += 1
            assert got.status_code == Code.NO_CANDIDATE.rule.status, why
            told: dict[str, Any] = got.json()["seawall"]
            assert told["code"] == "NO_CANDIDATE", why
            assert told["attempts"] == 0, why
            words = json.dumps(got.json()["error"])
            dialect = {"anthropic": "Anthropic", "gemini": "Gemini"}.get(path.split("/")[1], "OpenAI")
            assert f"{OTHER[dialect]}: " in words and ": " in words, why

        await asyncio.gather(*(one(*each) for each in ASKED))
        await until(lambda: len(at.running.calls) == len(ASKED))
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert {(attempt.status, attempt.healthy) for attempt in at.lab.attempts()} == {(200, True)}
        assert {call.fault for call in at.running.calls} == {"", "NO_CANDIDATE"}
    assert translated > 100
    assert refused > 30
