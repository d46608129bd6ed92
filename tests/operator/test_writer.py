"""Who may write writes, in order; who may not any more does not, and comes back to it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from kube_objects import policy, route, upstream

from seawall_operator import writer
from seawall_operator.connection import Connection
from seawall_operator.control import Control
from seawall_operator.kube import ApiError, Kube
from seawall_operator.meters import Meters


class Server(Kube):
    """Takes what is applied, but for what is named."""

    def __init__(self) -> None:
        super().__init__(Connection("http://nowhere"))
        self.taken: list[tuple[str, str]] = []
        self.refuses: dict[str, int] = {}
        self.asked = 0

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.asked += 1
        if method == "DELETE" or body is None:
            return {"kind": "Status"}
        what = body["kind"], body["metadata"]["name"]
        if status := self.refuses.get(what[1]):
            raise ApiError(status, "Because", what[1])
        self.taken.append(what)
        fields = {"f:binaryData": {}, "f:metadata": {"f:annotations": {"f:seawall.dev/revision": {}}}}
        managed = [{"manager": "seawall-operator", "operation": "Apply", "fieldsV1": fields}]
        return {**body, "metadata": {**body["metadata"], "managedFields": managed, "resourceVersion": "1"}}

    def has(self, name: str) -> bool:
        return any(one[1] == name for one in self.taken)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(writer, "AFTER_RENEWAL", 0.05)
    server = Server()
    control = Control(server, Meters())
    for obj in (upstream(), route(), policy(retry={"attempts": 4})):
        control.observe(obj)
    running = asyncio.create_task(control.run())
    yield control, server
    running.cancel()


async def test_who_holds_no_lease_by_the_clock_writes_nothing_until_it_does(world: Any) -> None:
    control, server = world
    holds = False
    control.writer.may_write = lambda: holds
    control.lead(True)
    await asyncio.sleep(0.5)
    assert control.shelf.ready.is_set() and server.asked == 0
    holds = True
    await until(lambda: server.has("chat"))
    assert server.taken[0][0] == "ConfigMap"


async def test_what_is_not_taken_keeps_nothing_else_from_being_written(world: Any) -> None:
    control, server = world
    server.refuses = {"seawall-bundle-default": 403, "chat": 422}
    control.lead(True)
    await until(lambda: server.has("p") and server.has("a"))
    assert not server.has("chat")
    assert control._meters.registry.get_sample_value("seawall_operator_reconcile_seconds_count", {"outcome": "failed"})
    server.refuses = {}
    await until(lambda: server.has("chat") and server.has("seawall-bundle-default"))


async def test_a_server_that_is_not_well_is_left_alone_for_a_while(world: Any) -> None:
    control, server = world
    server.refuses = {"seawall-accepted": 500, "seawall-bundle-default": 500}
    control.lead(True)
    await until(lambda: server.asked > 0)
    await asyncio.sleep(0.2)
    assert not server.taken
    server.refuses = {}
    await until(lambda: server.has("chat"))
