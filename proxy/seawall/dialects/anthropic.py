"""The Anthropic dialect: messages (and the counting of their tokens) with all their facts; every other endpoint of the
API passes through.

Replay safety of server tools: those that only look up (web search, web fetch) are taken for hosted tools like all
others, since a fetched URL may have effects, each search is billed, and code execution changes a container.
"""

import re

import msgspec

from seawall.dialects import _state
from seawall.dialects._classify import Said, Words, fault_of, is_something, judge_good, judge_status, phrase, said
from seawall.dialects.base import Watch
from seawall.dialects.generic import PlainWatch, told
from seawall.dialects.splice import with_model
from seawall.dialects.sse import EventWatch
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage, header

_NOTHING = msgspec.Raw(b"")

# The first path segments of the public API, as anthropic-python 2.11 knows them: those that are nobody else's, and
# those that count only with an `anthropic-version` header.
_OWN = re.compile(r"/v1/(?:messages|complete)(?:/|$)")
_SHARED = re.compile(
    r"/v1/(?:agents|deployment_runs|deployments|dreams|environments|files|memory_stores|models|organizations|sessions"
    r"|skills|tunnels|user_profiles|vaults)(?:/|$)"
)
_OPERATIONS = {"messages": "messages", "messages/count_tokens": "count_tokens"}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Tools that the agent itself runs, and the search among tools given in the request. Any other type, known or new, runs
# at the provider: web_search, web_fetch, code_execution, mcp_toolset, advisor, …
_HARMLESS_TOOLS = re.compile(
    r"|custom|(?:bash|text_editor|computer|memory|browser_toolset|computer_toolset)_\d{8}"
    r"|tool_search_tool_(?:regex|bm25)(?:_\d{8})?"
)
# A reference to an uploaded file. Quotes within a JSON string are escaped, so text can not look like it.
_OWNED = re.compile(rb'"file_id"\s*:\s*"file_')

# From the errors page of the API's documentation, and `ErrorType` and `ErrorDetails` of the SDK.
_WORDS = Words(
    exact={
        "billing_error": Code.QUOTA_EXHAUSTED,
        "contract_spend_limit_reached": Code.QUOTA_EXHAUSTED,
        "enforced_spend_limit_reached": Code.QUOTA_EXHAUSTED,
        "linked_organization_spend_limit_reached": Code.QUOTA_EXHAUSTED,
        "linked_organization_billing_unavailable": Code.QUOTA_EXHAUSTED,
        "overloaded_error": Code.OVERLOADED,
    },
    general={
        "rate_limit_error": Code.RATE_LIMITED,
        "api_error": Code.SERVER_ERROR,
        "timeout_error": Code.UPSTREAM_TIMEOUT,
        "invalid_request_error": Code.INVALID_REQUEST,
        "request_too_large": Code.INVALID_REQUEST,
        "authentication_error": Code.UNAUTHORIZED,
        "permission_error": Code.FORBIDDEN,
        "not_found_error": Code.NOT_FOUND,
        "conflict_error": Code.CONFLICT,
    },
    phrases=(
        phrase(r"(?:Your )?credit balance is too low", Code.QUOTA_EXHAUSTED),
        phrase(r"You have reached your specified (?:workspace )?API usage limits", Code.QUOTA_EXHAUSTED),
        phrase(r"prompt is too long\b", Code.CONTEXT_LENGTH),
        phrase(r"input length and `max_tokens` exceed context limit", Code.CONTEXT_LENGTH),
        phrase(r"Output blocked by content filtering policy", Code.CONTENT_POLICY),
    ),
)

# `error.type` by the status that seawall answers with; the SDK chooses its exception by the status alone.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class _Request(msgspec.Struct, gc=False):
    model: object = None
    stream: object = None
    container: object = None
    thread: object = None
    mcp_servers: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Message(msgspec.Struct, gc=False):
    model: object = None
    usage: msgspec.Raw = _NOTHING


class _Delta(msgspec.Struct, gc=False):
    """A signature alone, and what a message_delta brings, is not content."""

    text: object = None
    partial_json: object = None
    thinking: object = None
    citation: object = None
    content: object = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: object = None
    thinking: object = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


_REQUEST = msgspec.json.Decoder(_Request)
_TOOLS = msgspec.json.Decoder(list[_Tool] | None)
_MESSAGE = msgspec.json.Decoder(_Message)
_USAGE = msgspec.json.Decoder(_Usage)
_EVENT = msgspec.json.Decoder(_Event)


