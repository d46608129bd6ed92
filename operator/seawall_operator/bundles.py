"""The service that sidecars poll for their bundle: each request says what its sidecar runs, and is answered when there
is something else.

GET /v1/bundles/NAMESPACE/PROFILE
    Authorization: Bearer TOKEN              a service-account token for AUDIENCE, bound to the pod
    If-None-Match: "REVISION"                what it runs: the acknowledgement
    X-Seawall-Sequence: N                    of that; a replica that knows less waits until it has caught up
    X-Seawall-Refused: REVISION              what it would not take, and why (percent-encoded)
    X-Seawall-Error: TEXT
200 with ETag, X-Seawall-Sequence and the packed bundle; 304 when nothing else came up; 503 until all is known.

A pod reads its own namespace's bundle only. Ten thousand questions wait at a time, so that one is a small object and no
task; polling.py knows how they come.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from seawall_operator.callers import Callers, Denied
from seawall_operator.kube import Caller
from seawall_operator.shelf import Shelf
from seawall_operator.sidecars import Key, Report

HOLD = 45.0
"""Seconds that a question waits at most, well below what makes a sidecar count as gone; and at least three quarters of
that, so that those whose bundle changed together do not come back together for ever."""
LOOK = 1.0
"""Seconds between two looks at who has waited long enough."""
MAX_ERROR, MAX_REVISION = 1000, 100
"""Characters that are kept of what a sidecar says."""
BUNDLE_TYPE = "application/vnd.seawall.bundle+gzip"


class Answer(NamedTuple):
    status: int
    fields: Mapping[str, str]
    body: bytes = b""


class Asker(Protocol):
    """Who waits for an answer."""

    @property
    def address(self) -> str: ...

    def answer(self, answer: Answer) -> None:
        """Once for each question. Must not ask again before it returns."""
        ...


@dataclass(slots=True, eq=False)
class _Question:
    key: Key
    running: str
    refused: str
    sequence: int
    until: float


class BundleService:
    """Who waits for what."""

    def __init__(self, shelf: Shelf, callers: Callers, say: Callable[[Key, str, Report], None]) -> None:
        self._shelf = shelf
        self._callers = callers
        self._say = say
        self._waiting: dict[str, dict[Asker, _Question]] = {}
        """By namespace."""
        self._behind: set[Asker] = set()
        """Of these, who knows of more than this replica does."""
        self._places: dict[Asker, str] = {}
        self._news: dict[str, None] = {}
        """Namespaces whose bundles have changed, the first one first."""
        self._reviews: dict[Asker, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        shelf.tell = self._told

    @property
    def waiting(self) -> int:
        """Questions without an answer yet."""
        return len(self._places)

    def ask(self, asker: Asker, key: Key, fields: Mapping[str, str]) -> None:
        """`fields` by names in lower case. The answer may come at once."""
        caller = self._callers.known(fields.get("authorization", ""), key[0])
        if caller is None:
            self._reviews[asker] = asyncio.get_running_loop().create_task(self._review(asker, key, fields))
        else:
            self._asked(asker, caller, key, fields)

    def forget(self, asker: Asker) -> None:
        """It has gone away."""
        self._leave(asker)
        if (task := self._reviews.pop(asker, None)) is not None:
            task.cancel()

    async def _review(self, asker: Asker, key: Key, fields: Mapping[str, str]) -> None:
        caller = await self._callers.ask(fields.get("authorization", ""), key[0])
        del self._reviews[asker]
        self._asked(asker, caller, key, fields)

    def _asked(self, asker: Asker, caller: Caller | Denied, key: Key, fields: Mapping[str, str]) -> None:
        if isinstance(caller, Denied):
            asker.answer(Answer(caller.status, caller.fields, caller.text.encode()))
        elif not self._shelf.ready.is_set():
            asker.answer(Answer(503, {"Retry-After": "1"}, b"not everything is known yet\n"))
        else:
            self._admitted(asker, caller, key, fields)

    def _admitted(self, asker: Asker, caller: Caller, key: Key, fields: Mapping[str, str]) -> None:
        now = asyncio.get_running_loop().time()
        # Thousands hold the same few revisions.
        running = sys.intern(fields.get("if-none-match", "").strip('"')[:MAX_REVISION])
        refused = sys.intern(fields.get("x-seawall-refused", "")[:MAX_REVISION])
        error = unquote(fields.get("x-seawall-error", ""), errors="replace")[:MAX_ERROR]
        pod = caller.pod or f"{caller.service_account}@{asker.address}"
        self._say(key, pod, Report(running, refused, error, now))
        sequence = _number(fields.get("x-seawall-sequence", ""))
        question = _Question(key, running, refused, sequence, now + HOLD * random.uniform(0.75, 1.0))
        if self._is_news(question) or self._shelf.closed:
            asker.answer(self._answer(question))
            return
        self._waiting.setdefault(key[0], {})[asker] = question
        self._places[asker] = key[0]
        if sequence > self._shelf.sequence:
            self._behind.add(asker)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _is_news(self, question: _Question) -> bool:
        """Whether there is a bundle that the sidecar does not know, and none older than it has."""
        known = question.running, question.refused
        return self._shelf.sequence >= question.sequence and self._shelf.of(question.key).revision not in known

    def _answer(self, question: _Question) -> Answer:
        served = self._shelf.of(question.key)
        fields = {"ETag": f'"{served.revision}"', "X-Seawall-Sequence": str(self._shelf.sequence)}
        if not self._is_news(question):
            return Answer(304, fields)
        return Answer(200, {**fields, "Content-Type": BUNDLE_TYPE}, served.packed)

    def _told(self, namespace: str | None) -> None:
        """What is on the shelf has changed."""
        if namespace is not None:
            if not self._news:
                asyncio.get_running_loop().call_soon(self._spread)
            self._news[namespace] = None
        elif self._shelf.closed:
            self._let_go_all(lambda question: True)
        elif self._behind:
            self._let_go({asker: self._question(asker) for asker in self._behind}, self._is_news)
            self._behind = {one for one in self._behind if self._question(one).sequence > self._shelf.sequence}

    def _spread(self) -> None:
        """One namespace's news; the next one's in a turn of its own, so that nobody else waits for all of them."""
        namespace = next(iter(self._news))
        del self._news[namespace]
        if self._news:
            asyncio.get_running_loop().call_soon(self._spread)
        self._let_go(self._waiting.get(namespace, {}), self._is_news)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        self._let_go_all(lambda question: question.until <= now)
        self._timer = asyncio.get_running_loop().call_later(LOOK, self._look) if self._places else None

    def _let_go_all(self, whom: Callable[[_Question], bool]) -> None:
        for waiting in list(self._waiting.values()):
            self._let_go(waiting, whom)

    def _let_go(self, waiting: Mapping[Asker, _Question], whom: Callable[[_Question], bool]) -> None:
        for asker, question in [(asker, question) for asker, question in waiting.items() if whom(question)]:
            # An answer may be the end of another connection.
            if asker in self._places:
                self._leave(asker)
                asker.answer(self._answer(question))

    def _question(self, asker: Asker) -> _Question:
        return self._waiting[self._places[asker]][asker]

    def _leave(self, asker: Asker) -> None:
        if (namespace := self._places.pop(asker, None)) is not None:
            waiting = self._waiting[namespace]
            del waiting[asker]
            if not waiting:
                del self._waiting[namespace]
        self._behind.discard(asker)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else 0
