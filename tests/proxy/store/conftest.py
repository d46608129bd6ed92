"""The loop of the real process."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """`seawall serve` runs on uvloop."""
    return {"uvloop": uvloop.new_event_loop}
