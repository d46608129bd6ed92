"""What a call asks the cache, and whose it is, with plans as policies make them."""

from pathlib import Path

import pytest
from policy_documents import load, route, rule, upstream

from seawall.clock import SystemClock
from seawall.compile import compile_policy
from seawall.core.cache import CacheSettings, Scope
from seawall.dialects.base import Material
from seawall.question import Questions
from seawall.runtime import Plan
from seawall.types import Facts, Head, Headers

SETTINGS = CacheSettings()
BODY = b'{"model":"m","temperature":0,"messages":[]}'
PATH = "/chat/completions"
SECRET = b"s" * 32


def plan(*documents: dict[str, object]) -> Plan:
    loaded = load(*documents)
    assert loaded.policy is not None, loaded.issues
    (found,) = compile_policy(loaded.policy, None, SystemClock()).runtime.plans
    return found


def keyed(tmp_path: Path, **spec: object) -> dict[str, object]:
    file = tmp_path / "key"
    file.write_text("k")
    return upstream(auth={"type": "APIKey", "keyFile": str(file)}, **spec)


def asked(of: Plan, headers: Headers | None = None, rest: str = PATH, body: bytes = BODY) -> bytes:
    head = Head("POST", "/v1" + rest, headers or [])
    facts = of.dialect.read(head, rest, body)
    material = of.dialect.cache_material(facts, body)
    assert isinstance(material, Material)
    return Questions(of, SETTINGS, SECRET, "pod").key(head, facts, rest, material)


PLAIN = plan(upstream(), route(rule()))


def test_the_same_call_has_the_same_key_under_the_same_policy_and_another_under_any_other() -> None:
    refs: list[dict[str, object]] = [{"name": "a"}, {"name": "b", "priority": 1}]
    plans = [
        PLAIN,
        plan(upstream(baseURL="https://b/v1"), route(rule())),
        plan(upstream(baseURL="https://a/v2"), route(rule())),
        plan(upstream(baseURL="http://a/v1"), route(rule())),
        plan(upstream(), route(rule("/v1", {"name": "a", "model": "other"}))),
        plan(upstream(), route(rule("/v1", {"name": "a", "modelMap": [{"from": "m*", "to": "mapped"}]}))),
        plan(upstream(models=[{"name": "own", "aliases": ["m"]}]), route(rule())),
        plan(upstream(), upstream("b"), route(rule("/v1", *refs))),
        plan(upstream(), upstream("b"), route(rule("/v1", refs[0], {"name": "b"}))),
        plan(upstream(), route(rule(), name="r2")),
        plan(upstream(), route(rule(name="named"))),
    ]
    assert len({asked(one) for one in plans}) == len(plans)
    assert asked(plan(upstream(), route(rule()))) == asked(PLAIN)


def test_what_changes_no_answer_changes_no_key() -> None:
    slower = upstream(concurrency={"maxParallelRequests": 5})
    other = plan(slower, route(rule(timeouts={"request": "5s"}, retry={"attempts": 1})))
    assert asked(other) == asked(PLAIN)
    weighted = route(rule("/v1", {"name": "a", "weight": 7}))
    assert asked(plan(upstream(), weighted)) == asked(PLAIN)


def test_parameters_that_change_no_answer_are_no_part_of_the_key() -> None:
    def key(query: str, without: frozenset[str]) -> bytes:
        facts = Facts("statement", "w")
        material = Material(b"{}", True, without=without)
        return Questions(PLAIN, SETTINGS, SECRET, "pod").key(Head("POST", "/v1/s", []), facts, f"/s?{query}", material)

    drawn = frozenset({"requestid"})
    assert (
        key("requestId=1&nullable=true", drawn)
        == key("nullable=true&requestId=2", drawn)
        == key("nullable=true", drawn)
    )
    assert key("requestId=1", drawn) != key("requestId=1&nullable=true", drawn)
    assert key("requestId=1", frozenset()) != key("requestId=2", frozenset())


def test_fields_that_change_an_answer_change_the_key() -> None:
    agents: list[Headers] = [
        [],
        [(b"OpenAI-Beta", b"x")],
        [(b"openai-project", b"p")],
        [(b"openai-organization", b"o")],
    ]
    assert len({asked(PLAIN, headers) for headers in agents}) == len(agents)
    assert asked(PLAIN, [(b"user-agent", b"x"), (b"x-stainless-lang", b"python")]) == asked(PLAIN)


