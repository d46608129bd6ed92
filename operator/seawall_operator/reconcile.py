"""What is, and what should be → what to write, in order. Pure: nothing here waits, and what is right already is not
written again.

Steps of a namespace: the ConfigMaps that new pods and new operators start from, then the EffectivePolicies, then the
statuses, each of which may say only what the step before it has done. Of the cluster's own documents there are neither
bundles nor EffectivePolicies.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from seawall.policy.bundle import Bundle
from seawall.policy.documents import API_VERSION, Identity
from seawall_operator import config_maps
from seawall_operator.conditions import Transition, transitions
from seawall_operator.config_maps import Place
from seawall_operator.render import CLUSTER, Documents
from seawall_operator.resources import WRITTEN_BY_USERS, Object, identity, lean_status
from seawall_operator.sidecar_container import CA_CONFIG_MAP
from seawall_operator.statuses import Desired, Statuses, written

COUNT_SECONDS = 5.0
"""Counts of sidecars are written this often at most, for each object."""
COUNTS_A_SECOND = 100
"""And so many of them at most: an API server has more to do. With thousands of objects each has its turn later."""
_COUNTS = ("sidecars", "synced")


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of the fields that the operator owns. `status`: of the subresource."""

    body: Mapping[str, Any]
    status: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Tell:
    """An event about an object."""

    about: Object
    what: Transition


Step = Apply | Delete | Tell


@dataclass(slots=True)
class Plan:
    """`counted`: the objects whose counts are written by it. `again`: seconds until counts that wait may be written."""

    steps: list[Step] = field(default_factory=list)
    counted: list[Identity] = field(default_factory=list)
    again: float | None = None
    too_large: list[Place] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written before: the revision of each ConfigMap, and when an object's counts were written last.
    `authority`: what sidecars are to trust the operator by, PEM; "" where that is not the operator's business."""

    maps: Mapping[Place, str] = field(default_factory=dict)
    counted: Mapping[Identity, float] = field(default_factory=dict)
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """`documents`: what statuses and bundles were made of. `live`: what is there by now, which may be newer; nothing
    may be said of that yet. `now`: seconds that only grow; `time`: the same for people, RFC 3339."""

    documents: Documents
    live: Documents
    statuses: Statuses
    bundles: Sequence[Bundle]
    accepted: Mapping[Identity, Object]
    home: str
    stored: Stored
    now: float
    time: str


def reconcile(namespace: str, moment: Moment) -> Plan:
    plan = Plan()
    _config_maps(namespace, moment, plan)
    if namespace != CLUSTER:
        _effective_policies(namespace, moment, plan)
    for obj in moment.documents.of(namespace, *WRITTEN_BY_USERS):
        if (there := moment.live.get(identity(obj))) is not None:
            _status(obj, there, moment.statuses.of(obj), moment, plan)
    return plan


def _config_maps(namespace: str, moment: Moment, plan: Plan) -> None:
    kept = config_maps.accepted(namespace, moment.home, moment.documents, moment.accepted)
    if namespace == CLUSTER:
        wanted = list(kept)
        ours = {(moment.home, config_maps.ACCEPTED_CLUSTER)}
    else:
        trust = config_maps.trust(namespace, moment.stored.authority)
        wanted = [*trust, *config_maps.bundles(namespace, moment.bundles), *kept]
        # What pods trust is never taken from them.
        ours = {place for place in moment.stored.maps if place[0] == namespace}
        ours -= {(namespace, CA_CONFIG_MAP), (namespace, config_maps.ACCEPTED_CLUSTER)}
    for place in sorted((ours & moment.stored.maps.keys()) - {one.place for one in wanted}):
        plan.steps.append(Delete("ConfigMap", *place))
    for one in wanted:
        if moment.stored.maps.get(one.place) == one.revision:
            continue
        body = one.body()
        if config_maps.size(body) > config_maps.MAX_BYTES:
            plan.too_large.append(one.place)
        else:
            plan.steps.append(Apply(body))


def _effective_policies(namespace: str, moment: Moment, plan: Plan) -> None:
    """One for each route. It goes with its route, by Kubernetes' garbage collection."""
    for route in moment.documents.of(namespace, "AgentRoute"):
        name = route["metadata"]["name"]
        if moment.live.get(identity(route)) is None:
            continue
        there = moment.live.get(("EffectivePolicy", namespace, name))
        if there is None:
            owner = {
                "apiVersion": API_VERSION, "kind": "AgentRoute", "name": name, "uid": route["metadata"].get("uid", ""),
            }  # fmt: skip
            metadata = {"name": name, "namespace": namespace, "labels": config_maps.LABELS, "ownerReferences": [owner]}
            plan.steps.append(
                Apply({"apiVersion": API_VERSION, "kind": "EffectivePolicy", "metadata": metadata, "spec": {}})
            )
        about: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": "EffectivePolicy",
            "metadata": {"name": name, "namespace": namespace},
        }
        # Its generation never changes: what it observes is the route's.
        generation = {"generation": route["metadata"].get("generation", 0)}
        shown = {**(there or about), "metadata": {**about["metadata"], **generation}}
        _status(
            shown, there or about, moment.statuses.effective(route), moment, plan,
            whole=partial(_with_fields, moment.statuses, route), tell=False,
        )  # fmt: skip


def _with_fields(statuses: Statuses, route: Object, status: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**status, "fields": statuses.fields(route)}


def _as_compared(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return status


def _status(
    obj: Object,
    there: Object,
    desired: Desired,
    moment: Moment,
    plan: Plan,
    *,
    whole: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_compared,
    tell: bool = True,
) -> None:
    """`whole` makes what is written of what is compared."""
    key = identity(obj)
    before = there.get("status") or {}
    status = written(obj, desired, before, moment.time)
    if lean_status(status) == lean_status(before):
        return
    if _without_counts(status) == _without_counts(before):
        wait = moment.stored.counted.get(key, float("-inf")) + count_seconds(len(moment.live)) - moment.now
        if wait > 0:
            plan.again = wait if plan.again is None else min(wait, plan.again)
            return
    plan.counted.append(key)
    head = {"apiVersion": API_VERSION, "kind": key[0], "metadata": _head(key)}
    plan.steps.append(Apply({**head, "status": whole(status)}, status=True))
    if tell:
        plan.steps += _events(obj, before, desired)


def _events(obj: Object, before: Mapping[str, Any], desired: Desired) -> Iterator[Tell]:
    for what in transitions(before.get("conditions") or (), desired.conditions):
        yield Tell(obj, what)


def count_seconds(objects: int) -> float:
    """Between two writes of an object's counts."""
    return max(COUNT_SECONDS, objects / COUNTS_A_SECOND)


def _head(key: Identity) -> dict[str, str]:
    return {"name": key[2], **({"namespace": key[1]} if key[1] else {})}


def _without_counts(status: Mapping[str, Any]) -> dict[str, Any]:
    """What must be written at once. How many sidecars are still missing may wait; that some are may not."""
    found = {name: value for name, value in lean_status(status).items() if name not in _COUNTS}
    found["conditions"] = [
        {name: value for name, value in one.items() if name != "message" or one.get("reason") != "Pending"}
        for one in status.get("conditions") or ()
    ]
    return found
