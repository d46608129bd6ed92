"""What has to be done: names in a set, each once, however often it was asked for; with later tries for what failed."""

import asyncio
from collections.abc import Iterable

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0


class Marks:
    """Names that somebody should look at."""

    def __init__(self, gather: float) -> None:
        """`gather`: seconds to wait for more after the first one."""
        self._gather = gather
        self._names: set[str] = set()
        self._any = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, names: Iterable[str]) -> None:
        self._names.update(names)
        if self._names:
            self._any.set()

    def __bool__(self) -> bool:
        return bool(self._names)

    async def take(self) -> set[str]:
        """All that are marked, once there is one."""
        await self._any.wait()
        if self._gather:
            await asyncio.sleep(self._gather)
        self._any.clear()
        names, self._names = self._names, set()
        return names

    def later(self, name: str, seconds: float) -> None:
        """Mark it then; an earlier time that was set before stays."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(name)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[name] = loop.call_later(seconds, self._due, name)

    def again(self, name: str) -> None:
        """It failed: mark it later, each time twice as late."""
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        self.later(name, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 20)))

    def good(self, name: str) -> None:
        self._failures.pop(name, None)

    def _due(self, name: str) -> None:
        del self._timers[name]
        self.add([name])
