"""The operator's pure parts over objects in memory: edits in, plans out and carried out as an API server would."""

import base64
import copy
from typing import Any

from kube_objects import Object

from seawall.policy.bundle import Bundle, unpack
from seawall_operator.config_maps import REVISION, Place
from seawall_operator.reconcile import Apply, Delete, Moment, Plan, Stored, Tell, reconcile
from seawall_operator.render import Documents, Rendered, render
from seawall_operator.resources import identity
from seawall_operator.sidecar_container import BUNDLE_FILE
from seawall_operator.sidecars import Key, Report, Sidecars
from seawall_operator.standing import Standing, Word
from seawall_operator.statuses import Statuses


class Simulated:
    """Steps through time by hand."""

    def __init__(self, *objects: Object) -> None:
        self.documents = Documents()
        self.config_maps: dict[Place, Object] = {}
        self.sidecars = Sidecars()
        self.counted: dict[Any, float] = {}
        self.unheard: dict[Key, Word] = {}
        self.authority = ""
        self.compiled = Documents()
        self.now = 1000.0
        self.told: list[Tell] = []
        self.rendered = Rendered({})
        for obj in objects:
            self.put(obj)

    def put(self, obj: Object) -> None:
        """As by an edit: what it holds else stays, and its generation grows."""
        old = self.documents.get(identity(obj))
        new = copy.deepcopy(obj)
        if old is not None:
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + (old["spec"] != new["spec"])
            if "status" in old:
                new["status"] = old["status"]
        self.documents.put(new)

    def remove(self, obj: Object) -> None:
        self.documents.remove(identity(obj))

    @property
    def bundles(self) -> list[Bundle]:
        return [b for scope in self.rendered.scopes.values() for b in scope.bundles(1)]

    def revision(self, namespace: str = "team", profile: str = "default") -> str:
        return next(b.revision for b in self.bundles if (b.namespace, b.profile) == (namespace, profile))

    def report(self, pod: str, running: str, refused: str = "", error: str = "", profile: str = "default") -> None:
        self.sidecars.say(("team", profile), pod, Report(running, refused, error, self.now))

    def plan(self, namespace: str) -> Plan:
        revisions = {b.namespace: b.revision for b in self.bundles}
        standing = Standing(self.sidecars, revisions, self.now, self.unheard)
        statuses = Statuses(self.compiled, self.rendered, standing)
        revisions_of_maps = {key: one["metadata"]["annotations"][REVISION] for key, one in self.config_maps.items()}
        stored = Stored(revisions_of_maps, self.counted, self.authority)
        time = f"2026-01-01T00:{int(self.now) // 60 % 60:02}:{int(self.now) % 60:02}Z"
        known = self.rendered.accepted
        return reconcile(
            namespace,
            Moment(self.compiled, self.documents, statuses, self.bundles, known, "seawall", stored, self.now, time),
        )

    def compile(self) -> None:
        self.compiled = self.documents.copy()
        self.rendered = render(self.compiled, self.rendered.accepted)

    def step(self) -> list[Any]:
        """Carry out what is to be done now, in all namespaces."""
        done: list[Any] = []
        self.compile()
        for namespace in self.documents.namespaces:
            plan = self.plan(namespace)
            for step in plan.steps:
                self._carry_out(step)
            self.counted.update(dict.fromkeys(plan.counted, self.now))
            done += plan.steps
        return done

    def _carry_out(self, step: Apply | Delete | Tell) -> None:
        if isinstance(step, Tell):
            self.told.append(step)
        elif isinstance(step, Delete):
            self.config_maps.pop((step.namespace, step.name))
        elif step.body["kind"] == "ConfigMap":
            metadata = step.body["metadata"]
            if metadata["name"].startswith("seawall-bundle-"):
                unpack(base64.b64decode(step.body["binaryData"][BUNDLE_FILE]))
            self.config_maps[metadata["namespace"], metadata["name"]] = dict(step.body)
        else:
            old = self.documents.get(identity(step.body))
            assert old is not None or not step.status, "the status of an object that is not there"
            self.documents.put({**(old or step.body), **({"status": step.body["status"]} if step.status else {})})

    def conditions(self, kind: str, name: str, namespace: str = "team") -> dict[str, tuple[str, str]]:
        """Type → (status, reason)."""
        obj = self.documents.get((kind, namespace, name))
        assert obj is not None
        return {one["type"]: (one["status"], one["reason"]) for one in obj["status"]["conditions"]}

    def message(self, kind: str, name: str, condition: str, namespace: str = "team") -> str:
        obj = self.documents.get((kind, namespace, name))
        assert obj is not None
        return next(str(one["message"]) for one in obj["status"]["conditions"] if one["type"] == condition)
