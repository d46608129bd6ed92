"""Writes what reconcile.py plans, in the replica that leads. A namespace that cannot be written is tried again, later
each time, and holds nobody else up.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from seawall.policy.documents import Identity
from seawall_operator.config_maps import ACCEPTED_CLUSTER, Place, revision_of
from seawall_operator.kube import ApiError, Kube
from seawall_operator.meters import Meters
from seawall_operator.reconcile import COUNT_SECONDS, Apply, Delete, Moment, Plan, Step, Stored, Tell, reconcile
from seawall_operator.render import CLUSTER
from seawall_operator.resources import Object
from seawall_operator.tell import event_of
from seawall_operator.work import Marks

GATHER = 0.1
"""What sidecars say is gathered for so long before it is written."""
AFTER_RENEWAL = 1.0
PLACES, PLACES_FOR_NUMBERS = 8, 2
"""Namespaces that are written at a time."""

log = logging.getLogger(__name__)


class Writer:
    """`leads`, `may_write` and `authority` are set from outside: who was told that it leads must also hold the lease by
    now. `marks` are the namespaces to look at, `numbers` those where only
    counts of sidecars have changed: thousands of these must not keep anybody waiting who waits for a condition."""

    def __init__(
        self,
        kube: Kube,
        meters: Meters,
        moment: Callable[[str, Stored], Moment],
        learn: Callable[[Object], None],
    ) -> None:
        """`moment`: what is known of a namespace now. `learn` is told what the API server made of what was written."""
        self._kube = kube
        self._meters = meters
        self._moment = moment
        self._learn = learn
        self._maps: dict[Place, str] = {}
        self._counted: dict[Identity, float] = {}
        self._writing: dict[str, list[Marks]] = {}
        self._waiting: set[str] = set()
        self._places, self._few_places = asyncio.Semaphore(PLACES), asyncio.Semaphore(PLACES_FOR_NUMBERS)
        self.marks, self.numbers = Marks(GATHER), Marks(COUNT_SECONDS)
        self.leads = False
        self.may_write: Callable[[], bool] = lambda: True
        self.authority = ""

    def stored_are(self, config_maps: Iterable[Object]) -> None:
        """All of the operator's ConfigMaps, as they are in the cluster. What somebody else has changed or deleted is to
        be written again."""
        before, self._maps = self._maps, {}
        for one in config_maps:
            self._stored(one)
        changed = {place for place, _ in before.items() ^ self._maps.items()}
        self.marks.add(CLUSTER if place[1] == ACCEPTED_CLUSTER else place[0] for place in changed)

    def mark_all(self, namespaces: Iterable[str]) -> None:
        """These, and those where nothing is left but what was written there."""
        self.marks.add({*namespaces, *(namespace for namespace, _ in self._maps)})

    def forget(self, key: Identity) -> None:
        self._counted.pop(key, None)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take(self.marks, self._places))
            tasks.create_task(self._take(self.numbers, self._few_places))

    @property
    def waiting(self) -> int:
        """Namespaces that are to be written, or are being written."""
        return len(self._waiting | self._writing.keys())

    async def _take(self, marks: Marks, places: asyncio.Semaphore) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                for namespace in sorted(await marks.take()):
                    self._waiting.add(namespace)
                    tasks.create_task(self._in_turn(namespace, marks, places))

    async def _in_turn(self, namespace: str, marks: Marks, places: asyncio.Semaphore) -> None:
        # The cluster's own documents wait for nobody: what is said of them waits for all the sidecars as it is.
        async with places if namespace != CLUSTER else contextlib.nullcontext():
            self._waiting.discard(namespace)
            if namespace in self._writing:
                self._writing[namespace].append(marks)  # and once more
                return
            self._writing[namespace] = []
            if self.leads:
                await self._write(namespace)
        for again in self._writing.pop(namespace):
            again.add([namespace])

    async def _write(self, namespace: str) -> None:
        began = asyncio.get_running_loop().time()
        plan = self._plan(namespace)
        for place in plan.too_large:
            self._meters.too_large()
            log.error("too much for the ConfigMap %s/%s, it is left as it was: starts have to do without", *place)
        good = True
        for step in plan.steps:
            if not self._may_go_on(namespace):
                return
            try:
                await self._carry_out(step)
            except ApiError as error:
                good = False
                self._meters.failed(error.reason or str(error.status))
                log.warning("namespace %r: %s could not be written: %s", namespace, _label(step), error)
                # One object that is not taken, as by a quota, keeps nothing from the others.
                if not error.refused:
                    break
        now = asyncio.get_running_loop().time()
        self._meters.reconciled(now - began, good=good)
        self._counted.update(dict.fromkeys(plan.counted, now))
        if plan.again is not None:
            self.numbers.later(namespace, plan.again)
        (self.marks.good if good else self.marks.again)(namespace)

    def _may_go_on(self, namespace: str) -> bool:
        if not self.leads:
            return False
        if not self.may_write():
            # Until it has renewed the lease, or was told that it does not lead any more.
            self.marks.later(namespace, AFTER_RENEWAL)
            return False
        return True

    def _plan(self, namespace: str) -> Plan:
        return reconcile(namespace, self._moment(namespace, Stored(self._maps, self._counted, self.authority)))

    async def _carry_out(self, step: Step) -> None:
        try:
            match step:
                case Tell():
                    await self._kube.create(event_of(step, datetime.now(UTC)))
                case Delete():
                    self._maps.pop((step.namespace, step.name), None)
                    await self._kube.delete(step.kind, step.namespace, step.name)
                case Apply():
                    answer = await self._kube.apply(step.body, status=step.status)
                    self._meters.wrote(step.body["kind"])
                    (self._stored if answer.get("kind") == "ConfigMap" else self._learn)(answer)
        except ApiError as error:
            # Gone meanwhile, or going: its deletion comes by the watch.
            if not error.gone and not (error.status == 403 and "being terminated" in str(error)):
                raise

    def _stored(self, config_map: Object) -> None:
        metadata = config_map["metadata"]
        self._maps[metadata["namespace"], metadata["name"]] = revision_of(config_map)


def _label(step: Step) -> str:
    match step:
        case Tell():
            return f"an event about {step.about['kind']} {step.about['metadata']['name']}"
        case Delete():
            return f"{step.kind} {step.name}"
        case Apply():
            return f"{'the status of ' if step.status else ''}{step.body['kind']} {step.body['metadata']['name']}"
