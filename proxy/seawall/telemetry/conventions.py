"""What a span is called and says, by OpenTelemetry's semantic conventions (docs/traces.md has the list). Pure; nothing
here imports OpenTelemetry.

Prompts, answers, statements, queries and credentials are in no event, so that they can be in no span; paths and model
names, which agents choose, are redacted as in the log. What an upstream said of its failure is left out as well, since
it may repeat what it was asked.
"""

from collections.abc import Mapping

from seawall.runtime import Upstream
from seawall.telemetry.redact import redact
from seawall.types import AttemptTraced, CallEnded, Outcome, ServiceLevel, Usage

Attribute = str | int | float | bool | tuple[str, ...]
Attributes = dict[str, Attribute]

PROVIDERS: Mapping[str, str] = {
    "OpenAI": "openai",
    "AzureOpenAI": "azure.ai.openai",
    "Anthropic": "anthropic",
    "Gemini": "gcp.gemini",
    "Bedrock": "aws.bedrock",
}
"""`gen_ai.provider.name` by dialect."""

HOSTS: Mapping[str, str] = {
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
"""The same for hosts, and those below them, that are better known than their dialect's provider."""

DATABASES: Mapping[str, str] = {
    "Snowflake": "snowflake",
    "Databricks": "databricks",
    "BigQuery": "gcp.bigquery",
    "Trino": "trino",
    "ClickHouse": "clickhouse",
}
"""`db.system.name` by dialect."""

OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "converse": "chat",
    "generate": "generate_content",
    "completions": "text_completion",
}
"""`gen_ai.operation.name` by dialects' operations; those that the conventions have no word for keep their own."""

# Of which nothing is known but that they are HTTP.
_PLAIN = frozenset({"other", "made", "websocket"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
_AGENTS = frozenset({"AGENT_GONE", "AGENT_STALLED"})
_MOST_CLEAN = 2048


class Clean:
    """Redacted texts, those of late from memory: looking through one takes tens of microseconds."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _MOST_CLEAN:
                self._known.clear()
            # As bytes that were not UTF-8 come, no exporter takes them.
            found = redact(text).encode("utf-8", "backslashreplace").decode("utf-8")
            if len(text) <= 512:
                self._known[text] = found
        return found


def of_upstream(upstream: Upstream) -> Attributes:
    """What is the same for all attempts there."""
    endpoint, dialect = upstream.target.endpoint, upstream.target.dialect.name
    found: Attributes = {
        "seawall.upstream": upstream.name,
        "server.address": endpoint.host,
        "server.port": endpoint.port,
    }
    if dialect in DATABASES:
        found["db.system.name"] = DATABASES[dialect]
    elif dialect in PROVIDERS:
        known = (name for host, name in HOSTS.items() if endpoint.host == host or endpoint.host.endswith(f".{host}"))
        # Vertex AI's hosts are of a region: europe-west1-aiplatform.googleapis.com.
        vertex = "gcp.vertex_ai" if endpoint.host.endswith("-aiplatform.googleapis.com") else None
        found["gen_ai.provider.name"] = vertex or next(known, PROVIDERS[dialect])
    return found


def attempt(event: AttemptTraced, upstream: Mapping[str, Attribute], clean: Clean) -> tuple[str, Attributes]:
    """Name and attributes of an attempt's span. upstream: `of_upstream`, as far as it is known still."""
    ended = event.attempt
    found: Attributes = {
        **upstream,
        "seawall.upstream": ended.upstream,
        "seawall.route": ended.route,
        "seawall.attempt": ended.number,
        "seawall.result": ended.result,
        "http.request.method": _method(event.method),
    }
    if ended.number > 1:
        found["http.request.resend_count"] = ended.number - 1
    if ended.status is not None:
        found["http.response.status_code"] = ended.status
    if event.hedge:
        found["seawall.hedge"] = True
    if ended.next:
        found["seawall.next"] = ended.next
    if failed(event):
        found["error.type"] = ended.result
    if event.operation in _PLAIN:
        return _method(event.method, "HTTP"), found
    if "db.system.name" in found:
        return _statement(event, found, clean), found
    return _inference(event, found, clean), found


def failed(event: AttemptTraced) -> bool:
    """A race's loser has not, and neither has one that its agent did not wait for."""
    return event.attempt.result not in ("ok", "cancelled") and event.attempt.result not in _AGENTS


def _statement(event: AttemptTraced, found: Attributes, clean: Clean) -> str:
    found["db.operation.name"] = event.operation
    if event.attempt.model:
        # What breakers go by: a project, a warehouse.
        found["db.namespace"] = clean(event.attempt.model)
    return f"{event.operation} {found.get('db.namespace') or event.attempt.upstream}"


def _inference(event: AttemptTraced, found: Attributes, clean: Clean) -> str:
    operation = found["gen_ai.operation.name"] = OPERATIONS.get(event.operation, event.operation)
    if event.stream:
        found["gen_ai.request.stream"] = True
        if event.first_content_seconds is not None:
            found["gen_ai.response.time_to_first_chunk"] = event.first_content_seconds
    if event.answered:
        found["gen_ai.response.model"] = clean(event.answered)
    if event.attempt.usage is not None:
        found |= _tokens(event.attempt.usage)
    if not event.attempt.model:
        return str(operation)
    model = found["gen_ai.request.model"] = clean(event.attempt.model)
    return f"{operation} {model}"


def _tokens(usage: Usage) -> Attributes:
    found: Attributes = {"gen_ai.usage.input_tokens": usage.input, "gen_ai.usage.output_tokens": usage.output}
    if usage.cached:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cached
    if usage.reasoning:
        found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    return found


def call(event: CallEnded, clean: Clean) -> tuple[str, Attributes]:
    """Name and attributes of a call's span. It has no `gen_ai.*`: tokens are counted where they were billed."""
    found: Attributes = {
        "http.request.method": _method(event.method),
        "url.scheme": "http",
        "url.path": clean(event.path),
        "seawall.request_id": event.call_id,
        "seawall.dialect": event.dialect,
        "seawall.operation": event.operation,
        "seawall.outcome": event.outcome.value,
        "seawall.attempts": event.attempts,
        "seawall.overhead": event.overhead_seconds,
    }
    # To encode an attribute costs more than all else about it: what is as usual is left out.
    if event.retries:
        found["seawall.retries"] = event.retries
    if event.service_level is not ServiceLevel.FULL:
        found["seawall.service_level"] = event.service_level.value
    if event.status:
        found["http.response.status_code"] = event.status
    if event.route:
        found |= {"seawall.route": event.route, "seawall.rule": event.rule}
    if event.upstream:
        found["seawall.upstream"] = event.upstream
    if event.model:
        found["seawall.model"] = clean(event.model)
    if event.stream:
        found["seawall.stream"] = True
    if event.first_content_seconds is not None:
        found["seawall.first_content"] = event.first_content_seconds
    if event.fault:
        found["error.type"] = event.fault
    if event.cache:
        found["seawall.cache"] = event.cache
    if event.skipped:
        found["seawall.skipped"] = tuple(map(clean, event.skipped[:50]))
    if event.shadow:
        found["seawall.shadow"] = tuple(map(clean, event.shadow[:50]))
    return f"{_method(event.method, 'HTTP')} {event.route}".rstrip(), found


def call_failed(event: CallEnded) -> bool:
    """As HTTP's conventions have it: what the agent got wrong, and its leaving, are no errors of the server's."""
    return event.outcome is Outcome.ERROR and event.fault not in _AGENTS and not 400 <= event.status < 500


def _method(method: str, other: str = "_OTHER") -> str:
    return method if method in _METHODS else other
