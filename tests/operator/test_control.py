"""One replica's knowledge and memory, beside what another one has written."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from kube_objects import policy, route, upstream

from seawall_operator import config_maps, control
from seawall_operator.connection import Connection
from seawall_operator.control import Control
from seawall_operator.kube import Kube
from seawall_operator.meters import Meters
from seawall_operator.render import Documents, render
from seawall_operator.resources import identity

CUT = policy("cut", level="overrides", timeouts={"request": "30s"}, at=9)
LONG = {"timeouts": {"backendRequest": "60s"}}


class Server(Kube):
    """Lists what is there."""

    def __init__(self) -> None:
        super().__init__(Connection("http://nowhere"))
        self.items: dict[str, list[Mapping[str, Any]]] = {}

    async def list(
        self, kind: str, selector: str = "", *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], int]:
        return [dict(one) for one in self.items.get(kind, [])], 100


@pytest.fixture
async def replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Control, Server]]:
    monkeypatch.setattr(control, "FIRST_RELIST", 0.2)
    monkeypatch.setattr(control, "RELIST", 0.2)
    server = Server()
    yield Control(server, Meters()), server


def attempts(one: Control) -> int:
    policy = one.snapshot()[1].scopes["team"].policy
    return policy.routes[0].rules[0].settings.retry.attempts


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_replica_that_missed_an_edit_goes_on_with_what_the_leading_one_goes_on_with(
    replica: tuple[Control, Server],
) -> None:
    one, server = replica
    first, second, wrong = (
        {**route(**fields), "metadata": {**route()["metadata"], "resourceVersion": str(version)}}
        for version, fields in (
            (10, {"retry": {"attempts": 1}}),
            (11, {"retry": {"attempts": 2}}),
            (12, {"retry": {"attempts": 3}, **LONG}),
        )
    )  # fmt: skip
    server.items = {"Upstream": [upstream()], "ResiliencePolicy": [CUT], "AgentRoute": [first]}
    for obj in (upstream(), CUT, first):
        one.observe(obj)
    running = asyncio.create_task(one.run())
    await until(one.shelf.ready.is_set)
    # The second version passes while it is cut off; the third one is wrong.
    documents = Documents([upstream(), CUT, second])
    seen = render(documents).accepted
    (kept,) = config_maps.accepted("team", "seawall", documents, seen)
    server.items["AgentRoute"] = [wrong]
    one.observe(wrong)
    await until(lambda: not one.snapshot()[1].verdict(identity(wrong)).accepted)
    assert attempts(one) == 1
    server.items["ConfigMap"] = [kept.body()]
    await until(lambda: attempts(one) == 2)
    assert one.snapshot()[1].verdict(identity(wrong)).held
    running.cancel()
