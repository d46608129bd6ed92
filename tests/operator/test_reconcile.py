"""What is written of documents, bundles and sidecars; and that nothing is written twice."""

import base64
import json
from random import Random
from typing import Any

import pytest
from kube_objects import BAD, arbitrary, cluster_upstream, made, policy, route, upstream
from kube_sim import Simulated

from seawall.policy.bundle import unpack
from seawall_operator import config_maps
from seawall_operator.reconcile import COUNT_SECONDS, Apply, Delete
from seawall_operator.resources import identity
from seawall_operator.sidecar_container import BUNDLE_FILE
from seawall_operator.sidecars import SEEN_SECONDS


def test_without_sidecars_a_good_route_is_programmed_and_says_that_there_are_none() -> None:
    world = Simulated(upstream(), route())
    world.step()
    assert world.conditions("AgentRoute", "chat") == {
        "Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs"),
        "Programmed": ("True", "NoSidecars"), "Ready": ("True", "Ready"),
    }  # fmt: skip
    assert world.conditions("Upstream", "a")["Ready"] == ("True", "Ready")


def test_programmed_waits_for_the_word_of_every_sidecar() -> None:
    world = Simulated(upstream(), route())
    world.step()
    old = world.revision()
    for pod in ("p1", "p2"):
        world.report(pod, old)
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("True", "Programmed")
    world.put(route(retry={"attempts": 5}))
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("False", "Pending")
    world.report("p1", world.revision())
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("False", "Pending")
    world.report("p2", world.revision())
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("True", "Programmed")


def test_who_is_silent_for_a_minute_is_not_waited_for_any_longer() -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.report("p1", "an older one")
    world.step()
    world.now += SEEN_SECONDS
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("False", "Pending")
    world.now += 0.1
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("True", "NoSidecars")


def test_a_refusal_is_a_condition_with_the_sidecar_s_own_words_and_an_event() -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.report("p1", "", refused=world.revision(), error="dialect: Trino is not implemented")
    world.step()
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("False", "Rejected")
    assert "1 of 1 sidecars refused it: dialect: Trino" in world.message("AgentRoute", "chat", "Programmed")
    assert ("AgentRoute", "Rejected", True) in [(t.about["kind"], t.what.reason, t.what.warning) for t in world.told]


def test_what_a_sidecar_says_does_nothing_to_a_terminal() -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.report("p1", "", refused=world.revision(), error="no\x1b[2J\r\n\ud800 such »file«")
    world.step()
    assert world.message("AgentRoute", "chat", "Programmed").endswith("refused it: no�[2J��� such »file«")


def test_a_condition_is_of_the_generation_that_it_speaks_of_and_keeps_its_time() -> None:
    world = Simulated(upstream(), route())
    world.step()
    first = world.documents.get(("AgentRoute", "team", "chat"))
    world.now += 100
    world.put(route(retry={"attempts": 5}))
    world.step()
    second = world.documents.get(("AgentRoute", "team", "chat"))
    assert first and second
    assert second["status"]["observedGeneration"] == first["status"]["observedGeneration"] + 1
    assert [c["lastTransitionTime"] for c in first["status"]["conditions"]] == [
        c["lastTransitionTime"] for c in second["status"]["conditions"]
    ]


def test_a_wrong_route_says_where_and_what_stays_in_effect() -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.put(route(**BAD))
    world.step()
    found = world.conditions("AgentRoute", "chat")
    assert found["Accepted"] == ("False", "Invalid") and found["Programmed"] == ("False", "Invalid")
    message = world.message("AgentRoute", "chat", "Accepted")
    assert message.startswith("spec.rules[0].timeouts.backendRequest: 9s") and "last accepted version stays" in message
    assert [t.what.reason for t in world.told] == ["Invalid"]
    world.put(route())
    world.step()
    assert [t.what.reason for t in world.told] == ["Invalid", "Accepted"]


def test_a_dead_reference_is_named() -> None:
    world = Simulated(upstream(), route("chat", "a", "gone"))
    world.step()
    assert world.conditions("AgentRoute", "chat")["ResolvedRefs"] == ("False", "BackendNotFound")
    assert world.conditions("AgentRoute", "chat")["Accepted"] == ("True", "Accepted")
    assert "there is no Upstream team/gone" in world.message("AgentRoute", "chat", "ResolvedRefs")


