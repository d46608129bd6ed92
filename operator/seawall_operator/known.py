"""What is known of the documents in the cluster: watches tell of changes, lists of everything, and what was written is
known at once. They overtake each other; the newest resourceVersion of an object is the one that counts, and one that is
gone does not come back with an older word.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seawall.policy.documents import Identity
from seawall_operator.render import Documents
from seawall_operator.resources import Object, identity, lean, resource_version

BREATH = 100
"""Objects that are taken in at a time, before others have their turn."""


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
        else:
            self.documents.put(obj)
            self._tell.status(key)
        return True

    def learn(self, answer: Object, now: float) -> None:
        """What the API server made of what was written, so that it is not written twice before a watch tells."""
        answer = lean(answer)
        known = self.documents.get(identity(answer))
        if self._is_gone(answer) or (known is not None and resource_version(known) >= resource_version(answer)):
            return
        self._owed.setdefault(answer["kind"], (resource_version(answer), now))
        if known is None or decides(known) == decides(answer):
            self.documents.put(answer)
        else:
            self._put(answer)

    def stale(self, kind: str, now: float) -> float:
        """Seconds for which the watch of a kind has not told of what is known to have happened."""
        return now - self._owed[kind][1] if kind in self._owed else 0.0

    async def listed(self, kind: str, items: Iterable[Mapping[str, Any]], version: int, since: int = 0) -> int:
        """All objects of a kind, as they were at `version`; the number of changes that no watch had told of. `since`:
        the sequence before the list was asked for. One that is older shows that the cluster was set back, as by a
        restored backup, and is right."""
        if set_back := version < since:
            self.sequence, self._gone, self._gone_before, self._owed = version, {}, {}, {}
        self.sequence = max(self.sequence, version)
        there = set()
        missed = 0
        for number, item in enumerate(items):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            obj: Object = lean({**item, "kind": kind})
            key = identity(obj)
            there.add(key)
            known = self.documents.get(key)
            newer = known is None or resource_version(known) < resource_version(obj) or set_back
            if newer and not self._is_gone(obj):
                missed += known is None or decides(known) != decides(obj)
                self._put(obj)
        for known in [one for one in self.documents if one["kind"] == kind]:
            # What was made after the list is not in it.
            if identity(known) not in there and (resource_version(known) <= version or set_back):
                missed += 1
                self._take_away(identity(known))
        return missed

    def all_listed(self) -> None:
        """What went while the list before this one was read need not be remembered any more."""
        self._gone, self._gone_before = {}, self._gone

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
        self._tell.gone(key)
        self._tell.changed(key, affected)


def decides(obj: Object) -> Any:
    """The part of an object that policies are made of."""
    metadata = obj["metadata"]
    return obj.get("spec"), metadata.get("labels"), metadata.get("creationTimestamp"), metadata.get("uid")
