"""The Bedrock dialect: what it reads of requests, how it judges answers, and what its watches see in streams."""

import json
from base64 import b64encode
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.dialects.eventstream import encode
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage

BEDROCK = REGISTRY["Bedrock"]
CONVERSE = Facts("converse", "m", True, Safety.SAFE_BILLED)
INVOKE = Facts("invoke", "m", True, Safety.SAFE_BILLED)
JSON: Headers = [(b"Content-Type", b"application/json")]
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def read(path: str, body: object = b"{}", method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return BEDROCK.read(Head(method, path, []), path, data)


@pytest.mark.parametrize(
    ("path", "operation", "model", "stream"),
    [
        ("/model/us.amazon.nova-micro-v1%3A0/converse", "converse", "us.amazon.nova-micro-v1:0", False),
        ("/model/us.amazon.nova-micro-v1:0/converse-stream", "converse", "us.amazon.nova-micro-v1:0", True),
        ("/model/amazon.titan-embed-text-v2%3A0/invoke?x=y", "invoke", "amazon.titan-embed-text-v2:0", False),
        (f"/model/{ARN.replace(':', '%3A').replace('/', '%2F')}/invoke-with-response-stream", "invoke", ARN, True),
        ("/prefix/model/m/count-tokens", "count_tokens", "m", False),
    ],
)
def test_model_and_stream_stand_in_the_path(path: str, operation: str, model: str, stream: bool) -> None:
    assert read(path) == Facts(operation, model, stream, Safety.SAFE_BILLED)


@pytest.mark.parametrize("path", ["/model/m", "/model/m/other", "/guardrail/g/version/1/apply", "/async-invoke"])
def test_what_is_not_known_is_sent_once_and_nowhere_else(path: str) -> None:
    assert read(path) == Facts("other", safety=Safety.UNSAFE, pinned=True)


def test_tools_of_the_provider_and_files_of_the_account() -> None:
    hosted = {"toolConfig": {"tools": [{"systemTool": {"name": "nova_code_interpreter"}}]}}
    assert read("/model/m/converse", hosted).safety is Safety.UNSAFE
    video = {"messages": [{"content": [{"video": {"source": {"s3Location": {"uri": "s3://b/k"}}}}]}]}
    assert read("/model/m/converse", video).pinned
    said = {"messages": [{"content": [{"text": '"systemTool": {} "s3Location": {}'}]}]}
    assert read("/model/m/converse", said) == Facts("converse", "m", False, Safety.SAFE_BILLED)


def test_a_job_is_known_to_whoever_runs_it() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdef"
    assert BEDROCK.state_made(json.dumps({"invocationArn": arn}).encode(), []) == arn
    path = f"/async-invoke/{arn.replace(':', '%3A').replace('/', '%2F')}"
    assert BEDROCK.state_named(path, b"") == (arn,)
    assert read(path, b"", "GET") == Facts("other", safety=Safety.SAFE, pinned=True)
    assert read("/async-invoke?max=3", b"", "GET") == Facts("other", safety=Safety.SAFE)
    assert BEDROCK.state_made(b"{}", []) == "" and BEDROCK.state_named("/model/m/converse", b"") == ()


@pytest.mark.parametrize(
    "path", ["/model/m/converse", "/model/m%3A0/x", "/guardrail/g/version/1/apply", "/async-invoke"]
)
def test_its_own_paths_are_claimed_without_a_prefix(path: str) -> None:
    head = Head("POST", path, [])
    assert [dialect.name for dialect in REGISTRY.values() if dialect.claims(head)] == ["Bedrock"]


@pytest.mark.parametrize("path", ["/models/m", "/model", "/model/", "/async-invoked", "/v1/model/m"])
def test_other_paths_are_not(path: str) -> None:
    assert not BEDROCK.claims(Head("POST", path, []))


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ({}, set()),
        ({"toolConfig": {"tools": [{"toolSpec": {}}]}}, {"Tools"}),
        ({"toolConfig": {"tools": []}}, set()),
        ({"messages": [{"content": [{"image": {"format": "png"}}]}]}, {"Images"}),
        ({"outputConfig": {"textFormat": {"type": "json_schema"}}}, {"JSONSchema"}),
        ({"tools": [{}], "messages": [{"content": [{"type": "image"}]}]}, {"Tools", "Images"}),
        ({"messages": [{"content": [{"text": '"image": {"format": '}]}]}, set()),
    ],
)
def test_what_a_request_needs(body: object, needs: set[str]) -> None:
    assert BEDROCK.needs(json.dumps(body).encode()) == needs


