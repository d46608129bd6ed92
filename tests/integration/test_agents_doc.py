"""docs/agents.md: its Python runs as printed (```python; ```py marks what needs a provider or package that is not here)."""

import asyncio
import contextlib
import io
import re
from pathlib import Path

import pytest
from harness import lab, proxy, route, upstream

TEXT = (Path(__file__).parents[2] / "docs" / "agents.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
NAMES = [next(filter(None, re.findall(r"import (\w+)$|^import (httpx)$", s, re.M)[0])) for s in SNIPPETS]


def test_it_shows_every_client_that_the_lab_can_serve() -> None:
    assert len(SNIPPETS) == 4


@pytest.mark.parametrize("snippet", SNIPPETS, ids=NAMES)
# The snippets are for scripts, which leave their client to the end of the process.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_snippet_works_as_printed(tmp_path: Path, snippet: str) -> None:
    async with lab() as upstreams:
        policy = (
            upstream("openai", f"{upstreams.url}/v1")
            + upstream("anthropic", upstreams.url, "Anthropic")
            + upstream("warehouse", f"{upstreams.url}/warehouse", "Generic")
            + route("openai", "/openai/v1", "openai")
            + route("anthropic", "/anthropic", "anthropic")
            + route("warehouse", "/warehouse", "warehouse")
        )
        async with proxy(policy, tmp_path) as running:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                code = compile(snippet.replace("http://127.0.0.1:4100", running.url), "docs/agents.md", "exec")
                await asyncio.to_thread(exec, code, {})
            assert printed.getvalue().strip()
            assert running.calls and {call.status for call in running.calls} == {200}
