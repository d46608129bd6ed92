"""Which documents exist: read, partly wrong, or wrong altogether. A reference to a document that is there but wrong is
no second mistake, and neither is one to a document whose name cannot be read.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from seawall.policy.issues import Issue, did_you_mean
from seawall.policy.located import Located

Presence = tuple[str | None, str | None, str | None]
"""(kind, namespace, name) of a document that exists; None where that cannot be read and so may be anything."""
ANYTHING: Presence = (None, None, None)

MAX_COMPARISONS = 20_000
"""Names that are compared for hints in one run, about 10 µs each; later mistakes come without a hint."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What was read. `readable` holds also what is left of documents that are partly wrong, `broken` names those of
    which nothing is left. `issues` has an error for each document that is not valid; `files` is the order of reading.
    """

    readable: tuple[Located, ...]
    broken: frozenset[Presence] = frozenset()
    issues: tuple[Issue, ...] = ()
    files: tuple[str, ...] = ()


def presence(located: Located) -> Presence:
    kind, namespace, name = located.document.identity
    return (
        kind if located.sure(("kind",)) else None,
        namespace if not namespace or located.sure(("metadata", "namespace")) else None,
        name if located.sure(("metadata", "name")) else None,
    )


class Inventory:
    """All documents of a run by kind, namespace and name."""

    def __init__(self, documents: Documents) -> None:
        self._present = {presence(located) for located in documents.readable} | documents.broken
        self._namespaces: defaultdict[tuple[str | None, str | None], set[str | None]] = defaultdict(set)
        self._names: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._comparisons = MAX_COMPARISONS
        for kind, namespace, name in self._present:
            self._namespaces[kind, name].add(namespace)
            if kind is not None and namespace is not None and name is not None:
                self._names[kind].append((namespace, name))

    def has(self, kind: str, namespace: str | None, name: str) -> bool:
        """Whether there is such a document, or one that may be it. `namespace` None: in any."""
        if namespace is None:
            return any(pair in self._namespaces for pair in product((kind, None), (name, None)))
        return any(one in self._present for one in product((kind, None), (namespace, None), (name, None)))

    def has_kind(self, kind: str) -> bool:
        return any(found in (kind, None) for found, _, _ in self._present)

    def elsewhere(self, kind: str, name: str) -> list[str]:
        """The namespaces that have such a document, sorted; "" for a cluster-scoped kind."""
        return sorted(namespace for namespace in self._namespaces.get((kind, name), ()) if namespace is not None)

    def near(self, kind: str, namespace: str | None, name: str) -> str:
        """A hint: the document that may have been meant, or ""."""
        known = list(self._known(kind, namespace))
        self._comparisons -= len(known)
        return did_you_mean(name, known)

    def _known(self, kind: str, namespace: str | None) -> Iterator[str]:
        if self._comparisons > 0:
            yield from (name for where, name in self._names[kind] if namespace in (None, where))
