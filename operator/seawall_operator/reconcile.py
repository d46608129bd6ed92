"""What is, and what should be → what to write, in order. Pure: nothing here waits, and what is right already is not
written again.

Steps of a namespace: the bundles that new pods start from, then the EffectivePolicies, then the statuses, each of which
may say only what the step before it has done. The cluster's own documents only have statuses.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seawall.policy.bundle import Bundle, pack
from seawall.policy.documents import API_VERSION, Identity
from seawall_operator.conditions import Transition, transitions
from seawall_operator.render import CLUSTER, Documents
from seawall_operator.resources import WRITTEN_BY_USERS, Object, identity
from seawall_operator.sidecar_container import BUNDLE_FILE, CA_CONFIG_MAP, CA_FILE, bundle_name
from seawall_operator.sidecars import Key
from seawall_operator.statuses import Desired, Statuses, written

COUNT_SECONDS = 5.0
"""Counts of sidecars are written this often at most, for each object."""
MAX_CONFIG_MAP = 1_000_000
"""Bytes of a packed bundle; a ConfigMap holds 1 MiB."""
REVISION, SEQUENCE = "seawall.dev/revision", "seawall.dev/sequence"
LABELS = {"app.kubernetes.io/managed-by": "seawall-operator", "app.kubernetes.io/part-of": "seawall"}
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
    too_large: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written before: the revisions in ConfigMaps, when an object's counts were written last, and for each
    namespace the fingerprint of what its sidecars trust the operator by. `authority`: what they are to trust, PEM; ""
    where that is not the operator's business."""

    bundles: Mapping[Key, str] = field(default_factory=dict)
    counted: Mapping[Identity, float] = field(default_factory=dict)
    authority: str = ""
    trusted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moment:
    """`documents`: what statuses and bundles were made of. `live`: what is there by now, which may be newer; nothing
    may be said of that yet. `now`: seconds that only grow; `time`: the same for people, RFC 3339."""

    documents: Documents
    live: Documents
    statuses: Statuses
    bundles: Sequence[Bundle]
    stored: Stored
    now: float
    time: str


def reconcile(namespace: str, moment: Moment) -> Plan:
    plan = Plan()
    if namespace != CLUSTER:
        _trust(namespace, moment, plan)
        _store_bundles(namespace, moment, plan)
        _effective_policies(namespace, moment, plan)
    for obj in moment.documents.of(namespace, *WRITTEN_BY_USERS):
        if (there := moment.live.get(identity(obj))) is not None:
            _status(obj, there, moment.statuses.of(obj), moment, plan)
    return plan


def _trust(namespace: str, moment: Moment, plan: Plan) -> None:
    """What sidecars trust the operator by, where there is something for them to ask."""
    authority = moment.stored.authority
    if not authority or moment.stored.trusted.get(namespace) == fingerprint(authority):
        return
    metadata = {
        "name": CA_CONFIG_MAP,
        "namespace": namespace,
        "labels": LABELS,
        "annotations": {REVISION: fingerprint(authority)},
    }
    data = {CA_FILE: authority}
    plan.steps.append(Apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))


def fingerprint(authority: str) -> str:
    """Of a certificate authority's text; "" of none."""
    return f"sha256:{hashlib.sha256(authority.encode()).hexdigest()[:12]}" if authority else ""


def _store_bundles(namespace: str, moment: Moment, plan: Plan) -> None:
    wanted = {(b.namespace, b.profile): b for b in moment.bundles if b.namespace == namespace and b.policy.routes}
    for key in moment.stored.bundles:
        if key[0] == namespace and key not in wanted:
            plan.steps.append(Delete("ConfigMap", namespace, bundle_name(key[1])))
    for key, made in wanted.items():
        if moment.stored.bundles.get(key) == made.revision:
            continue
        packed = pack(made)
        if len(packed) > MAX_CONFIG_MAP:
            plan.too_large.append(key)
            continue
        metadata = {
            "name": bundle_name(made.profile),
            "namespace": namespace,
            "labels": LABELS,
            "annotations": {REVISION: made.revision, SEQUENCE: str(made.sequence)},
        }
        data = {BUNDLE_FILE: base64.b64encode(packed).decode()}
        plan.steps.append(Apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}))


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
            metadata = {"name": name, "namespace": namespace, "labels": LABELS, "ownerReferences": [owner]}
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
        _status(shown, there or about, moment.statuses.effective(route), moment, plan, tell=False)


def _status(obj: Object, there: Object, desired: Desired, moment: Moment, plan: Plan, *, tell: bool = True) -> None:
    key = identity(obj)
    before = there.get("status") or {}
    status = written(obj, desired, before, moment.time)
    if status == before:
        return
    if _without_counts(status) == _without_counts(before):
        wait = moment.stored.counted.get(key, float("-inf")) + COUNT_SECONDS - moment.now
        if wait > 0:
            plan.again = wait if plan.again is None else min(wait, plan.again)
            return
    plan.counted.append(key)
    head = {"apiVersion": API_VERSION, "kind": key[0], "metadata": _head(key)}
    plan.steps.append(Apply({**head, "status": status}, status=True))
    if tell:
        plan.steps += _events(obj, before, desired)


def _events(obj: Object, before: Mapping[str, Any], desired: Desired) -> Iterator[Tell]:
    for what in transitions(before.get("conditions") or (), desired.conditions):
        yield Tell(obj, what)


def _head(key: Identity) -> dict[str, str]:
    return {"name": key[2], **({"namespace": key[1]} if key[1] else {})}


def _without_counts(status: Mapping[str, Any]) -> dict[str, Any]:
    """What must be written at once. How many sidecars are still missing may wait; that some are may not."""
    found = {name: value for name, value in status.items() if name not in _COUNTS}
    found["conditions"] = [
        {name: value for name, value in one.items() if name != "message" or one.get("reason") != "Pending"}
        for one in status.get("conditions") or ()
    ]
    return found
