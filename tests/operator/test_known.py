"""Watches, lists and answers overtake each other: what counts is the newest, and what is gone stays gone."""

from typing import Any

import pytest
from kube_objects import Object, route, upstream

from seawall.policy.documents import Identity
from seawall_operator.known import Known, Listeners
from seawall_operator.resources import identity

CHAT = ("AgentRoute", "team", "chat")


class Watched(Known):
    """And what it told of."""

    def __init__(self) -> None:
        self.changed: list[Identity] = []
        self.restated: list[Identity] = []
        self.went: list[Identity] = []
        listeners = Listeners(lambda key, _: self.changed.append(key), self.restated.append, self.went.append)
        super().__init__(listeners)


def at(obj: Object, version: int, **status: Any) -> Object:
    found = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
    return {**found, "status": status} if status else found


@pytest.fixture
def known() -> Watched:
    return Watched()


def test_an_older_word_is_no_news(known: Watched) -> None:
    assert known.observe(at(route(), 7))
    assert not known.observe(at(route(path="/old"), 5))
    assert known.documents.get(CHAT) == at(route(), 7) and known.sequence == 7


def test_a_status_alone_changes_no_policy(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.observe(at(route(), 8, synced="1/1"))
    assert known.changed == [CHAT] and known.restated == [CHAT]


async def test_what_went_while_a_list_was_read_does_not_come_back_with_it(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.observe(at(route(), 9), deleted=True)
    assert await known.listed("AgentRoute", [at(route(), 7)], 8) == 0
    assert known.documents.get(CHAT) is None and known.went == [CHAT]
    known.all_listed()
    # The list after that may have been asked for before, too.
    await known.listed("AgentRoute", [at(route(), 7)], 8)
    assert known.documents.get(CHAT) is None


async def test_what_is_made_anew_under_an_old_name_is_there(known: Watched) -> None:
    known.observe(at(route(), 9), deleted=True)
    assert known.observe(at(route(), 10)) and known.documents.get(CHAT) is not None
    assert await known.listed("AgentRoute", [at(route(), 10)], 11) == 0


async def test_a_list_says_what_no_watch_had_told_of(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.observe(at(route("new"), 20))
    missed = await known.listed("AgentRoute", [at(route("other"), 9)], 15)
    assert missed == 2, "one that is there, one that is not"
    assert {identity(one) for one in known.documents} == {("AgentRoute", "team", n) for n in ("new", "other")}
    assert await known.listed("Upstream", [], 16) == 0 and len(known.documents) == 2


async def test_a_cluster_that_was_set_back_is_right_whatever_was_known(known: Watched) -> None:
    known.observe(at(route(path="/after"), 90))
    known.observe(at(route("made-after"), 95))
    known.observe(at(route("deleted-after"), 97), deleted=True)
    backup = [at(route(), 40), at(route("deleted-after"), 41)]
    assert await known.listed("AgentRoute", backup, 50, since=97) == 3
    assert known.documents.get(CHAT) == at(route(), 40) and known.sequence == 50
    assert {obj["metadata"]["name"] for obj in known.documents} == {"chat", "deleted-after"}
    # And from there on as ever.
    assert known.observe(at(route(path="/next"), 51))
    assert await known.listed("AgentRoute", [*backup[1:], at(route(path="/next"), 51)], 52, since=51) == 0


def test_an_answer_to_what_was_written_does_not_bring_back_what_went_meanwhile(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.observe(at(route(), 9), deleted=True)
    known.learn(at(route(), 8, synced="1/1"), 0.0)
    assert known.documents.get(CHAT) is None


def test_a_watch_is_stale_for_as_long_as_it_owes_what_was_written(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.learn(at(route(), 8, synced="0/1"), 100.0)
    known.learn(at(route(), 9, synced="1/1"), 130.0)
    assert known.stale("AgentRoute", 160.0) == 60.0 and known.stale("Upstream", 160.0) == 0.0
    # Another object's event does as well: a watch tells of everything in its order.
    known.observe(at(route("other"), 12))
    assert known.stale("AgentRoute", 170.0) == 0.0
    # Nothing new was written: nothing is owed.
    known.learn(at(route(), 9, synced="1/1"), 200.0)
    assert known.stale("AgentRoute", 300.0) == 0.0
    known.observe(at(upstream(), 13))
    assert known.sequence == 13
