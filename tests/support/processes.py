"""`seawall serve` as a process of its own, for what only a process does: signals, exit codes, files at the start."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_GREETING = re.compile(rb"listening on 127\.0\.0\.1:(\d+), admin on 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Served:
    process: Process
    port: int
    admin_port: int
    socket: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def code(self, seconds: float = 10.0) -> int:
        """Its exit code; it must end within so many seconds."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()


async def start(policy: Path, folder: Path, *words: str) -> Process:
    options = ["--policy", str(policy), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    socket = ["--admin-socket", str(folder / "process.sock")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "seawall.cli", "serve", *options, *socket, *words,
        env=env, stdout=asyncio.subprocess.DEVNULL, stderr=PIPE,
    )  # fmt: skip


async def refused(policy: Path, folder: Path) -> tuple[int, str]:
    """Exit code and errors of a process that is not to start."""
    process = await start(policy, folder)
    try:
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        return process.returncode or 0, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@asynccontextmanager
async def served(policy: Path, folder: Path, *words: str) -> AsyncIterator[Served]:
    """A process that serves a policy file; `folder` takes its admin socket."""
    process = await start(policy, folder, *words)
    assert process.stderr is not None
    try:
        found, said = None, b""
        async with asyncio.timeout(20):
            # It may have warned of something before.
            while found is None and (line := await process.stderr.readline()):
                found, said = _GREETING.search(line), said + line
        assert found is not None, said.decode()
        yield Served(process, int(found[1]), int(found[2]), folder / "process.sock")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
