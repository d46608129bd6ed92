"""From an agent's request to a Call: route, facts, body, deadline. What never reaches an upstream is answered here."""

import asyncio
import math
import os
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from seawall import client_hints
from seawall.asking import request_mark
from seawall.call import Buffers, Call, Replay
from seawall.client_hints import NO_HINTS
from seawall.clock import Clock
from seawall.dialects import REGISTRY, dialect_for_bare
from seawall.dialects.base import Dialect
from seawall.engine import Engine
from seawall.faults import Code, Fault, Refusal
from seawall.reply import problem_answer, problem_for
from seawall.runtime import Match, Plan, Runtime
from seawall.server.exchange import Exchange
from seawall.tracing import tell
from seawall.types import (
    WEBSOCKET,
    CallEnded,
    Facts,
    Head,
    Headers,
    Observer,
    Outcome,
    Safety,
    ServiceLevel,
    TraceContext,
    header,
    origin_form,
)
from seawall.wire import content_length

_UNREAD = Facts("other")
# So many requests are remembered, each by a hash; not those with targets of more characters than this.
_MOST_CHOSEN = 4096
_LONGEST_CHOSEN = 1024
# JSON up to this many bytes is read for its facts; providers take 20 to 50 MB. Multipart uploads flow.
LARGEST_READ = 32 * 1024 * 1024


class AgentHandler:
    """The ingress's handler: one call per exchange."""

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        engine: Engine,
        buffers: Buffers,
        observe: Observer,
        clock: Clock,
        begin: Callable[[Head], TraceContext | None] | None = None,
    ) -> None:
        """begin: tells of a request whether its call is traced; None: none is."""
        self._runtime = runtime
        self._engine = engine
        self._buffers = buffers
        self._observe = observe
        self._clock = clock
        self._begin = begin
        self._new_id = _Ids().new
        self._chosen: dict[bytes, Found] = {}
        self._chosen_of: Runtime | None = None

    async def __call__(self, exchange: Exchange) -> None:
        head, runtime, call_id = exchange.head, self._runtime(), self._new_id()
        routing = route_for(runtime, head)
        plan = routing.matches[0].plan if routing.matches else None
        body = Replay(exchange.body, exchange.trailers, self._buffers)

        def refused(fault: Fault) -> None:
            status, fields, text = _problem(fault, call_id, routing.dialect, runtime)
            exchange.start(status, fields)
            exchange.write(text)
            exchange.end()
            self._tell(fault, head, exchange.received_at, call_id, routing.dialect, plan, body.size, len(text))

        try:
            if exchange.body.complete or plan is None or not plan.timeouts.request_set:
                found = await self._read(runtime, routing, head, body)
            else:
                # It spans everything, where the policy sets it.
                late = exchange.received_at + plan.timeouts.request - self._clock.now()
                async with asyncio.timeout(max(0.0, late)):
                    found = await self._read(runtime, routing, head, body)
        except Refusal as refusal:
            refused(refusal.fault)
        except TimeoutError:
            refused(Fault(Code.TIMEOUT_REQUEST, "the request did not arrive in time"))
        except asyncio.CancelledError:
            if exchange.cut:
                refused(Fault(Code.DRAINING))
            else:
                gone = Fault(Code.AGENT_GONE)
                self._tell(gone, head, exchange.received_at, call_id, routing.dialect, plan, body.size)
            raise
        else:
            await self._engine.run(self._call(exchange, call_id, found, body), exchange)
        finally:
            body.close()

    def refuse(self, fault: Fault, head: Head, since: float) -> tuple[Headers, bytes]:
        """The answer to a request that never became a call: see http1.Refuse."""
        runtime, call_id = self._runtime(), self._new_id()
        dialect = route_for(runtime, head).dialect
        _, fields, text = _problem(fault, call_id, dialect, runtime)
        heard = fault.code is not Code.AGENT_GONE
        self._tell(fault, head, since, call_id, dialect, None, 0, len(text) if heard else 0)
        return fields, text

    def _call(self, exchange: Exchange, call_id: str, found: "Found", body: Replay) -> Call:
        assert found.match is not None
        plan, facts = found.match.plan, found.facts
        if exchange.wants_websocket:
            # To ask once more for a session that has not begun does no harm, whatever it will be used for. Two at once
            # would be of no use: each has to be spoken to.
            facts = replace(facts, operation=WEBSOCKET, stream=False, safety=Safety.SAFE, alone=True)
        chunked, sdk_retries, sdk_timeout = _hints(exchange.head)
        timeouts, received = plan.timeouts, exchange.received_at
        deadline: float | None = None
        if timeouts.request_set:
            deadline = received + timeouts.request
        elif not facts.stream:
            # A default never cuts what a direct call would have finished: the SDK's own patience counts.
            deadline = received + max(timeouts.request, sdk_timeout, facts.patience)
        hints = client_hints.read(exchange.head, plan.client_hints) if plan.client_hints else NO_HINTS
        if hints.timeout is not None:
            deadline = min(received + hints.timeout, deadline or math.inf)
        return Call(
            call_id,
            exchange.head,
            facts,
            plan,
            found.rest,
            found.bare,
            body,
            chunked,
            received,
            deadline,
            sdk_retries,
            found.mark,
            hints=hints,
            upgrade=exchange if exchange.wants_websocket else None,
            trace=None if self._begin is None else self._begin(exchange.head),
        )

    async def _read(self, runtime: Runtime, routing: "Routing", head: Head, body: Replay) -> "Found":
        """Read as much of the body as the rule needs to be chosen, and choose it. Raises Refusal."""
        await _fill(routing, head, body)
        data = body.data if body.whole else b""
        if not data or routing.matches[0].plan.cache is None:
            found = choose(routing, head, data)
        else:
            found = self._choose_again(runtime, routing, head, data)
        if found.match is None:
            raise Refusal(Fault(Code.NO_ROUTE, found.why))
        return found

    def _choose_again(self, runtime: Runtime, routing: "Routing", head: Head, data: bytes) -> "Found":
        """What the same bytes came to before under this policy: where answers are kept, many requests come again."""
        if self._chosen_of is not runtime or len(self._chosen) >= _MOST_CHOSEN:
            self._chosen_of, self._chosen = runtime, {}
        mark = request_mark(head, data)
        found = self._chosen.get(mark)
        if found is None:
            found = replace(choose(routing, head, data), mark=mark)
            if len(found.rest) <= _LONGEST_CHOSEN:
                self._chosen[mark] = found
        return found

    def _tell(
        self, fault: Fault, head: Head, since: float, call_id: str, dialect: Dialect, plan: Plan | None,
        taken: int, sent: int = 0,
    ) -> None:  # fmt: skip
        """The one event of a call that never reached an upstream. taken, sent: bytes of the bodies."""
        seconds = self._clock.now() - since
        tell(
            self._observe,
            CallEnded(
                call_id=call_id, route=plan.route if plan else "", rule=plan.rule if plan else "",
                dialect=dialect.name, operation="other", method=head.method, path=head.path, upstream="", model="",
                outcome=Outcome.ERROR, fault=fault.code.value, status=fault.rule.status if sent else 0, attempts=0,
                retries=0, stream=False, service_level=ServiceLevel.FULL, seconds=seconds,
                first_content_seconds=None, overhead_seconds=seconds, request_bytes=taken, answer_bytes=sent,
            ),
            None if self._begin is None else self._begin(head),
        )  # fmt: skip


