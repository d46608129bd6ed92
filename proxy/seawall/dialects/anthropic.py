"""The Anthropic dialect: messages (and the counting of their tokens) with all their facts; every other endpoint of the
API passes through.

Replay safety of server tools: those that only look up (web search, web fetch) are taken for hosted tools like all
others, since a fetched URL may have effects, each search is billed, and code execution changes a container.

The words of its errors and the watch for its streams are private modules beside this one.
"""

import re

import msgspec

from seawall.dialects import _state
from seawall.dialects._anthropic_cache import finish, material, replayed
from seawall.dialects._anthropic_messages import MessagesWatch
from seawall.dialects._anthropic_prompt import conversation, needs
from seawall.dialects._anthropic_static import static
from seawall.dialects._anthropic_words import REFUSED, WORDS, counts_of, message_of, total
from seawall.dialects._classify import judge_good, judge_status
from seawall.dialects._json import model_name
from seawall.dialects._json import read as read_json
from seawall.dialects.base import Finish, Form, Material, Never, Watch
from seawall.dialects.generic import PlainWatch, as_json, told
from seawall.dialects.splice import with_model
from seawall.dialects.sse import COMMENT
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


_REQUEST = msgspec.json.Decoder(_Request)
_TOOLS = msgspec.json.Decoder(list[_Tool] | None)


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
    keep_alive = COMMENT
    forwarded = False
    credential_protocols: tuple[bytes, ...] = ()
    cache_fields: tuple[bytes, ...] = (b"anthropic-version", b"anthropic-beta", b"anthropic-workspace-id")

    def load(self) -> None:
        """Nothing more is needed."""

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
        request = read_json(_REQUEST, body)
        if request is None:
            return Facts(operation, pinned=operation == "other")
        model = model_name(request.model)
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

    def needs(self, body: bytes) -> frozenset[str]:
        return needs(body)

    def conversation(self, body: bytes) -> bytes:
        return conversation(body)

    def stream_type(self, facts: Facts) -> bytes:
        return b"text/event-stream"

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        return MessagesWatch() if facts.operation == "messages" else PlainWatch()

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if 200 <= status < 300 and facts.operation != "other":
            fault = judge_good(WORDS, status, headers, body, wall, whole=whole)
            if fault is None and b"refusal" in body and message_of(body).stop_reason == REFUSED:
                return Fault(Code.CONTENT_POLICY, f"{status} with stop_reason {REFUSED}", status)
            return fault
        return judge_status(WORDS, status, headers, body, wall)

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        message = message_of(body)
        counts = counts_of(message.usage)
        return model_name(message.model), None if counts is None else total(counts)

    def state_made(self, data: bytes, headers: Headers) -> str:
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

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        return as_json(problem)

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        return b"event: error\ndata: " + self.error(facts, problem) + b"\n\n"

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        return static(facts, text, id_)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        return material(facts, body)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        return finish(body, form)

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        return replayed(body, have, want)

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        return b"x-api-key", key

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"x-api-key", b"authorization"})

    def credential_parameters(self) -> frozenset[str]:
        return frozenset()

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        spliced = with_model(body, model)
        return None if spliced is None else (path, spliced)
