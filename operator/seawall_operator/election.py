"""Who of the replicas writes: the holder of a Lease (coordination.k8s.io), as client-go's leader election has it.

Clocks of machines may differ: a lease is over when its renewals were not seen to change for its whole duration, by the
looker's own clock. A holder that could not renew in time stops writing before anyone else may start.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from seawall_operator.kube import ApiError, Kube

DURATION = 15.0
RENEW_DEADLINE = 10.0
RETRY = 2.0
ADDRESS = "seawall.dev/address"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease's holder and last renewal, and when that was seen first, in seconds that only grow."""

    holder: str
    renewed: str
    at: float

    def over(self, now: float) -> bool:
        return not self.holder or now - self.at > DURATION


def look(lease: Mapping[str, Any], before: Seen | None, now: float) -> Seen:
    spec = lease.get("spec") or {}
    holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
    if before is not None and (before.holder, before.renewed) == (holder, renewed):
        return before
    return Seen(holder, renewed, now)


def renewed(lease: Mapping[str, Any], identity: str, address: str, time: datetime) -> dict[str, Any]:
    """The lease, held by this identity from now on."""
    spec = dict(lease.get("spec") or {})
    stamp = time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if spec.get("holderIdentity") != identity:
        spec["acquireTime"] = stamp
        spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if spec.get("holderIdentity") else 0)
    spec |= {"holderIdentity": identity, "renewTime": stamp, "leaseDurationSeconds": int(DURATION)}
    metadata = lease["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ADDRESS: address}
    return {**lease, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


class Election:
    """One replica's part in it."""

    def __init__(
        self, kube: Kube, namespace: str, name: str, identity: str, moved: Callable[[bool], None], address: str = ""
    ) -> None:
        """`moved` is told when this replica starts (True) or stops to be the one. `address`: where others reach it."""
        self._kube = kube
        self._namespace, self._name, self._identity = namespace, name, identity
        self._address = address
        self._moved = moved
        self._seen: Seen | None = None
        self._renewed_at = float("-inf")
        self._held = False
        self.leader = ""
        """Where whoever holds it is reached, as seen last; "" for this replica itself."""

    @property
    def leads(self) -> bool:
        """By the clock: a process that was stopped for a while must not write on when it wakes."""
        return self._held and asyncio.get_running_loop().time() - self._renewed_at < RENEW_DEADLINE

    async def run(self) -> None:
        """Until cancelled; then the lease is let go, so that the next one need not wait for its end."""
        try:
            while True:
                await self._step()
                await asyncio.sleep(RETRY)
        finally:
            if self._held:
                self._set(leads=False)
                await asyncio.shield(self._release())

    async def _step(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RENEW_DEADLINE / 2):
                held = await self._try(loop.time())
        except (ApiError, TimeoutError) as error:
            log.warning("the lease could not be renewed: %s", error)
            held = self.leads
        self._set(leads=held)

    async def _try(self, now: float) -> bool:
        try:
            lease = await self._kube.get("Lease", self._namespace, self._name)
        except ApiError as error:
            if not error.gone:
                raise
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
            }
        self._seen = look(lease, self._seen, now)
        self.leader = ""
        if self._seen.holder != self._identity and not self._seen.over(now):
            self.leader = str((lease["metadata"].get("annotations") or {}).get(ADDRESS, ""))
            return False
        wanted = renewed(lease, self._identity, self._address, datetime.now(UTC))
        try:
            created = "resourceVersion" not in lease["metadata"]
            lease = await (self._kube.create(wanted) if created else self._kube.replace(wanted))
        except ApiError as error:
            if error.conflict:
                return False
            raise
        self._seen, self._renewed_at = look(lease, self._seen, now), now
        return True

    async def _release(self) -> None:
        try:
            lease = await self._kube.get("Lease", self._namespace, self._name)
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._kube.replace({**lease, "spec": spec})
        except ApiError as error:
            log.warning("the lease could not be let go: %s", error)

    def _set(self, *, leads: bool) -> None:
        if leads != self._held:
            self._held = leads
            self._moved(leads)
