"""The webhooks' own limits: too much at once, too large, or no review at all; nothing keeps anybody from anything."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from kube_objects import route, upstream

from seawall_operator import admission
from seawall_operator.admission import Admission
from seawall_operator.inject import Patch
from seawall_operator.resources import Object
from seawall_operator.review import Opinion
from seawall_operator.serve import listen


@dataclass
class Slow:
    """A reviewer that takes until it is told to end."""

    ready: bool = True
    go_on: threading.Event = field(default_factory=threading.Event)

    def opinion(self, obj: Object) -> Callable[[], Opinion]:
        if obj["metadata"]["name"] == "odd":
            raise KeyError("odd")
        return self._wait

    def farewell(self, obj: Object) -> Callable[[], Opinion]:
        return lambda: Opinion(warnings=(f"{obj['metadata']['name']} is missed",))

    def patch(self, pod: Object, namespace: str) -> Patch:
        return Patch([{"op": "add", "path": "/x", "value": namespace}])

    def _wait(self) -> Opinion:
        assert self.go_on.wait(20)
        return Opinion(warnings=("reviewed",))


@dataclass
class Asking:
    url: str
    reviewer: Slow
    client: httpx.AsyncClient

    async def ask(self, path: str = "/validate", **request: Any) -> dict[str, Any]:
        body = {"request": {"uid": "u", "operation": "CREATE", "object": route(), **request}}
        answer = (await self.client.post(self.url + path, json=body)).json()
        assert answer["response"]["uid"] == "u"
        found: dict[str, Any] = answer["response"]
        return found


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    reviewer = Slow()
    runner, port = await listen(Admission(reviewer).routes(), "127.0.0.1", 0)
    async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=200)) as client:
        yield Asking(f"http://127.0.0.1:{port}", reviewer, client)
    reviewer.go_on.set()
    await runner.cleanup()


async def test_more_reviews_than_can_be_made_are_let_pass_and_pods_need_not_wait_for_them(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MOST", 5)
    first = [asyncio.create_task(asking.ask()) for _ in range(5)]
    await asyncio.sleep(0.2)
    assert (await asking.ask()) == {"uid": "u", "allowed": True, "warnings": [admission.TOO_BUSY]}
    assert "patch" in await asking.ask("/inject", object={"metadata": {}}, namespace="team")
    # Everything else that the operator does in threads goes on, too.
    assert await asyncio.to_thread(lambda: "done") == "done"
    asking.reviewer.go_on.set()
    assert [one["warnings"] for one in await asyncio.gather(*first)] == [["reviewed"]] * 5
    assert (await asking.ask())["warnings"] == ["reviewed"]


async def test_a_deletion_is_judged_by_what_was_there_and_a_status_not_at_all(asking: Asking) -> None:
    gone = await asking.ask(operation="DELETE", object=None, oldObject=upstream())
    assert gone == {"uid": "u", "allowed": True, "warnings": ["a is missed"]}
    assert await asking.ask(subResource="status") == {"uid": "u", "allowed": True}


async def test_what_fails_here_lets_the_object_pass(asking: Asking) -> None:
    found = await asking.ask(object=route("odd"))
    assert found["allowed"] and "an error of its own" in found["warnings"][0]
    asking.reviewer.ready = False
    assert "just starting" in (await asking.ask())["warnings"][0]
    assert await asking.ask("/inject", object={"metadata": {}}) == {"uid": "u", "allowed": True}


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"{}", b'{"request": 7}', b"[" * 100_000, b'\xff\xfe{"request": {"uid": 1}}']
)
async def test_what_is_no_review_is_refused(asking: Asking, body: bytes) -> None:
    for path in ("/validate", "/inject"):
        assert (await asking.client.post(asking.url + path, content=body)).status_code == 400


async def test_the_largest_documents_that_an_api_server_stores_are_reviewed_and_larger_bodies_are_not_read(
    asking: Asking,
) -> None:
    asking.reviewer.go_on.set()
    # 1.5 MiB each (etcd's limit), before and after an edit.
    large = {**route(), "spec": {"rules": [], "padding": "x" * 1_500_000}}
    assert (await asking.ask(operation="UPDATE", object=large, oldObject=large))["warnings"] == ["reviewed"]
    too_large = await asking.client.post(f"{asking.url}/validate", content=b"x" * 20_000_000)
    assert too_large.status_code == 413
