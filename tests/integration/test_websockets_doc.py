"""docs/websockets.md: its Python runs as printed."""

import asyncio
import re
import sys
from pathlib import Path

from harness import lab, proxy, route, upstream

TEXT = (Path(__file__).parents[2] / "docs" / "websockets.md").read_text("utf-8")


async def test_the_snippet_works_as_printed(tmp_path: Path) -> None:
    [snippet] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
    async with lab() as there:
        policy = upstream("openai", f"{there.url}/v1") + route("openai", "/openai/v1", "openai")
        async with proxy(policy, tmp_path) as running:
            script = snippet.replace("http://127.0.0.1:4100", running.url)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            printed, errors = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, errors.decode()
            assert printed == b"completed\n"
            assert (await running.call()).operation == "websocket"
