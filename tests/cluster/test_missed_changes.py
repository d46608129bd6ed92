"""What no watch told of is found by reading anew, and counted."""

import secrets

from kube import Cluster
from kube_objects import route, upstream

from seawall_operator.connection import from_kubeconfig
from seawall_operator.control import Control
from seawall_operator.kube import Kube
from seawall_operator.meters import Meters


async def test_changes_that_a_silent_watch_missed_are_found_and_counted(kube: Cluster) -> None:
    namespace = kube.namespace(f"m-{secrets.token_hex(4)}")
    api, meters = Kube(from_kubeconfig(kube.kubeconfig)), Meters()
    try:
        control = Control(api, meters)
        await control.load()
        control.shelf.ready.set()
        for obj in (upstream(), route()):
            metadata = {"name": obj["metadata"]["name"], "namespace": namespace}
            assert kube.apply({**obj, "metadata": metadata}).returncode == 0
        await control.load()
        documents, _ = control.snapshot()
        assert documents.get(("AgentRoute", namespace, "chat")) is not None
        assert meters.registry.get_sample_value("seawall_operator_missed_changes_total", {"kind": "AgentRoute"}) == 1.0
        kube.kubectl("delete", "-n", namespace, "agentroute", "chat")
        await control.load()
        documents, _ = control.snapshot()
        assert documents.get(("AgentRoute", namespace, "chat")) is None
        assert documents.get(("Upstream", namespace, "a")) is not None
        assert meters.registry.get_sample_value("seawall_operator_missed_changes_total", {"kind": "AgentRoute"}) == 2.0
    finally:
        await api.close()
