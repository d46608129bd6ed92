"""docs/openai-compatible.md: its Python runs as printed, and its table names every provider that is known."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from harness import lab, proxy, route, upstream

from seawall.dialects._openai_providers import PROVIDERS

TEXT = (Path(__file__).parents[2] / "docs" / "openai-compatible.md").read_text("utf-8")
SNIPPETS = dict(
    zip(("groq", "mistral", "azure"), re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S), strict=True)
)


def test_every_provider_is_there() -> None:
    assert [name for name in PROVIDERS if f"| {name}" not in TEXT] == []


@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS)
async def test_a_snippet_works_as_printed(tmp_path: Path, snippet: str) -> None:
    async with lab() as upstreams:
        policy = (
            upstream("compatible", f"{upstreams.url}/v1")
            + upstream("azure", upstreams.url, "AzureOpenAI")
            + route("groq", "/groq/openai/v1", "compatible")
            + route("mistral", "/mistral/v1", "compatible")
            + route("azure", "/azure", "azure")
        )
        async with proxy(policy, tmp_path) as running:
            script = snippet.replace("http://127.0.0.1:4100", running.url)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            printed, errors = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, errors.decode()
            assert printed.strip() and [call.status for call in running.calls] == [200]