def test_a_host_that_is_passed_on_is_part_of_the_question() -> None:
    passing = plan(upstream(hostHeader="Passthrough"), route(rule()))
    assert asked(passing, [(b"Host", b"a")]) != asked(passing, [(b"Host", b"b")])
    assert asked(PLAIN, [(b"Host", b"a")]) == asked(PLAIN, [(b"Host", b"b")])


@pytest.mark.parametrize("name", [b"Authorization", b"api-key", b"X-Api-Key", b"Cookie"])
def test_agents_with_credentials_of_their_own_never_share(name: bytes) -> None:
    keys = {asked(PLAIN, [(name, value)]) for value in (b"Bearer a", b"Bearer b")} | {asked(PLAIN)}
    assert len(keys) == 3


def test_agents_whose_keys_are_replaced_everywhere_share(tmp_path: Path) -> None:
    injected = plan(keyed(tmp_path), route(rule()))
    assert asked(injected, [(b"Authorization", b"Bearer a")]) == asked(injected, [(b"Authorization", b"Bearer b")])


def test_one_upstream_that_gets_the_agents_own_key_is_enough_to_keep_agents_apart(tmp_path: Path) -> None:
    refs: list[dict[str, object]] = [{"name": "a"}, {"name": "b", "priority": 1}]
    mixed = plan(keyed(tmp_path), upstream("b"), route(rule("/v1", *refs)))
    assert asked(mixed, [(b"Authorization", b"Bearer a")]) != asked(mixed, [(b"Authorization", b"Bearer b")])


def test_a_key_in_the_query_of_any_api_may_be_what_is_asked_for(tmp_path: Path) -> None:
    generic = plan(keyed(tmp_path, dialect="Generic", baseURL="https://a"), route(rule("/")))

    def get(rest: str) -> bytes:
        head = Head("GET", rest, [])
        facts = generic.dialect.read(head, rest, b"")
        return Questions(generic, SETTINGS, SECRET, "pod").key(head, facts, rest, Material(b"", True))

    assert len({get("/items?key=a"), get("/items?key=b"), get("/items"), get("/item")}) == 4
    assert get("/items?b=1&a=2") == get("/items?a=2&b=1")


def test_a_key_of_gemini_in_the_query_is_whose_and_not_what(tmp_path: Path) -> None:
    rest = "/models/g:generateContent?key="

    def keys(of: Plan) -> set[bytes]:
        return {asked(of, rest=rest + value, body=b'{"contents":[]}') for value in ("a", "b")}

    spec = {"dialect": "Gemini", "baseURL": "https://a/v1beta"}
    assert len(keys(plan(upstream(**spec), route(rule("/v1beta"))))) == 2
    assert len(keys(plan(keyed(tmp_path, **spec), route(rule("/v1beta"))))) == 1


def test_a_cookie_keeps_agents_apart_also_where_their_keys_are_replaced(tmp_path: Path) -> None:
    injected = plan(keyed(tmp_path), route(rule()))
    assert asked(injected, [(b"Cookie", b"a")]) != asked(injected, [(b"Cookie", b"b")])


def test_a_namespace_may_share_on_purpose() -> None:
    def asked_by(of: Plan, value: bytes, scope: Scope) -> bytes:
        head = Head("POST", PATH, [(b"Authorization", value)])
        questions = Questions(of, CacheSettings(scope=scope), SECRET, "pod")
        return questions.key(head, Facts("chat", "m"), PATH, Material(b"{}", True))

    assert asked_by(PLAIN, b"a", Scope.NAMESPACE) == asked_by(PLAIN, b"b", Scope.NAMESPACE)
    assert asked_by(PLAIN, b"a", Scope.NAMESPACE) != asked_by(PLAIN, b"a", Scope.TENANT)
    assert asked_by(PLAIN, b"a", Scope.TENANT) != asked_by(PLAIN, b"b", Scope.TENANT)


def test_models_without_end_are_not_remembered_without_end() -> None:
    questions = Questions(PLAIN, SETTINGS, SECRET, "pod")

    def of(model: str) -> bytes:
        return questions.key(Head("POST", PATH, []), Facts("chat", model), PATH, Material(b"{}", True))

    keys = [of(f"m{number}") for number in range(1000)]
    assert len(set(keys)) == 1000
    assert [of(f"m{number}") for number in range(1000)] == keys
    assert len(questions._keys) < 300
