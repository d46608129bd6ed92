"""The operator at work, without kopf: what is known goes in, bundles go out at once, and what is said of them is
written (writer.py) by the one replica that leads.

Level-triggered: a change only marks its namespaces; what is done for them looks at everything that is known by then. A
namespace that cannot be written is tried again, later each time, and holds nobody else up.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from seawall.policy.bundle import bundle, pack
from seawall.policy.documents import Identity
from seawall.policy.effective import EffectivePolicy
from seawall_operator import config_maps
from seawall_operator.bundles import Served, Shelf
from seawall_operator.known import Known, Listeners
from seawall_operator.kube import ApiError, Kube
from seawall_operator.meters import Meters
from seawall_operator.reconcile import Moment, Stored
from seawall_operator.render import CLUSTER, DEFAULT_PROFILE, Documents, Rendered, render
from seawall_operator.resources import RESOURCES, Object, identity, spec_of
from seawall_operator.sidecars import SEEN_SECONDS, Counts, Key, Report, Sidecars
from seawall_operator.standing import Standing, Word, words
from seawall_operator.statuses import Statuses
from seawall_operator.work import Marks
from seawall_operator.writer import Writer

SETTLE = 0.05
"""Seconds that changes are gathered for: `kubectl apply` of a file is one change."""
RELIST = 300.0
"""Everything is read anew this often, whatever the watches say."""
FIRST_RELIST = 10.0
FORGET = 5.0
HEAR = 0.05
"""What sidecars say is gathered for so long before it is looked at: thousands speak at once after an edit."""
_OURS = ",".join(f"{name}={value}" for name, value in config_maps.LABELS.items())

log = logging.getLogger(__name__)


class Control:
    """One replica's."""

    def __init__(self, kube: Kube, meters: Meters, home: str = "default") -> None:
        """`home`: the operator's own namespace."""
        self._kube = kube
        self._home = home
        self._meters = meters
        self._known = Known(Listeners(self._mark, self._restated, lambda key: self.writer.forget(key)))
        self._rendered = Rendered({})
        self._compiling = False
        self._to_render = Marks(SETTLE)
        self._compiled = Documents()
        """What `_rendered` was made of: a status must not speak of what came since."""
        self.sidecars = Sidecars()
        self._heard = Marks(HEAR)
        self._unheard: Mapping[Key, Word] = {}
        self._hearing: asyncio.TimerHandle | None = None
        self._levels: dict[str, tuple[bool, bool, bool]] = {}
        self.shelf = Shelf(self._unknown)
        self.writer = Writer(kube, meters, self._moment, self._learn)
        self.passed_on: Callable[[Key, str, Report], None] = lambda key, pod, report: None
        """Where a replica that does not lead sends what sidecars say."""

    # -- what is known -------------------------------------------------------------------------------------------------

    def observe(self, obj: Object, *, deleted: bool = False) -> None:
        """From a watch."""
        if self._known.observe(obj, deleted=deleted):
            self._meters.observed(obj["kind"])
        if not self._to_render and not self._compiling:
            self.shelf.sequence = self._known.sequence

    def say(self, key: Key, pod: str, report: Report) -> None:
        """A sidecar's word."""
        if self.sidecars.say(key, pod, report):
            self._heard.add([key[0]])
        if not self.writer.leads:
            self.passed_on(key, pod, report)

    def lead(self, leads: bool) -> None:
        self.writer.leads = leads
        self._meters.lead(leads)
        log.info("this replica %s", "writes from now on" if leads else "does not write any more")
        if leads:
            self._levels.clear()
            self._unheard = words(self._known.documents)
            if self._hearing is not None:
                self._hearing.cancel()
            self._hearing = asyncio.get_running_loop().call_later(SEEN_SECONDS, self._all_heard)
            self.writer.mark_all(self._known.documents.namespaces)

    async def load(self) -> None:
        """Read everything; what is missing then is gone. Raises ApiError."""
        since = self._known.sequence
        for kind in RESOURCES:
            items, version = await self._kube.list(kind)
            missed = await self._known.listed(kind, items, version, since)
            if missed and self.shelf.ready.is_set():
                self._meters.missed(kind, missed)
                log.warning("the watch of %s had missed %d changes", kind, missed)
        self._known.all_listed()
        maps, _ = await self._kube.list("ConfigMap", _OURS, metadata_only=True)
        self.writer.stored_are(maps)

    async def recall(self) -> None:
        """What was accepted before this process was there; after the first load. Raises ApiError."""
        self._rendered = Rendered({}, await self._remembered())

    async def _adopt(self) -> None:
        """Where a document is wrong, all replicas go on with the version of it with which the one that leads does: one
        that was cut off for a while has not seen them all. Raises ApiError."""
        remembered = await self._remembered() if self._rendered.wrong else {}
        mine, wrong = self._rendered.accepted, self._rendered.wrong
        others = {
            key: obj for key, obj in remembered.items() if key in wrong and spec_of(obj) != spec_of(mine.get(key, {}))
        }
        if others and not self._compiling:
            self._rendered = replace(self._rendered, accepted={**mine, **others})
            self._to_render.add(set().union(*(self._known.documents.affected(key) for key in others)))

    async def _remembered(self) -> dict[Identity, Object]:
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
                live = self._known.documents.get(identity(obj))
                # Another one of that name is another document.
                if live is not None and live["metadata"].get("uid") == obj["metadata"].get("uid"):
                    known[identity(obj)] = obj
        return known

    def trust(self, authority: str) -> None:
        """What sidecars are to trust the operator by from now on, PEM."""
        if authority != self.writer.authority:
            self.writer.authority = authority
            self.writer.mark_all(self._known.documents.namespaces)

    def snapshot(self) -> tuple[Documents, Rendered]:
        """What is known now, and what was made of it last."""
        return self._known.documents.copy(), self._rendered

    def standing(self) -> Standing:
        """How the sidecars stand at this moment."""
        revisions = {namespace: revision for (namespace, _), revision in self.shelf.revisions().items()}
        return Standing(self.sidecars, revisions, asyncio.get_running_loop().time(), self._unheard)

    def _learn(self, answer: Object) -> None:
        self._known.learn(answer, asyncio.get_running_loop().time())

    def _mark(self, key: Identity, affected: Iterable[str]) -> None:
        if key[0] == "EffectivePolicy":
            self.writer.marks.add([key[1]])
        else:
            self._to_render.add({*affected, key[1]})

    def _restated(self, key: Identity) -> None:
        """Nothing to compile, but somebody may have changed what the operator says there."""
        self.writer.marks.add([key[1]])

    def _all_heard(self) -> None:
        """Whoever has not spoken by now is not there any more."""
        self._unheard = {}
        self._heard.add(self._known.documents.namespaces)

    async def _weigh(self) -> None:
        """What changes a condition is written at once. Mere numbers wait, and give way to it."""
        while True:
            namespaces = await self._heard.take()
            if not self.writer.leads:
                continue
            standing = self.standing()
            for namespace in namespaces:
                level = standing.of_namespace(namespace).level
                marks = self.writer.numbers if self._levels.get(namespace) == level else self.writer.marks
                self._levels[namespace] = level
                marks.add(self._spoken_of(namespace, self._rendered))

    @staticmethod
    def _spoken_of(namespace: str, rendered: Rendered) -> set[str]:
        """Where documents are of which something is said that the sidecars of a namespace decide."""
        scope = rendered.scopes.get(namespace)
        return {namespace, CLUSTER, *(one.namespace for one in (scope.policy.upstreams.values() if scope else ()))}

    # -- what goes out -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """After the first load; until cancelled."""
        self._to_render.add(self._known.documents.namespaces)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._render())
            tasks.create_task(self.writer.run())
            tasks.create_task(self._weigh())
            tasks.create_task(self._relist())
            tasks.create_task(self._forget())

    async def _render(self) -> None:
        while True:
            namespaces = await self._to_render.take()
            documents, sequence, before = self._known.documents.copy(), self._known.sequence, self._rendered
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
                scope = self._rendered.scopes.get(namespace)
                if scope is not None and scope.bug is not None:
                    log.error(
                        "a bug: namespace %r cannot be compiled, nothing changes there", namespace, exc_info=scope.bug
                    )
                if {key: one.revision for key, one in bundles.items()} != before_it:
                    self.shelf.put(namespace, bundles)
                    # What was said of the one before is no measure for it.
                    self._levels.pop(namespace, None)
            self.shelf.ready.set()
            touched = {CLUSTER, *namespaces, *packed}
            for rendered in (before, self._rendered):
                touched.update(*(self._spoken_of(one, rendered) for one in packed))
            self.writer.marks.add(touched)

    def _moment(self, namespace: str, stored: Stored) -> Moment:
        scope, standing = self._rendered.scopes.get(namespace), self.standing()
        statuses = Statuses(self._compiled, self._rendered, standing)
        bundles = scope.bundles(self.shelf.sequence) if scope is not None else ()
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        documents, accepted = self._known.documents, self._rendered.accepted
        return Moment(self._compiled, documents, statuses, bundles, accepted, self._home, stored, standing.now, time)

    async def _relist(self) -> None:
        wait = FIRST_RELIST
        while True:
            await asyncio.sleep(wait)
            try:
                await self.load()
                if not self.writer.leads:
                    await self._adopt()
                wait = RELIST
            except ApiError as error:
                self._meters.failed(error.reason or str(error.status))
                log.warning("not everything could be read anew: %s", error)
                wait = FIRST_RELIST

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET)
            self._heard.add(key[0] for key in self.sidecars.forget(asyncio.get_running_loop().time()))
            self._meters.waiting(self.writer.waiting)
            standing = self.standing()
            seen = sum((standing.of_namespace(one) for one in self.sidecars.profiles()), Counts())
            self._meters.known(seen, len(self._known.documents))
            for kind in RESOURCES:
                self._meters.stale(kind, self._known.stale(kind, standing.now))

    def _unknown(self, namespace: str, profile: str) -> Served:
        """A namespace without documents has a bundle without routes. A profile that is not there has that of pods
        without one: a pod may be older than its profile's end."""
        if profile != DEFAULT_PROFILE:
            return self.shelf.of((namespace, DEFAULT_PROFILE))
        scope = self._rendered.scopes.get(namespace)
        policy = scope.policy if scope is not None else EffectivePolicy({}, (), "")
        made = bundle(namespace, profile, self._known.sequence, policy)
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
