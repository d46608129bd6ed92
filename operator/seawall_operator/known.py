"""What is known of the documents in the cluster: watches tell of changes, lists of everything, and what was written is
known at once. They overtake each other; the newest resourceVersion of an object is the one that counts, and one that is
gone does not come back with an older word.

EffectivePolicies are not watched: nobody but the operator writes them, and with thousands of routes they would be most
of what watches tell. The replica that writes knows them from its own writes, and reads them when it begins to.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.policy.documents import Identity
from seawall_operator.render import Documents
from seawall_operator.resources import WRITTEN_BY_USERS, Object, identity, lean, resource_version

BREATH = 100
"""Objects that are taken in at a time, before others have their turn."""

Pages = AsyncIterator[tuple[Sequence[Mapping[str, Any]], int]]
"""Some objects at a time, with the resourceVersion that all of them are of."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """`changed` is told of a document and of the namespaces whose policy it may change; `status` of an object of which
    only what is said of it has changed; `gone` of one that is not there any more."""

    changed: Callable[[Identity, Iterable[str]], None]
    status: Callable[[Identity], None]
    gone: Callable[[Identity], None]


class Known:
    """One replica's."""

    def __init__(self, listeners: Listeners) -> None:
        self.documents = Documents()
        self.sequence = 0
        """The newest resourceVersion that was seen of anything."""
        self._tell = listeners
        self._gone: dict[Identity, int] = {}
        self._gone_before: dict[Identity, int] = {}
        self._owed: dict[str, tuple[int, float]] = {}
        """What each kind's watch must tell of: a version that was written, and when."""

    def observe(self, obj: Object, *, deleted: bool = False) -> bool:
        """From a watch. False: it is older than what is known, and no news."""
        key, obj = identity(obj), lean(obj)
        self.sequence = max(self.sequence, resource_version(obj))
        if key[0] in self._owed and resource_version(obj) >= self._owed[key[0]][0]:
            del self._owed[key[0]]
        known = self.documents.get(key)
        if known is not None and resource_version(obj) < resource_version(known):
            return False
        if deleted:
            self._gone[key] = resource_version(obj)
            self._take_away(key)
        elif self._is_gone(obj):
            return False
        elif known is None or decides(known) != decides(obj):
            self._put(obj)
        elif resource_version(obj) != resource_version(known):
            self.documents.put(obj)
            self._tell.status(key)
        return True

    def learn(self, answer: Object, now: float) -> None:
        """What the API server made of what was written, so that it is not written twice before a watch tells."""
        answer = lean(answer)
        known = self.documents.get(identity(answer))
        if self._is_gone(answer) or (known is not None and resource_version(known) >= resource_version(answer)):
            return
        if answer["kind"] in WRITTEN_BY_USERS:
            self._owed.setdefault(answer["kind"], (resource_version(answer), now))
        if known is None or decides(known) == decides(answer):
            self.documents.put(answer)
        else:
            self._put(answer)

    def stale(self, kind: str, now: float) -> float:
        """Seconds for which the watch of a kind has not told of what is known to have happened."""
        return now - self._owed[kind][1] if kind in self._owed else 0.0

    def lose(self, key: Identity) -> None:
        """It was to be written to, and is not there. Of what is watched, the watch will tell."""
        if key[0] not in WRITTEN_BY_USERS and self.documents.get(key) is not None:
            self._take_away(key)

    async def listed(self, kind: str, pages: Pages, since: int = 0) -> int:
        """All objects of a kind; the number of changes that no watch had told of. `since`: the sequence before the list
        was asked for. A list that is older shows that the cluster was set back, as by a restored backup, and is right.
        """
        items: Sequence[Mapping[str, Any]]
        there: set[Identity] = set()
        missed = version = 0
        set_back = False
        async for items, version in pages:
            if 0 < version < since and not set_back:
                set_back = True
                self.sequence, self._gone, self._gone_before, self._owed = version, {}, {}, {}
            for number, item in enumerate(items):
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                obj: Object = lean({**item, "kind": kind})
                there.add(identity(obj))
                missed += self._read(obj, set_back=set_back)
        self.sequence = max(self.sequence, version)
        for known in [one for one in self.documents if one["kind"] == kind]:
            # What was made after the list is not in it.
            if identity(known) not in there and (resource_version(known) <= version or set_back):
                missed += 1
                self._take_away(identity(known))
        return missed

    def all_listed(self) -> None:
        """What went while the list before this one was read need not be remembered any more."""
        self._gone, self._gone_before = {}, self._gone

    def _read(self, obj: Object, *, set_back: bool) -> bool:
        """Of a list. Whether it is news."""
        known = self.documents.get(identity(obj))
        newer = known is None or resource_version(known) < resource_version(obj) or set_back
        if not newer or self._is_gone(obj):
            return False
        self._put(obj)
        return known is None or decides(known) != decides(obj)

    def _is_gone(self, obj: Object) -> bool:
        key = identity(obj)
        ended = max(self._gone.get(key, -1), self._gone_before.get(key, -1))
        return resource_version(obj) <= ended

    def _put(self, obj: Object) -> None:
        key = identity(obj)
        affected = self.documents.affected(key)
        self.documents.put(obj)
        self._tell.changed(key, affected | self.documents.affected(key))

    def _take_away(self, key: Identity) -> None:
        affected = self.documents.affected(key)
        self.documents.remove(key)
        if key[0] == "AgentRoute":
            # Kubernetes' garbage collection takes it, and no watch tells.
            self.documents.remove(("EffectivePolicy", *key[1:]))
        self._tell.gone(key)
        self._tell.changed(key, affected)


def decides(obj: Object) -> Any:
    """The part of an object that policies are made of."""
    metadata = obj["metadata"]
    return obj.get("spec"), metadata.get("labels"), metadata.get("creationTimestamp"), metadata.get("uid")
