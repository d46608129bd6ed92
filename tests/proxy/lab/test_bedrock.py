"""The lab's Bedrock: where its streams' content begins and ends, what its errors are, and what it refuses."""

from typing import Any

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.lab.answer import Answer, Mint, RejectedError
from seawall.lab.plan import Scenario, Trouble
from seawall.lab.routes import Routes
from seawall.types import Facts, Head

TOOLS = {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}}
HI: list[Any] = [{"role": "user", "content": [{"text": "hi"}]}]
INVOKED = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
CASES = [
    ("converse-stream", {"messages": HI}),
    ("converse-stream", {"messages": HI, **TOOLS}),
    ("invoke-with-response-stream", INVOKED),
    ("invoke-with-response-stream", {**INVOKED, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
]
each = pytest.mark.parametrize(("operation", "body"), CASES)


def answer(operation: str, body: dict[str, Any], scenario: Scenario | None = None) -> Answer:
    path = f"/model/us.some.model-v1%3A0/{operation}"
    return Routes(lambda: 0.0).find(Head("POST", path, []), path).answer(body, scenario or Scenario(), Mint(7, 1, 0.0))


def watch(operation: str) -> Watch:
    return REGISTRY["Bedrock"].watch(Facts(operation.partition("-")[0], stream=True))


@each
def test_content_begins_right_behind_the_prelude(operation: str, body: dict[str, Any]) -> None:
    made, seen = answer(operation, body), watch(operation)
    for frame in made.frames[: made.prelude]:
        seen.feed(frame)
    assert not seen.content
    seen.feed(made.frames[made.prelude])
    assert seen.content


@each
def test_a_stream_without_its_terminal_events_is_not_whole(operation: str, body: dict[str, Any]) -> None:
    made, seen = answer(operation, body), watch(operation)
    for frame in made.frames[: -made.terminal]:
        seen.feed(frame)
    seen.end()
    assert not seen.terminal
    whole = watch(operation)
    assert b"".join(map(whole.feed, made.frames)) == b"".join(made.frames)
    assert whole.terminal and whole.fault is None
    assert whole.usage is not None and whole.usage.output > 0


@pytest.mark.parametrize("trouble", Trouble)
def test_an_error_event_is_the_fault_that_it_names(trouble: Trouble) -> None:
    made, seen = answer(*CASES[0]), watch("converse")
    assert made.error_event is not None
    seen.feed(made.error_event(trouble, False, 0))
    assert seen.fault is not None
    names = {Trouble.INVALID: "INVALID_REQUEST", Trouble.AUTH: "UNAUTHORIZED", Trouble.CONTEXT: "CONTEXT_LENGTH",
             Trouble.FILTER: "CONTENT_POLICY", Trouble.RATE_LIMIT: "RATE_LIMITED", Trouble.QUOTA: "QUOTA_EXHAUSTED",
             Trouble.SERVER: "SERVER_ERROR", Trouble.TIMEOUT: "UPSTREAM_TIMEOUT"}  # fmt: skip
    assert seen.fault.code.value == names.get(trouble, trouble.name)


def test_a_malformed_message_has_a_wrong_checksum() -> None:
    made = answer(*CASES[0])
    assert made.malformed is not None
    buffer = EventStreamBuffer()
    buffer.add_data(made.malformed(made.frames[1]))
    with pytest.raises(ChecksumMismatch):
        list(buffer)


def test_tools_are_called_until_their_results_have_come() -> None:
    use = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]}
    result = {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "1"}]}}]}
    for rounds, stop in ((1, b'"end_turn"'), (2, b'"tool_use"')):
        body = {"messages": [*HI, use, result], **TOOLS}
        [made] = answer("converse", body, Scenario(rounds=rounds)).frames
        assert stop in made


@pytest.mark.parametrize(
    ("operation", "body"),
    [("converse", {}), ("converse", {"messages": [{"role": "user", "content": "hi"}]}), ("invoke", {"messages": HI})],
)
def test_what_bedrock_refuses_is_refused(operation: str, body: dict[str, Any]) -> None:
    with pytest.raises(RejectedError) as caught:
        answer(operation, body)
    assert caught.value.trouble is Trouble.INVALID