def test_a_conversation_is_told_by_its_beginning() -> None:
    first: dict[str, Any] = {"system": [{"text": "s"}], "messages": [{"role": "user", "content": [{"text": "a"}]}]}
    later = {**first, "messages": [*first["messages"], {"role": "assistant", "content": []}]}
    other = {**first, "messages": [{"role": "user", "content": [{"text": "b"}]}]}
    one, two, three = (BEDROCK.conversation(json.dumps(body).encode()) for body in (first, later, other))
    assert one == two != three
    assert BEDROCK.conversation(b'{"inputText": "hi"}') == b""


def test_another_model_is_written_into_the_path() -> None:
    body = b'{"modelId": "kept"}'
    assert BEDROCK.with_model("/model/a%3A0/converse?x", body, ARN) == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2F"
        "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse?x",
        body,
    )
    assert BEDROCK.with_model("/guardrail/g/version/1/apply", body, "m") is None


# -- errors ------------------------------------------------------------------------------------------------------------

ERRORS: list[tuple[int, str, str, Code]] = [
    (429, "ThrottlingException", "Too many requests, please wait before trying again.", Code.RATE_LIMITED),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Code.RATE_LIMITED),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", Code.QUOTA_EXHAUSTED),
    (429, "ModelNotReadyException", "Model is not ready for inference.", Code.RATE_LIMITED),
    (400, "ServiceQuotaExceededException", "Your request exceeds the service quota.", Code.QUOTA_EXHAUSTED),
    (408, "ModelTimeoutException", "Model has timed out.", Code.UPSTREAM_TIMEOUT),
    (424, "ModelErrorException", "The model failed.", Code.SERVER_ERROR),
    (424, "ModelStreamErrorException", "The stream failed.", Code.SERVER_ERROR),
    (500, "InternalServerException", "x", Code.SERVER_ERROR),
    (503, "ServiceUnavailableException", "x", Code.OVERLOADED),
    (403, "AccessDeniedException", "You don't have access to the model.", Code.FORBIDDEN),
    (403, "UnrecognizedClientException", "The security token is invalid.", Code.UNAUTHORIZED),
    (403, "ExpiredTokenException", "The security token is expired.", Code.UNAUTHORIZED),
    (403, "InvalidSignatureException", "Signature expired.", Code.UNAUTHORIZED),
    (404, "ResourceNotFoundException", "This model version has reached its end of life.", Code.NOT_FOUND),
    (400, "ValidationException", "The provided model identifier is invalid.", Code.NOT_FOUND),
    (400, "ValidationException", "Malformed input request.", Code.INVALID_REQUEST),
    (400, "ValidationException", "Input is too long for requested model.", Code.CONTEXT_LENGTH),
    (400, "ValidationException", "The model returned the following errors: Input is too long for requested model.",
     Code.CONTEXT_LENGTH),
    (400, "ValidationException", 'The model returned the following errors: {"message":"prompt is too long: 2 > 1"}',
     Code.CONTEXT_LENGTH),
    (400, "ValidationException", "Output blocked by content filtering policy", Code.CONTENT_POLICY),
    (400, "ValidationException", "The prompt says: Input is too long for requested model.", Code.INVALID_REQUEST),
]  # fmt: skip


@pytest.mark.parametrize(("status", "name", "message", "code"), ERRORS)
def test_errors_by_name_and_wording(status: int, name: str, message: str, code: Code) -> None:
    body = json.dumps({"message": message}).encode()
    for headers, data in (
        ([*JSON, (b"x-amzn-ErrorType", f"{name}:http://internal.amazon.com/coral/x/".encode())], body),
        (JSON, json.dumps({"__type": f"com.amazon.bedrock#{name}", "Message": message}).encode()),
        (JSON, json.dumps({"code": name, "message": message}).encode()),
    ):
        fault = BEDROCK.judge(CONVERSE, status, headers, data, 0.0)
        assert fault is not None
        assert (fault.code, fault.status, fault.detail) == (code, status, f"{status} {name}")


@pytest.mark.parametrize(("status", "name", "message", "code"), ERRORS)
def test_exceptions_in_a_stream_are_the_same_faults(status: int, name: str, message: str, code: Code) -> None:
    watch = BEDROCK.watch(CONVERSE)
    headers = [(":exception-type", name[0].lower() + name[1:]), (":message-type", "exception")]
    frame = encode(headers, json.dumps({"message": message}).encode())
    assert watch.feed(frame) == frame
    assert watch.fault is not None and watch.fault.code is code
    assert not watch.terminal


