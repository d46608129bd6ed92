"""What the watches recognise in streams of each kind: content, terminal events, errors, usage."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.dialects.sse import KEPT
from seawall.faults import Code
from seawall.types import Facts, Safety, Usage


def watch(operation: str, *, choices: int = 1, safety: Safety = Safety.SAFE_BILLED) -> Watch:
    name = {"messages": "Anthropic", "generic": "Generic"}.get(operation, "OpenAI")
    return REGISTRY[name].watch(Facts(operation, choices=choices, safety=safety))


def event(data: object, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def typed(kind: str, **fields: object) -> bytes:
    return event({"type": kind, **fields}, kind)


def delta(index: int = 0, finish: str | None = None, **fields: object) -> bytes:
    return event({"model": "m-1", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]})


def code(watched: Watch) -> Code | None:
    return watched.fault.code if watched.fault is not None else None


@pytest.mark.parametrize(
    "fields",
    [{"content": "x"}, {"content": [{"type": "thinking"}]}, {"reasoning": "x"}, {"reasoning_content": "x"},
     {"reasoning_details": [{"text": "x"}]}, {"refusal": "x"}, {"tool_calls": [{"index": 0}]},
     {"function_call": {"name": "f"}}, {"audio": {"data": "x"}}, {"images": [{}]}],
)  # fmt: skip
def test_chat_content(fields: dict[str, object]) -> None:
    chat = watch("chat")
    chat.feed(delta(role="assistant", content=""))
    assert (chat.content, chat.progress, chat.model) == (False, 0, "m-1")
    chat.feed(delta(**fields))
    assert (chat.content, chat.progress, chat.terminal) == (True, 1, False)


@pytest.mark.parametrize("fields", [{"role": "assistant"}, {"content": ""}, {"content": None, "tool_calls": []}])
def test_chat_without_content(fields: dict[str, object]) -> None:
    chat = watch("chat")
    chat.feed(delta(**fields) + b": OPENROUTER PROCESSING\n\n" + event({"choices": []}))
    assert not chat.content
    assert chat.fault is None


def test_chat_is_whole_with_done_or_every_finish_reason() -> None:
    chat = watch("chat")
    chat.feed(event("[DONE]"))
    assert chat.terminal
    chat = watch("chat", choices=2)
    chat.feed(delta(0, "stop") + delta(0, "stop"))
    assert not chat.terminal
    chat.feed(delta(1, "length"))
    assert chat.terminal


def test_chat_waits_for_choices_that_nobody_had_asked_for() -> None:
    chat = watch("chat")
    chat.feed(delta(1, content="b") + delta(0, "stop"))
    assert not chat.terminal
    chat.feed(delta(1, "stop"))
    assert chat.terminal


def test_completions_carry_text() -> None:
    legacy = watch("completions")
    legacy.feed(event({"choices": [{"text": "", "index": 0}]}))
    assert not legacy.content
    legacy.feed(event({"choices": [{"text": "x", "index": 0, "finish_reason": "stop"}]}))
    assert legacy.content
    assert legacy.terminal


def test_chat_usage_in_its_variants() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 3}}
    tokens = {"prompt_tokens": 5, "completion_tokens": 7}
    chat = watch("chat")
    chat.feed(event({"choices": [], "usage": {**tokens, **details}}))
    assert chat.usage == Usage(5, 7, 2, 3)
    chat = watch("chat")
    chat.feed(event({"choices": [], "usage": None, "x_groq": {"id": "r", "usage": tokens}}))
    assert chat.usage == Usage(5, 7)
    chat = watch("chat")
    chat.feed(event({"usage": {**tokens, "prompt_cache_hit_tokens": 4}}))
    assert chat.usage == Usage(5, 7, 4)
    chat = watch("chat")
    chat.feed(
        event({"usage": {"prompt_tokens": "odd"}, "choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]})
    )
    assert (chat.usage, chat.content, chat.terminal, chat.fault) == (None, True, True, None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "x", "type": "server_error", "code": None}, Code.SERVER_ERROR),
        ({"message": "x", "code": "rate_limit_exceeded"}, Code.RATE_LIMITED),
        ({"message": "x", "code": "insufficient_quota", "type": "insufficient_quota"}, Code.QUOTA_EXHAUSTED),
        ({"message": "x", "code": 429}, Code.RATE_LIMITED),
        ({"message": "x", "code": "503"}, Code.OVERLOADED),
        ({"message": "x", "code": 402}, Code.QUOTA_EXHAUSTED),
        ({"message": "x", "code": "tool_use_failed", "type": "invalid_request_error", "status_code": 400},
         Code.INVALID_REQUEST),
        ({"message": "x", "code": "content_filter"}, Code.CONTENT_POLICY),
        ({"message": "x"}, Code.SERVER_ERROR),
        ("out of order", Code.SERVER_ERROR),
        ([1], Code.SERVER_ERROR),
    ],
)  # fmt: skip
def test_an_error_in_a_chat_stream_is_a_fault_by_its_inner_code(error: object, expected: Code) -> None:
    chat = watch("chat")
    data = event({"error": error, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]})
    assert chat.feed(data) == data
    assert code(chat) is expected


def test_finish_reasons_of_failure_and_the_name_of_an_event_are_believed_too() -> None:
    chat = watch("chat")
    chat.feed(delta(finish="error"))
    assert code(chat) is Code.SERVER_ERROR
    chat = watch("chat")
    chat.feed(event({"message": "x", "code": 429}, "error"))
    assert code(chat) is Code.RATE_LIMITED
    chat = watch("chat")
    chat.feed(event({"x_groq": {"error": "over capacity"}}))
    assert code(chat) is Code.SERVER_ERROR


def test_talk_about_errors_is_no_error() -> None:
    chat = watch("chat")
    chat.feed(delta(content='{"error": {"code": "insufficient_quota"}}') + event({"error": None, "choices": []}))
    chat.feed(delta(tool_calls=[{"function": {"arguments": '"error": 500'}}]) + delta(finish="content_filter"))
    assert chat.fault is None


MALFORMED = ['{"choices": [', "oops", "", "{}{}", "<html>", '{"a": \x00}']


@pytest.mark.parametrize("operation", ["chat", "responses", "completions", "messages"])
@pytest.mark.parametrize("data", MALFORMED)
def test_data_that_is_not_json_is_malformed_and_not_released(operation: str, data: str) -> None:
    watched = watch(operation)
    good = event({"type": "ping"})
    released = watched.feed(good + event(data) + good)
    if operation == "messages" and not data:
        assert watched.fault is None  # its SDK skips events without data
        return
    assert released == good
    assert code(watched) is Code.MALFORMED_EVENT


@pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
@pytest.mark.parametrize(
    "data",
    ["5", '"x"', "[]", "null", '{"choices": 5}', '{"choices": [5]}', '{"type": 5}', '{"type": {}}', '{"delta": "x"}',
     '{"choices": [{"delta": {"content": "\\ud83d"}}]}', '{"logprob": -Infinity}', '{"model": {}, "usage": 1}'],
)  # fmt: skip
def test_odd_json_passes_as_an_unknown_event(operation: str, data: str) -> None:
    watched = watch(operation)
    assert watched.feed(event(data) * 2) == event(data) * 2
    assert watched.fault is None


@pytest.mark.parametrize(
    ("events", "content"),
    [
        (typed("response.created", response={"model": "m-1"}), False),
        (typed("response.in_progress", response={}) + typed("response.queued", response={}), False),
        (typed("response.output_item.added", item={"type": "message"}), False),
        (typed("response.output_item.added", item={"type": "reasoning"}), False),
        (typed("response.output_item.added", item={"type": "mcp_list_tools"}), False),
        (typed("response.content_part.added", part={"type": "output_text", "text": ""}), False),
        (typed("response.output_text.delta", delta=""), False),
        (typed("response.output_text.delta", delta="x"), True),
        (typed("response.reasoning_summary_text.delta", delta="x"), True),
        (typed("response.refusal.delta", delta="x"), True),
        (typed("response.function_call_arguments.delta", delta="{"), True),
        (typed("response.output_item.added", item={"type": "function_call", "name": "f"}), True),
        (typed("response.output_item.done", item={"type": "custom_tool_call"}), True),
        (typed("response.image_generation_call.partial_image", partial_image_b64="x"), True),
    ],
)
def test_responses_content(events: bytes, content: bool) -> None:
    responses = watch("responses")
    responses.feed(events)
    assert responses.content is content
    assert not responses.terminal


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_responses_terminal_events_bring_model_and_usage(kind: str) -> None:
    responses = watch("responses", safety=Safety.SAFE)
    usage = {"input_tokens": 5, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 2},
             "output_tokens_details": {"reasoning_tokens": 3}}  # fmt: skip
    responses.feed(typed(f"response.{kind}", response={"model": "m-1", "error": None, "usage": usage}))
    assert (responses.terminal, responses.model, responses.usage) == (True, "m-1", Usage(5, 7, 2, 3))
    assert responses.fault is None


@pytest.mark.parametrize(
    ("events", "expected", "terminal"),
    [
        (typed("response.failed", response={"error": {"code": "rate_limit_exceeded"}}), Code.RATE_LIMITED, True),
        (typed("response.failed", response={"error": None}), Code.SERVER_ERROR, True),
        (typed("error", code="server_error", message="x"), Code.SERVER_ERROR, False),
        (typed("error", code="rate_limit_exceeded", message="x"), Code.RATE_LIMITED, False),
        (event({"type": "error", "error": {"type": "invalid_request_error", "code": "context_length_exceeded"}}),
         Code.CONTEXT_LENGTH, False),
        (event({"error": {"code": "insufficient_quota"}}), Code.QUOTA_EXHAUSTED, False),
    ],
)  # fmt: skip
def test_errors_in_a_responses_stream(events: bytes, expected: Code, terminal: bool) -> None:
    responses = watch("responses")
    assert responses.feed(events) == events
    assert (code(responses), responses.terminal) == (expected, terminal)


def test_null_errors_in_a_responses_stream_are_none() -> None:
    responses = watch("responses")
    responses.feed(event({"type": "response.in_progress", "error": None}) + event({"type": "x", "error": {}}))
    assert responses.fault is None


@pytest.mark.parametrize("step", [1 << 20, 10_000])
def test_a_very_long_answer_still_ends_with_its_terminal_event(step: int) -> None:
    text = "word " * 40_000
    usage = {"input_tokens": 5, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}}
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
    last = typed("response.completed", response={"model": "m-1", "output": output, "usage": usage, "metadata": {}})
    assert len(last) > KEPT
    responses = watch("responses")
    assert b"".join(responses.feed(last[at : at + step]) for at in range(0, len(last), step)) == last
    assert (responses.terminal, responses.usage) == (True, Usage(5, 7, 0, 3))


@pytest.mark.parametrize(
    ("events", "content"),
    [
        (typed("message_start", message={"model": "m-1", "usage": {"input_tokens": 1}}) + typed("ping"), False),
        (typed("content_block_start", content_block={"type": "text", "text": ""}), False),
        (typed("content_block_start", content_block={"type": "thinking", "thinking": ""}), False),
        (typed("content_block_delta", delta={"type": "signature_delta", "signature": "x"}), False),
        (typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": ""}), False),
        (typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}), False),
        (typed("content_block_start", content_block={"type": "tool_use", "name": "f", "input": {}}), True),
        (typed("content_block_start", content_block={"type": "server_tool_use", "name": "web_search"}), True),
        (typed("content_block_start", content_block={"type": "redacted_thinking", "data": "x"}), True),
        (typed("content_block_delta", delta={"type": "text_delta", "text": "x"}), True),
        (typed("content_block_delta", delta={"type": "thinking_delta", "thinking": "x"}), True),
        (typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"}), True),
        (typed("content_block_delta", delta={"type": "citations_delta", "citation": {"url": "x"}}), True),
    ],
)
def test_messages_content(events: bytes, content: bool) -> None:
    messages = watch("messages")
    assert messages.feed(events) == events
    assert (messages.content, messages.terminal, messages.fault) == (content, False, None)


def test_messages_end_with_message_stop_and_their_usage_adds_up() -> None:
    messages = watch("messages")
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}
    messages.feed(typed("message_start", message={"model": "m-1", "usage": usage}))
    messages.feed(typed("message_delta", delta={}, usage={"output_tokens": 9}))
    assert not messages.terminal
    messages.feed(typed("message_stop"))
    assert (messages.terminal, messages.model, messages.usage) == (True, "m-1", Usage(10, 9, 3))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("overloaded_error", Code.OVERLOADED), ("rate_limit_error", Code.RATE_LIMITED), ("api_error", Code.SERVER_ERROR),
     ("invalid_request_error", Code.INVALID_REQUEST), ("billing_error", Code.QUOTA_EXHAUSTED),
     ("timeout_error", Code.UPSTREAM_TIMEOUT), ("brand_new_error", Code.SERVER_ERROR)],
)  # fmt: skip
def test_errors_in_a_messages_stream(kind: str, expected: Code) -> None:
    messages = watch("messages")
    data = typed("error", error={"type": kind, "message": "x"})
    assert messages.feed(data) == data
    assert code(messages) is expected


def test_plain_streams_have_no_contract() -> None:
    plain = watch("generic")
    assert plain.feed(b": ping\n\n") == b": ping\n\n"
    assert not plain.content
    assert plain.feed(b"data: <not json\n\nda") == b"data: <not json\n\n"
    assert (plain.content, plain.terminal) == (True, False)
    assert plain.end() == b"da"
    assert (plain.terminal, plain.fault) == (True, None)


EVENTS = st.sampled_from(
    [delta(content="x"), delta(role="assistant"), delta(finish="stop"), delta(1, "stop"), event("[DONE]"), event("bad"),
     event({"error": {"code": 500}}), typed("response.output_text.delta", delta="x"), typed("message_stop"),
     typed("response.completed", response={}), typed("content_block_start", content_block={"type": "tool_use"}),
     b": comment\n\n", b"event: ping\n\n", b"data: {\ndata: }\n\n"]
)  # fmt: skip


@given(
    st.sampled_from(["chat", "responses", "messages", "generic"]),
    st.lists(EVENTS, max_size=8),
    st.lists(st.integers(0, 1500), max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
@settings(deadline=None)
def test_what_is_seen_does_not_depend_on_the_cuts(op: str, events: list[bytes], cuts: list[int], end: bytes) -> None:
    stream = b"".join(events).replace(b"\n", end)
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    cut, whole = watch(op), watch(op)
    released = b"".join(cut.feed(stream[a:b]) for a, b in itertools.pairwise(places)) + cut.end()
    assert released.rstrip(b"\r\n") == (whole.feed(stream) + whole.end()).rstrip(b"\r\n")
    for name in ("content", "terminal", "fault", "usage", "model", "progress"):
        assert getattr(cut, name) == getattr(whole, name)
    assert cut.fault is not None or released == stream


@given(st.sampled_from(["chat", "completions", "responses", "messages", "generic"]), st.lists(st.binary(max_size=80)))
@settings(deadline=None)
def test_watches_never_raise(operation: str, chunks: list[bytes]) -> None:
    watched = watch(operation)
    for chunk in chunks:
        watched.feed(chunk)
        watched.feed(b"data: " + chunk + b"\n\n")
    watched.end()
