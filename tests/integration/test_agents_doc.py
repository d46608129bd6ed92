"""docs/agents.md: its Python runs as printed. What needs a provider or a package that is not here is marked ```py."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from aws import access_keys
from harness import lab, proxy, route, upstream

TEXT = (Path(__file__).parents[2] / "docs" / "agents.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## )", TEXT, re.M | re.S))
SNIPPETS = {
    title: snippet
    for title, text in SECTIONS.items()
    for snippet in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
}


def test_it_shows_every_client_that_the_lab_can_serve() -> None:
    assert len(SNIPPETS) == 8


@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS)
async def test_a_snippet_works_as_printed(tmp_path: Path, snippet: str) -> None:
    auth = f"auth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {access_keys(tmp_path)}}}"
    async with lab() as upstreams:
        policy = (
            upstream("openai", f"{upstreams.url}/v1")
            + upstream("anthropic", upstreams.url, "Anthropic")
            + upstream("gemini", upstreams.url, "Gemini")
            + upstream("bedrock", upstreams.url, "Bedrock", auth)
            + upstream("warehouse", f"{upstreams.url}/warehouse", "Generic")
            + route("openai", "/openai/v1", "openai")
            + route("anthropic", "/anthropic", "anthropic")
            + route("bedrock", "/bedrock", "bedrock")
            + route("gemini", "/gemini", "gemini")
            + route("warehouse", "/warehouse", "warehouse")
        )
        async with proxy(policy, tmp_path) as running:
            script = snippet.replace("http://127.0.0.1:4100", running.url)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            printed, errors = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, errors.decode()
            assert printed.strip()
            assert running.calls and {call.status for call in running.calls} == {200}
