"""What the dialects read from requests: operation, model, replay safety, pins; and which bare paths are whose."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects import REGISTRY, dialect_for_bare
from seawall.types import Facts, Head, Headers, Safety

OPENAI, ANTHROPIC, GENERIC = REGISTRY["OpenAI"], REGISTRY["Anthropic"], REGISTRY["Generic"]
KEY: Headers = [(b"Idempotency-Key", b"abc")]
SAFE, BILLED, KEYED, UNSAFE = Safety.SAFE, Safety.SAFE_BILLED, Safety.KEYED, Safety.UNSAFE


def read(dialect: str, method: str, target: str, body: object = b"", headers: Headers | None = None) -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return REGISTRY[dialect].read(Head(method, target, headers or []), target, data)


@pytest.mark.parametrize("prefix", ["/v1", "", "/api/v2/cortex/v1", "/openai/v1"])
def test_chat_facts_with_and_without_the_version(prefix: str) -> None:
    if prefix.startswith("/"):
        facts = read("OpenAI", "POST", f"{prefix}/chat/completions", {"model": "m", "stream": True, "n": 3})
        assert facts == Facts("chat", "m", True, BILLED, False, 3)
    assert read("OpenAI", "POST", "/chat/completions?x=1", {"model": "m"}) == Facts("chat", "m", False, BILLED)


@pytest.mark.parametrize(
    ("path", "body", "operation", "safety", "pinned"),
    [
        ("responses", {"model": "m"}, "responses", BILLED, False),
        ("responses", {"model": "m", "store": True}, "responses", BILLED, False),
        ("responses", {"model": "m", "background": True}, "responses", UNSAFE, True),
        ("responses", {"model": "m", "background": False}, "responses", BILLED, False),
        ("responses", {"model": "m", "previous_response_id": "resp_1"}, "responses", UNSAFE, True),
        ("responses", {"model": "m", "previous_response_id": None}, "responses", BILLED, False),
        ("responses", {"model": "m", "conversation": {"id": "conv_1"}}, "responses", UNSAFE, True),
        ("responses", {"model": "m", "tools": [{"type": "function", "name": "f"}]}, "responses", BILLED, False),
        ("responses", {"model": "m", "tools": [{"type": "custom", "name": "f"}]}, "responses", BILLED, False),
        ("responses", {"model": "m", "tools": None}, "responses", BILLED, False),
        ("responses", {"model": "m", "tools": []}, "responses", BILLED, False),
        ("responses", {"model": "m", "tools": "odd"}, "responses", UNSAFE, False),
        ("responses", {"model": "m", "input": [{"type": "item_reference", "id": "msg_1"}]}, "responses", BILLED, True),
        ("responses", {"input": [{"content": [{"file_id": "file-1"}]}]}, "responses", BILLED, True),
        ("responses", {"input": '"file_id":"file-1"'}, "responses", BILLED, False),
        ("responses", {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "responses", UNSAFE, True),
        ("responses", {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "responses", UNSAFE, True),
        ("responses", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
         "responses", UNSAFE, False),
        ("responses", {"prompt": {"id": "pmpt_1"}}, "responses", BILLED, True),
        ("responses", {"input": "item_reference, item_reference"}, "responses", BILLED, False),
        ("responses/input_tokens", {"model": "m"}, "count_tokens", BILLED, False),
        ("responses/resp_1/cancel", {}, "other", UNSAFE, True),
        ("chat/completions", {"tools": [{"type": "function", "parameters": {"properties": {"file_id": {}}}}]},
         "chat", BILLED, False),
        ("chat/completions", {"tools": [{"function": {"name": "f"}}]}, "chat", BILLED, False),
        ("chat/completions", {"tools": [{"type": None, "name": "f"}]}, "chat", UNSAFE, False),
        ("chat/completions", {"web_search_options": {}}, "chat", UNSAFE, False),
        ("chat/completions", {"plugins": [{"id": "web"}]}, "chat", UNSAFE, False),
        ("chat/completions", {"tools": [{"type": "browser_search"}]}, "chat", UNSAFE, False),
        ("chat/completions", {"model": 5, "n": "x", "stream": "yes"}, "chat", BILLED, False),
        ("chat/completions", [], "chat", UNSAFE, False),
        ("completions", {"model": "m"}, "completions", BILLED, False),
        ("fim/completions", {"model": "m"}, "chat", BILLED, False),
        ("embeddings", {"model": "m"}, "embeddings", BILLED, False),
        ("moderations", {"input": "x"}, "moderations", BILLED, False),
        ("images/generations", {"prompt": "x"}, "images", BILLED, False),
        ("audio/speech", {"input": "x"}, "audio", BILLED, False),
        ("audio/transcriptions", b"--form\r\n", "audio", BILLED, False),
        ("files", b"--form\r\n", "other", UNSAFE, True),
        ("batches", {"input_file_id": "file-1"}, "other", UNSAFE, True),
        ("brand/new", {"model": "m"}, "other", UNSAFE, True),
        ("agents/sessions", {"agent": "a"}, "other", UNSAFE, True),
    ],
)  # fmt: skip
def test_openai_replay_safety(path: str, body: object, operation: str, safety: Safety, pinned: bool) -> None:
    facts = read("OpenAI", "POST", f"/v1/{path}", body)
    assert (facts.operation, facts.safety, facts.pinned) == (operation, safety, pinned)


@pytest.mark.parametrize(
    "tool",
    ["web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "computer_use_preview",
     "image_generation", "shell", "brand_new", ""],
)  # fmt: skip
def test_openai_hosted_tools_are_unsafe(tool: str) -> None:
    tools = [{"type": "function", "name": "f"}, {"type": tool}]
    assert read("OpenAI", "POST", "/responses", {"model": "m", "tools": tools}).safety is UNSAFE


@pytest.mark.parametrize(
    ("path", "safety"),
    [("agents/sessions", KEYED), ("agents/sessions/s1/events", KEYED), ("agents/environments", KEYED),
     ("agents", UNSAFE), ("chat/completions", BILLED), ("files", UNSAFE)],
)  # fmt: skip
def test_openai_honours_an_idempotency_key_only_where_it_is_documented(path: str, safety: Safety) -> None:
    assert read("OpenAI", "POST", f"/v1/{path}", {"model": "m"}, KEY).safety is safety


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/v1/models", Facts("other", safety=SAFE)),
        ("HEAD", "/v1/models/gpt-4o", Facts("other", safety=SAFE)),
        ("GET", "/v1/files/file-1", Facts("other", safety=SAFE, pinned=True)),
        ("GET", "/v1/responses/resp_1", Facts("responses", safety=SAFE, pinned=True)),
        ("GET", "/responses/resp_1?stream=true&starting_after=3", Facts("responses", "", True, SAFE, True)),
        ("DELETE", "/v1/responses/resp_1", Facts("other", pinned=True)),
        ("PUT", "/v1/anything", Facts("other", pinned=True)),
    ],
)
def test_openai_other_methods(method: str, target: str, expected: Facts) -> None:
    assert read("OpenAI", method, target) == expected


@pytest.mark.parametrize(
    ("prompt", "choices"), [("a", 2), (["a", "b"], 4), ([1, 2, 3], 2), ([[1], [2], [3]], 6), ([], 2), (None, 2)]
)
def test_completions_have_choices_for_each_prompt(prompt: object, choices: int) -> None:
    assert read("OpenAI", "POST", "/completions", {"model": "m", "n": 2, "prompt": prompt}).choices == choices


@pytest.mark.parametrize(
    ("path", "body", "operation", "safety", "pinned"),
    [
        ("messages?beta=true", {"model": "m"}, "messages", BILLED, False),
        ("messages", {"tools": [{"name": "f", "input_schema": {}}]}, "messages", BILLED, False),
        ("messages", {"tools": [{"type": "custom"}, {"type": "bash_20250124"}, {"type": "computer_20250124"},
                                {"type": "text_editor_20250728"}, {"type": "memory_20250818"},
                                {"type": "tool_search_tool_bm25"}]}, "messages", BILLED, False),
        ("messages", {"tools": [{"type": "web_search_20250305"}]}, "messages", UNSAFE, False),
        ("messages", {"tools": [{"type": "web_fetch_20250910"}]}, "messages", UNSAFE, False),
        ("messages", {"tools": [{"type": "code_execution_20250825"}]}, "messages", UNSAFE, False),
        ("messages", {"tools": [{"type": "mcp_toolset"}]}, "messages", UNSAFE, False),
        ("messages", {"mcp_servers": [{"type": "url"}]}, "messages", UNSAFE, False),
        ("messages", {"mcp_servers": []}, "messages", BILLED, False),
        ("messages", {"thread": {"type": "create"}}, "messages", UNSAFE, True),
        ("messages", {"container": "container_1"}, "messages", BILLED, True),
        ("messages", {"messages": [{"source": {"type": "file", "file_id": "file_01"}}]}, "messages", BILLED, True),
        ("messages", b"not json", "messages", UNSAFE, False),
        ("messages/count_tokens", {"tools": [{"type": "web_search_20250305"}]}, "count_tokens", BILLED, False),
        ("messages/batches", {"requests": []}, "other", UNSAFE, True),
        ("files", b"--form", "other", UNSAFE, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["/v1/", "/"])
def test_anthropic_replay_safety(
    prefix: str, path: str, body: object, operation: str, safety: Safety, pinned: bool
) -> None:
    facts = read("Anthropic", "POST", prefix + path, body, KEY)
    assert (facts.operation, facts.safety, facts.pinned) == (operation, safety, pinned)


def test_anthropic_facts_and_reads() -> None:
    assert read("Anthropic", "POST", "/messages", {"model": "m", "stream": True}).stream
    assert read("Anthropic", "GET", "/v1/models") == Facts("other", safety=SAFE)
    assert read("Anthropic", "GET", "/v1/messages/batches/b1/results") == Facts("other", safety=SAFE, pinned=True)
    assert read("Anthropic", "DELETE", "/v1/files/f") == Facts("other", pinned=True)


@pytest.mark.parametrize(
    ("method", "headers", "safety"),
    [("GET", [], SAFE), ("HEAD", [], SAFE), ("POST", [], UNSAFE), ("POST", KEY, KEYED), ("PATCH", KEY, KEYED),
     ("DELETE", [], UNSAFE), ("POST", [(b"idempotency-key", b"")], UNSAFE)],
)  # fmt: skip
def test_generic_goes_by_method_and_key(method: str, headers: Headers, safety: Safety) -> None:
    assert read("Generic", method, "/api/2.0/sql/statements", b"{}", headers) == Facts("other", safety=safety)


ODD = '{"model": "m", "stream": true, "text": %s}'


@pytest.mark.parametrize(
    "body",
    [(ODD % '"\\ud83d"').encode(), (ODD % "NaN").encode(), b"\xef\xbb\xbf" + (ODD % "1").encode(),
     (ODD % "1").encode("utf-16"), b'{"\\u006dodel": "m", "str\\u0065am": true}', (ODD % ("9" * 400)).encode(),
     b'{"model": "first", "model": "m", "stream": true}', b' \n{"stream": true, "x": {"model": "no"}, "model": "m"}'],
)  # fmt: skip
def test_whatever_json_a_provider_may_read_is_read(body: bytes) -> None:
    assert read("OpenAI", "POST", "/chat/completions", body) == Facts("chat", "m", True, BILLED)
    assert read("Anthropic", "POST", "/messages", body) == Facts("messages", "m", True, BILLED)


@pytest.mark.parametrize("model", ["m" * 513, 5, None, ["m"], {"name": "m"}])
def test_what_is_no_name_is_no_model(model: object) -> None:
    assert read("OpenAI", "POST", "/chat/completions", {"model": model}) == Facts("chat", safety=BILLED)
    assert read("OpenAI", "POST", "/files", {"model": model}).model == ""
    assert read("Anthropic", "POST", "/messages", {"model": model}) == Facts("messages", safety=BILLED)
    answer = json.dumps({"model": model}).encode()
    assert OPENAI.answered(Facts("chat"), answer) == ANTHROPIC.answered(Facts("messages"), answer) == ("", None)


def form(*parts: tuple[str, bytes], boundary: str = "----x1") -> bytes:
    lines = [
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
        for head, value in parts
    ]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


FILE = (
    'name="file"; filename="model.mp3"\r\nContent-Type: audio/mpeg',
    b"\xff\r\n\r\n" + b'name="model"\r\n\r\nno' * 9,
)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (form(('name="model"', b"whisper-1"), FILE), "whisper-1"),
        (form(FILE, ('name="language"', b"en"), ('name="model"', b"whisper-1")), "whisper-1"),
        (form(("name=model", b"m")), "m"),
        (form(("name=model", b"m")).replace(b"data; ", b"data;"), "m"),
        (form(('name="model"\r\nContent-Type: text/plain', b"m")), "m"),
        (form(FILE), ""),
        (form(('name="x-model"', b"no"), ('name="models"', b"no")), ""),
        (form(('name="model"', b"x" * 9999)), ""),
        (form(('name="model"', b"m"))[:-14], ""),
        (b"--", ""),
        (b"", ""),
    ],
)
@pytest.mark.parametrize(("path", "operation"), [("audio/transcriptions", "audio"), ("images/edits", "images")])
def test_the_model_of_a_form_is_read_and_replaced(path: str, operation: str, body: bytes, model: str) -> None:
    assert read("OpenAI", "POST", f"/v1/{path}", body) == Facts(operation, model, safety=BILLED)
    other = OPENAI.with_model(path, body, "other")
    if not model:
        assert other is None
        return
    assert other is not None
    head, _, tail = body.partition(f"\r\n\r\n{model}\r\n".encode())
    assert other == (path, head + b"\r\n\r\nother\r\n" + tail)
    assert OPENAI.with_model(path, body, "two\r\nlines") is None


def test_the_model_of_a_form_is_read_where_nothing_else_is_known() -> None:
    facts = read("OpenAI", "POST", "/v1/videos", form(('name="model"', b"sora-2")))
    assert facts == Facts("other", "sora-2", pinned=True)


@given(st.sampled_from(sorted(REGISTRY)), st.sampled_from(["GET", "POST", "BREW"]), st.text(max_size=30), st.binary())
@settings(deadline=None)
def test_reading_never_raises(name: str, method: str, path: str, body: bytes) -> None:
    for target in (f"/{path}", "/chat/completions", "/messages", "/completions"):
        assert read(name, method, target, body).model == ""


@pytest.mark.parametrize(
    ("target", "versioned", "bare"),
    [
        ("/v1/chat/completions", "OpenAI", "OpenAI"),
        ("/v1/responses/resp_1?stream=true", "OpenAI", "OpenAI"),
        ("/v1/embeddings", "OpenAI", "OpenAI"),
        ("/chat/completions", "OpenAI", "OpenAI"),
        ("/v1/messages", "Anthropic", "Anthropic"),
        ("/v1/messages/batches?limit=2", "Anthropic", "Anthropic"),
        ("/v1/models", "Anthropic", "OpenAI"),
        ("/v1/models/x", "Anthropic", "OpenAI"),
        ("/v1/files", "Anthropic", "OpenAI"),
        ("/v1/organizations/me", "Anthropic", None),
        ("/v1/messagesx", None, None),
        ("/v1/chatter", None, None),
        ("/v1/statement", "Trino", "Trino"),
        ("/v1/statement/executing/20260101_000000_00000_abcde/y1/2", "Trino", "Trino"),
        ("/?query=SELECT%201", "ClickHouse", "ClickHouse"),
        ("/ping", "ClickHouse", "ClickHouse"),
        ("/v1beta/models/x:generateContent", "Gemini", "Gemini"),
        ("/v1/models/x:generateContent", "Anthropic", "Gemini"),
        ("/", None, None),
    ],
)
def test_bare_paths_find_one_dialect(target: str, versioned: str | None, bare: str | None) -> None:
    for headers, expected in (([(b"Anthropic-Version", b"2023-06-01")], versioned), ([], bare)):
        head = Head("POST", target, headers)
        found = dialect_for_bare(head)
        assert (found.name if found is not None else None) == expected
        assert sum(dialect.claims(head) for dialect in REGISTRY.values()) == (expected is not None)


def test_an_injected_key_replaces_every_field_that_may_hold_one() -> None:
    assert OPENAI.credential(b"k") == (b"authorization", b"Bearer k")
    assert ANTHROPIC.credential(b"k") == (b"x-api-key", b"k")
    for dialect in REGISTRY.values():
        assert dialect.credential(b"k")[0] in dialect.credential_fields()
        assert b"authorization" in dialect.credential_fields()


def test_another_model_is_spliced_where_there_is_a_place_for_it() -> None:
    body = b'{"model":"a"}'
    assert OPENAI.with_model("/chat/completions", body, "b") == ("/chat/completions", b'{"model":"b"}')
    assert ANTHROPIC.with_model("/messages", body, "b") == ("/messages", b'{"model":"b"}')
    assert GENERIC.with_model("/x", body, "b") is None
    assert OPENAI.with_model("/audio/transcriptions", b"--form", "b") is None
