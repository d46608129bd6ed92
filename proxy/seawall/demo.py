"""`seawall demo`: the proxy before a lab whose upstreams fail on purpose, and a trickle of calls that shows its work.

It is for people at a terminal, and needs no key and no network. It must never be what `serve` falls back to: nothing
here is imported there.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx

from seawall.lab import Lab, start_lab
from seawall.lab.script import Phase
from seawall.policy import EffectivePolicy, EffectiveUpstream
from seawall.service import Address, Options, Service
from seawall.terminal import Unusable

DEFAULT_LAB = "127.0.0.1:4110"
"""Where demo.yaml's upstreams say that the lab is; `--lab` moves it."""
DRAIN_SECONDS = 2.0
"""Ctrl-C is meant; a call that the lab holds up on purpose is not waited for."""
MODEL = "gpt-4o-mini"

# What befalls lab-east, over and over: seconds, from the start of the demo. One call at a time fails in each of the
# first three troubles; the outage lasts long enough for five failures in a row, which open the breaker for 3 s.
EAST = [
    Phase("latency-60ms", 1.5),
    Phase("latency-60ms+fail-1-reset-0", 2),  # retried at the same upstream
    Phase("latency-60ms", 1),
    Phase("latency-60ms+fail-1-503", 2),  # moved to lab-west at once
    Phase("latency-60ms", 1),
    Phase("latency-60ms+fail-1-cut-prelude", 2),  # ends too early; found before anything has reached the agent
    Phase("latency-60ms", 1),
    Phase("503", 4.5),
    Phase("latency-60ms", 17),
]
CLAUDE = [Phase("latency-90ms", 9), Phase("latency-90ms+fail-1-overloaded", 3)]
WAREHOUSE = [Phase("latency-30ms", 6), Phase("latency-30ms+fail-1-502", 3)]


async def run_demo(options: Options, policy: EffectivePolicy, address: Address) -> int:
    """Run until told to stop; returns the exit code.

    Raises Unusable where the lab can not listen, OSError where the proxy can not.
    """
    lab = await _start_lab(address)
    service = DemoService(replace(options, drain_seconds=min(options.drain_seconds, DRAIN_SECONDS)), lab.url)
    try:
        await service.start(policy)
        url, admin = _url(options.listen, service.port), _url(options.admin, service.admin_port)
        print(greeting(url, admin), flush=True)
        async with Traffic(url):
            await service.run()
    finally:
        await service.close()
        await lab.close()
    return 0


class DemoService(Service):
    """Finds the lab where it really is, also after demo.yaml was changed."""

    def __init__(self, options: Options, lab: str) -> None:
        super().__init__(options)
        self._lab = lab

    def apply(self, policy: EffectivePolicy) -> None:
        super().apply(at_lab(policy, self._lab))


def at_lab(policy: EffectivePolicy, url: str) -> EffectivePolicy:
    """The policy with every upstream of the default lab moved to the lab at `url` (no trailing slash)."""

    def moved(upstream: EffectiveUpstream) -> EffectiveUpstream:
        default = f"http://{DEFAULT_LAB}"
        base = upstream.base_url
        if base != default and not base.startswith(default + "/"):
            return upstream
        return replace(upstream, spec=upstream.spec.model_copy(update={"base_url": url + base[len(default) :]}))

    return replace(policy, upstreams={key: moved(upstream) for key, upstream in policy.upstreams.items()})


async def _start_lab(address: Address) -> Lab:
    try:
        lab = await start_lab(address.host, address.port)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Unusable(f"the lab can not listen on {address}: {why}; --lab HOST:PORT moves it") from None
    lab.script(schedule=EAST, upstream="east", repeat=True)
    lab.script(["latency-80ms"], upstream="west", repeat=True)
    lab.script(schedule=CLAUDE, upstream="claude", repeat=True)
    lab.script(schedule=WAREHOUSE, upstream="warehouse", repeat=True)
    return lab


def _url(address: Address, port: int) -> str:
    """What a client on this machine calls: an address of all interfaces is none of its own."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def greeting(url: str, admin: str) -> str:
    """Three lines to paste (a call, the same with OpenAI's SDK, the dashboard), between comments."""
    body = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "hi"}}]}}'
    call = f'model="{MODEL}", messages=[{{"role": "user", "content": "hi"}}]'
    sdk = f'OpenAI(base_url="{url}/v1", api_key="none").chat.completions.create({call})'
    return "\n".join(
        (
            "# seawall before a lab whose upstreams fail on purpose. Paste any of these; Ctrl-C ends it.",
            f"curl -i {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'",
            f"python -c 'from openai import OpenAI; print({sdk}.choices[0].message.content)'",
            f"{admin}/",
            "# The log. Calls of route demo-traffic are the demo's own, about three a second.",
        )
    )


class Traffic:
    """Gentle calls that keep the demo alive; they end with the block. Each kind of call waits for its answer before
    the next one, so that a proxy in trouble never sees more of them."""

    def __init__(self, url: str) -> None:
        # The proxy is called in the clear, so no certificates are read: that alone takes a tenth of a second.
        self._agent = httpx.AsyncClient(
            base_url=f"{url}/demo-traffic",
            headers={"user-agent": "seawall-demo"},
            timeout=30,
            trust_env=False,
            verify=False,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._repeat(0.8, self._chat)),
            loop.create_task(self._repeat(0.8, self._stream)),
            loop.create_task(self._repeat(2.0, self._message)),
            loop.create_task(self._repeat(2.0, self._pipeline)),
        ]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._agent.aclose()

    async def _repeat(self, seconds: float, call: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await call()
            except httpx.HTTPError:
                pass  # The proxy's own log tells what happened.
            await asyncio.sleep(seconds)

    async def _chat(self) -> None:
        await self._agent.post("/openai/v1/chat/completions", json=_asked(stream=False))

    async def _stream(self) -> None:
        async with self._agent.stream("POST", "/openai/v1/chat/completions", json=_asked(stream=True)) as answer:
            async for _ in answer.aiter_bytes():
                pass

    async def _message(self) -> None:
        asked = {**_asked(stream=False), "model": "claude-sonnet-4-5", "max_tokens": 100}
        await self._agent.post("/anthropic/v1/messages", json=asked, headers={"anthropic-version": "2023-06-01"})

    async def _pipeline(self) -> None:
        await self._agent.get("/warehouse/pipelines/orders/status")


def _asked(*, stream: bool) -> dict[str, Any]:
    return {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "How is the sea today?"}]}