def test_a_wait_that_it_asks_for() -> None:
    fault = BEDROCK.judge(CONVERSE, 429, [*JSON, (b"retry-after", b"3")], b"{}", 0.0)
    assert fault == Fault(Code.RATE_LIMITED, "429", 429, 3.0)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("end_turn", None), ("max_tokens", None), ("guardrail_intervened", Code.CONTENT_POLICY),
     ("content_filtered", Code.CONTENT_POLICY), ("malformed_tool_use", Code.SERVER_ERROR)],
)  # fmt: skip
def test_a_good_answer_by_how_it_stopped(reason: str, code: Code | None) -> None:
    usage = {"inputTokens": 3, "outputTokens": 4, "cacheReadInputTokens": 2, "cacheWriteInputTokens": 1}
    body = json.dumps({"output": {"message": {}}, "stopReason": reason, "usage": usage}).encode()
    plain = Facts("converse", "m", safety=Safety.SAFE_BILLED)
    fault = BEDROCK.judge(plain, 200, JSON, body, 0.0, whole=True)
    assert (None if fault is None else fault.code) is code
    assert BEDROCK.answered(plain, body) == ("", Usage(6, 4, 2))
    watch = fed(("contentBlockDelta", {"delta": {"text": "a"}}), ("messageStop", {"stopReason": reason}))
    assert watch.terminal
    assert (None if watch.fault is None else watch.fault.code) is code


def test_an_error_in_a_200_is_one() -> None:
    gateway = b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}'
    fault = BEDROCK.judge(CONVERSE, 200, JSON, gateway, 0.0, whole=True)
    assert fault is not None and fault.code is Code.NOT_FOUND
    named = [*JSON, (b"x-amzn-errortype", b"ThrottlingException")]
    fault = BEDROCK.judge(CONVERSE, 200, named, b'{"message": "slow down"}', 0.0, whole=True)
    assert fault is not None and fault.code is Code.RATE_LIMITED
    said = json.dumps({"output": {"message": {"content": [{"text": '{"__type": "x"}'}]}}}).encode()
    assert BEDROCK.judge(CONVERSE, 200, JSON, said, 0.0, whole=True) is None


def test_an_answer_that_is_cut_off() -> None:
    fault = BEDROCK.judge(CONVERSE, 200, JSON, b'{"output": {"mess', 0.0, whole=True)
    assert fault is not None and fault.code is Code.TRUNCATED


# -- streams -----------------------------------------------------------------------------------------------------------


def frame(kind: str, payload: object) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return encode([(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")], data)


def fed(*events: tuple[str, object], facts: Facts = CONVERSE) -> Watch:
    watch = BEDROCK.watch(facts)
    for kind, payload in events:
        sent = frame(kind, payload)
        assert watch.feed(sent) == sent
    return watch


@pytest.mark.parametrize(
    ("kind", "payload", "content"),
    [
        ("messageStart", {"role": "assistant", "p": "abc"}, False),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {}}, False),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}, True),
        ("contentBlockDelta", {"delta": {"text": ""}}, False),
        ("contentBlockDelta", {"delta": {"text": "a"}}, True),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": ""}}}, False),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": "{"}}}, True),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"signature": "s"}}}, False),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "hm"}}}, True),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": "aGk="}}}, True),
        ("contentBlockDelta", {"delta": {"citation": {"title": "t"}}}, True),
        ("contentBlockDelta", {"delta": [1]}, False),
        ("contentBlockStop", {"contentBlockIndex": 0}, False),
        ("metadata", {"usage": {}}, False),
        ("somethingNew", {"text": "a"}, False),
    ],
)
def test_what_bears_content(kind: str, payload: object, content: bool) -> None:
    watch = fed((kind, payload))
    assert (watch.content, watch.progress, watch.fault) == (content, int(content), None)


