"""The policy documents: defaults and overrides that attach to routes and upstreams (GEP-713).

A model says what a document may look like; whether its targets exist is the business of checks.py.
"""

from typing import Literal, Self

from pydantic import model_validator

from seawall.policy.blocks import Block, Label, Name, PolicyFields
from seawall.policy.documents import Document, contradiction

TargetKind = Literal["AgentRoute", "Upstream", "ClusterUpstream"]


class TargetRef(Block):
    group: Literal["seawall.dev"] | None = None
    kind: TargetKind
    name: Name
    section_name: Label | None = None

    @model_validator(mode="after")
    def _section_of_route(self) -> Self:
        if self.section_name is not None and self.kind != "AgentRoute":
            raise contradiction("sectionName names a rule of an AgentRoute", f"remove it for kind {self.kind}")
        return self


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
    def level(self) -> Literal["defaults", "overrides"]:
        return "overrides" if self.overrides is not None else "defaults"

    @model_validator(mode="after")
    def _one_level(self) -> Self:
        if (self.defaults is None) == (self.overrides is None):
            raise contradiction("needs exactly one of defaults and overrides", "split it into two policies")
        return self


class ResiliencePolicySpec(_PolicySpec):
    target_refs: tuple[TargetRef, ...] | None = None

    @model_validator(mode="after")
    def _one_way_to_target(self) -> Self:
        if (self.target_refs is None) == (self.target_selectors is None):
            raise contradiction("needs exactly one of targetRefs and targetSelectors")
        return self


class ClusterResiliencePolicySpec(_PolicySpec):
    target_refs: tuple[ClusterTargetRef, ...] | None = None

    @model_validator(mode="after")
    def _one_way_to_target(self) -> Self:
        if (self.target_refs is None) == (self.target_selectors is None):
            raise contradiction("needs exactly one of targetRefs and targetSelectors")
        return self


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
