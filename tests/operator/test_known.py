"""Watches, lists and answers overtake each other: what counts is the newest, and what is gone stays gone."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from kube_objects import Object, made, route, upstream

from seawall.policy.documents import Identity
from seawall_operator.known import Known, Listeners, Pages
from seawall_operator.resources import identity

CHAT, EFFECTIVE = ("AgentRoute", "team", "chat"), ("EffectivePolicy", "team", "chat")


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


def pages(version: int, *each: Sequence[Object], meanwhile: Callable[[], object] = lambda: None) -> Pages:
    """`meanwhile` happens once the first one was made, and before it is read."""

    async def made() -> AsyncIterator[tuple[Sequence[Object], int]]:
        for page in each or ([],):
            meanwhile()
            yield page, version

    return made()


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
    assert await known.listed("AgentRoute", pages(8, [at(route(), 7)])) == 0
    assert known.documents.get(CHAT) is None and known.went == [CHAT]
    known.all_listed()
    # The list after that may have been asked for before, too.
    await known.listed("AgentRoute", pages(8, [at(route(), 7)]))
    assert known.documents.get(CHAT) is None


async def test_what_is_made_anew_under_an_old_name_is_there(known: Watched) -> None:
    known.observe(at(route(), 9), deleted=True)
    assert known.observe(at(route(), 10)) and known.documents.get(CHAT) is not None
    assert await known.listed("AgentRoute", pages(11, [at(route(), 10)])) == 0


async def test_a_list_says_what_no_watch_had_told_of(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.observe(at(route("new"), 20))
    missed = await known.listed("AgentRoute", pages(15, [at(route("other"), 9)]))
    assert missed == 2, "one that is there, one that is not"
    assert {identity(one) for one in known.documents} == {("AgentRoute", "team", n) for n in ("new", "other")}
    assert await known.listed("Upstream", pages(16)) == 0 and len(known.documents) == 2


async def test_a_cluster_that_was_set_back_is_right_whatever_was_known(known: Watched) -> None:
    known.observe(at(route(path="/after"), 90))
    known.observe(at(route("made-after"), 95))
    known.observe(at(route("deleted-after"), 97), deleted=True)
    backup = [at(route(), 40), at(route("deleted-after"), 41)]
    assert await known.listed("AgentRoute", pages(50, backup), since=97) == 3
    assert known.documents.get(CHAT) == at(route(), 40) and known.sequence == 50
    assert {obj["metadata"]["name"] for obj in known.documents} == {"chat", "deleted-after"}
    # And from there on as ever.
    assert known.observe(at(route(path="/next"), 51))
    assert await known.listed("AgentRoute", pages(52, [*backup[1:], at(route(path="/next"), 51)]), since=51) == 0


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


async def test_what_goes_between_the_pages_of_a_list_and_their_reading_is_gone(known: Watched) -> None:
    known.observe(at(route(), 7))
    await known.listed(
        "AgentRoute", pages(8, [at(route(), 7)], meanwhile=lambda: known.observe(at(route(), 9), deleted=True))
    )
    assert known.documents.get(CHAT) is None


async def test_a_list_may_have_many_pages(known: Watched) -> None:
    known.observe(at(route("old"), 5))
    assert await known.listed("AgentRoute", pages(8, [at(route("a"), 6)], [at(route("b"), 7)])) == 3
    assert [one["metadata"]["name"] for one in known.documents] == ["a", "b"]


def test_what_was_just_written_is_no_news_when_the_watch_tells_of_it(known: Watched) -> None:
    known.observe(at(route(), 7))
    known.learn(at(route(), 8, synced="1/1"), 0.0)
    known.observe(at(route(), 8, synced="1/1"))
    assert known.restated == [] and known.changed == [CHAT] and known.sequence == 8


def test_an_effective_policy_that_is_not_there_any_more_is_forgotten(known: Watched) -> None:
    known.learn(made("EffectivePolicy", "chat", {}, at=5), 0.0)
    assert known.stale("EffectivePolicy", 60.0) == 0.0, "nobody watches it"
    known.changed.clear()
    known.lose(EFFECTIVE)
    assert known.documents.get(EFFECTIVE) is None and known.changed == [EFFECTIVE]
    known.lose(EFFECTIVE)
    assert known.changed == [EFFECTIVE]


def test_that_of_a_route_goes_with_it(known: Watched) -> None:
    known.observe(at(route(), 1))
    known.learn(made("EffectivePolicy", "chat", {}, at=5), 0.0)
    known.observe(at(route(), 6), deleted=True)
    assert len(known.documents) == 0


def test_of_what_is_watched_the_watch_tells_that_it_is_gone(known: Watched) -> None:
    known.observe(at(route(), 1))
    known.lose(CHAT)
    assert known.documents.get(CHAT) is not None
