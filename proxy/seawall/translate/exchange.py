"""An attempt at a provider of another dialect, read as if it spoke the agent's: what `answer.Source` asks for.

Everything behind it (races, hold and commit, relay, judgement of streams) works on the agent's own dialect and knows
nothing of translation. What the provider's dialect alone can tell is passed beside: the fault, the tokens.
"""

import asyncio
from collections.abc import Callable

from seawall.faults import Code, Fault
from seawall.translate.answer import ReplacedError
from seawall.translate.provider import Answering, Asking, ask
from seawall.translate.types import AgentSide, Asked, StreamWriter
from seawall.types import Headers, Usage, header

# What SDKs of either dialect go by when they wait or try again.
_ADVICE = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})

Problem = Callable[[Fault], bytes]
"""Writes an error body in the agent's dialect."""


class Exchange:
    """See `answer.Source`. kind: a stream's content type. cleaning: takes the tasks that let go of a stream which is
    given up."""

    reason = b""
    agents_seconds = 0.0
    end = None

    def __init__(
        self,
        asking: Asking,
        asked: Asked,
        side: AgentSide,
        kind: bytes,
        problem: Problem,
        cleaning: set[asyncio.Task[None]],
    ) -> None:
        self._asking = asking
        self._wire = asking.wire
        self._asked = asked
        self._side = side
        self._kind = kind
        self._problem = problem
        self._cleaning = cleaning
        self._body = b""
        self._answering: Answering | None = None
        self._writer: StreamWriter | None = None
        self.status = 0
        self.headers: Headers = []
        self.trailers: Headers = []
        self.complete = False
        self.judged: Fault | None = None

    @property
    def connected(self) -> bool:
        return self._wire.connected

    @property
    def usage(self) -> Usage | None:
        return self._wire.usage

    def expect_by(self, deadline: float | None, code: Code) -> None:
        self._wire.expect_by(deadline, code)

    def expect_within(self, seconds: float | None, code: Code) -> None:
        self._wire.expect_within(seconds, code)

    async def head(self) -> Fault | None:
        """Ask. A plain answer is whole when this returns; an error that the provider answered with is written anew."""
        if self._asked.stream:
            return await self._open()
        response = await ask(self._asking, self._asked)
        if isinstance(response, Fault):
            return self._failed(response)
        body = self._side.whole(self._asked, response, self._model)
        self._answer(200, body, b"application/json")
        return None

    async def read(self) -> bytes | Fault:
        if self._body or self.complete:
            body, self._body = self._body, b""
            return body
        answering, writer = self._answering, self._writer
        assert answering is not None
        while True:
            event = await answering.next()
            if isinstance(event, Fault):
                await answering.close()
                return event
            begun = b""
            if writer is None:
                # By now the answer has said which model it is from.
                writer = self._writer = self._side.stream(self._asked)
                begun = writer.begin(self._model)
            try:
                data = begun + (writer.end(answering.response) if event is None else writer.event(event))
            except ReplacedError:
                await answering.close()
                return Fault(Code.MALFORMED_EVENT, "the provider took back what it had said", self._wire.status)
            if event is None:
                self.complete = True
                await answering.close()
            if data or self.complete:
                return data

    def close(self) -> None:
        self._wire.close()
        answering, self._answering = self._answering, None
        if answering is not None and not answering.closed:
            # Off the way of whoever closes; it waits for nothing but turns of the loop.
            task = asyncio.get_running_loop().create_task(answering.close())
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)

    # -- the answer ------------------------------------------------------------------------------------------------

    @property
    def _model(self) -> str:
        return self._wire.model or self._asking.model.model_name

    async def _open(self) -> Fault | None:
        answering = Answering(self._asking, self._asked)
        fault = await answering.open()
        if fault is not None:
            return self._failed(fault)
        self._answering = answering
        self.status, self.headers = 200, [(b"content-type", self._kind + b"; charset=utf-8")]
        return None

    def _failed(self, fault: Fault) -> Fault | None:
        """An error that the provider answered with can be passed on as its own word; what broke cannot."""
        status = self._wire.status or 0
        if status < 400 or fault is not self._wire.fault:
            return fault
        self.judged = fault
        advice = [(name, value) for name, value in self._wire.headers if name.lower() in _ADVICE]
        if fault.hint is not None and header(advice, b"retry-after") is None:
            # It may have been said in the provider's own way. Whole seconds, rounded up (RFC 9110 §10.2.3).
            advice.append((b"retry-after", b"%d" % max(1, -int(-fault.hint // 1))))
        self._answer(status, self._problem(fault), b"application/json", advice)
        return None

    def _answer(self, status: int, body: bytes, kind: bytes, more: Headers = []) -> None:  # noqa: B006 - not changed
        self.status, self._body, self.complete = status, body, True
        self.headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *more]
