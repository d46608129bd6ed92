"""Azure OpenAI: the model is a deployment, in the path or in the body; its gateway's and its content filter's words."""

import json
from typing import Any

import pytest
from events import delta, event

from seawall.dialects import REGISTRY, dialect_for_bare
from seawall.dialects.base import Material, Never
from seawall.faults import Code
from seawall.types import Facts, Head, Headers, Safety

AZURE = REGISTRY["AzureOpenAI"]
BILLED, UNSAFE = Safety.SAFE_BILLED, Safety.UNSAFE
VERSION = "?api-version=2024-10-21"
FACTS = Facts("chat", "gpt", safety=BILLED)
PROMPT_FIRST = event({"choices": [], "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]})


def read(path: str, body: object, method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AZURE.read(Head(method, path, []), path, data)


@pytest.mark.parametrize("base", ["/openai", ""])
def test_the_deployment_of_the_path_is_the_model(base: str) -> None:
    path = f"{base}/deployments/my%20gpt/chat/completions{VERSION}"
    assert read(path, {"model": "other", "stream": True}) == Facts("chat", "my gpt", True, BILLED)
    assert read(path, {}) == Facts("chat", "my gpt", False, BILLED)
    assert read(f"{base}/deployments/deployments/embeddings", {"input": "a"}).model == "deployments"


def test_a_body_too_large_to_be_read_leaves_the_model() -> None:
    assert read("/openai/deployments/gpt/chat/completions", b"").model == "gpt"


@pytest.mark.parametrize("path", ["/openai/v1/responses", f"/openai/responses{VERSION}", "/v1/responses", "/responses"])
def test_where_the_path_names_none_the_bodys_model_counts(path: str) -> None:
    assert read(path, {"model": "gpt"}) == Facts("responses", "gpt", False, BILLED)
    assert read(path, {"model": "gpt", "background": True}).safety is UNSAFE


def test_what_is_kept_for_the_account_is_pinned() -> None:
    assert read("/openai/deployments", b"", "GET").pinned
    assert read("/openai/files", b"--form\r\n") == Facts("other", "", safety=UNSAFE, pinned=True)
    assert read("/openai/deployments/gpt/extensions/chat/completions", {}).safety is UNSAFE


def test_another_deployment_takes_its_place_in_path_and_body() -> None:
    path = f"/openai/deployments/gpt/chat/completions{VERSION}"
    assert AZURE.with_model(path, b'{"model":"gpt"}', "b c") == (
        f"/openai/deployments/b%20c/chat/completions{VERSION}",
        b'{"model":"b c"}',
    )
    for body in (b'{"messages":[]}', b'{"model":5}', b"--form\r\n", b""):
        assert AZURE.with_model(path, body, "b") == (path.replace("/gpt/", "/b/"), body)
    assert AZURE.with_model("/openai/v1/responses", b'{"model":"gpt"}', "b") == (
        "/openai/v1/responses",
        b'{"model":"b"}',
    )
    assert AZURE.with_model("/openai/v1/responses", b"{}", "b") is None
    assert AZURE.with_model(path, b"", "..") is None


@pytest.mark.parametrize(
    ("target", "headers", "whose"),
    [
        ("/openai/deployments/gpt/chat/completions", [], "AzureOpenAI"),
        ("/openai/responses?api-version=preview", [], "AzureOpenAI"),
        ("/openai/v1/chat/completions", [(b"API-Key", b"k")], "AzureOpenAI"),
        ("/openai/v1/chat/completions", [], None),
        ("/v1/chat/completions?api-version=1", [], "OpenAI"),
    ],
)
def test_bare_paths(target: str, headers: Headers, whose: str | None) -> None:
    found = dialect_for_bare(Head("POST", target, headers))
    assert (found and found.name) == whose


ERRORS: list[tuple[int, dict[str, Any], Code]] = [
    (400, {"code": "content_filter", "type": None, "param": "prompt", "message": "x", "status": 400,
           "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}}, Code.CONTENT_POLICY),
    (400, {"code": "BadRequest", "message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
     Code.CONTENT_POLICY),
    (400, {"code": "400", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}, Code.CONTENT_POLICY),
    (400, {"code": "contentFilter", "message": "x"}, Code.CONTENT_POLICY),
    (400, {"code": "BadRequest", "message": "x", "innererror": {"code": "Other"}}, Code.INVALID_REQUEST),
    (400, {"code": "BadRequest", "message": "x", "innererror": "ResponsibleAIPolicyViolation"}, Code.INVALID_REQUEST),
    (401, {"code": "401", "message": "Access denied due to invalid subscription key"}, Code.UNAUTHORIZED),
    (404, {"code": "DeploymentNotFound", "message": "x"}, Code.NOT_FOUND),
    (429, {"code": "429", "message": "Requests to the X Operation have exceeded token rate limit"}, Code.RATE_LIMITED),
    (429, {"code": "429", "message": "The system is currently experiencing high demand and"}, Code.OVERLOADED),
    (403, {"code": "403", "message": "Out of call volume quota. Quota will be"}, Code.QUOTA_EXHAUSTED),
    (400, {"code": "context_length_exceeded", "type": "invalid_request_error"}, Code.CONTEXT_LENGTH),
    (408, {"code": "Timeout", "message": "The operation was timeout."}, Code.UPSTREAM_TIMEOUT),
]  # fmt: skip


@pytest.mark.parametrize("dialect", ["AzureOpenAI", "OpenAI"])
@pytest.mark.parametrize(("status", "error", "code"), ERRORS)
def test_errors(dialect: str, status: int, error: dict[str, Any], code: Code) -> None:
    """The dialect OpenAI knows them too: Azure's newer paths are spoken to in it."""
    fault = REGISTRY[dialect].judge(FACTS, status, [], json.dumps({"error": error}).encode(), 0.0)
    assert fault is not None and fault.code is code


def test_the_wait_is_the_more_exact_one() -> None:
    headers: Headers = [(b"retry-after", b"1"), (b"Retry-After-Ms", b"250")]
    fault = AZURE.judge(FACTS, 429, headers, b"{}", 0.0)
    assert fault is not None and fault.hint == 0.25


def test_a_stream_begins_with_the_prompts_filter_results() -> None:
    watch = AZURE.watch(FACTS)
    assert watch.feed(PROMPT_FIRST) == PROMPT_FIRST
    assert not watch.content and watch.fault is None and watch.model == ""
    watch.feed(delta(content="a"))
    # Of an asynchronous filter: annotations without a delta.
    watch.feed(event({"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"start_offset": 1}}]}))
    assert watch.content and watch.progress == 1 and not watch.terminal and watch.model == "m-1"
    watch.feed(delta(finish="stop"))
    assert watch.terminal and watch.fault is None


def test_a_stream_that_the_filter_ends() -> None:
    watch = AZURE.watch(FACTS)
    watch.feed(PROMPT_FIRST + delta(content="a") + delta(finish="content_filter"))
    assert watch.terminal and watch.fault is not None and watch.fault.code is Code.CONTENT_POLICY


def test_credentials() -> None:
    assert AZURE.credential(b"k") == (b"api-key", b"k")
    assert {b"api-key", b"authorization"} <= AZURE.credential_fields()
    assert "api-key" in AZURE.credential_parameters()


def test_answers_from_data_of_ones_own_are_not_kept() -> None:
    asked = {"temperature": 0, "messages": []}
    assert isinstance(AZURE.cache_material(FACTS, json.dumps(asked).encode()), Material)
    with_data = {**asked, "data_sources": [{"type": "azure_search"}]}
    assert isinstance(AZURE.cache_material(FACTS, json.dumps(with_data).encode()), Never)
