"""What a replica knows, from watches and from lists that cross them."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from kube_objects import Object, made, route, upstream

from seawall_operator.known import Known
from seawall_operator.kube import Kube
from seawall_operator.meters import Meters
from seawall_operator.resources import identity

ROUTE = ("AgentRoute", "team", "chat")
EFFECTIVE = ("EffectivePolicy", "team", "chat")


class Lists:
    """A Kube that lists. `meanwhile` happens after a page was made, and before it is read."""

    def __init__(self) -> None:
        self.pages_of: dict[str, list[list[Object]]] = {}
        self.version = 100
        self.meanwhile: Callable[[], None] = lambda: None

    async def pages(self, kind: str) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        for page in self.pages_of.get(kind) or [[]]:
            made = [dict(one) for one in page]
            self.meanwhile()
            yield made, self.version


class World:
    def __init__(self) -> None:
        self.lists = Lists()
        self.decided: list[str] = []
        self.touched: list[str] = []
        self.known = Known(cast(Kube, self.lists), Meters(), self.decided.extend, self.touched.extend, lambda key: None)

    def has(self, obj: Object) -> bool:
        return self.known.documents.get(identity(obj)) is not None


@pytest.fixture
def world() -> World:
    return World()


def with_status(obj: Object, at: int) -> Object:
    metadata = {**obj["metadata"], "resourceVersion": str(at)}
    return {**obj, "metadata": metadata, "status": {"observedGeneration": at}}


def effective(at: int) -> Object:
    return {**made("EffectivePolicy", "chat", {}, at=at), "status": {"revision": "r"}}


async def test_what_is_missing_in_a_list_is_gone(world: World) -> None:
    world.known.observe(route("old", at=50))
    world.lists.pages_of["AgentRoute"] = [[route("a", at=3)], [route("b", at=4)]]
    assert await world.known.load(["AgentRoute"]) == {"AgentRoute": 3}
    assert [obj["metadata"]["name"] for obj in world.known.documents] == ["a", "b"]


async def test_what_was_made_after_the_list_is_not_gone(world: World) -> None:
    world.known.observe(route("new", at=101))
    await world.known.load(["AgentRoute"])
    assert world.has(route("new"))


async def test_what_was_deleted_while_it_is_listed_does_not_come_back(world: World) -> None:
    world.known.observe(route(at=3))
    world.lists.pages_of["AgentRoute"] = [[route(at=3)]]
    world.lists.meanwhile = lambda: world.known.observe(route(at=101), deleted=True)
    await world.known.load(["AgentRoute"])
    assert not world.has(route())


async def test_what_was_deleted_and_made_again_while_it_is_listed_is_there(world: World) -> None:
    def again() -> None:
        world.known.observe(route(at=101), deleted=True)
        world.known.observe(route(at=102))

    world.known.observe(route(at=3))
    world.lists.pages_of["AgentRoute"] = [[route(at=3)]]
    world.lists.meanwhile = again
    await world.known.load(["AgentRoute"])
    assert world.has(route())


async def test_what_was_just_written_is_no_news_when_the_watch_tells_of_it(world: World) -> None:
    world.known.observe(upstream(at=1))
    written = with_status(upstream(at=1), at=2)
    world.known.learn(written)
    world.decided.clear()
    world.known.observe(written)
    assert not world.touched and not world.decided
    assert world.known.sequence == 2


async def test_a_status_that_somebody_else_wrote_is_looked_at_and_not_compiled(world: World) -> None:
    world.known.observe(upstream(at=1))
    world.decided.clear()
    world.known.observe(with_status(upstream(at=1), at=2))
    assert world.touched == ["team"] and not world.decided


async def test_an_effective_policy_that_is_not_there_any_more_is_made_again(world: World) -> None:
    world.known.learn(effective(at=5))
    world.known.lose(EFFECTIVE)
    assert world.known.documents.get(EFFECTIVE) is None and world.touched == ["team"]


async def test_that_of_a_route_goes_with_it(world: World) -> None:
    world.known.observe(route(at=1))
    world.known.learn(effective(at=5))
    world.known.observe(route(at=6), deleted=True)
    assert not list(world.known.documents)


async def test_a_document_that_is_not_there_to_be_written_to_is_the_watchs_business(world: World) -> None:
    world.known.observe(route(at=1))
    world.known.lose(ROUTE)
    assert world.has(route())