def test_a_policy_names_who_decides_its_fields_instead() -> None:
    world = Simulated(
        upstream(), route("chat", retry={"attempts": 3}),
        policy("old", at=1, timeouts={"request": "20s"}),
        policy("new", at=2, timeouts={"request": "30s"}, retry={"attempts": 1}, streaming={"keepAlive": "5s"}),
    )  # fmt: skip
    world.step()
    found = world.conditions("ResiliencePolicy", "new")
    assert found["Overridden"] == ("True", "Overridden") and found["Conflicted"] == ("True", "Conflicted")
    overridden = world.message("ResiliencePolicy", "new", "Overridden")
    assert overridden == "AgentRoute team/chat rule 0 decides retry.attempts"
    assert "ResiliencePolicy team/old defaults" in world.message("ResiliencePolicy", "new", "Conflicted")
    assert world.conditions("ResiliencePolicy", "old")["Conflicted"] == ("False", "NoConflict")
    status = (world.documents.get(("ResiliencePolicy", "team", "new")) or {})["status"]
    assert status["mode"] == "Enforce"
    (ancestor,) = status["ancestors"]
    assert ancestor["ancestorRef"] == {
        "group": "seawall.dev", "kind": "AgentRoute", "name": "chat", "namespace": "team",
    }  # fmt: skip
    assert {c["type"] for c in ancestor["conditions"]} == {"Accepted", "Overridden", "Conflicted"}


def test_a_policy_of_the_cluster_lists_its_targets_everywhere() -> None:
    everywhere = made(
        "ClusterResiliencePolicy", "floor",
        {"targetSelectors": [{"kind": "AgentRoute", "matchLabels": {}}], "overrides": {"retry": {"attempts": 1}}},
    )  # fmt: skip
    world = Simulated(upstream(), route(), upstream("a", "other"), route(namespace="other"), everywhere)
    world.step()
    status = (world.documents.get(identity(everywhere)) or {})["status"]
    assert [one["ancestorRef"]["namespace"] for one in status["ancestors"]] == ["other", "team"]
    assert world.conditions("ClusterResiliencePolicy", "floor", "")["Overridden"][0] == "False"


def test_every_field_that_holds_is_listed_with_who_set_it() -> None:
    world = Simulated(
        upstream(circuitBreaker={"open": {"base": "3s"}}),
        route(retry={"attempts": 3}),
        policy(timeouts={"request": "20s"}),
    )
    world.step()
    status = (world.documents.get(("EffectivePolicy", "team", "chat")) or {})["status"]
    fields = {one["path"]: (one["value"], one["source"]) for one in status["fields"]}
    assert fields["rules[0].retry.attempts"] == (3, "AgentRoute team/chat rule 0")
    assert fields["rules[0].timeouts.request"] == ("20s", "ResiliencePolicy team/p defaults")
    assert fields["rules[0].streaming.maxHold"] == ("8Mi", "default")
    assert fields["upstreams[team/a].circuitBreaker.open.base"] == ("3s", "Upstream team/a")
    assert status["revision"] == world.revision()


