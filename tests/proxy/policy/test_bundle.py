"""A bundle says the same on both sides, or is refused: never anything in between."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_documents import policy, route, rule, upstream

from seawall.clock import SystemClock
from seawall.compile import compile_policy
from seawall.policy import EffectivePolicy, bundle_wire, evaluate, load_objects, load_policy
from seawall.policy.blocks import UpstreamFields
from seawall.policy.bundle import SCHEMA, BundleError, _revision, bundle, pack, unpack
from seawall.policy.unimplemented import Gap

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    ROOT / "config" / "policy.yaml",
    ROOT / "bench" / "policy.yaml",
    *sorted((ROOT / "config").glob("*/*.yaml")),
]


def effective(*documents: dict[str, Any]) -> EffectivePolicy:
    loaded = evaluate(load_objects(documents))
    assert loaded.policy is not None, loaded.issues
    return loaded.policy


def bare(made: EffectivePolicy) -> EffectivePolicy:
    """Without what merging has taken from the documents, and lies in `values`."""
    gone: dict[str, None] = dict.fromkeys(UpstreamFields.model_fields)
    upstreams = {
        key: replace(one, spec=one.spec.model_copy(update=gone)) for key, one in sorted(made.upstreams.items())
    }
    routes = tuple(
        replace(r, rules=tuple(
            replace(x, backends=tuple(replace(b, upstream=upstreams[b.upstream.key]) for b in x.backends))
            for x in r.rules
        ))
        for r in made.routes
    )  # fmt: skip
    return replace(made, upstreams=upstreams, routes=routes)


HEADER = {"name": "X-A", "type": "RegularExpression", "value": "a+"}
FULL = effective(
    upstream("a", models=[{"name": "m", "aliases": ["n"], "contextTokens": 9}], timeouts={"connect": "1s"}),
    upstream("b", kind="ClusterUpstream", circuitBreaker={"open": {"base": "1s"}}),
    route(
        rule(
            "/v1", {"name": "a", "weight": 3, "modelMap": [{"from": "x*", "to": "y"}]},
            {"name": "b", "kind": "ClusterUpstream", "priority": 1, "model": "z"},
            retry={"codes": [500, 503]}, fallbackOn=["NotFound"], hedging={"maxAttempts": 3},
            fallback=[{"type": "StaticResponse", "text": "sorry", "status": 200}],
            streaming={"minProgress": {"events": 1, "interval": "9s"}},
        ),
        rule("/v2", matches=[{"models": ["gpt*"], "headers": [HEADER]}]),
    ),
    {**policy(retry={"attempts": 5}), "spec": {**policy(retry={"attempts": 5})["spec"], "enforcement": "Shadow"}},
)  # fmt: skip


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_is_read_back_is_what_was_packed(file: Path) -> None:
    loaded = load_policy([file])
    assert loaded.policy is not None
    made = bundle("default", "default", 7, loaded.policy)
    assert unpack(pack(made)) == replace(made, policy=bare(made.policy))


def test_matches_models_fallbacks_and_shadows_are_read_back_too() -> None:
    made = bundle("default", "p", 7, FULL)
    back = unpack(pack(made))
    assert back == replace(made, policy=bare(made.policy))
    assert back.policy.routes[0].rules[0].shadow is not None
    assert compile_policy(back.policy, None, SystemClock()).runtime.revision == made.revision


def test_the_revision_names_the_content_and_nothing_else() -> None:
    one, other = bundle("n", "p", 1, FULL), bundle("n", "q", 2, replace(FULL, revision="another"))
    assert one.revision == other.revision and pack(one) != pack(other)
    fewer = replace(FULL, routes=())
    assert bundle("n", "p", 1, fewer).revision != one.revision
    assert pack(one) == pack(bundle("n", "p", 1, FULL))


def wire(made: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(pack(made or bundle("default", "p", 7, FULL))))
    return found


def first_rule(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["policy"]["routes"][0]["rules"][0]
    return found


def fields(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = first_rule(data)["fields"]
    return found


def packed(data: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps({**data, "revision": _revision(data["policy"])}).encode())


def test_fields_of_the_next_version_are_dropped_and_named() -> None:
    data = wire()
    fields(data)["retry.mood"] = ["good", "default"]
    data["policy"]["upstreams"][0]["spec"]["colour"] = "blue"
    data["policy"]["routes"][0]["more"] = 1
    with pytest.raises(BundleError, match=r"unknown field|Extra inputs"):
        unpack(packed(data))
    back = unpack(packed({**data, "schema": SCHEMA + 1}))
    assert back.dropped == ("retry.mood",)
    assert back.policy.routes == unpack(pack(bundle("default", "p", 7, FULL))).policy.routes


def test_what_the_version_before_does_not_send_has_its_default() -> None:
    data = wire()
    del fields(data)["streaming.commit"]
    back = unpack(packed({**data, "schema": SCHEMA - 1}))
    assert back.policy.routes[0].rules[0].settings.streaming.commit == "FirstContent"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema=SCHEMA + 2), "schema version"),
        (lambda d: fields(d).update({"retry.attempts": [99, "x"]}), "attempts"),
        (lambda d: d["policy"]["upstreams"][0]["spec"].update(baseURL="ftp://x"), "baseURL"),
        (lambda d: d["policy"]["upstreams"].pop(), "there is no"),
        (lambda d: d["policy"]["routes"][0]["rules"][1]["matches"][0]["headers"][0].update(value="("), "regular expr"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_the_field(change: Any, words: str) -> None:
    data = wire()
    change(data)
    with pytest.raises(BundleError, match=words):
        unpack(packed(data))


def test_what_this_version_does_not_implement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wire()
    fields(data).update(sticky=["Conversation", "x"])
    unpack(packed(data))
    monkeypatch.setattr(bundle_wire, "NOT_IMPLEMENTED", (Gap((), "sticky"),))
    with pytest.raises(BundleError, match="sticky: is not implemented by this version"):
        unpack(packed(data))


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_what_is_cut_short_or_changed_on_its_way_is_refused(cut: int) -> None:
    whole = pack(bundle("default", "p", 7, FULL))
    with pytest.raises(BundleError):
        unpack(whole[:cut])
    data = wire()
    data["policy"]["routes"] = []
    with pytest.raises(BundleError, match="does not name its content"):
        unpack(gzip.compress(json.dumps(data).encode()))


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(BundleError, match="larger than"):
        unpack(gzip.compress(b" " * (33 * 2**20)))


JUNK = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2) | st.just({})
)


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_is_refused_or_leaves_a_policy_that_compiles(data: st.DataObject) -> None:
    content = wire()
    for _ in range(data.draw(st.integers(1, 3))):
        at: Any = content["policy"]
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and at[key] and data.draw(st.integers(0, 9)):
                at = at[key]
                continue
            if data.draw(st.booleans()):
                at[key] = data.draw(JUNK)
            else:
                del at[key]
            break
    try:
        back = unpack(packed(content))
    except BundleError as error:
        assert str(error)
    else:
        compile_policy(back.policy, None, SystemClock())
