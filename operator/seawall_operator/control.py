"""The operator at work, without kopf: what is known goes in, bundles go out at once, and what is said of them is
written (writer.py) by the one replica that leads.

Level-triggered: a change only marks its namespaces; what is done for them looks at everything that is known by then. A
namespace that cannot be written is tried again, later each time, and holds nobody else up.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from seawall.policy.bundle import bundle, pack
from seawall.policy.documents import Identity
from seawall.policy.effective import EffectivePolicy
from seawall_operator import config_maps
from seawall_operator.bundles import Served, Shelf
from seawall_operator.kube import ApiError, Kube
from seawall_operator.meters import Meters
from seawall_operator.reconcile import Moment, Stored
from seawall_operator.render import CLUSTER, Documents, Rendered, render
from seawall_operator.resources import RESOURCES, Object, identity, lean, resource_version
from seawall_operator.sidecars import Counts, Key, Report, Sidecars
from seawall_operator.statuses import Statuses
from seawall_operator.work import Marks
from seawall_operator.writer import Writer

SETTLE = 0.05
"""Seconds that changes are gathered for: `kubectl apply` of a file is one change."""
RELIST = 300.0
"""Everything is read anew this often, whatever the watches say."""
FIRST_RELIST = 10.0
FORGET = 5.0
BREATH = 100
"""Objects that are taken in at a time, before others have their turn."""
_OURS = ",".join(f"{name}={value}" for name, value in config_maps.LABELS.items())

log = logging.getLogger(__name__)


class Control:
    """One replica's."""

    def __init__(self, kube: Kube, meters: Meters, home: str = "default") -> None:
        """`home`: the operator's own namespace."""
        self._kube = kube
        self._home = home
        self._meters = meters
        self._documents = Documents()
        self._rendered = Rendered({})
        self._sequence = 0
        self._compiling = False
        self._to_render = Marks(SETTLE)
        self._compiled = Documents()
        """What `_rendered` was made of: a status must not speak of what came since."""
        self.sidecars = Sidecars()
        self._levels: dict[str, tuple[bool, bool, bool]] = {}
        self.shelf = Shelf(self._unknown)
        self.writer = Writer(kube, meters, self._moment, self._learn)
        self.passed_on: Callable[[Key, str, Report], None] = lambda key, pod, report: None
        """Where a replica that does not lead sends what sidecars say."""

    # -- what is known -------------------------------------------------------------------------------------------------

    def observe(self, obj: Object, *, deleted: bool = False) -> None:
        """From a watch. What is older than what is known is no news."""
        key, obj = identity(obj), lean(obj)
        self._sequence = max(self._sequence, resource_version(obj))
        known = self._documents.get(key)
        if known is not None and resource_version(obj) < resource_version(known):
            return
        self._meters.observed(key[0])
        if deleted:
            self._take_away(key)
        elif known is None or _decides(known) != _decides(obj):
            self._put(obj)
        else:
            # Only its status: nothing to compile, but somebody may have changed what the operator says there.
            self._documents.put(obj)
            self.writer.marks.add([key[1]])
        if not self._to_render and not self._compiling:
            self.shelf.sequence = self._sequence

    def say(self, key: Key, pod: str, report: Report) -> None:
        """A sidecar's word."""
        if self.sidecars.say(key, pod, report) and self.writer.leads:
            self._mark_said(key)
        if not self.writer.leads:
            self.passed_on(key, pod, report)

    def lead(self, leads: bool) -> None:
        self.writer.leads = leads
        self._meters.lead(leads)
        log.info("this replica %s", "writes from now on" if leads else "does not write any more")
        if leads:
            self.writer.marks.add(self._documents.namespaces)

    async def load(self) -> None:
        """Read everything; what is missing then is gone. Raises ApiError."""
        for kind in RESOURCES:
            await self._load(kind)
        maps, _ = await self._kube.list("ConfigMap", _OURS, metadata_only=True)
        self.writer.stored_are(maps)

    async def recall(self) -> None:
        """What was accepted before this process was there; after the first load. Raises ApiError."""
        maps, _ = await self._kube.list("ConfigMap", f"{_OURS},{config_maps.CONTENT}=accepted")
        known: dict[Identity, Object] = {}
        for one in maps:
            try:
                found = config_maps.accepted_in(one)
            except ValueError as error:
                log.warning(
                    "ConfigMap %s: %s", "/".join((one["metadata"]["namespace"], one["metadata"]["name"])), error
                )
                continue
            for obj in found:
                live = self._documents.get(identity(obj))
                # Another one of that name is another document.
                if live is not None and live["metadata"].get("uid") == obj["metadata"].get("uid"):
                    known[identity(obj)] = obj
        self._rendered = Rendered({}, known)

    def trust(self, authority: str) -> None:
        """What sidecars are to trust the operator by from now on, PEM."""
        if authority != self.writer.authority:
            self.writer.authority = authority
            self.writer.marks.add(self._documents.namespaces)

    async def _load(self, kind: str) -> None:
        items, version = await self._kube.list(kind)
        self._sequence = max(self._sequence, version)
        there = set()
        missed = 0
        for number, item in enumerate(items):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            obj: Object = lean({**item, "kind": kind})
            key = identity(obj)
            there.add(key)
            known = self._documents.get(key)
            if known is None or resource_version(known) < resource_version(obj):
                missed += known is None or _decides(known) != _decides(obj)
                self._put(obj)
        for known in [one for one in self._documents if one["kind"] == kind]:
            # What was made after the list is not in it.
            if identity(known) not in there and resource_version(known) <= version:
                missed += 1
                self._take_away(identity(known))
        if missed and self.shelf.ready.is_set():
            self._meters.missed(kind, missed)
            log.warning("the watch of %s had missed %d changes", kind, missed)

    def _put(self, obj: Object) -> None:
        key = identity(obj)
        affected = self._documents.affected(key)
        self._documents.put(obj)
        self._mark(key, affected | self._documents.affected(key))

    def _take_away(self, key: Identity) -> None:
        affected = self._documents.affected(key)
        self._documents.remove(key)
        self.writer.forget(key)
        self._mark(key, affected)

    def _mark(self, key: Identity, affected: Iterable[str]) -> None:
        if key[0] == "EffectivePolicy":
            self.writer.marks.add([key[1]])
        else:
            self._to_render.add({*affected, key[1]})

    def _mark_said(self, key: Key) -> None:
        """What changes a condition is written at once. Mere numbers wait, and give way to it."""
        namespace, now = key[0], asyncio.get_running_loop().time()
        revisions = ((k, revision) for k, revision in self.shelf.revisions().items() if k[0] == namespace)
        level = sum((self.sidecars.counts(k, revision, now) for k, revision in revisions), Counts()).level
        if self._levels.get(namespace) != level:
            self._levels[namespace] = level
            self.writer.marks.add([namespace, CLUSTER])
        else:
            self.writer.numbers.add([namespace, CLUSTER])

    def snapshot(self) -> tuple[Documents, Rendered]:
        """What is known now, and what was made of it last."""
        return self._documents.copy(), self._rendered

    # -- what goes out -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """After the first load; until cancelled."""
        self._to_render.add(self._documents.namespaces)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._render())
            tasks.create_task(self.writer.run())
            tasks.create_task(self._relist())
            tasks.create_task(self._forget())

    async def _render(self) -> None:
        while True:
            namespaces = await self._to_render.take()
            documents, sequence, before = self._documents.copy(), self._sequence, self._rendered
            self._compiling = True
            with self._meters.rendering():
                # Milliseconds for one namespace, seconds for thousands of routes: nobody's poll waits for that.
                self._rendered, packed = await asyncio.to_thread(
                    _compile, documents, before, namespaces if before.scopes else None, sequence
                )
            self._compiling, self._compiled = False, documents
            self.shelf.sequence = sequence
            for namespace, bundles in packed.items():
                before_it = {k: r for k, r in self.shelf.revisions().items() if k[0] == namespace}
                if {key: one.revision for key, one in bundles.items()} != before_it:
                    self.shelf.put(namespace, bundles)
                    # What was said of the one before is no measure for it.
                    self._levels.pop(namespace, None)
            self.shelf.ready.set()
            self.writer.marks.add({*namespaces, *packed, CLUSTER})

    def _moment(self, namespace: str, now: float, stored: Stored) -> Moment:
        revisions = self.shelf.revisions()
        scope = self._rendered.scopes.get(namespace)
        statuses = Statuses(
            self._compiled, self._rendered, lambda key, revision: self.sidecars.counts(key, revision, now), revisions
        )
        bundles = scope.bundles(self.shelf.sequence) if scope is not None else ()
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        accepted = self._rendered.accepted
        return Moment(self._compiled, self._documents, statuses, bundles, accepted, self._home, stored, now, time)

    def _learn(self, answer: Object) -> None:
        """What was written is known at once, so that it is not written again before the watch tells of it."""
        answer = lean(answer)
        known = self._documents.get(identity(answer))
        if known is None or resource_version(known) < resource_version(answer):
            if known is None or _decides(known) == _decides(answer):
                self._documents.put(answer)
            else:
                self._put(answer)

    async def _relist(self) -> None:
        wait = FIRST_RELIST
        while True:
            await asyncio.sleep(wait)
            try:
                await self.load()
                wait = RELIST
            except ApiError as error:
                self._meters.failed(error.reason or str(error.status))
                log.warning("not everything could be read anew: %s", error)
                wait = FIRST_RELIST

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET)
            for key in self.sidecars.forget(asyncio.get_running_loop().time()):
                self._mark_said(key)
            self._meters.waiting(self.writer.waiting)
            self._meters.known(sum(1 for _ in self.sidecars.all()), len(self._documents))

    def _unknown(self, namespace: str, profile: str) -> Served:
        """A namespace without documents has a bundle without routes. A profile that is not there has that of the
        namespace: a pod may be older than its profile's end."""
        scope = self._rendered.scopes.get(namespace)
        policy = scope.policy if scope is not None else EffectivePolicy({}, (), "")
        made = bundle(namespace, profile, self._sequence, policy)
        return Served(made.revision, pack(made))


def _compile(
    documents: Documents, before: Rendered, namespaces: set[str] | None, sequence: int
) -> tuple[Rendered, dict[str, dict[Key, Served]]]:
    """What holds now, and the packed bundles of what was compiled."""
    rendered = render(documents, before.accepted, previous=before, only=namespaces)
    packed: dict[str, dict[Key, Served]] = {}
    for namespace in (namespaces or rendered.scopes.keys()) - {CLUSTER}:
        scope = rendered.scopes.get(namespace)
        packed[namespace] = {
            (namespace, made.profile): Served(made.revision, pack(made))
            for made in (scope.bundles(sequence) if scope is not None else ())
        }
    return rendered, packed


def _decides(obj: Object) -> Any:
    """The part of an object that policies are made of."""
    metadata = obj["metadata"]
    return obj.get("spec"), metadata.get("labels"), metadata.get("creationTimestamp"), metadata.get("uid")
