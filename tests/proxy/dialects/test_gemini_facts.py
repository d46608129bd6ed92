"""Gemini: what is read from paths and bodies, and where its model stands."""

import json

import pytest

from seawall.dialects import REGISTRY
from seawall.types import Facts, Head, Headers, Safety

GEMINI = REGISTRY["Gemini"]
SAFE, BILLED, UNSAFE = Safety.SAFE, Safety.SAFE_BILLED, Safety.UNSAFE
VERTEX = "/v1/projects/p/locations/global/publishers/google/"
HI = {"contents": [{"parts": [{"text": "hi"}]}]}


def read(target: str, body: object = HI, method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEMINI.read(Head(method, target, []), target, data)


@pytest.mark.parametrize("prefix", ["/v1beta/", "/v1/", "/", "/v1beta1" + VERTEX[3:], VERTEX])
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("g-1:generateContent", Facts("generate", "g-1", safety=BILLED)),
        ("g-1:streamGenerateContent?alt=sse", Facts("generate", "g-1", True, BILLED)),
        ("g-1:streamGenerateContent?key=x&alt=sse", Facts("generate", "g-1", True, BILLED)),
        ("g-1:streamGenerateContent?%24alt=sse;enum-encoding=int", Facts("generate", "g-1", True, BILLED)),
        ("g-1:streamGenerateContent", Facts("generate", "g-1", True, BILLED, framing="array")),
        ("g-1:streamGenerateContent?alt=json&key=sse", Facts("generate", "g-1", True, BILLED, framing="array")),
        ("g-1:embedContent", Facts("embeddings", "g-1", safety=BILLED)),
        ("g-1:batchEmbedContents", Facts("embeddings", "g-1", safety=BILLED)),
        ("g-1:countTokens", Facts("count_tokens", "g-1", safety=BILLED)),
        ("text-1@002:predict", Facts("predict", "text-1@002", safety=BILLED)),
        ("a%20b:generateContent", Facts("generate", "a b", safety=BILLED)),
        ("g-1:batchGenerateContent", Facts("other", "g-1", pinned=True)),
        ("g-1:predictLongRunning", Facts("other", "g-1", pinned=True)),
        ("g-1:somethingNew", Facts("other", "g-1", pinned=True)),
    ],
)
def test_model_operation_and_stream_come_from_the_path(prefix: str, call: str, expected: Facts) -> None:
    assert read(f"{prefix}models/{call}") == expected


@pytest.mark.parametrize(
    ("body", "safety", "pinned"),
    [
        (HI, BILLED, False),
        ({**HI, "tools": [{"functionDeclarations": [{"name": "googleSearch"}]}]}, BILLED, False),
        ({**HI, "tools": [{"function_declarations": []}, {"computerUse": {}}]}, BILLED, False),
        ({**HI, "tools": [{"functionDeclarations": [], "googleSearch": None}]}, BILLED, False),
        ({**HI, "tools": None}, BILLED, False),
        ({**HI, "tools": [{"googleSearch": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"functionDeclarations": []}, {"google_search": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"codeExecution": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"urlContext": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"somethingNew": {}}]}, UNSAFE, False),
        ({**HI, "tools": "odd"}, UNSAFE, False),
        ({**HI, "cachedContent": "cachedContents/abc"}, BILLED, True),
        ({**HI, "cached_content": "cachedContents/abc"}, BILLED, True),
        ({**HI, "cachedContent": None}, BILLED, False),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://g.test/v1beta/files/abc"}}]}]}, BILLED, True),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://bucket/files/abc"}}]}]}, BILLED, False),
        ({"contents": [{"parts": [{"text": '"fileUri": "https://g.test/v1beta/files/abc"'}]}]}, BILLED, False),
        (b"not json", UNSAFE, False),
        (b"", UNSAFE, False),
    ],
)
def test_replay_safety_and_pins(body: object, safety: Safety, pinned: bool) -> None:
    facts = read("/v1beta/models/g-1:generateContent", body)
    assert (facts.model, facts.operation, facts.safety, facts.pinned) == ("g-1", "generate", safety, pinned)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1beta/models", Facts("other", safety=SAFE)),
        ("GET", "/v1beta/models/g-1?key=x", Facts("other", safety=SAFE)),
        ("GET", VERTEX + "models/g-1", Facts("other", safety=SAFE)),
        ("GET", "/v1beta/files/abc", Facts("other", safety=SAFE, pinned=True)),
        ("GET", "/v1beta/tunedModels/abc", Facts("other", safety=SAFE, pinned=True)),
        ("POST", "/v1beta/cachedContents", Facts("other", pinned=True)),
        ("POST", "/upload/v1beta/files?uploadType=resumable", Facts("other", pinned=True)),
        ("POST", "/v1beta/tunedModels", Facts("other", pinned=True)),
        ("POST", "/v1beta/interactions", Facts("other", pinned=True)),
        ("DELETE", "/v1beta/files/abc", Facts("other", pinned=True)),
        ("GET", "/v1beta/models/g-1:generateContent", Facts("other", safety=SAFE, pinned=True)),
        ("POST", "/v1beta/tunedModels/t:generateContent", Facts("generate", "tunedModels/t", False, BILLED, True)),
    ],
)  # fmt: skip
def test_everything_else_is_as_careful_as_it_must_be(method: str, path: str, expected: Facts) -> None:
    assert read(path, method=method) == expected


