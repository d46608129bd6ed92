"""All objects, as far as this replica knows them: from watches, from reading everything anew now and then, and from
what the API server says to what is written.

EffectivePolicies are not watched: nobody but the operator writes them, and with thousands of routes they would be most
of what watches tell. The replica that writes knows them from its own writes, and reads them when it begins.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from seawall.policy.documents import Identity
from seawall_operator.kube import Kube
from seawall_operator.meters import Meters
from seawall_operator.render import Documents
from seawall_operator.resources import Object, identity, lean, resource_version

BREATH = 100
"""Objects that are taken in at a time, before others have their turn."""

log = logging.getLogger(__name__)

Told = Callable[[Iterable[str]], None]


class Known:
    """`documents` and `sequence` are for reading."""

    def __init__(self, kube: Kube, meters: Meters, decided: Told, touched: Told, forget: Callable[[Identity], None]):
        """`decided` is told the namespaces that must be compiled anew, `touched` those of which something that the
        operator says may not be as it said it, and `forget` what has gone."""
        self._kube = kube
        self._meters = meters
        self._decided = decided
        self._touched = touched
        self._forget = forget
        self._loading = asyncio.Lock()
        self._gone: dict[Identity, int] = {}
        """What went while everything is read: a list may still have it."""
        self.documents = Documents()
        self.sequence = 0
        """The resourceVersion of the newest change."""

    def observe(self, obj: Object, *, deleted: bool = False) -> None:
        """From a watch. What is older than what is known is no news."""
        key, obj = identity(obj), lean(obj)
        version = resource_version(obj)
        self.sequence = max(self.sequence, version)
        known = self.documents.get(key)
        if known is not None and version < resource_version(known):
            return
        self._meters.observed(key[0])
        if deleted:
            self._gone[key] = version
            self._take_away(key)
        elif known is None or decides(known) != decides(obj):
            self._put(obj)
        elif version != resource_version(known):
            # Only its status: nothing to compile, but somebody may have changed what the operator says there.
            self.documents.put(obj)
            self._touched([key[1]])

    def learn(self, answer: Object) -> None:
        """What was written is known at once, so that it is not written again before the watch tells of it."""
        answer = lean(answer)
        known = self.documents.get(identity(answer))
        if known is None or resource_version(known) < resource_version(answer):
            if known is None or decides(known) == decides(answer):
                self.documents.put(answer)
            else:
                self._put(answer)

    def lose(self, key: Identity) -> None:
        """Something was to be written to it, and it is not there. Of what is watched the watch will tell."""
        if key[0] == "EffectivePolicy" and self.documents.get(key) is not None:
            self._take_away(key)

    async def load(self, kinds: Iterable[str]) -> dict[str, int]:
        """Read all of some kinds; what is missing then is gone. The number of changes of each kind that were not known.
        Raises ApiError."""
        async with self._loading:
            self._gone.clear()
            return {kind: await self._load(kind) for kind in kinds}

    async def _load(self, kind: str) -> int:
        there: set[Identity] = set()
        items: list[dict[str, Any]]
        missed = version = 0
        async for items, version in self._kube.pages(kind):  # noqa: B007 - that of the last page
            for number, item in enumerate(items):
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                obj: Object = lean({**item, "kind": kind})
                there.add(identity(obj))
                missed += self._read(obj)
        self.sequence = max(self.sequence, version)
        for key in [identity(one) for one in self.documents if one["kind"] == kind]:
            known = self.documents.get(key)
            # What was made after the list is not in it.
            if known is not None and key not in there and resource_version(known) <= version:
                missed += 1
                self._take_away(key)
        return missed

    def _read(self, obj: Object) -> bool:
        """Whether it is news."""
        key, version = identity(obj), resource_version(obj)
        known = self.documents.get(key)
        if version <= (resource_version(known) if known is not None else self._gone.get(key, -1)):
            return False
        self._put(obj)
        return known is None or decides(known) != decides(obj)

    def _put(self, obj: Object) -> None:
        key = identity(obj)
        affected = self.documents.affected(key)
        self.documents.put(obj)
        self._mark(key, affected | self.documents.affected(key))

    def _take_away(self, key: Identity) -> None:
        affected = self.documents.affected(key)
        self.documents.remove(key)
        self._forget(key)
        if key[0] == "AgentRoute":
            # Kubernetes' garbage collection takes it, and nobody watches that.
            self.documents.remove(("EffectivePolicy", *key[1:]))
        self._mark(key, affected)

    def _mark(self, key: Identity, affected: set[str]) -> None:
        if key[0] == "EffectivePolicy":
            self._touched([key[1]])
        else:
            self._decided({*affected, key[1]})


def decides(obj: Object) -> Any:
    """The part of an object that policies are made of."""
    metadata = obj["metadata"]
    return obj.get("spec"), metadata.get("labels"), metadata.get("creationTimestamp"), metadata.get("uid")
