"""From an agent's request to a Call: route, facts, body, deadline. What never reaches an upstream is answered here."""

import os
from collections.abc import Callable

from seawall.call import Buffers, Call, Replay
from seawall.clock import Clock
from seawall.dialects import REGISTRY, dialect_for_bare
from seawall.dialects.base import Dialect
from seawall.engine import Engine
from seawall.faults import Code, Fault
from seawall.reply import problem_answer, problem_for
from seawall.runtime import Match, Plan, Runtime
from seawall.server.exchange import Exchange
from seawall.types import CallEnded, Facts, Head, Observer, Outcome, Overrun, ServiceLevel
from seawall.wire import content_length

_UNREAD = Facts("other")


class AgentHandler:
    """The ingress's handler: one call per exchange."""

    def __init__(
        self, runtime: Callable[[], Runtime], engine: Engine, buffers: Buffers, observe: Observer, clock: Clock
    ) -> None:
        self._runtime = runtime
        self._engine = engine
        self._buffers = buffers
        self._observe = observe
        self._clock = clock

    async def __call__(self, exchange: Exchange) -> None:
        head, runtime = exchange.head, self._runtime()
        request_id = "sw_" + os.urandom(9).hex()
        path, target = _origin_form(head.target)
        matches = runtime.match(head, path)
        claimed = None
        if not matches:
            claimed = dialect_for_bare(head)
            matches = list(runtime.bare.get(claimed.name, ())) if claimed is not None else []
        if not matches:
            dialect = claimed or REGISTRY["Generic"]
            self._refuse(exchange, request_id, dialect, Fault(Code.NO_ROUTE, f"no route takes {path}"), runtime)
            return
        first = matches[0].plan
        body = Replay(exchange.body, exchange.trailers, self._buffers)
        try:
            length = content_length(head.headers)
            if first.max_body is not None and length is not None and length > first.max_body:
                raise Overrun(f"the body exceeds {first.max_body} bytes")
            await body.fill(first.replay_buffer, first.max_body)
        except Overrun as overrun:
            body.close()
            self._refuse(exchange, request_id, first.dialect, Fault(Code.BODY_TOO_LARGE, str(overrun)), runtime, first)
            return
        except BaseException:
            body.close()
            raise
        match, rest, facts = _choose(matches, head, target, body, bare=claimed is not None)
        if match is None:
            body.close()
            fault = Fault(Code.NO_ROUTE, f"no rule of the route takes the model {facts.model!r}")
            self._refuse(exchange, request_id, first.dialect, fault, runtime, first)
            return
        call = self._call(exchange, request_id, match.plan, facts, rest, body, bare=claimed is not None)
        await self._engine.run(call, exchange)

    def _call(
        self, exchange: Exchange, request_id: str, plan: Plan, facts: Facts, rest: str, body: Replay, *, bare: bool
    ) -> Call:
        chunked, sdk_retries, sdk_timeout = _hints(exchange.head)
        timeouts, received = plan.timeouts, exchange.received_at
        deadline: float | None = None
        if timeouts.request_set:
            deadline = received + timeouts.request
        elif not facts.stream:
            # A default never cuts what a direct call would have finished: the SDK's own patience counts.
            deadline = received + max(timeouts.request, sdk_timeout)
        return Call(
            request_id, exchange.head, facts, plan, rest, bare, body, chunked, received, deadline, sdk_retries
        )

    def _refuse(
        self, exchange: Exchange, request_id: str, dialect: Dialect, fault: Fault, runtime: Runtime,
        plan: Plan | None = None,
    ) -> None:  # fmt: skip
        known = runtime.known_routes() if fault.code is Code.NO_ROUTE else ()
        headers, body = problem_answer(dialect, None, problem_for(fault, request_id, known=known))
        headers.append((b"x-seawall-request-id", request_id.encode()))
        headers.append((b"x-seawall-outcome", b"error"))
        status = fault.rule.status
        exchange.start(status, headers)
        exchange.write(body)
        exchange.end()
        head = exchange.head
        self._observe(
            CallEnded(
                call_id=request_id, route=plan.route if plan else "", rule=plan.rule if plan else "",
                dialect=dialect.name, operation="other", method=head.method, path=head.path, upstream="", model="",
                outcome=Outcome.ERROR, fault=fault.code.value, status=status, attempts=0, retries=0, stream=False,
                service_level=ServiceLevel.FULL, seconds=self._clock.now() - exchange.received_at,
                first_content_seconds=None, overhead_seconds=self._clock.now() - exchange.received_at,
                request_bytes=0, answer_bytes=exchange.sent_bytes,
            )
        )  # fmt: skip


def _choose(
    matches: list[Match], head: Head, target: str, body: Replay, *, bare: bool
) -> tuple[Match | None, str, Facts]:
    """The first match that takes the request's model; head → route was decided before (SEMANTICS §9)."""
    facts, dialect = _UNREAD, None
    for match in matches:
        rest = target if bare else target[len(match.prefix) :]
        if match.plan.dialect is not dialect:
            dialect = match.plan.dialect
            facts = dialect.read(head, rest, body.data if body.whole else b"")
        if match.takes_model(facts):
            return match, rest, facts
    return None, target, facts


def _origin_form(target: str) -> tuple[str, str]:
    """Path, and path with query; a proxy-style absolute target is cut down to it (RFC 9112 §3.2)."""
    if not target.startswith("/"):
        scheme, found, rest = target.partition("://")
        if found and scheme.lower() in ("http", "https"):
            target = "/" + rest.partition("/")[2]
    return target.partition("?")[0], target


def _hints(head: Head) -> tuple[bool, int, float]:
    """Whether the body came chunked, and what an SDK of the Stainless family says of its own retries and patience."""
    chunked, retries, timeout = False, 0, 0.0
    for name, value in head.headers:
        size = len(name)
        if size == 17 and name.lower() == b"transfer-encoding":
            chunked = True
        elif size >= 19 and name[:12].lower() == b"x-stainless-":
            rest = name[12:].lower()
            if rest == b"retry-count" and value.isdigit():
                retries = min(int(value[:4]), 100)
            elif rest in (b"timeout", b"read-timeout") and value.replace(b".", b"", 1).isdigit():
                timeout = max(timeout, min(float(value[:12]), 86400.0))
    return chunked, retries, timeout