def test_usage_comes_behind_the_end() -> None:
    usage = {"inputTokens": 13, "outputTokens": 82, "totalTokens": 95}
    watch = fed(("contentBlockDelta", {"delta": {"text": "a"}}), ("messageStop", {"stopReason": "end_turn"}))
    assert watch.terminal and watch.usage is None
    sent = frame("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})
    assert watch.feed(sent) == sent
    assert watch.usage == Usage(13, 82)
    assert watch.end() == b"" and watch.fault is None


def test_a_stream_that_ends_before_its_end_is_not_whole() -> None:
    watch = fed(("contentBlockDelta", {"delta": {"text": "a"}}), ("contentBlockStop", {}))
    assert watch.end() == b""
    assert not watch.terminal


def test_a_payload_that_is_no_json_is_malformed() -> None:
    watch = BEDROCK.watch(CONVERSE)
    assert watch.feed(frame("contentBlockDelta", b'{"delta": ')) == b""
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT


def chunk(event: object) -> tuple[str, object]:
    return "chunk", {"bytes": b64encode(json.dumps(event).encode()).decode(), "p": "abcdef"}


METRICS = {"inputTokenCount": 8, "outputTokenCount": 9, "invocationLatency": 3, "firstByteLatency": 1}
ANTHROPIC: list[Any] = [
    {"type": "message_start", "message": {"model": "claude-haiku-4-5", "usage": {"input_tokens": 8}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS},
]
NOVA: list[Any] = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"text": "a"}}},
    {"metadata": {"usage": {}}},
    {"messageStop": {"stopReason": "end_turn"}, "amazon-bedrock-invocationMetrics": METRICS},
]
LLAMA: list[Any] = [
    {"generation": "a", "stop_reason": None},
    {"generation": "b", "stop_reason": "stop", "amazon-bedrock-invocationMetrics": METRICS},
]
CHAT: list[Any] = [
    {"choices": [{"delta": {"content": "a"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}], "amazon-bedrock-invocationMetrics": METRICS},
]


@pytest.mark.parametrize("events", [ANTHROPIC, NOVA, LLAMA, CHAT])
def test_streams_of_invoked_models_are_followed_to_their_end(events: list[Any]) -> None:
    watch = fed(*map(chunk, events[:-1]), facts=INVOKE)
    assert (watch.content, watch.terminal, watch.fault) == (True, False, None)
    last = frame(*chunk(events[-1]))
    assert watch.feed(last) == last
    assert (watch.terminal, watch.fault, watch.usage) == (True, None, Usage(8, 9))


@pytest.mark.parametrize("events", [ANTHROPIC, NOVA])
def test_a_known_stream_of_an_invoked_model_that_is_cut_is_not_whole(events: list[Any]) -> None:
    watch = fed(*map(chunk, events[:-1]), facts=INVOKE)
    watch.end()
    assert not watch.terminal


def test_only_anthropics_stream_names_its_model() -> None:
    assert fed(*map(chunk, ANTHROPIC), facts=INVOKE).model == "claude-haiku-4-5"


def test_a_stream_in_a_form_that_nobody_knows_ends_where_it_ends() -> None:
    watch = fed(chunk({"outputText": "a"}), chunk(["odd"]), facts=INVOKE)
    assert watch.content and not watch.terminal
    watch.end()
    assert (watch.terminal, watch.fault) == (True, None)


@pytest.mark.parametrize("data", ["a", {"type": [1]}, {"message": 5, "messageStop": "x"}])
def test_odd_chunks_are_content_and_nothing_else(data: object) -> None:
    watch = fed(chunk(data), facts=INVOKE)
    assert (watch.content, watch.fault) == (True, None)


def test_a_chunk_that_is_no_base64_is_malformed() -> None:
    watch = BEDROCK.watch(INVOKE)
    assert watch.feed(frame("chunk", {"bytes": "a"})) == b""
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT


def test_a_stream_of_an_unknown_operation_has_no_contract() -> None:
    watch = fed(("odd", b"no json"), facts=Facts("other"))
    watch.end()
    assert (watch.content, watch.terminal, watch.fault) == (True, True, None)


# -- what seawall writes itself ----------------------------------------------------------------------------------------


def problem(code: Code) -> Problem:
    return Problem(Fault(code, "detail"), "it did not answer", "req-1", "bedrock", 2)


@pytest.mark.parametrize("code", Code)
def test_an_error_event_is_an_exception_and_a_fault_to_its_own_watch(code: Code) -> None:
    event = BEDROCK.error_event(CONVERSE, problem(code))
    buffer = EventStreamBuffer()
    buffer.add_data(event)
    [message] = list(buffer)
    assert message.headers[":message-type"] == "exception"
    assert json.loads(message.payload)["seawall"]["code"] == code.value
    watch = BEDROCK.watch(CONVERSE)
    assert watch.feed(event) == event
    assert watch.fault is not None and not watch.terminal


def test_an_operation_that_nobody_knows_gets_no_error_event() -> None:
    assert BEDROCK.error_event(Facts("other"), problem(Code.TRUNCATED)) == b""


def test_a_static_answer_is_whole() -> None:
    kind, body = BEDROCK.static(Facts("converse", "m"), "Sorry.", "id", 1) or (b"", b"")
    assert kind == b"application/json"
    assert json.loads(body)["output"]["message"]["content"] == [{"text": "Sorry."}]
    kind, body = BEDROCK.static(CONVERSE, "Sorry.", "id", 1) or (b"", b"")
    assert kind == BEDROCK.stream_type(Facts("converse"))
    watch = BEDROCK.watch(CONVERSE)
    assert watch.feed(body) + watch.end() == body
    assert (watch.content, watch.terminal, watch.usage, watch.fault) == (True, True, Usage(), None)
    assert BEDROCK.static(INVOKE, "Sorry.", "id", 1) is None
