"""What is kept for a call, and what of its answer is kept: the way between questions and a store (SEMANTICS §6).

An answer that depends on fields of its request lies beside others under one question: the question's own key leads to a
mark, which says on which fields, and from which the keys of the answers are made.
"""

import os
from hashlib import sha256
from typing import Protocol

from msgspec.structs import replace

from seawall.asking import Asking, stored_of
from seawall.clock import Clock
from seawall.core.cache import Decision, Keep, Pass, Why
from seawall.core.cache_http import Answer
from seawall.core.cache_key import variant_key
from seawall.core.cache_validation import Replaced, Updated, headed, invalidated
from seawall.dialects.base import Finish, Form, Material
from seawall.flight import Flight
from seawall.kept import decoded, entry_of, in_form, renewed
from seawall.outgoing import join
from seawall.question import Questions
from seawall.run import Run
from seawall.store.entry import Entry
from seawall.store.guarded import Guarded
from seawall.types import AnswerKept, Head, Observer

_MARK = "mark"


class Stores(Protocol):
    """Where answers are kept. `store.places` has the one implementation."""

    @property
    def secret(self) -> bytes:
        """Of the tenants' HMAC."""

    @property
    def identity(self) -> str:
        """Of this pod."""

    def of(self, kind: str) -> Guarded:
        """The store of a rule's `cache.store`."""


class Keeper:
    """One per process."""

    def __init__(self, stores: Stores, clock: Clock, observe: Observer) -> None:
        self._stores = stores
        self._clock = clock
        self._observe = observe

    async def look_up(self, asking: Asking) -> tuple[Entry | None, Decision]:
        """What is kept for a call, in the form that it wants, and what to do."""
        settings, others = asking.settings, False
        store = self._stores.of(settings.store)
        entry = await store.get(asking.key, settings.timeout)
        if entry is not None and _MARK in entry.more:
            entry = await store.get(_variant(asking, entry.more[_MARK], entry), settings.timeout)
            others = entry is None
        if entry is not None:
            entry = in_form(entry, asking)
        return entry, asking.look_up(entry, self._clock.wall(), others=others)

    async def put(self, asking: Asking, entry: Entry) -> None:
        """Keep an answer."""
        store = self._store(asking)
        if not entry.vary:
            store.put(asking.key, entry)
            return
        known = await store.get(asking.key, asking.settings.timeout)
        mark = "" if known is None or _names(known) != _names(entry) else known.more.get(_MARK, "")
        # Drawn anew when the old one is gone, so that variants which were dropped with it never come back.
        mark = mark or os.urandom(16).hex()
        store.put(asking.key, replace(entry, status=0, headers=[], pieces=(), usage=None, more={_MARK: mark}))
        store.put(_variant(asking, mark, entry), entry)

    def drop(self, asking: Asking) -> None:
        """Forget what is kept for a question, all its variants."""
        self._store(asking).delete(asking.key)

    async def land(self, flight: Flight) -> None:
        """Keep a flight's answer, if it may be."""
        if not flight.from_upstream or flight.answer is None:
            return
        asking = flight.asking
        if isinstance(flight.validation, Updated):
            assert flight.kept is not None
            flight.landed = renewed(asking, flight.kept, flight.validation, flight.asked_at, flight.began_at)
            if flight.validation.keep is None:
                self.drop(asking)
            elif not flight.void:
                await self.put(asking, flight.landed)
            return
        if flight.void:
            return
        found, ledger = _entry(flight), flight.run.ledger
        if isinstance(found, Entry):
            flight.landed = found
            await self.put(asking, found)
            why, detail, size = "", "", found.size
        else:
            if isinstance(flight.validation, Replaced):
                self.drop(asking)
            why, detail, size = found.why.value, found.detail, flight.sent_bytes
        route, model = asking.call.plan.route, ledger.answered or ledger.model
        usage = ledger.usage if flight.leader is None else None
        self._observe(AnswerKept(route, ledger.upstream, model, why, detail, size, usage))

    async def headed(self, run: Run, asking: Asking, entry: Entry, asked_at: float) -> None:
        """See what the answer to a HEAD says of the kept GET (RFC 9111 §4.3.5). asked_at: wall clock."""
        answer = run.kept.answer if run.kept is not None else None
        if answer is None or answer.exchange.status != 200 or asking.http is None:
            return
        now = self._clock.wall()
        found = headed(
            asking.http, stored_of(entry), Answer(200, answer.exchange.headers, asked_at, now), asking.settings
        )
        if found is None:
            self.drop(asking)
        elif found.keep is not None:
            await self.put(asking, renewed(asking, entry, found, asked_at, now))

    def invalidate(self, run: Run, questions: Questions) -> frozenset[bytes]:
        """Forget what a request with effects has made void (RFC 9111 §4.4). Returns the keys of those questions."""
        answer = run.kept.answer if run.kept is not None else None
        if answer is None or not run.committed:
            return frozenset()
        keys = set()
        call, exchange, there = run.call, answer.exchange, answer.candidate.target
        origins, base = frozenset({there.endpoint.origin}), there.base_path
        asked = join(base, call.rest, "")
        for target in invalidated(call.head.method, asked, exchange.status, exchange.headers, origins):
            if target.startswith(base):
                rest = target[len(base) :]
                head = Head("GET", rest, call.head.headers)
                key = questions.key(head, call.facts, rest, Material(b"", deterministic=True, by_http=True))
                self._stores.of(questions.settings.store).delete(key)
                keys.add(key)
        return frozenset(keys)

    def _store(self, asking: Asking) -> Guarded:
        return self._stores.of(asking.settings.store)


def _entry(flight: Flight) -> Entry | Pass:
    """A flight's answer as it may be kept, or why it may not."""
    asking, ledger, answer = flight.asking, flight.run.ledger, flight.answer
    assert answer is not None
    why = flight.why_not_kept()
    if why is not None:
        return why
    finish, pieces = Finish(), tuple(flight.pieces)
    if asking.http is None:
        plain = decoded(flight)
        if plain is None:
            return Pass(Why.INCOMPLETE, "its coding cannot be undone")
        pieces = plain
    if not answer.stream:
        pieces = (b"".join(pieces),)
    if asking.http is None:
        if ledger.fault is None:
            form = asking.form if answer.stream else Form.PLAIN
            finish = asking.call.plan.dialect.finish(asking.call.facts, b"".join(pieces), form)
    elif ledger.fault is not None and answer.fault is None:
        return Pass(Why.INCOMPLETE)
    keep = asking.keep(flight.head_of(answer), ledger.fault, finish, size=sum(map(len, pieces)))
    return entry_of(flight, keep, pieces) if isinstance(keep, Keep) else keep


def _names(entry: Entry) -> tuple[bytes, ...]:
    return tuple(name for name, _ in entry.vary)


def _variant(asking: Asking, mark: str, entry: Entry) -> bytes:
    """The key of a call's own variant, where answers vary as `entry` did."""
    return variant_key(sha256(asking.key + mark.encode()).digest(), _names(entry), asking.call.head.headers)