def test_predictions_that_are_stored_overwrite_what_was_there() -> None:
    stored = {"instances": [], "parameters": {"storageUri": "gs://bucket"}}
    assert read(VERTEX + "models/imagen:predict", stored).safety is UNSAFE
    assert read(VERTEX + "models/imagen:predict", b"").safety is UNSAFE


@pytest.mark.parametrize(("count", "choices"), [(3, 3), (1, 1), (0, 1), (None, 1), ("2", 1), (10**9, 1)])
@pytest.mark.parametrize("names", [("generationConfig", "candidateCount"), ("generation_config", "candidate_count")])
def test_candidates_asked_for(count: object, choices: int, names: tuple[str, str]) -> None:
    asked = {**HI, names[0]: {names[1]: count}}
    assert read("/v1beta/models/g-1:generateContent", asked).choices == choices


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/v1beta/models/g:generateContent", [], "Gemini"),
        ("POST", "/v1/models/g:generateContent", [], "Gemini"),
        ("POST", "/v1alpha/models/g:generateContent", [], "Gemini"),
        ("POST", "/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent", [], "Gemini"),
        ("POST", VERTEX + "models/g:generateContent", [], "Gemini"),
        ("POST", "/upload/v1beta/files", [], "Gemini"),
        ("GET", "/v1beta/cachedContents", [], "Gemini"),
        ("GET", "/v1/models", [], "OpenAI"),
        ("GET", "/v1/models", [(b"X-Goog-Api-Key", b"k")], "Gemini"),
        ("GET", "/v1/models", [(b"anthropic-version", b"x"), (b"x-goog-api-key", b"k")], "Anthropic"),
        ("POST", "/v1/models/g:generateContent", [(b"anthropic-version", b"x")], "Anthropic"),
        ("GET", "/v1/projects/p/api_keys", [], "OpenAI"),
        ("GET", "/v1betamax/models", [], None),
        ("GET", "/v2/models", [], None),
    ],
)
def test_bare_paths_are_one_dialects(method: str, path: str, headers: Headers, expected: str | None) -> None:
    head = Head(method, path, headers)
    assert [name for name, dialect in REGISTRY.items() if dialect.claims(head)] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        (HI, set()),
        ({**HI, "tools": [{"functionDeclarations": [{"name": "f"}]}]}, {"Tools"}),
        ({**HI, "tools": []}, set()),
        ({**HI, "generationConfig": {"responseSchema": {"type": "OBJECT"}}}, {"JSONSchema"}),
        ({**HI, "generation_config": {"response_json_schema": {"type": "object"}}}, {"JSONSchema"}),
        ({**HI, "generationConfig": {"responseMimeType": "image/png"}}, set()),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}]}, {"Images"}),
        ({"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": ""}}]}]}, {"Images"}),
    ],
)
def test_what_a_model_must_be_able_to_do(body: object, needs: set[str]) -> None:
    assert GEMINI.needs(json.dumps(body).encode()) == needs


