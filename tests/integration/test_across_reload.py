"""Policies that bring the first translated upstream, change it or take it away while calls are under way."""

import asyncio
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from across import OTHER, SAME, Across, after_its_own, only, routes, upstreams
from harness import Running, lab, proxy, route, until
from peers import agent, raw
from processes import served
from stage import ONE_TRY

from seawall.policy import evaluate, load_text

ASK: list[Any] = [{"role": "user", "content": "hi"}]
PATHS = {"OpenAI": "/openai/v1/chat/completions", "Anthropic": "/anthropic/v1/messages"}
BOTH = pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic"])


def asked(stream: bool = False) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 99, "messages": ASK, "stream": stream}


def take(running: Running, policy: str) -> None:
    """What a reload does."""
    loaded = evaluate(load_text(policy))
    assert loaded.policy is not None, loaded.issues
    running.service.prepare(loaded.policy)
    running.service.apply(loaded.policy)


@BOTH
@pytest.mark.parametrize("change", ["removed", "moved", "same"])
async def test_a_call_under_way_keeps_the_foreign_upstream_that_it_began_with(
    tmp_path: Path, dialect: str, change: str
) -> None:
    """Whether it is asked already, or is still to be asked when the new policy comes."""
    async with lab() as providers:
        before = upstreams(tmp_path, providers.url) + routes(after_its_own, ONE_TRY)
        after = {
            "removed": upstreams(tmp_path, providers.url) + routes(SAME.__getitem__, ONE_TRY),
            "moved": upstreams(tmp_path, "http://127.0.0.1:9") + routes(after_its_own, ONE_TRY),
            "same": before,
        }[change]
        async with proxy(before, tmp_path) as running, agent(running) as http:
            at = Across(providers, running)
            for slow, broken in ((SAME[dialect], "500+latency-300ms"), (OTHER[dialect], "latency-300ms")):
                take(running, before)
                at.lab.clear()
                at.lab.scripts.clear()
                at.lab.script([], upstream=SAME[dialect], then="500")
                at.lab.script([], upstream=slow, then=broken)
                asking = asyncio.create_task(http.post(PATHS[dialect], json=asked()))
                await until(partial(at.lab.attempts, upstream=slow))
                take(running, after)
                answer = await asking
                assert (answer.status_code, answer.headers["x-seawall-upstream"]) == (200, OTHER[dialect])
            assert {call.fault for call in running.calls} == {""}


async def test_what_no_policy_names_any_more_is_let_go(tmp_path: Path) -> None:
    async with lab() as providers:
        foreign = upstreams(tmp_path, providers.url) + routes(only, ONE_TRY)
        native = upstreams(tmp_path, providers.url) + routes(SAME.__getitem__, ONE_TRY)
        async with proxy(foreign, tmp_path) as running, agent(running) as http:
            translator: Any = running.service._translator
            for _ in range(5):
                take(running, foreign)
                for path in PATHS.values():
                    assert (await http.post(path, json=asked())).status_code == 200
                assert len(translator._providers) == 2
            take(running, native)
            await until(lambda: running.service.engine.calls == 0)
            assert len(translator._providers) == len(translator._read) == 0
            for path in PATHS.values():
                assert (await http.post(path, json=asked())).status_code == 200


async def test_streams_go_on_while_translation_is_imported_and_first_used(tmp_path: Path) -> None:
    """The packages take seconds to import, in which running streams are not to stand still."""
    file = tmp_path / "policy.yaml"
    async with lab() as providers:
        native = upstreams(tmp_path, providers.url) + route("plain", "/plain/v1", "o", ONE_TRY)
        file.write_text(native)
        providers.script(["gap-10ms+tokens-3000"], upstream="o")
        arrived: list[float] = []

        async def read(reader: asyncio.StreamReader) -> None:
            while await reader.read(65536):
                arrived.append(time.monotonic())

        async with (
            served(file, tmp_path) as process,
            httpx.AsyncClient(base_url=process.url) as client,
            raw(process, asked(stream=True), path="/plain/v1/chat/completions") as (reader, _),
        ):
            await reader.readuntil(b"data: ")
            reading = asyncio.create_task(read(reader))
            assert (await client.post(PATHS["OpenAI"], json=asked())).status_code == 404
            file.write_text(native + routes(only, ONE_TRY))
            began = time.monotonic()
            process.tell(signal.SIGHUP)
            async with asyncio.timeout(30):
                while (await client.post(PATHS["OpenAI"], json=asked())).status_code != 200:
                    await asyncio.sleep(0.02)
            assert (await client.post(PATHS["Anthropic"], json=asked())).status_code == 200
            reading.cancel()
            # In between, not only before and behind: a loop that stood still would hand all of it on at once.
            assert sum(at > began for at in arrived) > 10
