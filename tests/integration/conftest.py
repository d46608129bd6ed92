"""The loop of the real process, and a look behind every test: nothing that a call took may be left anywhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from harness import STARTED, Running


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """`seawall serve` runs on uvloop, whose transports differ from asyncio's in their corners."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """After the test's proxies have closed: no tasks, sockets, places, permits or buffered bytes."""
    STARTED.clear()
    before = asyncio.all_tasks()
    yield
    for _ in range(500):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0.002)
    assert not left, "tasks are left"
    for running in STARTED:
        _returned(running)


def _returned(running: Running) -> None:
    service = running.service
    assert service.engine.calls == service.engine.streams == 0, "calls are left"
    assert service._buffers.used == 0, "bytes are left in the buffer budget"
    assert service._pool.connections == 0, "connections to upstreams are left"
    assert service._ingress is None or service._ingress.connections == 0, "connections of agents are left"
    now = service._clock.now()
    for upstream in service._current().upstreams.values():
        places = upstream.limiter.snapshot()
        assert (places.active, places.pending) == (0, 0), f"{upstream.name}: places are left"
        breakers = [upstream.transport, *upstream.breakers.values()]
        if upstream.shadow is not None:
            breakers += [b for b in (upstream.shadow.transport, *upstream.shadow.breakers.values()) if b is not None]
        for breaker in breakers:
            assert breaker.snapshot(now).permits_out == 0, f"{upstream.name}: permits are left"
