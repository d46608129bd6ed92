"""Sidecars that a replica has not heard of yet, of which a status speaks: neither gone, nor ahead of what they said."""

from typing import Any

import pytest
from kube_objects import made, route, upstream
from kube_sim import Simulated

from seawall_operator.sidecars import Counts, Key, Report, Sidecars
from seawall_operator.standing import Standing, Word, words

ALL: Key = ("team", "")


def said(revision: str, total: int, current: int, rejected: int = 0) -> dict[str, Any]:
    counts = {"total": total, "current": current, "rejected": rejected, "stale": total - current - rejected}
    return {"revision": revision, "sidecars": counts}


def standing(word: Word, revision: str, **pods: Report) -> Standing:
    sidecars = Sidecars()
    for pod, report in pods.items():
        sidecars.say(("team", "default"), pod, report)
    return Standing(sidecars, {"team": revision}, 1.0, {ALL: word})


def numbers(counts: Counts) -> tuple[int, int, int]:
    return counts.total, counts.current, counts.rejected


def test_a_status_of_a_route_speaks_of_its_namespace_and_one_of_a_profile_of_its_own() -> None:
    profile = made("SidecarProfile", "gpu", {})
    found = words(
        [
            {**route("old"), "status": said("r0", 1, 1)}, {**route(), "status": said("r1", 5, 4)}, route("silent"),
            {**profile, "status": said("r1", 2, 2)},
        ]
    )  # fmt: skip
    assert found == {ALL: Word("r1", Counts(5, 4)), ("team", "gpu"): Word("r1", Counts(2, 2))}


def test_who_has_not_spoken_yet_runs_what_it_ran() -> None:
    word = Word("r1", Counts(5, 3, 1))
    assert numbers(standing(word, "r1").of_namespace("team")) == (5, 3, 1)
    # Nobody is counted twice.
    one, two = Report("r1", at=1.0), Report("r0", at=1.0)
    assert numbers(standing(word, "r1", a=one, b=two).of_namespace("team")) == (5, 3, 1)


def test_who_has_not_spoken_yet_runs_nothing_newer() -> None:
    word = Word("r1", Counts(5, 5))
    assert numbers(standing(word, "r2").of_namespace("team")) == (5, 0, 0)
    assert numbers(standing(word, "r2", a=Report("r2", at=1.0)).of_namespace("team")) == (5, 1, 0)


def test_where_more_have_spoken_than_there_were_only_they_count() -> None:
    pods = {name: Report("r2", at=1.0) for name in "abc"}
    assert numbers(standing(Word("r1", Counts(2, 2)), "r2", **pods).of_namespace("team")) == (3, 3, 0)


@pytest.mark.parametrize(("unheard", "reason"), [(True, "Pending"), (False, "NoSidecars")])
def test_an_edit_is_not_programmed_before_those_that_were_there_have_it(unheard: bool, reason: str) -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.report("p1", world.revision())
    world.step()
    # Another replica begins to write.
    world.sidecars = Sidecars()
    world.unheard = words(world.documents) if unheard else {}
    world.put(route(retry={"attempts": 5}))
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"][1] == reason
