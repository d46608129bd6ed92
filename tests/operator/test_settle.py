"""Which edit gives way, among many: the one that breaks something, and no other; and when to stop asking."""

from dataclasses import replace
from typing import Any

import pytest
from kube_objects import Object, policy, route, upstream

from seawall_operator import settle as settling
from seawall_operator.resources import identity
from seawall_operator.settle import Settled, settle

LONG = {"backendRequest": "60s"}


def cut(number: int) -> Object:
    """A policy that its route is too long for."""
    return policy(f"cut-{number}", target=f"r{number}", level="overrides", at=number + 1, timeouts={"request": "5s"})


def routes(count: int) -> list[Object]:
    return [route(f"r{number}", at=number + 1, timeouts=LONG) for number in range(count)]


def after(before: list[Object], now: list[Object]) -> Settled:
    return settle(now, {identity(obj): obj for obj in before})


def wrong(found: Settled) -> set[str]:
    return {key[2] for key, verdict in found.verdicts.items() if not verdict.accepted}


def test_of_many_edits_only_those_give_way_that_break_something() -> None:
    before = [upstream(), *routes(6), route("mine")]
    edits = [route("mine", retry={"attempts": 9}), policy("good", target="r5", retry={"attempts": 8})]
    found = after(before, [upstream(), *routes(6), *edits, cut(1), cut(4)])
    assert wrong(found) == {"cut-1", "cut-4"}
    (issue,) = found.verdicts["ResiliencePolicy", "team", "cut-4"].errors
    assert "AgentRoute team/r4 rule 0" in issue.message, "what it breaks itself"
    attempts = {one.name: one.rules[0].settings.retry.attempts for one in found.policy.routes}
    assert attempts["mine"] == 9 and attempts["r5"] == 8


def test_of_two_edits_that_break_something_only_together_the_younger_gives_way() -> None:
    slow = [route(timeouts={"backendRequest": "20s"}, at=1)]
    shorter = policy("shorter", level="overrides", at=5, timeouts={"request": "30s"})
    longer = policy("longer", level="overrides", at=9, timeouts={"backendRequest": "40s"})
    found = after([upstream(), *slow], [upstream(), *slow, shorter, longer])
    assert wrong(found) == {"longer"}
    assert found.policy.routes[0].rules[0].settings.timeouts.request == 30.0


def test_work_has_an_end_whatever_one_namespace_gets_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    evaluate = settling.evaluate

    def counted(documents: Any) -> Any:
        nonlocal looked
        looked += 1
        found = evaluate(documents)
        # And errors do not say who is to blame.
        return replace(found, issues=[replace(issue, others=()) for issue in found.issues])

    monkeypatch.setattr(settling, "evaluate", counted)
    monkeypatch.setattr(settling, "WORK", 500)
    count = 60
    before = [upstream(), *routes(count), route("mine")]
    edited = route("mine", retry={"attempts": 9})
    found = after(before, [upstream(), *routes(count), edited, *(cut(number) for number in range(count))])
    assert looked < 15
    # It cannot be told apart any more, and so nothing changes; nobody who did not change is in the way.
    assert wrong(found) == {"mine", *(f"cut-{number}" for number in range(count))}
    assert {one.name for one in found.policy.routes} == {"mine", *(f"r{number}" for number in range(count))}
    verdict = found.verdicts[identity(edited)]
    assert verdict.held and "which edit makes them" in verdict.errors[0].message


def test_edits_that_take_each_other_s_place_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the next one's path, and the owner of the last has not moved: who gives way is in the way again."""
    monkeypatch.setattr(settling, "WORK", 2000)
    count = 40
    before = [upstream(), *(route(f"r{n}", path=f"/{n}", at=n + 1) for n in range(count + 1))]
    moved = [route(f"r{n}", path=f"/{n + 1}", at=n + 1) for n in range(count)]
    found = after(before, [upstream(), *moved, before[-1]])
    paths = [match.path for one in found.policy.routes for rule in one.rules for match in rule.matches]
    assert len(paths) == len(set(paths)) == count + 1
    assert found.verdicts["AgentRoute", "team", f"r{count}"].accepted


def test_a_bug_in_the_compiler_leaves_a_namespace_as_it_was_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = settling.evaluate

    def failing(documents: Any) -> Any:
        found = evaluate(documents)
        if found.policy is not None and any(one.name == "odd" for one in found.policy.routes):
            raise KeyError("odd")
        return found

    monkeypatch.setattr(settling, "evaluate", failing)
    before = [upstream(), route(retry={"attempts": 3})]
    found = after(before, [upstream(), route(retry={"attempts": 5}), route("odd")])
    assert isinstance(found.bug, KeyError)
    assert [one.rules[0].settings.retry.attempts for one in found.policy.routes] == [3]
    verdicts = {key[2]: (one.accepted, one.held, one.dropped) for key, one in found.verdicts.items()}
    assert verdicts == {"a": (True, False, False), "chat": (False, True, False), "odd": (False, False, True)}
    assert "the operator's own" in found.verdicts["AgentRoute", "team", "odd"].errors[0].message
