"""The Gemini dialect, of the Gemini API and of Vertex AI: generation, embeddings and the counting of tokens with all
their facts; every other endpoint passes through.

A model stands in the path, a key may stand in the query, and a stream has two framings: server-sent events (`alt=sse`,
which all SDKs ask for) or one JSON array. Replay safety of hosted tools: those that only look up (googleSearch,
urlContext) are taken for hosted tools like all others, as in the other dialects.

The parts that need room are private modules beside this one: facts, words, and the watches.
"""

import re

import msgspec

from seawall.dialects import _gemini_facts as facts_of
from seawall.dialects._classify import judge_good, judge_status
from seawall.dialects._gemini_cache import finish, material
from seawall.dialects._gemini_facts import ARRAY, for_google
from seawall.dialects._gemini_model import with_model
from seawall.dialects._gemini_prompt import conversation, needs
from seawall.dialects._gemini_static import static
from seawall.dialects._gemini_stream import ArrayChunks, EventChunks
from seawall.dialects._gemini_words import WORDS, alone, detailed, usage_of, withheld
from seawall.dialects._json import model_name, read
from seawall.dialects.base import Finish, Form, Material, Never, Watch
from seawall.dialects.generic import PlainWatch, as_json, told
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Usage, header

# All of the versions that nobody else has, and Vertex AI's resources, which have `v1` too.
_OWN = re.compile(
    r"/(?:(?:upload|download)/)?v1(?:alpha|beta)\d*/"
    r"|/v1/(?:projects/[^/]+/locations|publishers|tunedModels|cachedContents|corpora)/"
)
_SHARED = re.compile(r"/v1/(?:files|models)(?:/|$)")

# google.rpc.Code by the status that seawall answers with; the SDK chooses its exception by the number.
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# What an account keeps, as it is named in paths, in members of their own and in the links of files.
_KEPT = rb"(?:cachedContents|files|tunedModels|batches|fileSearchStores|corpora|operations|interactions)/[\w.-]{3,200}"
_MADE = re.compile(rb'"name"\s*:\s*"(?:[\w./-]*/)?(' + _KEPT + rb')"')
_NAMED = re.compile(rb'"(?:[\w.:/-]*/)?(' + _KEPT + rb')"')
_IN_PATH = re.compile(r"/(" + _KEPT.decode() + r")(?=[/:?]|$)")
_BEGINNING = 4096
_MOST_NAMED = 32


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    model_version: object = None
    usage_metadata: msgspec.Raw = msgspec.Raw(b"")


_ANSWER = msgspec.json.Decoder(_Answer)


class Gemini:
    """See `seawall.dialects.base.Dialect`."""

    name = "Gemini"
    version_prefix = "/v1beta"
    # google-genai takes a line that is no data for a part of an error, and fails on it.
    keep_alive = b""
    forwarded = False
    credential_protocols: tuple[bytes, ...] = ()
    cache_fields: tuple[bytes, ...] = (b"x-goog-user-project", b"x-vertex-ai-llm-request-type")

    def load(self) -> None:
        """Nothing more is needed."""

    def claims(self, head: Head) -> bool:
        if _SHARED.match(head.path):
            return for_google(head) and header(head.headers, b"anthropic-version") is None
        return _OWN.match(head.path) is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        return facts_of.read(head, path, body)

    def needs(self, body: bytes) -> frozenset[str]:
        return needs(body)

    def conversation(self, body: bytes) -> bytes:
        return conversation(body)

    def stream_type(self, facts: Facts) -> bytes:
        return b"application/json" if facts.framing == ARRAY else b"text/event-stream"

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        if facts.operation != "generate":
            return PlainWatch()
        return ArrayChunks(facts.choices) if facts.framing == ARRAY else EventChunks(facts.choices)

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if not 200 <= status < 300 or facts.operation == "other":
            body = alone(body)
            fault = judge_status(WORDS, status, headers, body, wall)
            return None if fault is None else detailed(fault, body)
        fault = judge_good(WORDS, status, headers, body, wall, whole=whole)
        if fault is not None:
            return fault if fault.code is Code.TRUNCATED else detailed(fault, body)
        why = withheld(body) if facts.operation == "generate" else ""
        return Fault(Code.CONTENT_POLICY, f"{status} with {why}", status) if why else None

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        answer = read(_ANSWER, body) or _Answer()
        return model_name(answer.model_version), usage_of(answer.usage_metadata)

    def state_made(self, data: bytes, headers: Headers) -> str:
        found = _MADE.search(data, 0, _BEGINNING)
        return found[1].decode("ascii") if found else ""

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        ids = [*_IN_PATH.findall(path), *(found.decode("ascii") for found in _NAMED.findall(body))]
        return tuple(dict.fromkeys(ids))[:_MOST_NAMED]

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        body = self._error(problem)
        return b"[" + body + b"]" if facts is not None and facts.framing == ARRAY else body

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        return as_json(problem)

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        """google-genai raises its error for a chunk that begins with `error`. Behind the array's last element nothing
        closes it: a client that reads all of it must not take it for whole."""
        body = self._error(problem)
        return body if facts.framing == ARRAY else b"data: " + body + b"\n\n"

    def _error(self, problem: Problem) -> bytes:
        status = problem.status or problem.fault.code.rule.status
        name = _STATUSES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "UNAVAILABLE")
        error = {"code": status, "message": told(problem), "status": name, "details": _details(problem)}
        return msgspec.json.encode({"error": error, "seawall": problem.seawall()})

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        return static(facts, text, id_)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        return material(facts, body)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        return finish(facts, body, form)

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        return body if have is want else None

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        return b"x-goog-api-key", key

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"x-goog-api-key", b"authorization", b"x-api-key"})

    def credential_parameters(self) -> frozenset[str]:
        """As all of Google's APIs take them (their system parameters)."""
        return frozenset({"key", "$key", "access_token", "$access_token", "oauth_token"})

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        return with_model(path, body, model)


def _details(problem: Problem) -> list[dict[str, object]]:
    """google.rpc.ErrorInfo and, where somebody knows, RetryInfo."""
    reason = {"reason": problem.fault.code.value, "domain": "seawall.dev"}
    details: list[dict[str, object]] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **reason}]
    if problem.retry_after is not None:
        wait = f"{problem.retry_after:g}s"
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait})
    return details
