"""How the sidecars of a namespace stand to what is served there. Pure.

A replica that begins to write knows nothing of sidecars that spoke with another one, or with the process before it. For
as long as a sidecar counts after its last word, those that only a status knows of count too: as running what they ran
then, and nothing newer. Else an edit of that minute would be called programmed before anybody has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seawall_operator.resources import Object, identity
from seawall_operator.sidecars import Counts, Key, Sidecars

_WHOLE = ""
"""In place of a profile: all sidecars of a namespace."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a status says of sidecars."""

    revision: str
    counts: Counts

    def beside(self, heard: Counts, revision: str) -> Counts:
        """With those that were not heard of yet."""
        missing = max(0, self.counts.total - heard.total)
        if not missing:
            return heard
        same = self.revision == revision
        current = min(missing, max(0, self.counts.current - heard.current)) if same else 0
        rejected = min(missing - current, max(0, self.counts.rejected - heard.rejected)) if same else 0
        return heard + Counts(missing, current, rejected, "as it said before this replica began to write")


def words(objects: Iterable[Object]) -> dict[Key, Word]:
    """Of the statuses of routes, which all speak of their whole namespace, and of profiles."""
    found: dict[Key, Word] = {}
    for obj in objects:
        status = obj.get("status") or {}
        if obj["kind"] not in ("AgentRoute", "SidecarProfile") or "sidecars" not in status:
            continue
        _, namespace, name = identity(obj)
        key = namespace, name if obj["kind"] == "SidecarProfile" else _WHOLE
        word = Word(str(status.get("revision", "")), _counts(status["sidecars"]))
        if key not in found or found[key].counts.total < word.counts.total:
            found[key] = word
    return found


def _counts(said: Mapping[str, Any]) -> Counts:
    return Counts(int(said.get("total", 0)), int(said.get("current", 0)), int(said.get("rejected", 0)))


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one moment. `revisions`: by namespace; all profiles of one have the same. `now`: seconds that only grow."""

    sidecars: Sidecars
    revisions: Mapping[str, str]
    now: float
    unheard: Mapping[Key, Word]
    _profiles: Mapping[str, Sequence[str]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_profiles", self.sidecars.profiles())

    def of_namespace(self, namespace: str) -> Counts:
        """Whatever their profile: a sidecar may be older than the end of its own."""
        revision = self.revisions.get(namespace, "")
        keys = [(namespace, profile) for profile in self._profiles.get(namespace, ())]
        heard = sum((self.sidecars.counts(key, revision, self.now) for key in keys), Counts())
        return self._beside((namespace, _WHOLE), heard, revision)

    def of_profile(self, namespace: str, profile: str) -> Counts:
        revision = self.revisions.get(namespace, "")
        heard = self.sidecars.counts((namespace, profile), revision, self.now)
        return self._beside((namespace, profile), heard, revision)

    def _beside(self, key: Key, heard: Counts, revision: str) -> Counts:
        word = self.unheard.get(key)
        return word.beside(heard, revision) if word is not None else heard
