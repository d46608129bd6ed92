"""Recorded answers of real providers, given by the upstreams of a proxy for agents of other dialects."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from across import Across, only, routes, upstreams
from harness import lab, proxy
from peers import serving
from recorded import Recording
from recorded_answers import Player
from stage import ONE_TRY
from wired import ANTHROPIC, RECORDED

MESSAGES = [r for r in RECORDED if r.host == ANTHROPIC and r.target.startswith("/v1/messages") and r.status == 200]
COMPLETIONS = [r for r in RECORDED if r.target.endswith("/chat/completions")]


@asynccontextmanager
async def played(
    folder: Path, port: int, recordings: list[Recording], backends: Callable[[str], str] = only
) -> AsyncIterator[tuple[Across, Player]]:
    player = Player(recordings)
    await player.load(port)
    async with lab() as unused, serving(player) as at:
        policy = upstreams(folder, f"http://127.0.0.1:{at}") + routes(backends, ONE_TRY)
        async with proxy(policy, folder) as running:
            yield Across(unused, running), player


async def each(recordings: list[Recording], one: Callable[[int, Recording], Any]) -> None:
    """All of them, and then what went wrong with any."""
    limit, wrong = asyncio.Semaphore(6), []

    async def limited(number: int, recording: Recording) -> None:
        async with limit:
            try:
                await one(number, recording)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
                wrong.append(f"{recording.host} {recording.cassette} {recording.nth}: {error}")

    await asyncio.gather(*(limited(number, recording) for number, recording in enumerate(recordings)))
    assert not wrong, "\n\n".join(wrong)
