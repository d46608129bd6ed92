"""Which sidecars were seen lately, and what each of them runs. Pure: time is passed in, in seconds that only grow.

A sidecar counts for a revision when it says that it runs it, not when it was sent.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SEEN_SECONDS = 60.0
MAX_SIDECARS = 50_000
"""Beyond so many the ones that were seen the longest ago are forgotten."""

Key = tuple[str, str]
"""(namespace, profile)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one sidecar said last. `running` "": nothing of the operator's. `refused`: the revision that it would not
    take, and `error` why; "" when there is none."""

    running: str
    refused: str = ""
    error: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    total: int = 0
    current: int = 0
    rejected: int = 0
    error: str = ""
    """Of one that refused it."""

    @property
    def stale(self) -> int:
        return self.total - self.current - self.rejected

    @property
    def level(self) -> tuple[bool, bool, bool]:
        """What conditions depend on: another number of the same level is no news for them."""
        return self.total > 0, self.stale > 0, self.rejected > 0

    @property
    def synced(self) -> str:
        return f"{self.current}/{self.total}"

    def __add__(self, other: "Counts") -> "Counts":
        error = self.error or other.error
        return Counts(self.total + other.total, self.current + other.current, self.rejected + other.rejected, error)


class Sidecars:
    """All of them, by what they run a bundle for. A pod has one: what it says for another profile takes the place of
    what it said before."""

    def __init__(self) -> None:
        self._reports: dict[Key, dict[str, Report]] = {}
        self._profiles: dict[tuple[str, str], str] = {}
        """(namespace, pod) → profile."""

    def say(self, key: Key, pod: str, report: Report) -> bool:
        """Take a report. True: it says something new."""
        namespace, profile = key
        last = self._profiles.get((namespace, pod))
        before = self._reports[namespace, last][pod] if last is not None else None
        if before is not None and before.at > report.at:
            return False
        if last is None and len(self._profiles) >= MAX_SIDECARS:
            self._forget_oldest()
        if last is not None and last != profile:
            self._drop((namespace, last), pod)
        self._reports.setdefault(key, {})[pod] = report
        self._profiles[namespace, pod] = profile
        said = before and (before.running, before.refused)
        return last != profile or said != (report.running, report.refused)

    def counts(self, key: Key, revision: str, now: float) -> Counts:
        """Of those seen in the last minute."""
        total = current = rejected = 0
        error = ""
        for report in self._reports.get(key, {}).values():
            if now - report.at > SEEN_SECONDS:
                continue
            total += 1
            if report.running == revision:
                current += 1
            elif report.refused == revision:
                rejected += 1
                error = error or report.error
        return Counts(total, current, rejected, error)

    def reports(self, key: Key) -> Mapping[str, Report]:
        """By pod; for a closer look."""
        return self._reports.get(key, {})

    def profiles(self) -> Mapping[str, list[str]]:
        """Namespace → the profiles of which a sidecar has spoken."""
        found: dict[str, list[str]] = {}
        for namespace, profile in self._reports:
            found.setdefault(namespace, []).append(profile)
        return found

    def all(self) -> Iterable[tuple[Key, str, Report]]:
        for key, pods in self._reports.items():
            for pod, report in pods.items():
                yield key, pod, report

    def forget(self, now: float) -> set[Key]:
        """Let go of those that were not seen for a minute. The keys that lost one."""
        lost: set[Key] = set()
        for key, pods in list(self._reports.items()):
            for pod, report in list(pods.items()):
                if now - report.at > SEEN_SECONDS:
                    self._drop(key, pod)
                    lost.add(key)
        return lost

    def _forget_oldest(self) -> None:
        """Some at once: to find them takes a look at all."""
        times = ((report.at, key, pod) for key, pod, report in self.all())
        for _, key, pod in heapq.nsmallest(max(1, MAX_SIDECARS // 50), times):
            self._drop(key, pod)

    def _drop(self, key: Key, pod: str) -> None:
        del self._reports[key][pod], self._profiles[key[0], pod]
        if not self._reports[key]:
            del self._reports[key]
