"""What this process holds of the kernel's, counted where proxies and pools cannot have miscounted it."""

import asyncio
from pathlib import Path


def sockets() -> int:
    """Open sockets of this process."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += str(link.readlink()).startswith("socket:")
        except FileNotFoundError:
            pass
    return found


async def gone(port: int) -> None:
    """Wait until no connection to a port is open. What the kernel still has to say to it is the kernel's."""
    wanted = f":{port:04X}"

    def found() -> bool:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return any(line.split()[2].endswith(wanted) and line.split()[3] == "01" for line in lines)

    async with asyncio.timeout(2):
        while found():
            await asyncio.sleep(0.01)
