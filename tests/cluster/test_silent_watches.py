"""A watch that is open and says nothing is noticed, and begun anew."""

import asyncio
from dataclasses import replace

import pytest
from kube import Cluster
from kube_objects import route
from kube_world import seconds_until
from polling import apply
from relay import relaying

from seawall_operator import handlers
from seawall_operator.connection import from_kubeconfig
from seawall_operator.control import Control
from seawall_operator.handlers import Watching
from seawall_operator.kube import Kube
from seawall_operator.meters import Meters


async def test_a_watch_that_falls_silent_is_begun_anew(
    kube: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "SILENT_SECONDS", 3)
    async with relaying(kube.url) as line:
        connection = replace(from_kubeconfig(kube.kubeconfig), server=line.url)
        api = Kube(connection)
        control = Control(api, Meters())
        watching = Watching(connection, control)
        running = asyncio.create_task(watching.run())

        def known(name: str) -> bool:
            return control.snapshot()[0].get(("AgentRoute", namespace, name)) is not None

        async def seen(name: str) -> bool:
            return known(name)

        try:
            # Nothing else reads here: what is known came by a watch.
            await apply(kube, namespace, route("before"))
            await seconds_until(lambda: seen("before"), 20)
            line.hush()
            await apply(kube, namespace, route("after"))
            await asyncio.sleep(1)
            assert not known("after")
            await seconds_until(lambda: seen("after"), 20)
        finally:
            await watching.end()
            running.cancel()
            await api.close()