class _Ids:
    """Names of calls: 9 random bytes each, fetched from the system for many at a time, since it is a call of some
    microseconds."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def new(self) -> str:
        if not self._drawn:
            text = os.urandom(9 * 256).hex()
            self._drawn = [text[at : at + 18] for at in range(0, len(text), 18)]
        return "sw_" + self._drawn.pop()


async def _fill(routing: "Routing", head: Head, body: Replay) -> None:
    """Read as much of the body as the rule needs to be chosen. Raises Refusal."""
    if not routing.matches:
        raise Refusal(Fault(Code.NO_ROUTE, routing.why))
    first = routing.matches[0].plan
    length = None if first.max_body is None else content_length(head.headers)
    if first.max_body is not None and length is not None and length > first.max_body:
        raise Refusal(Fault(Code.BODY_TOO_LARGE, f"the body exceeds {first.max_body} bytes"))
    await body.fill(first.replay_buffer, first.max_body)
    if body.whole:
        return
    needed = _is_json(head) or any(_signed(match) for match in routing.matches)
    if not body.spent and first.replay_buffer < LARGEST_READ and needed:
        # Too large to be sent twice, but its model, and whether it streams, decide where it goes and how it ends; and
        # what is signed must be there whole.
        await body.fill(LARGEST_READ, first.max_body)
        if body.whole:
            body.once()
    if not body.whole and any(_by_model(match) for match in routing.matches):
        # Sent anywhere, prompt and credential might reach a provider that they are not meant for.
        if body.spent:
            raise Refusal(Fault(Code.QUEUE_FULL, "the buffers are full, and the route depends on the body", hint=1.0))
        raise Refusal(Fault(Code.BODY_TOO_LARGE, "the body is too large to find its model, which decides the route"))


def _is_json(head: Head) -> bool:
    kind = header(head.headers, b"content-type") or b""
    return kind.partition(b";")[0].strip().lower() == b"application/json"


def _signed(match: Match) -> bool:
    """Whether an upstream of the rule gets a signature over the body."""
    credentials = (c.target.credential for group in match.plan.groups for c in group)
    return any(credential is not None and credential.covers_body for credential in credentials)


def _by_model(match: Match) -> bool:
    """Whether the request's model decides if the rule takes it, or what is sent."""
    return bool(match.models) or any(c.renames for group in match.plan.groups for c in group)


