"""Which upstream a call belongs to: the one that holds the state it names, or that has answered its conversation.

It remembers ids and digests only, in this process and within bounds; what is forgotten goes where any call goes.
"""

import hashlib
from collections import OrderedDict

from seawall.call import Call
from seawall.clock import Rng
from seawall.runtime import Candidate

# So many ids of conversation state, and likewise conversations, are remembered with their upstream; about 2 MB each.
REMEMBERED = 10_000


class Affinity:
    def __init__(self) -> None:
        self._owners = _Places()
        self._conversations = _Places()

    def made(self, upstream: str, state: str) -> None:
        """An upstream (its key) gave out an id; whoever names it is sent there."""
        self._owners.put(state.encode(), upstream)

    def owner(self, call: Call) -> Candidate:
        """Of conversation state: where we saw it made, else the first that the rule names; of those that speak the
        agent's dialect, if there are any, since no other one can hold its state."""
        named = call.plan.dialect.state_named(call.rest, call.body.data) if self._owners else ()
        for state in named:
            candidate = _at(call, self._owners.get(state.encode()))
            if candidate is not None:
                return candidate
        if (holder := self.holder(call)) is not None:
            return holder
        candidates = [c for group in call.plan.groups for c in group]
        return next((c for c in candidates if not c.foreign), candidates[0])

    def holder(self, call: Call) -> Candidate | None:
        """Of the session that a call belongs to; None where it has none, or nobody has it yet."""
        return _at(call, self._owners.get(call.facts.session.encode())) if call.facts.session else None

    def order(self, call: Call, rng: Rng) -> list[Candidate]:
        """The candidates as this call tries them. With `sticky: Conversation` all calls of a conversation draw the
        same lots, and whoever answered last comes first."""
        digest = _digest(call) if call.plan.sticky else b""
        if not digest:
            return list(call.plan.order(rng))
        order = list(call.plan.order(_Lots(digest)))
        last = _at(call, self._conversations.get(digest))
        if last is not None:
            order.remove(last)
            order.insert(0, last)
        return order

    def served(self, call: Call, candidate: Candidate) -> None:
        """A good answer: the conversation stays here."""
        if call.plan.sticky and (digest := _digest(call)):
            self._conversations.put(digest, candidate.upstream.key)


class _Places:
    """Upstreams' keys by what belongs to them; the least recently named go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, str] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._kept)

    def get(self, name: bytes) -> str | None:
        return self._kept.get(name)

    def put(self, name: bytes, upstream: str) -> None:
        self._kept[name] = upstream
        self._kept.move_to_end(name)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)


class _Lots:
    """Chance that is the same for the same conversation."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def random(self) -> float:
        drawn = int.from_bytes(self._digest[:7], "big") / (1 << 56)
        self._digest = hashlib.blake2b(self._digest, digest_size=16).digest()
        return drawn


def _digest(call: Call) -> bytes:
    words = call.plan.dialect.conversation(call.body.data) if call.body.whole else b""
    return hashlib.blake2b(words, digest_size=16, person=b"conversation").digest() if words else b""


def _at(call: Call, upstream: str | None) -> Candidate | None:
    """The rule's candidate with that upstream."""
    if upstream is None:
        return None
    candidates = (c for group in call.plan.groups for c in group)
    return next((c for c in candidates if c.upstream.key == upstream), None)
