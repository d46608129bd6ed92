"""The shortest way through everything."""

from pathlib import Path

import httpx
from harness import lab, proxy, route, upstream


async def test_a_call_passes_through_to_the_lab(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("main", f"{upstreams.url}/v1") + route("chat", "/openai/v1", "main")
        async with proxy(policy, tmp_path) as running, httpx.AsyncClient(base_url=running.url) as agent:
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
            answer = await agent.post("/openai/v1/chat/completions", json=body)
            assert answer.status_code == 200
            assert answer.json()["choices"][0]["message"]["content"]
            assert answer.headers["x-seawall-outcome"] == "primary"
            assert (await running.call()).status == 200
