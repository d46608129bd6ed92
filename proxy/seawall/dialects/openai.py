"""The OpenAI dialect: chat completions, responses, completions and embeddings with all their facts; every other
endpoint passes through. Also spoken by Groq, DeepSeek, OpenRouter, Mistral, Cerebras, vLLM and others: what differs
there is data, in `_openai_providers`.

The parts that need room are private modules beside this one: facts, words, and a watch for each kind of stream.
"""

import re

import msgspec

from seawall.dialects import _openai_facts as facts_of
from seawall.dialects import _state
from seawall.dialects._classify import judge_good, judge_status
from seawall.dialects._gemini_facts import for_google
from seawall.dialects._json import model_name, read
from seawall.dialects._openai_cache import finish, material, replayed
from seawall.dialects._openai_chat import ChatWatch
from seawall.dialects._openai_prompt import conversation, needs
from seawall.dialects._openai_providers import WORDS
from seawall.dialects._openai_responses import ResponsesWatch
from seawall.dialects._openai_static import static
from seawall.dialects._openai_words import odd_end, usage_of
from seawall.dialects.base import Finish, Form, Material, Never, Watch
from seawall.dialects.generic import PlainWatch, as_json, told
from seawall.dialects.splice import with_model, with_model_in_query
from seawall.dialects.sse import COMMENT
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage, header

# The first path segments of the public API, as openai-python 3.52 knows them.
_OWN = re.compile(
    r"/v1/(?:assistants|audio|batches|chat|chatkit|completions|containers|content_provenance_checks|conversations"
    r"|decisions|embeddings|evals|fine_tuning|images|live|moderations|organization|projects(?!/[^/]+/locations/)"
    r"|realtime|responses|safety"
    r"|threads|uploads|vector_stores|videos)(?:/|$)"
)
# Those that Anthropic's API has as well; an `anthropic-version` header says that it is meant.
_SHARED = re.compile(r"/v1/(?:agents|files|models|skills|vaults)(?:/|$)")
# What clients call without /v1 when they are given a base URL without it.
_UNVERSIONED = frozenset({"chat/completions", "completions", "embeddings", "moderations", "responses"})

# `error.type` by the status that seawall answers with; the SDK chooses its exception by the status alone.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    504: "timeout_error",
}


# `error.code` where agents go by OpenAI's own word; any other fault is told by ours.
OWN_CODES = {
    Code.CONTENT_POLICY: "content_policy_violation",
    Code.CONTEXT_LENGTH: "context_length_exceeded",
    Code.QUOTA_EXHAUSTED: "insufficient_quota",
    Code.RATE_LIMITED: "rate_limit_exceeded",
}


class _Answer(msgspec.Struct, gc=False):
    model: object = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_ANSWER = msgspec.json.Decoder(_Answer)


def _type(code: Code) -> str:
    if code is Code.QUOTA_EXHAUSTED:
        return "insufficient_quota"
    status = code.rule.status
    return _TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")


def _error(problem: Problem) -> dict[str, object]:
    code = problem.fault.code
    # Again in here, because openai-python gives only the inner object to `APIError.body`.
    seawall = problem.seawall()
    own = OWN_CODES.get(code, code.value)
    return {"message": told(problem), "type": _type(code), "param": None, "code": own, "seawall": seawall}


class OpenAI:
    """See `seawall.dialects.base.Dialect`."""

    name = "OpenAI"
    version_prefix = "/v1"
    keep_alive = COMMENT
    forwarded = False
    credential_protocols: tuple[bytes, ...] = (b"openai-insecure-api-key.",)
    cache_fields: tuple[bytes, ...] = (b"openai-beta", b"openai-organization", b"openai-project", b"openai-version")

    def load(self) -> None:
        """Nothing more is needed."""

    def claims(self, head: Head) -> bool:
        path = head.path
        if _SHARED.match(path):
            return header(head.headers, b"anthropic-version") is None and not for_google(head)
        return _OWN.match(path) is not None or path.strip("/") in _UNVERSIONED

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        return facts_of.read(head, path, body)

    def needs(self, body: bytes) -> frozenset[str]:
        return needs(body)

    def conversation(self, body: bytes) -> bytes:
        return conversation(body)

    def stream_type(self, facts: Facts) -> bytes:
        return b"text/event-stream"

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        match facts.operation:
            case "chat" | "completions":
                return ChatWatch(facts.choices)
            case "responses":
                return ResponsesWatch(poll=facts.safety is Safety.SAFE)
            case _:
                return PlainWatch()

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        # A poll's answer may well tell of a job that failed: the poll itself is good.
        if 200 <= status < 300 and facts.operation != "other" and facts.safety is not Safety.SAFE:
            return judge_good(WORDS, status, headers, body, wall, whole=whole) or odd_end(body, status)
        return judge_status(WORDS, status, headers, body, wall)

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        answer = read(_ANSWER, body) or _Answer()
        return model_name(answer.model), usage_of(answer.usage)

    def state_made(self, data: bytes, headers: Headers) -> str:
        return _state.made(data)

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        return _state.named(path, body)

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        return msgspec.json.encode({"error": _error(problem), "seawall": problem.seawall()})

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        return as_json(problem)

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        """openai-python raises APIError for any event with an `error` member, of either kind of stream; others look
        for the responses API's own event of type `error`, whose fields stand at the top level."""
        error = _error(problem)
        if facts.operation != "responses":
            return b"data: " + msgspec.json.encode({"error": error, "seawall": problem.seawall()}) + b"\n\n"
        event = {**error, "type": "error", "error": error, "seawall": problem.seawall()}
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        return static(facts, text, id_, created)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        return material(facts, body)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        return finish(facts, body, form)

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        return replayed(facts, body, have, want)

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        return b"authorization", b"Bearer " + key

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"authorization", b"api-key", b"x-api-key"})

    def credential_parameters(self) -> frozenset[str]:
        return frozenset()

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        if not body:
            there = with_model_in_query(path, model)
            return None if there is None else (there, body)
        spliced = with_model(body, model)
        return None if spliced is None else (path, spliced)
