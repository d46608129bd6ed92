"""The operator beside a real API server: what is applied comes out of it, and what came of it can be read."""

import asyncio
import base64
import json
import time
from pathlib import Path
from ssl import create_default_context

import httpx
from kube import Cluster
from kube_objects import made, policy, route, upstream
from operating import Operating, operating
from polling import WAIT, MakePod, Pod, apply, kubectl, plain, wait_for
from ports import free_port

from seawall.policy.bundle import unpack


async def test_what_is_applied_is_accepted_merged_and_programmed(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    await apply(kube, namespace, upstream(), route(), policy(retry={"attempts": 5}))
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    await wait_for(kube, namespace, "Ready", "upstream/a")
    await wait_for(kube, namespace, "Accepted", "resiliencepolicy/p")
    await wait_for(kube, namespace, "Programmed", "effectivepolicy/chat")
    status = kube.get("-n", namespace, "effectivepolicy", "chat")["status"]
    fields = {one["path"]: (one["value"], one["source"]) for one in status["fields"]}
    assert fields["rules[0].retry.attempts"] == (5, f"ResiliencePolicy {namespace}/p defaults")
    printed = kube.kubectl("get", "ar", "-n", namespace).splitlines()
    assert printed[0].split() == ["NAME", "ACCEPTED", "PROGRAMMED", "REV", "SYNCED", "AGE"]
    assert printed[1].split()[:5] == ["chat", "True", "True", status["revision"], "0/0"]
    assert kube.get("-n", namespace, "configmap", "seawall-bundle-default")["binaryData"]


async def test_each_kind_says_in_its_conditions_what_became_of_it(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    profile = made("SidecarProfile", "gpu", {"selector": {"matchLabels": {"gpu": "yes"}}})
    await apply(
        kube, namespace, upstream(), upstream("spare"), profile,
        route(), route("half", "a", "gone"), route("dead", "gone"),
        policy("first", level="overrides", retry={"attempts": 4}), policy("mine", retry={"attempts": 2}),
        policy("nobody", target="nothing", retry={"attempts": 2}),
    )  # fmt: skip
    # Among equals the older one decides, and times are of whole seconds.
    await asyncio.sleep(1.1)
    await apply(kube, namespace, policy("second", level="overrides", retry={"attempts": 5}))
    # It does not fit what is there: left out.
    await apply(kube, namespace, route("taken", path="/chat"))
    await wait_for(kube, namespace, "Accepted=False", "agentroute/taken")
    await wait_for(kube, namespace, "Conflicted", "resiliencepolicy/second")

    def of(kind: str, name: str) -> dict[str, str]:
        found = kube.get("-n", namespace, kind, name)
        conditions = found["status"]["conditions"]
        assert {one["observedGeneration"] for one in conditions} == {found["metadata"]["generation"]}
        return {one["type"]: f"{one['status']} {one['reason']}" for one in conditions}

    good = {"Accepted": "True Accepted", "Programmed": "True NoSidecars"}
    whole = {**good, "ResolvedRefs": "True ResolvedRefs", "Ready": "True Ready"}
    assert of("agentroute", "chat") == of("upstream", "a") == whole
    assert of("upstream", "spare") == {**whole, "Programmed": "True NotUsed"}
    dead = {"ResolvedRefs": "False BackendNotFound", "Ready": "False NotResolvedRefs"}
    assert of("agentroute", "half") == {**good, **dead}
    assert of("agentroute", "dead") == {**good, **dead, "Programmed": "False NotInEffect"}
    assert of("agentroute", "taken") == {
        "Accepted": "False Invalid", "ResolvedRefs": "True ResolvedRefs", "Programmed": "False Invalid",
        "Ready": "False NotAccepted",
    }  # fmt: skip
    assert of("sidecarprofile", "gpu") == {**good, "Ready": "True Ready"}
    free = {"Overridden": "False NotOverridden", "Conflicted": "False NoConflict"}
    assert of("resiliencepolicy", "first") == {**good, **free}
    assert of("resiliencepolicy", "mine") == {**good, **free, "Overridden": "True Overridden"}
    assert of("resiliencepolicy", "second") == {**good, **free, "Conflicted": "True Conflicted"}
    assert of("resiliencepolicy", "nobody") == {**good, **free, "Programmed": "True NotUsed"}
    assert of("effectivepolicy", "chat") == whole


async def test_what_is_deleted_ends_and_what_it_decided_falls_back(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    await apply(kube, namespace, upstream(), route(), route("other"), policy(retry={"attempts": 5}))
    await wait_for(kube, namespace, "Programmed", "agentroute/other")
    pod = await pods(namespace)

    async def attempts() -> dict[str, int]:
        served = unpack((await pod.poll()).content).policy
        return {one.name: one.rules[0].settings.retry.attempts for one in served.routes}

    async def becomes(wanted: dict[str, int]) -> None:
        async with asyncio.timeout(10):
            while await attempts() != wanted:
                await asyncio.sleep(0.1)

    default = (await attempts())["other"]
    assert await attempts() == {"chat": 5, "other": default} and default != 5
    await kubectl(kube, "delete", "-n", namespace, "resiliencepolicy", "p")
    await becomes({"chat": default, "other": default})
    await kubectl(kube, "delete", "-n", namespace, "agentroute", "chat")
    await becomes({"other": default})
    await kubectl(kube, "delete", "-n", namespace, "upstream", "a")
    await becomes({})
    await wait_for(kube, namespace, "ResolvedRefs=False", "agentroute/other")
    await kubectl(kube, "wait", "-n", namespace, "--for=delete", "configmap/seawall-bundle-default", WAIT)


async def test_a_wrong_edit_is_told_and_the_last_good_one_stays(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    await apply(kube, namespace, upstream(), route(retry={"attempts": 4}))
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    pod = await pods(namespace)
    # Good by itself, so that the API server takes it: the two meet only when they are merged.
    await apply(kube, namespace, policy("cut", level="overrides", timeouts={"request": "5s"}))
    await apply(kube, namespace, route(retry={"attempts": 4}, timeouts={"backendRequest": "9s"}))
    await wait_for(kube, namespace, "Accepted=False", "agentroute/chat")
    bundle = unpack((await pod.poll()).content)
    assert bundle.policy.routes[0].rules[0].settings.timeouts.request == 5.0
    events = kube.kubectl("events", "-n", namespace, "--for", "agentroute/chat")
    assert "Warning" in events and "Invalid" in events and "backendRequest" in events


async def test_the_bundle_of_another_namespace_or_audience_is_not_given(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    pod = await pods(namespace)
    assert (await pod.poll()).status_code == 200
    assert (await (await pods("kube-system", of=namespace)).poll()).status_code == 403
    assert (await (await pods(namespace, audience="https://kubernetes.default.svc")).poll()).status_code == 401
    assert (await pod.client.get(pod.url)).status_code == 401
    assert (await pod.client.get(pod.url, headers={"Authorization": "Bearer nonsense"})).status_code == 401


async def test_a_poll_is_answered_by_the_next_edit_and_programmed_by_the_next_poll(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    await apply(kube, namespace, upstream(), route())
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    pod = await pods(namespace)
    first = (await pod.poll()).headers["ETag"].strip('"')
    waiting = asyncio.create_task(pod.poll(first))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await apply(kube, namespace, route(retry={"attempts": 7}))
    answer = await waiting
    assert time.monotonic() - began < 3.0
    second = unpack(answer.content)
    assert second.policy.routes[0].rules[0].settings.retry.attempts == 7
    programmed = asyncio.create_task(wait_for(kube, namespace, "Programmed", "agentroute/chat"))
    await asyncio.sleep(1.5)
    assert not programmed.done(), "it is sent, but nobody runs it"
    acknowledging = asyncio.create_task(pod.poll(second.revision))
    await programmed
    acknowledging.cancel()


async def test_wait_for_the_file_that_was_applied_waits_whatever_kind_was_edited(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod, tmp_path: Path
) -> None:
    """A policy's edit leaves its routes' generation as it was: waiting for a route may return too early, waiting for
    what was edited never does."""
    await apply(kube, namespace, upstream(), route(), policy(retry={"attempts": 2}))
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    pod = await pods(namespace)
    revision = (await pod.poll()).headers["ETag"].strip('"')
    acknowledging = asyncio.create_task(pod.poll(revision))
    edits = (policy(retry={"attempts": 5}), upstream(timeouts={"request": "70s"}), policy(enforcement="Shadow"))
    for number, edit in enumerate(edits):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(plain(edit, namespace)))
        await kubectl(kube, "apply", "--server-side", "--force-conflicts", "-f", str(file))
        waiting = asyncio.create_task(kubectl(kube, "wait", "--for=condition=Programmed", "-f", str(file), WAIT))
        revision = (await acknowledging).headers["ETag"].strip('"')
        await asyncio.sleep(1.5)
        assert not waiting.done(), "it is sent, but nobody runs it"
        acknowledging = asyncio.create_task(pod.poll(revision))
        await waiting
    acknowledging.cancel()


async def test_what_a_sidecar_refuses_is_said_of_the_route(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    await apply(kube, namespace, upstream(), route())
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    pod = await pods(namespace)
    revision = (await pod.poll()).headers["ETag"].strip('"')
    refusing = asyncio.create_task(
        pod.poll("", **{"X-Seawall-Refused": revision, "X-Seawall-Error": "dialect%3A%20not%20known"})
    )
    await kubectl(kube, "wait", "-n", namespace, "--for=condition=Programmed=False", "agentroute/chat", WAIT)
    conditions = kube.get("-n", namespace, "agentroute", "chat")["status"]["conditions"]
    found = next(one for one in conditions if one["type"] == "Programmed")
    assert (found["reason"], found["message"]) == ("Rejected", "1 of 1 sidecars refused it: dialect: not known")
    refusing.cancel()


async def test_an_effective_policy_is_collected_with_its_route(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    await apply(kube, namespace, upstream(), route())
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    await kubectl(kube, "get", "-n", namespace, "effectivepolicy/chat")
    await kubectl(kube, "delete", "-n", namespace, "agentroute", "chat")
    await kubectl(kube, "wait", "-n", namespace, "--for=delete", "effectivepolicy/chat", WAIT)


async def test_users_objects_get_no_finalizers_and_no_annotations(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    await apply(kube, namespace, upstream(), route())
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    for kind, name in (("upstream", "a"), ("agentroute", "chat")):
        metadata = kube.get("-n", namespace, kind, name)["metadata"]
        assert "finalizers" not in metadata and "annotations" not in metadata


async def test_an_operator_that_starts_anew_goes_on_where_the_last_one_was(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with operating(kube, tmp_path) as first:
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        assert await first.stop() == 0
    before = json.dumps(kube.get("-n", namespace, "agentroute", "chat"), sort_keys=True)
    async with operating(kube, tmp_path) as second:
        await apply(kube, namespace, route("other"))
        await wait_for(kube, namespace, "Programmed", "agentroute/other")
        assert await second.stop() == 0
    after = kube.get("-n", namespace, "agentroute", "chat")
    assert after["status"]["revision"] != json.loads(before)["status"]["revision"]
    assert [c["lastTransitionTime"] for c in after["status"]["conditions"]] == [
        c["lastTransitionTime"] for c in json.loads(before)["status"]["conditions"]
    ]


async def test_of_two_replicas_one_writes_and_the_other_takes_over(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with operating(kube, tmp_path, "--identity", "one") as one:
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        async with operating(kube, tmp_path, "--identity", "two") as two:
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"{two.admin_url}/metrics")).text
            assert "seawall_operator_leader 0.0" in metrics
            assert await one.stop() == 0
            await apply(kube, namespace, route("next"))
            await wait_for(kube, namespace, "Programmed", "agentroute/next")
            assert await two.stop() == 0


async def test_what_a_sidecar_tells_a_replica_that_does_not_write_counts_too(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    token = tmp_path / "peer-token"
    token.write_text(kube.kubectl("create", "token", "default", "-n", "kube-system", "--audience=seawall-operator"))
    port = free_port()
    options = ["--peer-token", str(token), "--ca", str(tmp_path / "operator-ca.pem"), "--url", "https://localhost:1"]
    first = [*options, "--identity", "one", "--advertise", f"https://127.0.0.1:{port}"]
    async with operating(kube, tmp_path, *first, port=port) as leader:
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        async with operating(kube, tmp_path, *options, "--identity", "two") as other:
            tls = create_default_context(cafile=other.ca_file)
            async with httpx.AsyncClient(verify=tls, timeout=40) as client:
                mine = await kubectl(kube, "create", "token", "default", "-n", namespace, "--audience=seawall-operator")
                pod = Pod(client, mine, f"{other.url}/v1/bundles/{namespace}/default")
                polling = asyncio.create_task(pod.poll("sha256:older", **{"X-Seawall-Refused": "none"}))
                await kubectl(
                    kube, "wait", "-n", namespace, "--for=condition=Programmed=False", "agentroute/chat", WAIT
                )
                revision = (await polling).headers["ETag"].strip('"')
                polling = asyncio.create_task(pod.poll(revision))
                await wait_for(kube, namespace, "Programmed", "agentroute/chat")
                conditions = kube.get("-n", namespace, "agentroute", "chat")["status"]["conditions"]
                assert {c["type"]: c["reason"] for c in conditions}["Programmed"] == "Programmed"
                # An agent's pod cannot speak for others.
                forged = await client.post(
                    f"{leader.url}/v1/reports", json=[], headers={"Authorization": f"Bearer {mine}"}
                )
                assert forged.status_code == 403
                polling.cancel()


async def test_an_operator_that_starts_beside_wrong_documents_serves_what_was_accepted_before(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    everywhere = f"limit-{namespace}"
    async with operating(kube, tmp_path) as first:
        limit = policy(everywhere, level="overrides", namespace="", timeouts={"request": "50s"})
        limit["spec"]["targetRefs"] = [
            {"kind": "AgentRoute", "namespace": namespace, "name": name} for name in ("chat", "other")
        ]
        await apply(kube, namespace, upstream(), route(), route("other"), limit)
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        await wait_for(kube, namespace, "Programmed", "agentroute/other")
        await wait_for(kube, namespace, "Accepted", f"clusterresiliencepolicy/{everywhere}")
        assert await first.stop() == 0
    # Nobody is there to refuse it: one takes the other's path, the next one's time is longer than what holds for all.
    await apply(kube, namespace, route("chat", path="/other"))
    await apply(kube, namespace, route("other", timeouts={"backendRequest": "55s"}))
    async with operating(kube, tmp_path) as second:
        await wait_for(kube, namespace, "Accepted=False", "agentroute/chat")
        status = kube.get("-n", namespace, "agentroute", "chat")["status"]
        message = next(one["message"] for one in status["conditions"] if one["type"] == "Accepted")
        assert "The last accepted version stays in effect" in message
        stored = kube.get("-n", namespace, "configmap", "seawall-bundle-default")["binaryData"]["bundle.json.gz"]
        routes = unpack(base64.b64decode(stored)).policy.routes
        assert [match.path for one in routes for rule in one.rules for match in rule.matches] == ["/chat", "/other"]
        assert {rule.settings.timeouts.request for one in routes for rule in one.rules} == {50.0}
        assert await second.stop() == 0
    await kubectl(kube, "delete", "clusterresiliencepolicy", everywhere)
