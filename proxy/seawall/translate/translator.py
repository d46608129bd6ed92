"""Puts calls to upstreams that speak another dialect than their agents: the one `foreign.Translator`.

It holds providers with their SDKs' models for as long as a policy, or a call that began under it, has their upstream,
and what was read of each call's request for as long as the call lives.
"""

import asyncio
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from seawall import foreign
from seawall.answer import Source, Terms
from seawall.call import Call
from seawall.clock import Clock
from seawall.faults import Code, Fault
from seawall.reply import problem_for
from seawall.runtime import Candidate, Target
from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.exchange import Exchange
from seawall.translate.gemini_generate import GeminiGenerate
from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses
from seawall.translate.provider import Place, Provider
from seawall.translate.types import AgentSide, Asked
from seawall.types import Headers
from seawall.upstream.pool import Pool

_SIDES: dict[tuple[str, str], AgentSide] = {
    ("OpenAI", "chat"): OpenAIChat(),
    ("OpenAI", "responses"): OpenAIResponses(),
    ("AzureOpenAI", "chat"): OpenAIChat(),
    ("AzureOpenAI", "responses"): OpenAIResponses(),
    ("Anthropic", "messages"): AnthropicMessages(),
    ("Gemini", "generate"): GeminiGenerate(),
}
"""By an agent's dialect and operation."""


class Translator(foreign.Translator):
    """See there. One per process whose policy needs it."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._providers: WeakKeyDictionary[Target, Provider] = WeakKeyDictionary()
        self._read: WeakKeyDictionary[Call, Asked] = WeakKeyDictionary()
        self._cleaning: set[asyncio.Task[None]] = set()

    def prepare(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            provider = self._providers.get(candidate.target)
            if provider is None:
                provider = self._providers[candidate.target] = self._provider(candidate.target)
            for model in candidate.models():
                provider.warm(model)

    def unfit(self, call: Call, candidate: Candidate) -> tuple[str, ...]:
        side = _SIDES.get((call.plan.dialect.name, call.facts.operation))
        there = candidate.target.dialect.name
        if side is None:
            return (f"{call.facts.operation} is not translated to {there}",)
        if not call.body.whole:
            return ("the request is too large to be translated",)
        asked = self._asked(call, side)
        asking = self._providers[candidate.target].asking(candidate.model_for(call.facts.model))
        return asking.unfit(asked)

    def exchange(self, call: Call, candidate: Candidate, terms: Terms, number: int, traced: Headers) -> Source | Fault:
        target = candidate.target
        if target.credential is not None and not target.credential.usable:
            return Fault(Code.CREDENTIAL_UNREADABLE, target.credential.error)
        side = _SIDES[call.plan.dialect.name, call.facts.operation]
        asked = self._asked(call, side)
        call.body.send_whole()
        connect_by = terms.connect_by[0]
        asking = self._providers[target].asking(
            candidate.model_for(call.facts.model),
            stream=asked.stream,
            credential=target.credential,
            connect_seconds=None if connect_by is None else max(0.0, connect_by - self._clock.now()),
            before_content=terms.before_content(asked.stream),
            more=traced,
        )

        def problem(fault: Fault) -> bytes:
            name = candidate.upstream.name
            told = problem_for(fault, call.id, upstream=name, attempts=number, status=fault.status)
            return call.plan.dialect.error(call.facts, told)

        kind = call.plan.dialect.stream_type(call.facts)
        return Exchange(asking, asked, side, kind, problem, self._cleaning)

    def _asked(self, call: Call, side: AgentSide) -> Asked:
        asked = self._read.get(call)
        if asked is None:
            id_ = call.id.removeprefix("sw_")
            asked = side.read(call.body.data, call.facts, created=int(self._clock.wall()), id_=id_)
            self._read[call] = asked
        return asked

    def _provider(self, target: Target) -> Provider:
        place = Place(target.dialect.name, target.endpoint, target.host, target.base_path)
        return Provider(self._pool, self._clock, place)
