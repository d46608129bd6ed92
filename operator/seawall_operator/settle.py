"""Documents of one scope → what holds of them when some are wrong. Pure.

One mistake must not take down what others rely on: a document that cannot be used is replaced by the version that was
accepted last, or left out where there is none. Where a change breaks a document that has not changed, it is the change
that gives way. Without errors the outcome does not depend on the past: it is what a compile from scratch gives.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from seawall.policy import EffectivePolicy, Issue, evaluate, load_objects
from seawall.policy.documents import Identity
from seawall_operator.references import DeadRef, without_dead_refs
from seawall_operator.resources import Object, identity, spec_of

T = TypeVar("T")
WORK = 5_000
"""Documents that are looked at, each time over, before the changes of a scope are not told apart any more: what one
namespace gets wrong must not keep the others waiting."""
_ENTANGLED = Issue(
    "error",
    "",
    0,
    "",
    "there are errors in this namespace of which it could not be told in time which edit makes them",
    "mend the documents whose message names a field, or apply fewer edits at a time",
)
_BUG = Issue(
    "error",
    "",
    0,
    "",
    "an error of the operator's own: it cannot tell what holds with the edits of this namespace; see its log",
)


@dataclass(slots=True)
class Verdict:
    """What became of one document. `held`: an earlier version of it stays in effect; `dropped`: none of it does."""

    errors: list[Issue] = field(default_factory=list)
    warnings: list[Issue] = field(default_factory=list)
    dead: list[DeadRef] = field(default_factory=list)
    held: bool = False
    dropped: bool = False

    @property
    def accepted(self) -> bool:
        return not self.errors


@dataclass(frozen=True, slots=True)
class Settled:
    """`policy`: of everything that could be used. `used`: the version of each document that is in it."""

    policy: EffectivePolicy
    verdicts: Mapping[Identity, Verdict]
    used: Mapping[Identity, Object]
    bug: Exception | None = None
    """Of this program, where it could not find out; then nothing is in it that was not accepted before."""


def settle(objects: Sequence[Object], accepted: Mapping[Identity, Object]) -> Settled:
    """`accepted`: the last version of each document that was good. Documents that are not among the objects any more do
    not count, whatever `accepted` holds."""
    try:
        return _Settling(objects, accepted).run()
    except Exception as bug:  # noqa: BLE001 - it is in what comes out
        # A document that the compiler fails over must not end the operator, for everybody, each time that it starts.
        return _without_changes(objects, accepted, bug)


def _without_changes(objects: Sequence[Object], accepted: Mapping[Identity, Object], bug: Exception) -> Settled:
    last = {key: accepted[key] for obj in objects if (key := identity(obj)) in accepted}
    settled = _Settling(list(last.values()), accepted).run()
    issue = replace(_BUG, message=f"{_BUG.message} ({type(bug).__name__})")
    verdicts = {}
    for obj in objects:
        key = identity(obj)
        held = key in settled.used
        same = held and spec_of(settled.used[key]) == spec_of(obj)
        verdicts[key] = settled.verdicts[key] if same else Verdict([issue], held=held, dropped=not held)
    return Settled(settled.policy, verdicts, settled.used, bug)


class _Settling:
    def __init__(self, objects: Sequence[Object], accepted: Mapping[Identity, Object]) -> None:
        self._used = {identity(obj): obj for obj in objects}
        self._accepted = {key: accepted[key] for key in self._used if key in accepted}
        self._verdicts = {key: Verdict() for key in self._used}
        self._work = WORK
        self._files = {_file(key): key for key in self._used}
        # Nothing was accepted yet: a compile from scratch, in which no document is newer than another.
        self._changed = [key for key in self._used if self._is_changed(key)] if self._accepted else []

    def run(self) -> Settled:
        while True:
            errors, policy, warnings = self._evaluate()
            if policy is not None:
                for key, found in warnings.items():
                    self._verdicts[key].warnings = found
                return Settled(policy, self._verdicts, self._used)
            # Each round takes a version of a document away, so that there is an end.
            assert errors, "no document is to blame"
            self._give_way(errors)

    def _give_way(self, errors: Mapping[Identity, list[Issue]]) -> None:
        if self._changed and self._work <= 0:
            for key in list(self._changed):
                self._blame(key, errors.get(key) or [_ENTANGLED, *_flat(errors.values())])
            return
        innocent = {key: issues for key, issues in errors.items() if key not in self._changed}
        blamed = (self._named(innocent) or self._found(innocent)) if self._changed and innocent else {}
        for key, issues in (blamed or errors).items():
            self._blame(key, issues)

    def _named(self, innocent: Mapping[Identity, list[Issue]]) -> dict[Identity, list[Issue]]:
        """Of the changes that each contradiction itself names, the youngest, with what names it; none where things are
        not good without these."""
        order = {key: number for number, key in enumerate(self._changed)}
        found: dict[Identity, list[Issue]] = {}
        for issue in _flat(innocent.values()):
            among = [key for file in issue.others if (key := self._files.get(file)) in order]
            for key in sorted((key for key in among if key is not None), key=order.__getitem__)[-1:]:
                found.setdefault(key, []).append(issue)
        return found if found and self._good_without(found, innocent) else {}

    def _found(self, innocent: Mapping[Identity, list[Issue]]) -> dict[Identity, list[Issue]]:
        """The changes without which the documents that did not change are good again; none where they are not. Changes
        are let in again by halves, the oldest documents first, as long as nothing breaks: few evaluations find a few
        culprits among many. Several together could not be told apart in time."""
        if not self._good_without(self._changed, innocent):
            return {}
        issues = list(_flat(innocent.values()))
        out: dict[Identity, list[Issue]] = {}
        waiting = [list(self._changed)]
        while waiting:
            some = waiting.pop()
            if self._work > 0 and self._good_without([*out, *_flat(waiting)], innocent):
                continue
            if len(some) == 1 or self._work <= 0:
                out |= dict.fromkeys(some, issues if len(some) == 1 else [_ENTANGLED, *issues])
            else:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
        return out

    def _good_without(self, changed: Iterable[Identity], innocent: Iterable[Identity]) -> bool:
        before = dict(self._used)
        for key in changed:
            self._replace(key)
        errors, _, _ = self._evaluate(note=False)
        self._used = before
        return not any(key in errors for key in innocent)

    def _blame(self, key: Identity, issues: Sequence[Issue]) -> None:
        verdict = self._verdicts[key]
        verdict.errors = verdict.errors or list(issues)
        self._replace(key)
        verdict.held = key in self._used
        verdict.dropped = not verdict.held
        if key in self._changed:
            self._changed.remove(key)

    def _replace(self, key: Identity) -> None:
        """By the last accepted version, where that is another one than the one in use."""
        last = self._accepted.get(key)
        if key in self._used and last is not None and spec_of(last) != spec_of(self._used[key]):
            self._used[key] = last
        else:
            self._used.pop(key, None)

    def _is_changed(self, key: Identity) -> bool:
        last = self._accepted.get(key)
        return last is None or spec_of(last) != spec_of(self._used[key])

    def _evaluate(
        self, *, note: bool = True
    ) -> tuple[dict[Identity, list[Issue]], EffectivePolicy | None, dict[Identity, list[Issue]]]:
        self._work -= len(self._used)
        objects = []
        for key, obj in self._used.items():
            if obj["kind"] == "AgentRoute":
                pruned, dead = without_dead_refs(obj, self._used)
                if note:
                    self._verdicts[key].dead = dead
                if pruned is None:
                    continue
                obj = pruned
            objects.append(obj)
        loaded = evaluate(load_objects(objects))
        errors: dict[Identity, list[Issue]] = {}
        warnings: dict[Identity, list[Issue]] = {}
        for issue in loaded.issues:
            key_ = self._files.get(issue.file)
            if key_ is not None:
                (errors if issue.severity == "error" else warnings).setdefault(key_, []).append(issue)
        return errors, loaded.policy, warnings


def _flat(groups: Iterable[Iterable[T]]) -> Iterator[T]:
    return (one for group in groups for one in group)


def _file(key: Identity) -> str:
    """As load_objects names an object."""
    return " ".join(part for part in key if part)
