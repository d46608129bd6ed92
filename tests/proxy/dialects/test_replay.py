"""Answers recorded in one form and given in the other: nothing that the dialect says is lost, and where something
would be, there is no answer.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.dialects import REGISTRY
from seawall.dialects.base import Form
from seawall.types import Facts

OPENAI, ANTHROPIC = REGISTRY["OpenAI"], REGISTRY["Anthropic"]
CHAT, RESPONSES, MESSAGES = Facts("chat", "m"), Facts("responses", "m"), Facts("messages", "m")
COMPLETIONS = Facts("completions", "m")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
maybe_text = st.none() | texts
numbers = st.integers(0, 10**6)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in required.items()},
        optional={
            name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in optional.items()
        },
    )


tool_calls = st.lists(
    some({"id": texts, "type": "function", "function": some({"name": texts, "arguments": texts}, {})}, {}),
    min_size=1, max_size=3,
)  # fmt: skip
logprobs = some(
    {"content": st.lists(some({"token": texts, "logprob": st.floats(-9, 0)}, {}), max_size=3)}, {"refusal": None}
)
messages = some(
    {"role": "assistant", "content": maybe_text},
    {
        "refusal": maybe_text,
        "reasoning_content": maybe_text,
        "reasoning": maybe_text,
        "annotations": st.just([]) | st.lists(some({"type": "url_citation", "url": texts}, {}), max_size=2),
        "tool_calls": tool_calls,
        "function_call": some({"name": texts, "arguments": texts}, {}),
    },
)
chat_usage = some(
    {"prompt_tokens": numbers, "completion_tokens": numbers, "total_tokens": numbers},
    {"prompt_tokens_details": some({"cached_tokens": numbers}, {})},
)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    choices = draw(
        st.lists(
            some(
                {"message": messages, "finish_reason": st.sampled_from(["stop", "tool_calls", "length"])},
                {"logprobs": st.none() | logprobs, "content_filter_results": anything},
            ),
            min_size=1, max_size=3,
        )
    )  # fmt: skip
    return {
        "id": draw(texts),
        "object": "chat.completion",
        "created": draw(numbers),
        "model": draw(texts),
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
        "usage": draw(chat_usage),
        **draw(some({}, {"system_fingerprint": maybe_text, "service_tier": maybe_text, "provider": maybe_text})),
    }


def there_and_back(dialect: Any, facts: Facts, plain: dict[str, Any], form: Form = Form.STREAM) -> None:
    told = dialect.replayed(facts, json.dumps(plain).encode(), Form.PLAIN, form)
    assert told is not None
    watch = dialect.watch(Facts(facts.operation, facts.model, True, choices=len(plain.get("choices", [0]))))
    assert watch.feed(told) + watch.end() == told
    assert watch.terminal
    joined = dialect.replayed(facts, told, form, Form.PLAIN)
    assert joined is not None
    assert json.loads(joined) == plain


@given(completions())
def test_a_completion_told_as_a_stream_and_joined_is_the_same(plain: dict[str, Any]) -> None:
    there_and_back(OPENAI, CHAT, plain, Form.STREAM_WITH_USAGE)


def parts(kind: str) -> st.SearchStrategy[Any]:
    return st.lists(some({"type": kind, "text": texts}, {}), max_size=2)


annotations = st.lists(some({"type": "url_citation", "url": texts}, {}), max_size=2)
items = st.one_of(
    some(
        {
            "type": "message", "id": texts, "role": "assistant", "status": "completed",
            "content": st.lists(
                some({"type": "output_text", "text": texts, "annotations": annotations}, {"logprobs": st.just([])})
                | some({"type": "refusal", "refusal": texts}, {}),
                max_size=2,
            ),
        },
        {},
    ),
    some(
        {"type": "reasoning", "id": texts, "summary": parts("summary_text")},
        {"encrypted_content": texts, "content": parts("reasoning_text")},
    ),
    some(
        {"type": "function_call", "id": texts, "call_id": texts, "name": texts, "arguments": texts},
        {"status": "completed"},
    ),
    some({"type": "custom_tool_call", "id": texts, "call_id": texts, "name": texts, "input": texts}, {}),
    some({"type": "something_new", "id": texts, "what": anything}, {}),
)  # fmt: skip
responses = some(
    {
        "id": texts, "object": "response", "created_at": numbers, "status": "completed", "model": texts,
        "output": st.lists(items, max_size=4),
        "usage": some({"input_tokens": numbers, "output_tokens": numbers, "total_tokens": numbers}, {}),
    },
    {
        "error": None, "incomplete_details": None, "metadata": anything, "temperature": st.floats(0, 2),
        "tools": st.just([]), "completed_at": numbers,
    },
)  # fmt: skip


@given(responses)
def test_a_response_told_as_a_stream_and_joined_is_the_same(plain: dict[str, Any]) -> None:
    there_and_back(OPENAI, RESPONSES, plain)


inputs = st.dictionaries(texts, anything, max_size=3)
blocks = st.one_of(
    some(
        {"type": "text", "text": texts},
        {"citations": st.none() | st.lists(some({"type": "char_location"}, {}), max_size=2)},
    ),
    some({"type": "thinking", "thinking": texts, "signature": texts}, {}),
    some({"type": "redacted_thinking", "data": texts}, {}),
    some({"type": "tool_use", "id": texts, "name": texts, "input": inputs}, {"caller": anything}),
    some({"type": "server_tool_use", "id": texts, "name": texts, "input": inputs}, {}),
    some({"type": "web_search_tool_result", "tool_use_id": texts, "content": anything}, {}),
)
anthropic_messages = some(
    {
        "id": texts, "type": "message", "role": "assistant", "model": texts,
        "content": st.lists(blocks, max_size=4),
        "stop_reason": st.sampled_from(["end_turn", "tool_use", "stop_sequence"]),
        "stop_sequence": maybe_text,
        "usage": some(
            {"input_tokens": numbers, "output_tokens": numbers},
            {"cache_read_input_tokens": st.none() | numbers, "server_tool_use": anything},
        ),
    },
    {"container": anything, "context_management": anything, "stop_details": anything},
)  # fmt: skip


@given(anthropic_messages)
def test_a_message_told_as_a_stream_and_joined_is_the_same(plain: dict[str, Any]) -> None:
    there_and_back(ANTHROPIC, MESSAGES, plain)


PLAIN = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}  # fmt: skip


def events(stream: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def stream_of(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    one = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [one], **more}


USAGE = {"choices": [], "usage": PLAIN["usage"]}


def join(*chunks: dict[str, Any]) -> Any:
    found = OPENAI.replayed(CHAT, stream_of(*chunks), Form.STREAM_WITH_USAGE, Form.PLAIN)
    return None if found is None else json.loads(found)


def test_usage_is_told_in_a_stream_only_to_agents_that_asked_for_it() -> None:
    body = json.dumps(PLAIN).encode()
    asked, not_asked = (OPENAI.replayed(CHAT, body, Form.PLAIN, form) for form in (Form.STREAM_WITH_USAGE, Form.STREAM))
    assert asked is not None
    assert not_asked is not None
    assert events(asked)[-1]["usage"] == PLAIN["usage"]
    assert events(asked)[-1]["choices"] == []
    assert all("usage" not in event and event["choices"] for event in events(not_asked))


def test_a_stream_without_usage_cannot_stand_for_an_answer_that_always_has_it() -> None:
    quiet = stream_of(chunk({"role": "assistant", "content": "hello"}), chunk({}, finish="stop"))
    for want in (Form.PLAIN, Form.STREAM_WITH_USAGE):
        assert OPENAI.replayed(CHAT, quiet, Form.STREAM, want) is None
    assert OPENAI.replayed(CHAT, quiet, Form.STREAM, Form.STREAM) is quiet


def test_a_stream_with_usage_is_told_without_it_to_agents_that_did_not_ask() -> None:
    loud = stream_of(chunk({"role": "assistant", "content": "hello"}), chunk({}, finish="stop"), USAGE)
    told = OPENAI.replayed(CHAT, loud, Form.STREAM_WITH_USAGE, Form.STREAM)
    assert told is not None
    assert all(event["choices"] for event in events(told))


def test_pieces_of_texts_calls_and_choices_are_put_together() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more: list[dict[str, Any]] = [
        chunk({"role": "assistant", "content": None, "tool_calls": [first]}, obfuscation="xx"),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk({"role": "assistant", "content": "b", "reasoning": "c"}, 1),
        chunk({"tool_calls": [{"index": 1, **{k: v for k, v in first.items() if k != "index"}}]}),
        chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ":1}"}}]}),
        chunk({"role": "assistant", "content": "d", "reasoning": "e"}, 1, system_fingerprint="fp"),
        chunk({}, 1, "stop"),
        chunk({}, 0, "tool_calls"),
        USAGE,
    ]
    assert join(*more) == {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0, "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant", "content": None,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
                    ],
                },
            },
            {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "bd", "reasoning": "ce"}},
        ],
        "usage": PLAIN["usage"],
    }  # fmt: skip


def test_numbers_keep_their_digits() -> None:
    one = b'{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a"},'
    body = one + b'"logprobs":{"content":[{"logprob":-1.10000000000000000001e-30}]},"finish_reason":"stop"}],'
    body += b'"usage":{"prompt_tokens":123456789012345678901234567890}}'
    told = OPENAI.replayed(CHAT, body, Form.PLAIN, Form.STREAM_WITH_USAGE) or b""
    joined = OPENAI.replayed(CHAT, told, Form.STREAM_WITH_USAGE, Form.PLAIN) or b""
    for digits in (b"-1.10000000000000000001e-30", b"123456789012345678901234567890"):
        assert digits in told
        assert digits in joined


def test_legacy_completions_are_told_and_joined_as_well() -> None:
    choices = [{"index": n, "text": f"t{n}", "logprobs": None, "finish_reason": "stop"} for n in (0, 1)]
    plain = {**PLAIN, "object": "text_completion", "choices": choices}
    there_and_back(OPENAI, COMPLETIONS, plain, Form.STREAM_WITH_USAGE)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "a"}), USAGE],
        [USAGE],
        [chunk({"content": "a"}), {"error": {"message": "x"}}, chunk({}, finish="stop"), USAGE],
        [chunk({"content": [{"type": "text", "text": "a"}]}), chunk({}, finish="stop"), USAGE],
        [chunk({"content": "a"}), chunk({"content": 5}, finish="stop"), USAGE],
        [chunk({"audio": {"data": "AAAA"}}), chunk({}, finish="stop"), USAGE],
        [chunk({"content": "a"}, -1, "stop"), USAGE],
        [{"choices": "x"}, USAGE],
    ],
)
def test_streams_that_cannot_be_joined_for_sure_are_not(chunks: list[dict[str, Any]]) -> None:
    assert join(*chunks) is None


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: {}\n\n",
        b"data: [DONE]\n\n",
        b"data: not json\n\n",
        b'event: message_start\ndata: {"type":"message_start","message":{"content":[],"usage":{}}}\n\n',
        b'event: message_start\ndata: {"type":"message_start","message":{"content":[],"usage":{}}}\n\n'
        b'data: {"type":"something_new"}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
        b'data: {"type":"message_start","message":{"usage":{}}}\n\n'
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'
        b'data: {"type":"message_stop"}\n\n',
    ],
)
def test_what_is_no_whole_stream_of_a_dialect_is_not_joined(stream: bytes) -> None:
    assert OPENAI.replayed(CHAT, stream, Form.STREAM_WITH_USAGE, Form.PLAIN) is None
    assert OPENAI.replayed(RESPONSES, stream, Form.STREAM, Form.PLAIN) is None
    assert ANTHROPIC.replayed(MESSAGES, stream, Form.STREAM, Form.PLAIN) is None


@given(st.binary(max_size=80), st.sampled_from([CHAT, COMPLETIONS, RESPONSES, MESSAGES, Facts("embeddings", "m")]))
def test_nothing_makes_a_conversion_fail(data: bytes, facts: Facts) -> None:
    dialect = ANTHROPIC if facts is MESSAGES else OPENAI
    for body in (data, b"data: " + data + b"\n\n", b'data: {"type":"message_start","message":' + data + b"}\n\n"):
        for have in Form:
            assert dialect.finish(facts, body, have).unfinished
            for want in Form:
                found = dialect.replayed(facts, body, have, want)
                assert found is None or (have is want and found is body)


members = st.sampled_from(
    ["type", "choices", "delta", "index", "finish_reason", "message", "content", "tool_calls", "response", "output"]
) | st.sampled_from(
    ["item", "content_block", "usage", "text", "status", "stop_reason", "error", "output_index", "candidates"]
)
kinds = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message"]
) | st.sampled_from(
    ["message_stop", "text_delta", "input_json_delta", "response.completed", "response.output_item.done", "stop"]
)
odd: st.SearchStrategy[Any] = st.recursive(
    kinds | st.none() | st.integers(-2, 3) | st.just([]) | st.just({}) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(members, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(members, odd, max_size=5), min_size=1, max_size=4))
def test_members_of_any_kind_make_nothing_fail(chunks: list[dict[str, Any]]) -> None:
    gemini = REGISTRY["Gemini"]
    for body, have in ((stream_of(*chunks), Form.STREAM), (json.dumps(chunks[0]).encode(), Form.PLAIN)):
        for dialect, facts in ((OPENAI, CHAT), (OPENAI, COMPLETIONS), (OPENAI, RESPONSES), (ANTHROPIC, MESSAGES)):
            dialect.finish(facts, body, have)
            for want in Form:
                dialect.replayed(facts, body, have, want)
        gemini.finish(Facts("generate", "m"), body, have)


def test_a_long_stream_is_joined_in_linear_time() -> None:
    pieces = [chunk({"content": "word " * 20})] * 20_000
    assert len(join(*pieces, chunk({}, finish="stop"), USAGE)["choices"][0]["message"]["content"]) == 2_000_000


def test_a_response_whose_last_event_leaves_out_its_items_has_those_that_were_told() -> None:
    item = {"type": "message", "id": "m", "content": []}
    told: list[dict[str, Any]] = [
        {"type": "response.output_item.done", "output_index": 1, "item": {**item, "id": "m2"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"status": "completed", "output": [], "usage": {"input_tokens": 1}}},
    ]
    joined = OPENAI.replayed(RESPONSES, stream_of(*told), Form.STREAM, Form.PLAIN)
    assert joined is not None
    assert [one["id"] for one in json.loads(joined)["output"]] == ["m", "m2"]
