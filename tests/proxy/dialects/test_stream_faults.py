"""What the watches take for a fault in a stream: errors of the provider, withheld answers, malformed events."""

import itertools

import pytest
from events import delta, event, typed, watch
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects.base import Watch
from seawall.faults import Code
from seawall.types import Safety


def code(watched: Watch) -> Code | None:
    return watched.fault.code if watched.fault is not None else None


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
    chat.feed(delta(tool_calls=[{"function": {"arguments": '"error": 500'}}]) + delta(finish="stop"))
    assert chat.fault is None


def test_a_stream_that_the_provider_withheld_is_whole_and_a_fault() -> None:
    chat = watch("chat")
    chat.feed(delta(content="x") + delta(finish="content_filter"))
    assert (chat.terminal, code(chat)) == (True, Code.CONTENT_POLICY)
    several = watch("chat", choices=2)
    several.feed(delta(finish="content_filter") + delta(1, "stop"))
    assert (several.terminal, code(several)) == (True, None)
    several = watch("chat", choices=2)
    several.feed(delta(finish="content_filter") + delta(1, "content_filter"))
    assert (several.terminal, code(several)) == (True, Code.CONTENT_POLICY)
    incomplete = typed("response.incomplete", response={"incomplete_details": {"reason": "content_filter"}})
    for safety, expected in ((Safety.SAFE_BILLED, Code.CONTENT_POLICY), (Safety.SAFE, None)):
        responses = watch("responses", safety=safety)
        responses.feed(incomplete)
        assert (responses.terminal, code(responses)) == (True, expected)
    responses = watch("responses")
    responses.feed(typed("response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}}))
    assert (responses.terminal, code(responses)) == (True, None)


def test_a_refusal_counts_when_its_message_is_over() -> None:
    messages = watch("messages")
    messages.feed(typed("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 1}))
    assert (messages.terminal, code(messages)) == (False, None)  # cut off here, it is a truncation
    messages.feed(typed("message_stop"))
    assert (messages.terminal, code(messages)) == (True, Code.CONTENT_POLICY)


@pytest.mark.parametrize(
    ("operation", "error"),
    [("chat", event({"error": {"code": "rate_limit_exceeded"}})), ("responses", typed("error", code="server_error")),
     ("messages", typed("error", error={"type": "overloaded_error"}))],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_what_follows_the_providers_own_error_passes_as_it_came(operation: str, error: bytes, step: int) -> None:
    watched = watch(operation)
    stream = error + b"data: upstream closed\n\n" + event("[DONE]")[:9]
    assert (
        b"".join(watched.feed(stream[at : at + step]) for at in range(0, len(stream), step)) + watched.end() == stream
    )
    assert code(watched) in {Code.RATE_LIMITED, Code.SERVER_ERROR, Code.OVERLOADED}


HALF = "\\ud83d"


@pytest.mark.parametrize(
    ("operation", "data"),
    [("chat", f'{{"model": "m-1", "choices": [{{"delta": {{"content": "{HALF}"}}, "finish_reason": "stop"}}]}}'),
     ("chat", '{"model": "m-1", "choices": [{"delta": {"content": "x"}, "logprobs": NaN, "finish_reason": "stop"}]}'),
     ("chat", '{"model": "m-1", "x": [Infinity, -1e999], "choices": [{"text": "x", "finish_reason": "stop"}]}'),
     ("responses", f'{{"type": "response.completed", "delta": "{HALF}", "response": {{"model": "m-1"}}}}')],
)  # fmt: skip
def test_an_event_that_only_lenient_decoders_read_counts(operation: str, data: str) -> None:
    watched = watch(operation)
    assert watched.feed(event(data)) == event(data)
    assert watched.content
    assert watched.fault is None
    if operation == "chat":
        assert (watched.terminal, watched.model) == (True, "m-1")


def test_the_name_of_an_anthropic_error_event_decides() -> None:
    for data, expected in (
        ({"type": "overloaded_error", "message": "x"}, Code.OVERLOADED),
        ({"type": "message_stop"}, Code.SERVER_ERROR),
        ("Internal Server Error", Code.SERVER_ERROR),
        ("", Code.SERVER_ERROR),
    ):
        messages = watch("messages")
        assert messages.feed(event(data, "error")) == event(data, "error")
        assert (code(messages), messages.terminal) == (expected, False)


def test_a_responses_event_without_a_type_goes_by_its_name() -> None:
    responses = watch("responses")
    responses.feed(event({"response": {"model": "m-1"}}, "response.completed"))
    assert (responses.terminal, responses.model) == (True, "m-1")


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
