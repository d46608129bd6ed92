"""The operator at work, without kopf: what is known goes in, bundles go out at once, and what is said of them is
written (writer.py) by the one replica that leads.

Level-triggered: a change only marks its namespaces; what is done for them looks at everything that is known by then. A
namespace that cannot be written is tried again, later each time, and holds nobody else up.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from seawall.policy.bundle import bundle, pack
from seawall.policy.documents import Identity
from seawall.policy.effective import EffectivePolicy
from seawall_operator import config_maps
from seawall_operator.known import Known
from seawall_operator.kube import ApiError, Kube
from seawall_operator.meters import Meters
from seawall_operator.reconcile import Moment, Stored
from seawall_operator.render import CLUSTER, Documents, Rendered, render
from seawall_operator.resources import RESOURCES, WRITTEN_BY_USERS, Object, identity
from seawall_operator.shelf import Served, Shelf
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
AGAIN = 1.0
EVERY_KIND = tuple(RESOURCES)
_OURS = ",".join(f"{name}={value}" for name, value in config_maps.LABELS.items())

log = logging.getLogger(__name__)


class Control:
    """One replica's."""

    def __init__(self, kube: Kube, meters: Meters, home: str = "default") -> None:
        """`home`: the operator's own namespace."""
        self._kube = kube
        self._home = home
        self._meters = meters
        self._rendered = Rendered({})
        self._compiling = False
        self._compiled = Documents()
        """What `_rendered` was made of: a status must not speak of what came since."""
        self.sidecars = Sidecars()
        self._levels: dict[str, tuple[bool, bool, bool]] = {}
        self.shelf = Shelf(self._unknown)
        self._to_render = Marks(SETTLE)
        self.known = Known(kube, meters, self._to_render.add, self._touched, self._forgotten)
        self.writer = Writer(kube, meters, self._moment, self.known.learn, self.known.lose)
        self._leads = False
        self._elected = asyncio.Event()
        self.passed_on: Callable[[Key, str, Report], None] = lambda key, pod, report: None
        """Where a replica that does not lead sends what sidecars say."""

    # -- what is known -------------------------------------------------------------------------------------------------

    def observe(self, obj: Object, *, deleted: bool = False) -> None:
        """From a watch."""
        self.known.observe(obj, deleted=deleted)
        if not self._to_render and not self._compiling:
            self.shelf.sequence = self.known.sequence

    def say(self, key: Key, pod: str, report: Report) -> None:
        """A sidecar's word."""
        if self.sidecars.say(key, pod, report) and self._leads:
            self._mark_said(key)
        if not self._leads:
            self.passed_on(key, pod, report)

    def lead(self, leads: bool) -> None:
        """Writing begins once it is known what there is to write over."""
        self._leads = leads
        self.writer.leads = False
        self._meters.lead(leads)
        log.info("this replica %s", "leads from now on" if leads else "does not lead any more")
        if leads:
            self._elected.set()

    async def load(self) -> None:
        """Read everything; what is missing then is gone. Raises ApiError."""
        for kind, missed in (await self.known.load(EVERY_KIND if self.writer.leads else WRITTEN_BY_USERS)).items():
            if missed and self.shelf.ready.is_set():
                self._meters.missed(kind, missed)
                log.warning("the watch of %s had missed %d changes", kind, missed)
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
                live = self.known.documents.get(identity(obj))
                # Another one of that name is another document.
                if live is not None and live["metadata"].get("uid") == obj["metadata"].get("uid"):
                    known[identity(obj)] = obj
        self._rendered = Rendered({}, known)

    def trust(self, authority: str) -> None:
        """What sidecars are to trust the operator by from now on, PEM."""
        if authority != self.writer.authority:
            self.writer.authority = authority
            self.writer.marks.add(self.known.documents.namespaces)

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
        return self.known.documents.copy(), self._rendered

    # -- what goes out -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """After the first load; until cancelled."""
        self._to_render.add(self.known.documents.namespaces)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._render())
            tasks.create_task(self.writer.run())
            tasks.create_task(self._begin())
            tasks.create_task(self._relist())
            tasks.create_task(self._forget())

    async def _render(self) -> None:
        while True:
            namespaces = await self._to_render.take()
            documents, sequence, before = self.known.documents.copy(), self.known.sequence, self._rendered
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
                    # Answers to a hundred sidecars, and others have their turn.
                    await asyncio.sleep(0)
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
        return Moment(self._compiled, self.known.documents, statuses, bundles, accepted, self._home, stored, now, time)

    def _touched(self, namespaces: Iterable[str]) -> None:
        self.writer.marks.add(namespaces)

    def _forgotten(self, key: Identity) -> None:
        self.writer.forget(key)

    async def _begin(self) -> None:
        """To write."""
        while True:
            await self._elected.wait()
            try:
                await self.known.load(["EffectivePolicy"])
            except ApiError as error:
                self._meters.failed(error.reason or str(error.status))
                log.warning("what was written before cannot be read yet: %s", error)
                await asyncio.sleep(AGAIN)
                continue
            self._elected.clear()
            # It may have been another one's turn again meanwhile.
            self.writer.leads = self._leads
            self.writer.marks.add(self.known.documents.namespaces)

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
            self._meters.known(sum(1 for _ in self.sidecars.all()), len(self.known.documents))

    def _unknown(self, namespace: str, profile: str) -> Served:
        """A namespace without documents has a bundle without routes. A profile that is not there has that of the
        namespace: a pod may be older than its profile's end."""
        scope = self._rendered.scopes.get(namespace)
        policy = scope.policy if scope is not None else EffectivePolicy({}, (), "")
        made = bundle(namespace, profile, self.known.sequence, policy)
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
