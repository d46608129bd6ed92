"""Sessions that take one request at a time: calls of the same one go one after another, in the order in which they came
(ClickHouse answers a second one with SESSION_IS_LOCKED). It knows nothing of what a session is.
"""

import asyncio
from collections import deque
from collections.abc import Hashable

from seawall.faults import Code, Fault

MOST = 100
"""Calls that may wait for one session."""


class Turns:
    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def take(self, session: Hashable, seconds: float) -> Fault | None:
        """Wait for the session's turn, for so many seconds at most. None: it is this call's, until it gives it back."""
        queue = self._waiting.get(session)
        if queue is None:
            self._waiting[session] = deque()
            return None
        if len(queue) >= MOST:
            return Fault(Code.QUEUE_FULL, f"{MOST} calls wait for the session", hint=1.0)
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await turn
        except TimeoutError:
            if turn.cancelled():
                self._leave(queue, turn)
                return Fault(Code.QUEUE_TIMEOUT, "another request of the session is still at work", hint=1.0)
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(queue, turn)
            else:
                self.give(session)
            raise
        return None

    def give(self, session: Hashable) -> None:
        """The next one's turn."""
        queue = self._waiting[session]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[session]

    @staticmethod
    def _leave(queue: deque[asyncio.Future[None]], turn: asyncio.Future[None]) -> None:
        if turn in queue:
            queue.remove(turn)
