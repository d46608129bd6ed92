"""`seawall explain`: what would happen to a request under a policy, and where each setting comes from.

It sends nothing, and asks the same code as a real request does (compile, match, read), so that it cannot tell another
story.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httptools

from seawall import foreign
from seawall.affinity import Affinity
from seawall.call import Buffers, Call, Replay
from seawall.clock import SystemClock, system_rng
from seawall.compile import compile_policy
from seawall.core.latency import ENOUGH, UNKNOWN
from seawall.faults import Fault
from seawall.outgoing import request_for
from seawall.policy import EffectivePolicy, EffectiveRule, Shadow, differences, load_policy
from seawall.policy.settings import RuleSettings, Timeouts, UpstreamSettings, Values
from seawall.racing import wants_race
from seawall.runtime import Candidate, Match, Plan
from seawall.server.agent import find_route
from seawall.settings import NEVER
from seawall.types import Facts, Head, Headers, Safety
from seawall.upstream.pool import Pool

S = TypeVar("S")


def explain(policies: Sequence[Path], request: Sequence[str]) -> int:
    """Print the explanation. Exit code 2 where policy or request cannot be read, 1 where no rule takes the request."""
    loaded = load_policy(policies)
    for issue in loaded.issues:
        print(issue, file=sys.stderr)
    if loaded.policy is None:
        return 2
    try:
        head, body = _request(request)
    except ValueError as error:
        print(f"seawall: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"seawall: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        runtime = compile_policy(loaded.policy, None, SystemClock()).runtime
    except OSError as error:
        print(f"seawall: {error.filename or 'tls.caFile'}: {error.strerror or error}", file=sys.stderr)
        return 2
    found = find_route(runtime, head, body)
    if found.match is None:
        print(f"no rule takes {head.method} {head.path}: {found.why}")
        print("known routes: " + ", ".join(runtime.known_routes()))
        return 1
    try:
        translator = _translator(found.match.plan)
    except OSError as error:
        print(f"seawall: {error.strerror}", file=sys.stderr)
        return 2
    call = _call(found.match.plan, found.facts, found.rest, found.bare, head, body)
    for line in _lines(loaded.policy, found.match, call, translator):
        print(line)
    return 0


def _translator(plan: Plan) -> foreign.Translator | None:
    """Where a rule needs one."""
    candidates = [c for group in plan.groups for c in group if c.foreign]
    if not candidates:
        return None
    foreign.require({candidate.target.dialect.name for candidate in candidates})
    clock = SystemClock()
    translator = foreign.load(Pool(clock), clock)
    translator.prepare(candidates)
    return translator


def _lines(policy: EffectivePolicy, match: Match, call: Call, translator: foreign.Translator | None) -> Iterator[str]:
    plan, facts = match.plan, call.facts
    yield f"policy     {policy.revision}"
    how = f"bare {plan.dialect.name} path" if call.bare else f"path below {match.prefix or '/'}"
    yield f"rule       {plan.route}/{plan.rule} ({how})"
    traits = [plan.dialect.name, facts.operation, facts.safety.value]
    traits += [f"model {facts.model}"] if facts.model else []
    traits += ["stream"] if facts.stream else []
    traits += ["pinned to its upstream"] if facts.pinned else []
    yield "request    " + ", ".join(traits)
    if _bodiless(call):
        yield "           (no body given: model, streaming and replay safety may be others; use --request FILE)"
    yield "candidates"
    order = plan.order(system_rng()) if not facts.pinned else (Affinity().owner(call),)
    for number, candidate in enumerate(order, 1):
        yield f"  {number}. {_candidate(candidate, call, translator)}"
    if plan.offline:
        yield "  (none of them is asked: the rule is offline)"
    if plan.sticky:
        yield "  (a conversation begins with the one that answered it last)"
    if plan.static is not None:
        yield f"fallback   StaticResponse with {plan.static.status}"
    if plan.fixed_order is None:
        yield "  (within one priority the order is drawn by weight for each call)"
    yield from _racing(plan, facts)
    yield from _worst(plan, facts, len(order))
    rule = _rule(policy, plan)
    yield "effective fields of the rule"
    yield from _fields(rule.values, rule.sources)
    yield from _shadow(rule.values, rule.shadow)
    for backend in rule.backends:
        yield f"effective fields of upstream {backend.upstream.name}"
        yield from _fields(backend.upstream.values, backend.upstream.sources)
        yield from _shadow(backend.upstream.values, backend.upstream.shadow)
        differing = {p: v for p, v in backend.timeout_values.items() if rule.values.get(p) != v}
        if differing:
            yield "  capped for this rule:"
            yield from _fields(differing, backend.timeout_sources)
        yield from _shadow(backend.timeout_values, _beyond(backend.shadow, rule.shadow, backend.upstream.shadow))


def _bodiless(call: Call) -> bool:
    """Whether a body belongs to the request, and none was given."""
    return call.head.method in ("POST", "PUT", "PATCH") and not call.body.data


def _candidate(candidate: Candidate, call: Call, translator: foreign.Translator | None) -> str:
    upstream = candidate.upstream
    words = f"{upstream.name} (priority group {candidate.group}, weight {candidate.weight})"
    needs = call.plan.dialect.needs(call.body.data) if call.plan.selective else frozenset()
    if lacks := candidate.lacks(call.facts.model, needs):
        return f"{words}: skipped, {candidate.model_for(call.facts.model)} has no {', '.join(sorted(lacks))}"
    if translator is not None and candidate.foreign:
        return words + _translated(candidate, call, translator)
    request = request_for(call, candidate)
    if isinstance(request, Fault):
        return f"{words}: skipped, {request.detail}"
    model = candidate.model_for(call.facts.model)
    changed = f" with model {model}" if model != call.facts.model else ""
    return f"{words} → {request.method} {candidate.target.endpoint.origin}{request.target.partition('?')[0]}{changed}"


def _translated(candidate: Candidate, call: Call, translator: foreign.Translator) -> str:
    """What would become of the request at an upstream that speaks another dialect."""
    target = candidate.target
    reasons = () if _bodiless(call) else translator.unfit(call, candidate)
    if not reasons and target.credential is not None and not target.credential.usable:
        reasons = (target.credential.error,)
    if reasons:
        return f": skipped, {'; '.join(reasons)}"
    asked = "if its body can be" if _bodiless(call) else f"with model {candidate.model_for(call.facts.model)}"
    return f" → translated to {target.dialect.name}, POST {target.endpoint.origin}, {asked}"


def _racing(plan: Plan, facts: Facts) -> Iterator[str]:
    hedging = plan.hedging
    if hedging is None:
        return
    if not wants_race(plan, facts):
        yield "racing     none: a second request could do harm"
        return
    when = "at once" if hedging.delay == 0 else f"one more after each {hedging.delay:g} s without content"
    if hedging.delay is None:
        when = f"one more after the P95 of first contents ({UNKNOWN:g} s until {ENOUGH} are known)"
    yield f"racing     up to {hedging.attempts} attempts within a priority, {when}"


def _worst(plan: Plan, facts: Facts, candidates: int) -> Iterator[str]:
    """The most attempts, and the longest time until an answer or error begins."""
    retries = plan.retry.attempts
    attempts = candidates + retries
    if wants_race(plan, facts):
        assert plan.hedging is not None
        attempts += sum(max(0, plan.hedging.attempts - len(group)) for group in plan.groups)
    note = ""
    if facts.safety is Safety.UNSAFE:
        note = ", more than one only where nothing was done with the request"
    elif facts.safety is Safety.KEYED:
        attempts, note = 1 + retries, ", all at one upstream unless nothing was done with the request"
    timeouts = plan.groups[0][0].timeouts
    limits = [timeouts.backend_request, timeouts.first_content if facts.stream else None]
    each = min((limit for limit in limits if limit is not None), default=NEVER)
    total = attempts * each + retries * max(plan.retry.cap, 1.5 * plan.retry.retry_after_max)
    if timeouts.request_set or not facts.stream:
        total = min(total, timeouts.request)
    until = "to the first content" if facts.stream else "in all"
    time = f"{total:g} s {until}" if total < NEVER else "no limit"
    yield f"worst case {attempts} attempts{note}; {time}"


def _fields(values: object, sources: object) -> Iterator[str]:
    assert isinstance(values, dict) and isinstance(sources, dict)
    width = max((len(path) for path in values), default=0)
    for path, value in sorted(values.items()):
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        yield f"  {path:<{width}}  {shown!s:<12}  {sources[path]}"


def _shadow(values: Values, shadow: Shadow[S] | None) -> Iterator[str]:
    """What a policy would change that is only evaluated."""
    if shadow is not None:
        yield from (f"  shadow: {difference}" for difference in differences(values, shadow))


def _beyond(
    pair: Shadow[Timeouts] | None, rule: Shadow[RuleSettings] | None, upstream: Shadow[UpstreamSettings] | None
) -> Shadow[Timeouts] | None:
    """Of the timeouts of a rule at one upstream, those that neither of both shows by itself."""
    if pair is None:
        return None
    shown = [dict(one.values) for one in (rule, upstream) if one is not None]
    values = {path: value for path, value in pair.values.items() if all(one.get(path) != value for one in shown)}
    return replace(pair, values=values)


def _rule(policy: EffectivePolicy, plan: Plan) -> EffectiveRule:
    for route in policy.routes:
        if plan.route in (route.name, f"{route.namespace}/{route.name}"):
            for rule in route.rules:
                if rule.name == plan.rule:
                    return rule
    raise LookupError(plan.route)


def _call(plan: Plan, facts: Facts, rest: str, bare: bool, head: Head, body: bytes) -> Call:
    replay = Replay(_Nothing(), [], Buffers())
    replay.data, replay.whole = body, True
    return Call("explain", head, facts, plan, rest, bare, replay, False, 0.0, None)


class _Nothing:
    at_end = True

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def _request(words: Sequence[str]) -> tuple[Head, bytes]:
    """From METHOD and URL, or from a file with a raw HTTP request. Raises ValueError with a message for people."""
    if len(words) == 2:
        url = urlsplit(words[1])
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return Head(words[0].upper(), target, [(b"host", url.netloc.encode() or b"localhost")]), b""
    if len(words) > 2:
        raise ValueError("--request takes a file, or METHOD and URL")
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    data = Path(words[0]).read_bytes()
    head, gap, body = data.partition(b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n")
    if not gap:
        head, body = data.rstrip(b"\n"), b""
    # Written by hand: lines may end with LF alone, and nobody counts a Content-Length.
    lines = [line.rstrip(b"\r") for line in head.split(b"\n")]
    try:
        parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
    except httptools.HttpParserError as error:
        raise ValueError(
            f"{words[0]}: not an HTTP request (METHOD PATH HTTP/1.1, fields, empty line, body): {error}"
        ) from None
    return Head(parser.get_method().decode(), reader.url.decode(), reader.headers), body


class _Reader:
    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
