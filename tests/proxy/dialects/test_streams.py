"""What the watches recognise in streams of each kind: content, terminal events, errors, usage."""

import pytest
from events import delta, event, typed, watch

from seawall.dialects.sse import KEPT
from seawall.types import Safety, Usage


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


def test_totals_of_a_message_delta_replace_those_before_field_by_field() -> None:
    messages = watch("messages")
    before = {"input_tokens": 5, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 2, "output_tokens": 1}
    messages.feed(typed("message_start", message={"model": "m-1", "usage": before}))
    after = {"input_tokens": 8, "cache_read_input_tokens": 0, "cache_creation_input_tokens": None, "output_tokens": 9}
    messages.feed(typed("message_delta", delta={}, usage=after))
    assert messages.usage == Usage(10, 9)


def test_plain_streams_have_no_contract() -> None:
    plain = watch("generic")
    assert plain.feed(b": ping\n\n") == b": ping\n\n"
    assert not plain.content
    assert plain.feed(b"data: <not json\n\nda") == b"data: <not json\n\n"
    assert (plain.content, plain.terminal) == (True, False)
    assert plain.end() == b"da"
    assert (plain.terminal, plain.fault) == (True, None)