def _usage(raw: msgspec.Raw, before: Usage | None = None) -> Usage | None:
    """A `usage` object as Usage, over what an earlier event said. Anthropic counts cached input apart; here it is a
    part of `input`, as it is with OpenAI."""
    if len(raw) <= 4:
        return before
    try:
        usage = _USAGE.decode(raw)
    except (ValueError, RecursionError):
        return before
    before = before or Usage()
    details = usage.output_tokens_details or _OutputDetails()
    read = usage.cache_read_input_tokens or 0
    given = (usage.input_tokens or 0) + (usage.cache_creation_input_tokens or 0) + read
    return Usage(
        input=given or before.input,
        output=usage.output_tokens or before.output,
        cached=read or before.cached,
        reasoning=details.thinking_tokens or before.reasoning,
    )


class MessagesWatch(EventWatch):
    """Terminal is `message_stop`. A tool call is content from its block's start, since its input may be empty."""

    __slots__ = ()

    def _event(self, name: bytes, data: bytes) -> bool:
        try:
            event = _EVENT.decode(data)
        except (ValueError, RecursionError):
            # The SDK skips events without data; a compatible server may end as OpenAI does.
            return not data or data.startswith(b"[DONE]") or self._odd(data)
        match event.type or name.decode("latin-1"):
            case "content_block_delta":
                delta = event.delta
                if delta is not None and (
                    delta.text or delta.partial_json or delta.thinking or delta.citation or delta.content
                ):
                    self.content = True
                    self.progress += 1
            case "content_block_start":
                block = event.content_block
                if block is not None and (block.type not in ("text", "thinking") or block.text or block.thinking):
                    self.content = True
                    self.progress += 1
            case "message_stop":
                self.terminal = True
            case "message_start":
                self.model, usage = _answered(event.message)
                self.usage = usage or self.usage
            case "message_delta":
                self.usage = _usage(event.usage, self.usage)
            case "error":
                self._error(data, event)
        return True

    def _error(self, data: bytes, event: _Event) -> None:
        raw = event.error if is_something(event.error) else data
        self.fault = self.fault or fault_of(_WORDS, said(raw) or Said())


def _answered(message: bytes | msgspec.Raw) -> tuple[str, Usage | None]:
    try:
        found = _MESSAGE.decode(message)
    except (ValueError, RecursionError):
        return "", None
    return found.model if isinstance(found.model, str) else "", _usage(found.usage)


def _hosted_tools(request: _Request) -> bool:
    if len(request.mcp_servers) > 2 and bytes(request.mcp_servers) != b"null":
        return True
    if not len(request.tools):
        return False
    try:
        tools = _TOOLS.decode(request.tools) or []
    except (ValueError, RecursionError):
        return True
    return any(_HARMLESS_TOOLS.fullmatch(tool.type or "") is None for tool in tools)


class Anthropic:
    """See `seawall.dialects.base.Dialect`."""

    name = "Anthropic"
    version_prefix = "/v1"
    sse_content_type = b"text/event-stream"

    def claims(self, head: Head) -> bool:
        if _OWN.match(head.path):
            return True
        return _SHARED.match(head.path) is not None and header(head.headers, b"anthropic-version") is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """An `Idempotency-Key` changes nothing: no endpoint of this API is documented to honour one."""
        resource = path.partition("?")[0].rpartition("/v1/")[2].strip("/")
        if head.method in _SAFE_METHODS:
            return Facts("other", safety=Safety.SAFE, pinned=resource.partition("/")[0] != "models")
        operation = _OPERATIONS.get(resource, "other") if head.method == "POST" else "other"
        try:
            request = _REQUEST.decode(body)
        except (ValueError, RecursionError):
            return Facts(operation, pinned=operation == "other")
        model = request.model if isinstance(request.model, str) else ""
        if operation == "other":
            return Facts(operation, model, pinned=True)
        # A held thread is conversation state; a container is the upstream's own.
        unsafe = operation == "messages" and (request.thread is not None or _hosted_tools(request))
        return Facts(
            operation,
            model,
            request.stream is True,
            Safety.UNSAFE if unsafe else Safety.SAFE_BILLED,
            pinned=bool(request.thread or request.container) or _OWNED.search(body) is not None,
        )

    def watch(self, facts: Facts) -> Watch:
        return MessagesWatch() if facts.operation == "messages" else PlainWatch()

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if 200 <= status < 300 and facts.operation != "other":
            return judge_good(_WORDS, status, headers, body, wall, whole=whole)
        return judge_status(_WORDS, status, headers, body, wall)

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        return _answered(body)

    def state_made(self, data: bytes) -> str:
        return _state.made(data)

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        return _state.named(path, body)

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        status = problem.fault.code.rule.status
        kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
        return msgspec.json.encode(
            {
                "type": "error",
                "error": {"type": kind, "message": told(problem)},
                "request_id": problem.request_id,
                "seawall": problem.seawall(),
            }
        )

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        return b"event: error\ndata: " + self.error(facts, problem) + b"\n\n"

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        return b"x-api-key", key

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"x-api-key", b"authorization"})

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        spliced = with_model(body, model)
        return None if spliced is None else (path, spliced)
