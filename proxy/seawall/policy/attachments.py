"""The policy documents: defaults and overrides that attach to routes and upstreams (GEP-713).

A model judges each field by itself; what fields say together, and whether targets exist, is the business of checks.py.
"""

from collections.abc import Mapping
from typing import Literal

from seawall.policy.blocks import Block, Label, Name, PolicyFields
from seawall.policy.documents import Document

Level = Literal["defaults", "overrides"]
LEVELS: tuple[Level, ...] = ("defaults", "overrides")
TargetKind = Literal["AgentRoute", "Upstream", "ClusterUpstream"]


class TargetRef(Block):
    group: Literal["seawall.dev"] | None = None
    kind: TargetKind
    name: Name
    section_name: Label | None = None


class ClusterTargetRef(TargetRef):
    namespace: Label | None = None
    """Absent: the objects of that name in every namespace."""


class TargetSelector(Block):
    group: Literal["seawall.dev"] | None = None
    kind: TargetKind
    match_labels: dict[str, str]


class _PolicySpec(Block):
    target_selectors: tuple[TargetSelector, ...] | None = None
    defaults: PolicyFields | None = None
    overrides: PolicyFields | None = None
    enforcement: Literal["Enforce", "Shadow"] | None = None

    @property
    def levels(self) -> Mapping[Level, PolicyFields]:
        """The fields by level. An accepted policy has exactly one."""
        both: dict[Level, PolicyFields | None] = {"defaults": self.defaults, "overrides": self.overrides}
        return {level: fields for level, fields in both.items() if fields is not None}


class ResiliencePolicySpec(_PolicySpec):
    target_refs: tuple[TargetRef, ...] | None = None


class ClusterResiliencePolicySpec(_PolicySpec):
    target_refs: tuple[ClusterTargetRef, ...] | None = None


class ResiliencePolicy(Document):
    """Defaults or overrides for routes and upstreams of its own namespace."""

    KIND = "ResiliencePolicy"
    kind: Literal["ResiliencePolicy"] = "ResiliencePolicy"
    spec: ResiliencePolicySpec


class ClusterResiliencePolicy(Document):
    """Defaults or overrides for routes and upstreams of every namespace, and for cluster-scoped upstreams."""

    KIND = "ClusterResiliencePolicy"
    CLUSTER_SCOPED = True
    kind: Literal["ClusterResiliencePolicy"] = "ClusterResiliencePolicy"
    spec: ClusterResiliencePolicySpec
