"""The kinds that only the control plane acts on, and the table of all kinds.

The proxy accepts SidecarProfile and EffectivePolicy, so that one file serves laptop and cluster, but must never act on
them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from seawall.policy.attachments import ClusterResiliencePolicy, ResiliencePolicy
from seawall.policy.blocks import Block, Label, Name, Text
from seawall.policy.documents import (
    AgentRoute,
    ClusterUpstream,
    Document,
    Upstream,
)
from seawall.policy.units import Count

Quantity = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?$")]


class PodSelector(Block):
    match_labels: dict[str, str]


class ComputeAmounts(Block):
    cpu: Quantity | None = None
    memory: Quantity | None = None


class ComputeResources(Block):
    requests: ComputeAmounts | None = None
    limits: ComputeAmounts | None = None


class BaseURLVariable(Block):
    """A variable that is set, where absent, to the sidecar's address and this path."""

    name: Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    path: Annotated[str, Field(max_length=1024, pattern=r"^/[!-~]*$")]


class SidecarProfileSpec(Block):
    selector: PodSelector
    image: Text | None = None
    resources: ComputeResources | None = None
    base_url_variables: Annotated[tuple[BaseURLVariable, ...] | None, Field(alias="baseURLVariables")] = None
    containers: tuple[Label, ...] | None = None
    """Whose variables are set; absent: all of the pod's."""


class SidecarProfile(Document):
    """Which pods get a sidecar, its resources, and which base-URL variables are set."""

    KIND = "SidecarProfile"
    kind: Literal["SidecarProfile"] = "SidecarProfile"
    spec: SidecarProfileSpec


class SidecarCounts(Block):
    total: Count
    current: Count
    stale: Count
    rejected: Count


class EffectiveField(Block):
    path: Text
    value: Any
    source: Text


class EffectiveStatus(Block):
    observed_generation: Count | None = None
    conditions: tuple[dict[str, Any], ...] | None = None
    revision: Text | None = None
    sidecars: SidecarCounts | None = None
    fields_: Annotated[tuple[EffectiveField, ...] | None, Field(alias="fields")] = None


class EffectiveSpec(Block):
    route: Name | None = None
    """The AgentRoute it is about; absent: the one of the same name."""


class EffectivePolicyReport(Document):
    """What holds for a route after merging, with who set each field."""

    # Not effective.EffectivePolicy, which is what the proxy compiles.
    KIND = "EffectivePolicy"
    kind: Literal["EffectivePolicy"] = "EffectivePolicy"
    spec: EffectiveSpec | None = None
    status: EffectiveStatus | None = None


KINDS: dict[str, type[Document]] = {
    model.KIND: model
    for model in (
        Upstream,
        ClusterUpstream,
        AgentRoute,
        ResiliencePolicy,
        ClusterResiliencePolicy,
        SidecarProfile,
        EffectivePolicyReport,
    )
}
CONTROL_PLANE_KINDS = ("SidecarProfile", "EffectivePolicy")
