"""What an operator remembers by, and that one that starts anew goes on as if it had never ended."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_objects import arbitrary, cluster_upstream, policy, route, upstream

from seawall_operator import config_maps
from seawall_operator.render import CLUSTER, Documents, Rendered, render
from seawall_operator.resources import identity


def written(documents: Documents, rendered: Rendered) -> list[dict[str, Any]]:
    """The ConfigMaps of all namespaces that hold accepted documents."""
    spaces = documents.namespaces
    found = (one for ns in spaces for one in config_maps.accepted(ns, "seawall", documents, rendered.accepted))
    return [one.body() for one in found]


def recalled(maps: list[dict[str, Any]]) -> Rendered:
    return Rendered({}, {identity(obj): obj for one in maps for obj in config_maps.accepted_in(one)})


def test_each_namespace_keeps_its_own_and_the_operator_s_keeps_the_cluster_s() -> None:
    documents = Documents([upstream(), route(), cluster_upstream(), upstream("b", "other"), policy(namespace="")])
    maps = written(documents, render(documents))
    places = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in maps}
    assert places == {
        ("team", "seawall-accepted"), ("other", "seawall-accepted"), ("seawall", "seawall-accepted-cluster"),
    }  # fmt: skip
    assert set(recalled(maps).accepted) == {identity(obj) for obj in documents}


def test_a_status_is_no_news_and_a_spec_and_a_label_are() -> None:
    def version(obj: dict[str, Any]) -> str:
        documents = Documents([obj])
        (one,) = config_maps.accepted("team", "seawall", documents, render(documents).accepted)
        return one.revision

    first = upstream()
    assert version({**first, "status": {"conditions": []}}) == version(first)
    for change in ({"generation": 2}, {"labels": {"a": "b"}}, {"uid": "another"}):
        assert version({**first, "metadata": {**first["metadata"], **change}}) != version(first)


@given(st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_a_restart_in_the_middle_of_any_edits_changes_nothing(rng: Random) -> None:
    live, rendered = Documents(), Rendered({})
    for _ in range(rng.randint(3, 25)):
        live.put(arbitrary(rng))
        rendered = render(live, rendered.accepted)
    again = render(live, recalled(written(live, rendered)).accepted)
    for namespace, scope in rendered.scopes.items():
        # No more and no less than the one that went on would serve.
        went_on = render(live, rendered.accepted).scopes[namespace]
        assert [b.revision for b in again.scopes[namespace].bundles(1)] == [b.revision for b in went_on.bundles(1)]
        if namespace != CLUSTER:
            assert set(again.scopes[namespace].routes) >= set(scope.routes) & set(went_on.routes)


@pytest.mark.parametrize("spoiled", [{}, {"binaryData": {"documents.json.gz": "nonsense"}}, {"binaryData": None}])
def test_what_was_spoiled_is_said_to_be(spoiled: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no documents in it"):
        config_maps.accepted_in({"metadata": {}, **spoiled})