def test_an_effective_policy_goes_with_its_route() -> None:
    world = Simulated(upstream(), route())
    steps = world.step()
    created = next(
        s.body for s in steps if isinstance(s, Apply) and s.body["kind"] == "EffectivePolicy" and not s.status
    )
    (owner,) = created["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("AgentRoute", "chat", "AgentRoute-team-chat")


def test_a_status_has_an_end_whatever_a_route_says() -> None:
    texts = [{"type": "StaticResponse", "status": 503, "text": letter * 16_000} for letter in "ab"]
    world = Simulated(upstream(), route(fallback=texts))
    world.step()
    status = (world.documents.get(("EffectivePolicy", "team", "chat")) or {})["status"]
    (value,) = [one["value"] for one in status["fields"] if one["path"] == "rules[0].fallback"]
    assert value.endswith("characters)") and len(json.dumps(status)) < 100_000


def test_a_bundle_that_no_config_map_holds_leaves_the_one_before_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Simulated(upstream(), route())
    world.step()
    before = world.config_maps["team", "seawall-bundle-default"]
    monkeypatch.setattr(config_maps, "MAX_BYTES", 100)
    world.put(route(retry={"attempts": 7}))
    world.compile()
    assert ("team", "seawall-bundle-default") in world.plan("team").too_large
    world.step()
    assert world.config_maps["team", "seawall-bundle-default"] == before
    assert world.conditions("AgentRoute", "chat")["Programmed"] == ("True", "NoSidecars")


def test_new_pods_find_their_bundle_in_a_config_map_before_anything_is_said_of_it() -> None:
    profile = made("SidecarProfile", "gpu", {"selector": {"matchLabels": {"gpu": "yes"}}})
    world = Simulated(upstream(), route(), profile)
    kinds = [step.body["kind"] for step in world.step() if isinstance(step, Apply)]
    # Two bundles, and what was accepted.
    assert kinds[:3] == ["ConfigMap"] * 3 and kinds.count("ConfigMap") == 3
    stored = world.config_maps["team", "seawall-bundle-gpu"]
    back = unpack(base64.b64decode(stored["binaryData"][BUNDLE_FILE]))
    assert (back.namespace, back.profile, back.revision) == ("team", "gpu", world.revision())
    assert world.conditions("SidecarProfile", "gpu")["Programmed"] == ("True", "NoSidecars")


def test_a_namespace_without_routes_keeps_no_bundle() -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.remove(route())
    world.step()
    assert set(world.config_maps) == {("team", "seawall-accepted")}
    world.remove(upstream())
    world.compile()
    assert world.plan("team").steps == [Delete("ConfigMap", "team", "seawall-accepted")]


def test_nothing_is_said_of_an_edit_that_was_not_compiled_yet() -> None:
    """Else `kubectl wait` would take the last revision's word for the next one."""
    world = Simulated(upstream(), route())
    world.step()
    world.report("p1", world.revision())
    world.put(route(retry={"attempts": 5}))
    (written,) = [s for s in world.plan("team").steps if isinstance(s, Apply) and s.body["kind"] == "AgentRoute"]
    assert written.body["status"]["observedGeneration"] == 1
    assert {c["observedGeneration"] for c in written.body["status"]["conditions"]} == {1}


def test_every_namespace_gets_what_its_sidecars_trust_the_operator_by_and_a_new_one_when_it_changes() -> None:
    world = Simulated(upstream(), route())
    world.authority = "PEM 1"
    first = world.step()[0]
    assert first.body["data"] == {"ca.crt": "PEM 1"} and first.body["metadata"]["name"] == "seawall-ca"
    assert world.step() == []
    world.authority = "PEM 2"
    assert [step.body["data"] for step in world.step()] == [{"ca.crt": "PEM 2"}]


def test_counts_are_written_every_few_seconds_and_transitions_at_once() -> None:
    world = Simulated(upstream(), route())
    world.step()
    world.report("p1", world.revision())
    world.step()
    world.report("p2", world.revision())
    assert world.step() == []
    plan = world.plan("team")
    assert plan.again == pytest.approx(COUNT_SECONDS)
    world.now += COUNT_SECONDS
    world.report("p1", world.revision())
    world.report("p2", world.revision())
    assert world.step()
    assert (world.documents.get(("AgentRoute", "team", "chat")) or {})["status"]["synced"] == "2/2"


def test_an_upstream_of_several_namespaces_waits_for_all_of_them() -> None:
    world = Simulated(cluster_upstream(), route("chat", "/c"), route("chat", "/c", namespace="other"))
    world.step()
    world.report("p1", "an older one")
    world.step()
    assert world.conditions("ClusterUpstream", "c", "")["Programmed"] == ("False", "Pending")
    world.report("p1", world.revision())
    world.step()
    assert world.conditions("ClusterUpstream", "c", "")["Programmed"] == ("True", "Programmed")


def test_a_policy_of_an_upstream_waits_for_the_sidecars_of_every_namespace_that_uses_it() -> None:
    world = Simulated(
        upstream(namespace="other"), route("chat", "other/a"), policy("p", "Upstream", "a", namespace="other")
    )
    world.step()
    world.report("p1", "an older one")
    world.step()
    assert world.conditions("ResiliencePolicy", "p", "other")["Programmed"] == ("False", "Pending")
    world.report("p1", world.revision())
    world.step()
    assert world.conditions("ResiliencePolicy", "p", "other")["Programmed"] == ("True", "Programmed")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_two_steps_later_there_is_nothing_left_to_write(seed: int) -> None:
    rng, world = Random(seed), Simulated()
    for _ in range(40):
        obj: Any = arbitrary(rng)
        if rng.random() < 0.8:
            world.put(obj)
        else:
            world.remove(obj)
        if "team" in world.rendered.scopes and rng.random() < 0.5:
            world.report(rng.choice("pq"), world.revision())
        world.now += COUNT_SECONDS
        world.step()
        world.step()
        assert world.step() == []
