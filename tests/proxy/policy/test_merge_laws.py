"""Laws of merging, for any set of layers: a total order decides, and every value is the one that its source wrote."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from seawall.policy import evaluate
from seawall.policy.defaults import DEFAULT, RULE
from seawall.policy.load import load_objects
from seawall.policy.merge import Layer, merge

DURATIONS = st.sampled_from(["600s", "601s", "602s", "700s"])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "retry": st.fixed_dictionaries(
            {},
            optional={
                "attempts": st.integers(0, 5),
                "codes": st.lists(st.integers(500, 504), max_size=2),
                "backoff": st.fixed_dictionaries({}, optional={"max": DURATIONS}),
            },
        ),
        "timeouts": st.fixed_dictionaries({}, optional={"request": DURATIONS, "connect": DURATIONS}),
        "fallbackOn": st.lists(st.sampled_from(["NotFound", "Forbidden"]), max_size=2),
    },
)
AGES = st.none() | st.sampled_from(["2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"])
POLICIES = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["overrides", "defaults"]), st.booleans(), AGES, FIELDS), max_size=6
)


def leaves(fields: Any, at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found.update(leaves(value, f"{at}{name}.") if isinstance(value, dict) else {f"{at}{name}": value})
    return found


def document(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "seawall.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


@given(POLICIES, FIELDS, st.randoms(use_true_random=False))
def test_the_winner_is_the_highest_layer_that_sets_a_field_in_any_order_of_documents(
    policies: list[Any], inline: Any, shuffle: Any
) -> None:
    documents = [
        document("Upstream", {"name": "a"}, {"dialect": "OpenAI", "baseURL": "https://a"}),
        document("AgentRoute", {"name": "r"}, {"rules": [{"name": "m", "backendRefs": [{"name": "a"}], **inline}]}),
    ]
    # (rank: the smaller the higher, source, fields); written from GEP-713 anew, not from the code under test.
    layers: list[tuple[tuple[Any, ...], str, Any]] = [((2,), 'AgentRoute default/r rule "m"', inline)]
    for number, (cluster, level, section, age, fields) in enumerate(policies):
        kind, name = ("ClusterResiliencePolicy" if cluster else "ResiliencePolicy"), f"p{number}"
        target = {"kind": "AgentRoute", "name": "r", **({"sectionName": "m"} if section else {})}
        metadata = {"name": name, **({"creationTimestamp": age} if age else {})}
        documents.append(document(kind, metadata, {"targetRefs": [target], level: fields}))
        place = (0 if cluster else 1) if level == "overrides" else (4 if cluster else 3)
        specific = section if level == "overrides" else not section
        key = name if cluster else f"default/{name}"
        layers.append(((place, specific, age is None, age or "", name), f"{kind} {key} {level}", fields))
    layers.append(((5,), DEFAULT, None))
    shuffle.shuffle(documents)
    loaded = evaluate(load_objects(documents))
    assert loaded.policy is not None, loaded.issues
    rule = loaded.policy.routes[0].rules[0]
    expected: dict[str, tuple[Any, str]] = {}
    for _, source, fields in sorted(layers, key=lambda layer: layer[0], reverse=True):
        values = RULE if fields is None else leaves(fields)
        for path, value in values.items():
            expected[path] = (tuple(value) if isinstance(value, list | tuple) else value, source)
    assert {path: (rule.values[path], rule.sources[path]) for path in rule.values} == expected
    assert rule.values.keys() == rule.sources.keys()


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=4), max_size=6), st.data())
def test_merging_is_associative_and_a_layer_twice_is_a_layer_once(contents: list[dict[str, int]], data: Any) -> None:
    layers = [Layer(str(number), content) for number, content in enumerate(contents)]
    merged = merge(layers)
    cut = data.draw(st.integers(0, len(layers)))
    above, below = merge(layers[:cut]), merge(layers[cut:])
    again = merge([Layer("above", above.values), Layer("below", below.values)])
    assert again.values == merged.values
    assert merge([*layers, *layers]).sources == merged.sources
    for path, value in merged.values.items():
        assert contents[int(merged.source(path))][path] == value
