"""A pod gets a sidecar by a patch that adds, and a second run changes nothing."""

import copy
from random import Random
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kube_objects import made

from seawall.cli import main
from seawall_operator.inject import INJECT, INJECTED, Patch, inject, profile_for
from seawall_operator.sidecar_container import CONTAINER, Injection

INJECTION = Injection("seawall:1", "https://operator:8443")


def pod(*containers: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    found = list(containers) or [{"name": "agent", "image": "agent:1"}]
    return {"metadata": {"name": "p", "labels": labels or {}}, "spec": {"containers": found, **spec}}


def patched(
    one: dict[str, Any], profile: dict[str, Any] | None = None, injection: Injection = INJECTION
) -> tuple[dict[str, Any], Patch]:
    patch = inject(one, "team", "default", profile, injection)
    after: dict[str, Any] = jsonpatch.apply_patch(copy.deepcopy(one), patch.steps)
    return after, patch


def profile(**spec: Any) -> dict[str, Any]:
    return made("SidecarProfile", "default", {"selector": {"matchLabels": {"agent": "yes"}}, **spec})


def env(one: dict[str, Any], index: int = 0) -> dict[str, str]:
    return {e["name"]: e.get("value", "?") for e in one["spec"]["containers"][index].get("env", [])}


def sidecar(one: dict[str, Any]) -> dict[str, Any]:
    (found,) = (c for c in one["spec"]["initContainers"] if c["name"] == CONTAINER)
    assert isinstance(found, dict)
    return found


def test_a_plain_pod_gets_a_native_sidecar_and_its_variables() -> None:
    after, patch = patched(pod())
    assert sidecar(after)["restartPolicy"] == "Always" and sidecar(after)["image"] == "seawall:1"
    assert env(after) == {
        "OPENAI_BASE_URL": "http://127.0.0.1:4100/openai/v1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:4100/anthropic",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:4100/gemini",
    }
    assert after["metadata"]["annotations"] == {INJECTED: "default"} and patch.warnings == []


def test_the_sidecar_holds_to_restricted_pod_security() -> None:
    context = sidecar(patched(pod())[0])["securityContext"]
    assert context == {
        "runAsNonRoot": True, "runAsUser": 65532, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip


def test_agents_reach_the_data_port_only_and_the_socket_is_the_sidecar_s_own() -> None:
    after, _ = patched(pod())
    found = sidecar(after)
    assert [p["containerPort"] for p in found["ports"]] == [4101]
    assert "--listen=127.0.0.1:4100" in found["args"] and "--admin-socket=/var/lib/seawall/admin.sock" in found["args"]
    assert "volumeMounts" not in after["spec"]["containers"][0]
    assert "readinessProbe" not in found


def test_nothing_that_may_be_missing_keeps_a_pod_from_starting() -> None:
    volumes = {one["name"]: one for one in patched(pod())[0]["spec"]["volumes"]}
    assert volumes["seawall-bundle"]["configMap"] == {"name": "seawall-bundle-default", "optional": True}
    assert volumes["seawall-credentials"]["secret"] == {"secretName": "seawall-credentials", "optional": True}
    token, authority = volumes["seawall-operator"]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "seawall-operator"
    assert authority["configMap"]["optional"] is True


def test_the_command_line_is_one_that_the_proxy_takes(capsys: pytest.CaptureFixture[str]) -> None:
    words = sidecar(patched(pod())[0])["args"]
    # A policy that is not there comes after everything else was understood.
    assert main([*words, "--policy=/nowhere.yaml"]) == 2
    assert "/nowhere.yaml" in capsys.readouterr().err


def test_what_a_container_says_itself_is_left_alone() -> None:
    own = {"name": "agent", "env": [{"name": "OPENAI_BASE_URL", "value": "http://mine"}]}
    after, _ = patched(pod(own))
    assert env(after)["OPENAI_BASE_URL"] == "http://mine" and "ANTHROPIC_BASE_URL" in env(after)


def test_what_may_come_from_elsewhere_is_left_alone_with_a_warning() -> None:
    after, patch = patched(pod({"name": "agent", "envFrom": [{"secretRef": {"name": "s"}}]}))
    assert env(after) == {} and "envFrom may hold them" in patch.warnings[0]


def test_the_way_to_the_sidecar_leads_through_no_proxy() -> None:
    proxied = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
    after, _ = patched(pod({"name": "agent", "env": proxied}))
    assert env(after)["NO_PROXY"] == env(after)["no_proxy"] == "127.0.0.1,localhost"
    after, _ = patched(pod({"name": "agent", "env": [*proxied, {"name": "NO_PROXY", "value": ".internal"}]}))
    assert env(after)["NO_PROXY"] == ".internal,127.0.0.1,localhost" and "no_proxy" not in env(after)
    elsewhere = {"name": "NO_PROXY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}
    _, patch = patched(pod({"name": "agent", "env": [*proxied, elsewhere]}))
    assert "must hold 127.0.0.1" in patch.warnings[-1]


def test_only_paths_that_something_answers_are_set_unless_the_profile_says_so() -> None:
    only = Injection("i", "https://o", frozenset({"/openai/v1", "/mine"}))
    assert list(env(patched(pod(), injection=only)[0])) == ["OPENAI_BASE_URL"]
    asked = profile(baseURLVariables=[{"name": "MY_URL", "path": "/mine"}])
    assert env(patched(pod(), asked, only)[0]) == {"MY_URL": "http://127.0.0.1:4100/mine"}
    # A prefix of it will do.
    assert len(env(patched(pod(), injection=Injection("i", "https://o", frozenset({"/"})))[0])) == 3


def test_a_profile_chooses_containers_image_and_resources() -> None:
    chosen = profile(
        containers=["b", "gone"], image="mine:2", resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    )
    after, patch = patched(pod({"name": "a"}, {"name": "b"}), chosen)
    assert env(after, 0) == {} and env(after, 1)
    assert sidecar(after)["image"] == "mine:2"
    assert sidecar(after)["resources"] == {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    assert "container gone" in patch.warnings[0]


@pytest.mark.parametrize("spec", [{"hostNetwork": True}, {"os": {"name": "windows"}}])
def test_a_pod_that_cannot_have_one_is_left_as_it_is_with_a_warning(spec: dict[str, Any]) -> None:
    after, patch = patched(pod(**spec))
    assert after == pod(**spec) and len(patch.warnings) == 1


TAKEN: list[dict[str, Any]] = [
    {"containers": [{"name": "agent", "ports": [{"containerPort": 8080}, {"containerPort": 4100}]}]},
    {"containers": [{"name": "agent", "ports": [{"containerPort": 4101, "protocol": "TCP"}]}]},
    {"containers": [{"name": "seawall"}]},
    {"containers": [{"name": "agent"}], "initContainers": [{"name": "seawall"}]},
    {"containers": [{"name": "agent"}],
     "initContainers": [{"name": "mesh", "restartPolicy": "Always", "ports": [{"containerPort": 4100}]}]},
]  # fmt: skip


@pytest.mark.parametrize("spec", TAKEN)
def test_beside_what_has_its_name_or_its_ports_nothing_would_start_so_it_stays_away(spec: dict[str, Any]) -> None:
    before = {"metadata": {"name": "p"}, "spec": spec}
    after, patch = patched(before)
    assert after == before and len(patch.warnings) == 1 and "no sidecar" in patch.warnings[0]


def test_ports_of_another_protocol_or_of_what_ends_before_are_in_nobodys_way() -> None:
    udp = {"name": "agent", "ports": [{"containerPort": 4100, "protocol": "UDP"}]}
    after, patch = patched(pod(udp, initContainers=[{"name": "first", "ports": [{"containerPort": 4100}]}]))
    assert sidecar(after) and patch.warnings == []


def test_it_starts_behind_all_that_the_pod_starts_first_sidecars_of_others_too() -> None:
    mesh = {"name": "mesh", "restartPolicy": "Always"}
    after, _ = patched(pod(initContainers=[{"name": "first"}, mesh, {"name": "migrate"}]))
    assert [one["name"] for one in after["spec"]["initContainers"]] == ["first", "mesh", "migrate", "seawall"]


def test_a_volume_of_the_pod_that_is_named_alike_is_used_with_a_warning_and_only_the_first_time() -> None:
    after, patch = patched(pod(volumes=[{"name": "seawall-state", "emptyDir": {}}]))
    assert [one["name"] for one in after["spec"]["volumes"]].count("seawall-state") == 1
    assert "the pod's own volume seawall-state" in patch.warnings[0]
    assert inject(after, "team", "default", None, INJECTION).warnings == []


def test_the_pod_s_way_to_the_world_is_the_sidecar_s_too_where_an_upstream_asks_for_it() -> None:
    proxied = [
        {"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "no_proxy", "value": ".internal"},
        {"name": "HTTP_PROXY", "value": "http://$(NODE):3128"},
        {"name": "OTHER", "value": "x"},
    ]
    with_routes = Injection("i", "https://o", frozenset({"/openai/v1"}))
    after, patch = patched(pod({"name": "agent", "env": proxied}), injection=with_routes)
    assert sidecar(after)["env"] == proxied[:2] and patch.warnings == []
    _, patch = patched(pod({"name": "agent", "env": proxied}))
    assert "mode: Environment" in patch.warnings[0]
    assert "env" not in sidecar(patched(pod())[0])


def test_a_pod_that_is_to_be_named_yet_and_mounts_no_token_gets_one_that_has_its_own() -> None:
    one = pod(automountServiceAccountToken=False)
    one["metadata"] = {"generateName": "job-"}
    after, _ = patched(one)
    token = after["spec"]["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]
    assert token["audience"] == "seawall-operator" and after["metadata"]["annotations"] == {INJECTED: "default"}


def test_streams_may_take_the_pod_s_grace_period() -> None:
    assert "--drain=25" in sidecar(patched(pod())[0])["args"]
    assert "--drain=115" in sidecar(patched(pod(terminationGracePeriodSeconds=120))[0])["args"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({}, None), ({INJECT: "enabled"}, "default"), ({INJECT: "disabled", "agent": "yes"}, None),
        ({"agent": "yes"}, "a"), ({"agent": "yes", INJECT: "enabled"}, "a"), ({"gpu": "yes"}, "b"),
    ],
)  # fmt: skip
def test_a_pod_gets_the_profile_that_selects_it_or_asks_by_a_label(labels: dict[str, str], found: str | None) -> None:
    profiles = [
        made("SidecarProfile", "b", {"selector": {"matchLabels": {"gpu": "yes"}}}),
        made("SidecarProfile", "a", {"selector": {"matchLabels": {"agent": "yes"}}}),
    ]
    assert profile_for(pod(labels=labels), profiles) == found


VARIABLES = ["OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "OTHER"]


def arbitrary_pod(rng: Random) -> dict[str, Any]:
    def container(name: str) -> dict[str, Any]:
        names = rng.sample(VARIABLES, rng.randint(0, 4))
        values = [
            {"name": n, **rng.choice([{}, {"value": "x"}, {"value": "127.0.0.1"}, {"valueFrom": {}}])} for n in names
        ]
        return {"name": name, **({"env": values} if values else {}), **rng.choice([{}, {}, {"envFrom": [{}]}])}

    more: dict[str, Any] = rng.choice([{}, {"initContainers": []}, {"initContainers": [{"name": "first"}]}])
    volumes: dict[str, Any] = rng.choice(
        [{}, {"volumes": [{"name": "seawall-state", "emptyDir": {}}]}, {"volumes": []}]
    )
    return pod(*(container(n) for n in "abc"[: rng.randint(1, 3)]), **more, **volumes)


@given(st.randoms(use_true_random=False))
def test_any_pod_keeps_everything_it_has_in_its_order_and_a_second_run_changes_nothing(rng: Random) -> None:
    before = arbitrary_pod(rng)
    after, _ = patched(before)
    for place in ("containers", "initContainers", "volumes"):
        old, new = before["spec"].get(place) or [], after["spec"][place]
        assert [one["name"] for one in new[: len(old)]] == [one["name"] for one in old]
    for old, new in zip(before["spec"]["containers"], after["spec"]["containers"], strict=True):
        assert [e["name"] for e in new.get("env", [])][: len(old.get("env", []))] == [
            e["name"] for e in old.get("env", [])
        ]
    assert inject(after, "team", "default", None, INJECTION).steps == []
