"""The operations themselves, without sockets: no request that a stranger may send breaks one."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seawall.lab.answer import Mint, RejectedError
from seawall.lab.plan import Scenario
from seawall.lab.routes import Routes
from seawall.types import Head

INNER = """role content type function name tool_calls parameters text format json_schema schema input input_schema anyOf
allOf required properties items $ref enum minimum maximum multipleOf minLength minItems pattern prefixItems"""
OUTER = """messages input model stream tools tool_choice response_format text stream_options n max_tokens prompt system
output_config max_completion_tokens dimensions sql name rows format"""
WORDS = ["", "user", "assistant", "function", "object", "array", "integer", "json_schema", "#", "#/properties", "[a"]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 300), st.floats(-2, 2), st.sampled_from(WORDS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(INNER.split()), inner, max_size=4)
    ),
    max_leaves=12,
)
PATHS = ["chat/completions", "responses", "completions", "embeddings", "messages", "messages/count_tokens"]


def answered(path: str, body: dict[str, object]) -> bool:
    operation = Routes(lambda: 0.0).find(Head("POST", path, []), path)
    try:
        return bool(operation.answer(body, Scenario(), Mint(0, 1, 0.0)).frames)
    except RejectedError as refused:
        return bool(refused.message)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(OUTER.split()), JSON, max_size=8), st.booleans())
def test_no_json_crashes_an_operation(path: str, body: dict[str, object], valid: bool) -> None:
    if valid:
        body = {**body, "model": "gpt", "max_tokens": 9}
        body.setdefault("messages", [{"role": "user", "content": "hi"}])
    assert answered("/v1/" + path, body)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(INNER.split()), JSON, max_size=6))
@example({"properties": [False]})
@example({"properties": {}, "required": [None]})
def test_no_schema_crashes_a_tool_call(schema: dict[str, object]) -> None:
    hi = [{"role": "user", "content": "hi"}]
    body: dict[str, object] = {"model": "claude", "max_tokens": 9, "messages": hi}
    assert answered("/v1/messages", {**body, "tools": [{"name": "t", "input_schema": schema}]})
    function = {"type": "function", "function": {"name": "t", "parameters": schema}}
    assert answered("/v1/chat/completions", {**body, "tools": [function]})


@given(st.dictionaries(st.sampled_from(["sql", "rows", "format", "wait", "name"]), JSON, max_size=4))
def test_no_json_crashes_the_warehouse(body: dict[str, object]) -> None:
    assert answered("/warehouse/queries", body)
    assert answered("/warehouse/jobs", body)