def _problem(fault: Fault, call_id: str, dialect: Dialect, runtime: Runtime) -> tuple[int, Headers, bytes]:
    """An error of ours, before there is a call: its status, all its fields, its text."""
    known = runtime.known_routes() if fault.code is Code.NO_ROUTE else ()
    status, fields, text = problem_answer(dialect, None, problem_for(fault, call_id, known=known))
    fields.append((b"x-seawall-request-id", call_id.encode()))
    fields.append((b"x-seawall-outcome", b"error"))
    fields.append((b"x-seawall-attempts", b"0"))
    return status, fields, text


class Routing(msgspec.Struct, frozen=True):
    """What a request's head decides: the rules that may take it, in order, or why there are none."""

    matches: list[Match]
    dialect: Dialect
    target: str
    bare: bool
    why: str = ""


class Found(msgspec.Struct, frozen=True):
    """What head and facts decide together. rest: path and query below the prefix."""

    match: Match | None
    facts: Facts
    rest: str
    bare: bool
    why: str = ""
    mark: bytes = b""
    """See asking.request_mark; b"" where nobody asked for it."""


def route_for(runtime: Runtime, head: Head) -> Routing:
    """By prefix and header fields; a path that no prefix takes may be a provider's own (`/v1/messages`), and then goes
    to the first route of that dialect."""
    target = origin_form(head.target)
    path = target.partition("?")[0]
    if not path.startswith("/"):
        return Routing([], REGISTRY["Generic"], target, False, f"no route takes {path}")
    matches = runtime.match(head, path)
    if matches:
        return Routing(matches, matches[0].plan.dialect, target, False)
    dialect = dialect_for_bare(head)
    if dialect is None:
        return Routing([], REGISTRY["Generic"], target, False, f"no route takes {path}")
    bare = [m for m in runtime.bare.get(dialect.name, ()) if m.takes_head(head)]
    why = "" if bare else f"{path} is {dialect.name}'s, and no route has that dialect"
    return Routing(bare, dialect, target, True, why)


def choose(routing: Routing, head: Head, body: bytes) -> Found:
    """The first rule that takes the request's model (SEMANTICS §9: head → route, facts → rule within it)."""
    facts, dialect = _UNREAD, None
    for match in routing.matches:
        rest = routing.target if routing.bare else routing.target[len(match.prefix) :]
        if match.plan.dialect is not dialect:
            dialect = match.plan.dialect
            facts = dialect.read(head, rest, body)
        if match.takes_model(facts):
            return Found(match, facts, rest, routing.bare)
    if not body and not facts.model and routing.matches:
        # Nothing to read (a list of models, say): an agent is better served by a rule's first choice than by a 404.
        match = routing.matches[0]
        rest = routing.target if routing.bare else routing.target[len(match.prefix) :]
        return Found(match, facts, rest, routing.bare)
    return Found(None, facts, routing.target, routing.bare, f"no rule of the route takes the model {facts.model!r}")


def find_route(runtime: Runtime, head: Head, body: bytes) -> Found:
    """Both decisions at once, for a request that is all there."""
    routing = route_for(runtime, head)
    if not routing.matches:
        return Found(None, _UNREAD, routing.target, routing.bare, routing.why)
    return choose(routing, head, body)


def _hints(head: Head) -> tuple[bool, int, float]:
    """Whether the body came chunked, and what an SDK of the Stainless family, or AWS's, says of its own retries and
    patience."""
    chunked, retries, timeout = False, 0, 0.0
    for name, value in head.headers:
        size = len(name)
        if size == 17 and name.lower() == b"transfer-encoding":
            chunked = True
        elif size == 15 and name.lower() == b"amz-sdk-request":
            # `ttl=20261129T134916Z; attempt=2; max=5`
            attempt = value.partition(b"attempt=")[2].partition(b";")[0]
            if attempt.isdigit():
                retries = min(max(int(attempt[:4]) - 1, 0), 100)
        elif size >= 19 and name[:12].lower() == b"x-stainless-":
            rest = name[12:].lower()
            if rest == b"retry-count" and value.isdigit():
                retries = min(int(value[:4]), 100)
            elif rest in (b"timeout", b"read-timeout") and value.replace(b".", b"", 1).isdigit():
                timeout = max(timeout, min(float(value[:12]), 86400.0))
    return chunked, retries, timeout
