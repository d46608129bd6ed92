"""The bundle service without a cluster: who waits, for what, and for how long."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from bundling import Bundling, bundling, made
from harness import route, until, upstream

from seawall_operator import bundles

FIRST, SECOND = (
    made(upstream("main", "http://127.0.0.1:9/v1") + route(name, f"/{name}", "main"), sequence)
    for name, sequence in (("first", 5), ("second", 6))
)
GOOD = {"Authorization": "Bearer good"}


@pytest.fixture
async def service() -> AsyncIterator[Bundling]:
    async with bundling() as running:
        yield running


async def poll(service: Bundling, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.get(f"{service.url}/v1/bundles/team/default", headers={**GOOD, **headers})


async def test_before_everything_is_known_nobody_gets_anything(service: Bundling) -> None:
    answer = await poll(service)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"


async def test_what_is_run_already_is_not_sent_again(service: Bundling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "HOLD", 0.05)
    monkeypatch.setattr(bundles, "LOOK", 0.02)
    service.put(FIRST)
    assert (await poll(service)).headers["ETag"] == f'"{FIRST.revision}"'
    answer = await poll(service, **{"If-None-Match": f'"{FIRST.revision}"'})
    assert answer.status_code == 304 and answer.headers["X-Seawall-Sequence"] == "5"


async def test_what_was_refused_is_not_offered_again(service: Bundling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "HOLD", 0.05)
    monkeypatch.setattr(bundles, "LOOK", 0.02)
    service.put(FIRST)
    assert (await poll(service, **{"X-Seawall-Refused": FIRST.revision})).status_code == 304


async def test_a_change_in_another_namespace_wakes_nobody(service: Bundling) -> None:
    service.put(FIRST)
    waiting = asyncio.create_task(poll(service, **{"If-None-Match": f'"{FIRST.revision}"'}))
    await until(lambda: service.said)
    service.shelf.put("other", {})
    await asyncio.sleep(0.05)
    assert not waiting.done()
    service.put(SECOND)
    assert (await waiting).headers["ETag"] == f'"{SECOND.revision}"'


async def test_a_replica_that_is_behind_waits_until_it_has_caught_up(service: Bundling) -> None:
    service.put(FIRST)
    waiting = asyncio.create_task(poll(service, **{"If-None-Match": '"newer"', "X-Seawall-Sequence": "9"}))
    await until(lambda: service.said)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    service.shelf.sequence = 9
    assert (await waiting).status_code == 200


async def test_everyone_is_let_go_when_the_operator_ends(service: Bundling) -> None:
    service.put(FIRST)
    waiting = asyncio.create_task(poll(service, **{"If-None-Match": f'"{FIRST.revision}"'}))
    await until(lambda: service.said)
    service.shelf.close()
    assert (await waiting).status_code == 304


async def test_a_profile_that_is_not_there_has_a_bundle_without_routes(service: Bundling) -> None:
    service.put(FIRST)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{service.url}/v1/bundles/team/gone", headers=GOOD)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == bundles.BUNDLE_TYPE


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Basic x"}, 401), ({"Authorization": "Bearer bad"}, 401)],
)
async def test_who_shows_no_good_token_gets_nothing(service: Bundling, headers: dict[str, str], status: int) -> None:
    service.put(FIRST)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{service.url}/v1/bundles/team/default", headers=headers)).status_code == status


async def test_hundreds_of_sidecars_wait_at_once(service: Bundling) -> None:
    service.put(FIRST)
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client:
        headers = {**GOOD, "If-None-Match": f'"{FIRST.revision}"'}
        url = f"{service.url}/v1/bundles/team/default"
        waiting = [asyncio.create_task(client.get(url, headers=headers)) for _ in range(200)]
        await until(lambda: len(service.said) == 200, 20)
        service.put(SECOND)
        assert {answer.headers["ETag"] for answer in await asyncio.gather(*waiting)} == {f'"{SECOND.revision}"'}