def test_a_conversation_stays_the_same_as_it_grows() -> None:
    first = {"role": "user", "parts": [{"text": "a"}]}
    system = {"parts": [{"text": "be kind"}]}

    def conversation(*contents: object, **more: object) -> bytes:
        return GEMINI.conversation(json.dumps({"contents": contents, **more}).encode())

    begun = conversation(first, systemInstruction=system)
    assert begun and begun == conversation(first, {"role": "model", "parts": []}, systemInstruction=system)
    assert begun == conversation(first, system_instruction=system)
    assert begun != conversation(first)
    assert GEMINI.conversation(b"{}") == GEMINI.conversation(b"odd") == b""


def test_ids_of_what_an_account_keeps() -> None:
    def made(data: bytes) -> str:
        return GEMINI.state_made(data, [])

    assert made(b'{"name": "cachedContents/abc-1", "model": "models/g"}') == "cachedContents/abc-1"
    assert made(b'{"file": {"name": "files/xyz"}}') == "files/xyz"
    assert made(b'{"name": "projects/1/locations/eu/cachedContents/123456"}') == "cachedContents/123456"
    assert made(b'{"name": "models/g"}') == ""
    uri = {"contents": [{"parts": [{"fileData": {"fileUri": "https://g.test/v1beta/files/xyz"}}]}]}
    named = GEMINI.state_named("/v1beta/cachedContents/abc-1?key=files/no", json.dumps(uri).encode())
    assert named == ("cachedContents/abc-1", "files/xyz")
    assert GEMINI.state_named("/v1beta/models/g:x", b'{"cachedContent": "cachedContents/abc-1"}') == (
        "cachedContents/abc-1",
    )


# -- another model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models/old:generateContent", "/v1beta/models/new-1.5:generateContent"),
        ("/models/old:streamGenerateContent?alt=sse&key=k", "/models/new-1.5:streamGenerateContent?alt=sse&key=k"),
        (VERTEX + "models/old:generateContent", VERTEX + "models/new-1.5:generateContent"),
        ("/v1beta/tunedModels/old:generateContent", None),
        ("/v1beta/models", None),
        ("/v1beta/cachedContents", None),
    ],
)
@pytest.mark.parametrize("name", ["new-1.5", "models/new-1.5"])
def test_a_model_is_put_into_the_path(path: str, expected: str | None, name: str) -> None:
    body = b'{"contents":[{"parts":[{"text":"models/old"}]}]}'
    assert GEMINI.with_model(path, body, name) == (None if expected is None else (expected, body))


@pytest.mark.parametrize("name", ["../x", "a/b", "a?b", "a:b", "", "a b", "publishers/x/models/y"])
def test_a_name_that_could_lead_elsewhere_is_none(name: str) -> None:
    assert GEMINI.with_model("/v1beta/models/old:generateContent", b"{}", name) is None


def test_a_body_that_names_the_model_again_names_the_same() -> None:
    embed = {"requests": [{"model": "models/old", "content": {}}, {"content": {}, "model": "models/old"}]}
    path, body = GEMINI.with_model("/v1beta/models/old:batchEmbedContents", json.dumps(embed).encode(), "new") or (
        "",
        b"",
    )
    assert path == "/v1beta/models/new:batchEmbedContents"
    assert body == json.dumps(embed).encode().replace(b"models/old", b"models/new")
    counted = {"generateContentRequest": {"model": "models/old", **HI}}
    _, body = GEMINI.with_model("/models/old:countTokens", json.dumps(counted).encode(), "new") or ("", b"")
    assert json.loads(body)["generateContentRequest"]["model"] == "models/new"
    vertex = b'{"model": "publishers/google/models/old"}'
    assert (GEMINI.with_model("/models/old:countTokens", vertex, "new") or ("", b""))[1] == vertex.replace(
        b"old", b"new"
    )


def test_a_look_alike_of_a_model_is_left_alone() -> None:
    asked = {"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"model": "models/old"}}}]}]}
    body = json.dumps(asked).encode()
    assert GEMINI.with_model("/models/old:generateContent", body, "new") == ("/models/new:generateContent", body)
    both = json.dumps({**asked, "model": "models/old"}).encode()
    assert GEMINI.with_model("/models/old:generateContent", both, "new") is None
    text = json.dumps({"model": "models/old", "contents": [{"parts": [{"text": '"model": "models/old"'}]}]}).encode()
    _, spliced = GEMINI.with_model("/models/old:generateContent", text, "new") or ("", b"")
    assert json.loads(spliced)["contents"] == json.loads(text)["contents"]
    assert json.loads(spliced)["model"] == "models/new"
