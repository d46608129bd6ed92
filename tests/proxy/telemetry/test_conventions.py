"""What spans are called and say, by OpenTelemetry's conventions."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry.semconv._incubating.attributes import (
    db_attributes,
    error_attributes,
    gen_ai_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)

from seawall.telemetry import conventions
from seawall.telemetry.conventions import Attributes, Clean
from seawall.types import AttemptEnded, AttemptTraced, CallEnded, Outcome, TraceContext, Usage

TRACE = TraceContext("0" * 31 + "1", "0" * 15 + "1")


def place(dialect: str, host: str = "127.0.0.1") -> Attributes:
    target = SimpleNamespace(endpoint=SimpleNamespace(host=host, port=443), dialect=SimpleNamespace(name=dialect))
    upstream: Any = SimpleNamespace(name="up", target=target)
    return conventions.of_upstream(upstream)


def attempt(operation: str = "chat", result: str = "ok", **changes: Any) -> AttemptTraced:
    own = {name: changes.pop(name) for name in list(changes) if name in AttemptTraced.__struct_fields__}
    ended = AttemptEnded("id", "route", "up", "gpt-5", 1, result, 200, 0.1)
    made = AttemptTraced(TRACE, "0" * 16, replace(ended, **changes), "POST", operation, stream=False, hedge=False)
    return replace(made, **own)


def said(event: AttemptTraced, dialect: str = "OpenAI") -> tuple[str, Attributes]:
    return conventions.attempt(event, place(dialect), Clean())


@pytest.mark.parametrize(
    ("dialect", "host", "provider"),
    [
        ("OpenAI", "api.openai.com", "openai"),
        ("OpenAI", "vllm.internal", "openai"),
        ("OpenAI", "api.groq.com", "groq"),
        ("OpenAI", "eu.api.x.ai", "x_ai"),
        ("OpenAI", "notapi.x.ai", "openai"),
        ("Gemini", "generativelanguage.googleapis.com", "gcp.gemini"),
        ("Gemini", "europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("Gemini", "aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("Bedrock", "bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
    ],
)
def test_a_provider_is_known_by_dialect_and_host(dialect: str, host: str, provider: str) -> None:
    assert place(dialect, host)["gen_ai.provider.name"] == provider


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("messages", "chat gpt-5"),
        ("responses", "chat gpt-5"),
        ("completions", "text_completion gpt-5"),
        ("generate", "generate_content gpt-5"),
        ("embeddings", "embeddings gpt-5"),
        ("count_tokens", "count_tokens gpt-5"),
    ],
)
def test_operations_have_the_conventions_words_where_those_have_one(operation: str, name: str) -> None:
    assert said(attempt(operation))[0] == name


def test_names_are_the_conventions_own() -> None:
    modules = (db_attributes, error_attributes, gen_ai_attributes, http_attributes, server_attributes, url_attributes)
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    text = Path(conventions.__file__).read_text()
    used = set(re.findall(r'"((?:db|error|gen_ai|http|server|url)\.[a-z_.]+)"', text))
    assert len(used) > 20 and used <= known


def test_tokens_are_told_by_kind() -> None:
    _, attributes = said(attempt(usage=Usage(10, 20, 5, 8)))
    assert {name: value for name, value in attributes.items() if name.startswith("gen_ai.usage.")} == {
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 8,
    }


def test_a_statement_is_a_databases() -> None:
    name, attributes = said(attempt("statement", model="wh-1"), "Snowflake")
    assert (name, attributes["db.system.name"]) == ("statement wh-1", "snowflake")
    assert (attributes["db.operation.name"], attributes["db.namespace"]) == ("statement", "wh-1")
    assert said(attempt("query", model=""), "Trino")[0] == "query up"
    assert not any(name.startswith("gen_ai.") for name in attributes)


def test_what_just_passes_through_is_http() -> None:
    for dialect in ("OpenAI", "Generic", "Snowflake"):
        name, attributes = said(attempt("other"), dialect)
        assert name == "POST"
        assert not any(found.startswith(("gen_ai.operation", "gen_ai.request", "db.operation")) for found in attributes)


@pytest.mark.parametrize("result", ["ok", "cancelled", "AGENT_GONE", "AGENT_STALLED"])
def test_what_is_nobodys_failure_is_no_error(result: str) -> None:
    event = attempt(result=result)
    assert not conventions.failed(event) and "error.type" not in said(event)[1]


def test_an_upstream_that_a_reload_has_taken_away_still_has_its_name() -> None:
    name, attributes = conventions.attempt(attempt(), {}, Clean())
    assert (name, attributes["seawall.upstream"]) == ("chat gpt-5", "up")


@pytest.mark.parametrize(
    ("outcome", "fault", "status", "failed"),
    [
        (Outcome.ERROR, "SERVER_ERROR", 500, True),
        (Outcome.ERROR, "TRUNCATED", 200, True),
        (Outcome.ERROR, "RATE_LIMITED", 429, False),
        (Outcome.ERROR, "AGENT_GONE", 0, False),
        (Outcome.STALE, "SERVER_ERROR", 200, False),
        (Outcome.PRIMARY, "", 200, False),
    ],
)
def test_a_call_has_failed_where_the_server_has(
    call: CallEnded, outcome: Outcome, fault: str, status: int, failed: bool
) -> None:
    assert conventions.call_failed(replace(call, outcome=outcome, fault=fault, status=status)) is failed


def test_what_agents_choose_is_cleaned(call: CallEnded) -> None:
    odd = replace(
        call, path="/v1/sk-abcdefghijklmnop", model="\udcff" * 3, method="BREW", skipped=("a: key=sk-12345678",)
    )
    name, attributes = conventions.call(odd, Clean())
    assert name.startswith("HTTP ") and attributes["http.request.method"] == "_OTHER"
    assert "sk-" not in str(attributes)
    for value in attributes.values():
        str(value).encode()
