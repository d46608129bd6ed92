"""What a dialect must tell the engine, and nothing else. One file per dialect implements it; adding one is adding one.

A dialect is stateless and shared by all calls; only a `Watch` (one per streamed answer) holds state.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

from seawall.faults import Fault, Problem
from seawall.types import Facts, Head, Headers, Usage


class Watch(Protocol):
    """Follows one streamed answer, event by event, and says what may be released (SEMANTICS §5).

    Bytes come back exactly as they went in; only where they are cut may differ: whole events are released, the
    beginning of an unfinished one is kept back until it is whole (or has grown above 64 KiB: then it is released as it
    comes, unwatched). So an error event can always be appended cleanly, and a malformed event is never released.
    """

    content: bool
    """A content-bearing event was seen: text, reasoning, refusal or tool call; not roles, pings or message_start."""
    terminal: bool
    """The dialect's terminal event was seen."""
    fault: Fault | None
    """An error event, or an end that tells of withheld content (their bytes are released: they are the upstream's own
    words, and so is whatever follows them), or a malformed event (not released)."""
    usage: Usage | None
    model: str
    """The model that answered, as the answer says; "" when it does not."""
    progress: int
    """Content-bearing events so far."""

    @property
    def midway(self) -> bool:
        """The beginning of an unfinished event has been released: nothing can be appended that would be read."""

    def feed(self, data: bytes) -> bytes:
        """Take the answer's next (decoded) bytes; returns those that may be released. After a fault by a malformed
        event nothing more is released."""

    @property
    def lead(self) -> bytes:
        """What must stand before an event of ours, behind what was released; b"" where events stand alone."""

    def end(self) -> bytes:
        """The answer ended cleanly: take the rest as the last event and return it."""


class Form(enum.Enum):
    """In which form an answer is kept, and in which an agent wants it."""

    PLAIN = "plain"
    STREAM = "stream"
    STREAM_WITH_USAGE = "stream+usage"
    """With a last event for the usage, which agents of some dialects must ask for."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a request that may be answered from the cache gives to its key.

    body: canonical, and without the members that change no answer. deterministic: the same request is meant to get the
    same answer. by_http: answers say themselves how they may be kept, as RFC 9111 has it. without: the query's
    parameters, in lower case, that change no answer.
    """

    body: bytes
    deterministic: bool
    form: Form = Form.PLAIN
    by_http: bool = False
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Never:
    """An answer to this request is never kept, whatever the policy says. why: for logs. by_http: RFC 9111 has a say in
    what its answer means for those that are kept."""

    why: str
    by_http: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """How a good answer ended. unfinished: why it is not to be kept (cut at a length, withheld, …), "" when it is whole
    and meant to be."""

    unfinished: str = ""
    calls_tools: bool = False


class Dialect(Protocol):
    name: str
    """As in an Upstream's `dialect`: `OpenAI`."""
    version_prefix: str
    """The first path segment of its public API (`/v1`), which agents send and base URLs may or may not hold."""
    keep_alive: bytes
    """What may stand between two events of a stream and says nothing to any client; b"" where that is not known."""
    forwarded: bool
    """Its answers hold URLs at which agents go on asking, so it is told where they reach it (`X-Forwarded-*`)."""
    credential_protocols: tuple[bytes, ...]
    """What WebSocket subprotocols that hold an API key begin with; an injected key replaces them."""
    cache_fields: tuple[bytes, ...]
    """Lower-case names of the request's header fields that change what an answer is: versions, betas, projects."""

    def load(self) -> None:
        """Import what reading requests takes beyond this module. Called before a policy that names the dialect is
        taken; may take a second, and may be called from another thread."""

    def claims(self, head: Head) -> bool:
        """Whether a bare path (no route prefix) is one of this dialect's: `/v1/messages`. Deterministic among all
        dialects: at most one claims a request (an `anthropic-version` header decides for `/v1/models`, `/v1/files`)."""

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """The facts of a request; `path` is the part below the base URL (`/chat/completions`; the version prefix may
        or may not be there), `body` the whole body, or b"" when it was too large to buffer. Never raises: what can not
        be read gives facts with an empty model."""

    def needs(self, body: bytes) -> frozenset[str]:
        """What a model must be able to do for this request, in a policy's words: `Tools`, `Images`, `JSONSchema`."""

    def conversation(self, body: bytes) -> bytes:
        """What tells one conversation from others and stays as it grows: its instructions and first messages; b"" where
        a request has none."""

    def stream_type(self, facts: Facts) -> bytes:
        """The content type by which a streamed answer to such a request is known."""

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        """A new watch for a streamed answer to such a request; headers: its fields, where there are any yet."""

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        """Classify a whole answer (`body` decoded, at least its first 64 KiB); None for a good one. An answer that the
        provider's content filter withheld is CONTENT_POLICY, whatever its status. `hint` comes from
        the answer's headers (retry-after-ms, retry-after, rate-limit resets) or body, see hints.py; `wall` is the time
        of day in seconds since 1970, for HTTP dates. whole: `body` is all of it, so that JSON above 64 KiB that is cut
        off can be told from a beginning."""

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        """Model and usage of a whole good plain answer ("" and None when it has none)."""

    def state_made(self, data: bytes, headers: Headers) -> str:
        """The id of conversation state, file, job or statement that an answer's first bytes, or fields, give out; ""
        for none."""

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        """The ids of such that a pinned request builds upon."""

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        """A JSON error body in this dialect's shape, so that its SDK raises its usual exception."""

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        """Status, and content type and other fields, with which `error` is sent."""

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        """The error event to append to a stream that breaks after its commit, behind the watch's `lead`, framing
        included; b"" where the protocol has none, so that its unclean end alone tells of it."""

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        """Content type and body of a whole good answer with this text, streamed if that was asked for; None where the
        operation has none. id_: letters, digits and _; created: seconds since 1970."""

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        """What such a request gives to its cache key. Never raises: what is not surely understood is never kept."""

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        """How a whole good answer that was recorded in this form ended."""

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        """A recorded answer in the form that an agent wants: in its own, byte for byte; a stream joined, a plain answer
        written as one. None where that would lose anything."""

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        """The header field that carries an API key: (b"authorization", b"Bearer …")."""

    def credential_fields(self) -> frozenset[bytes]:
        """Lower-case names of the fields that an injected key replaces."""

    def credential_parameters(self) -> frozenset[str]:
        """Names of the query's parameters that an injected key replaces."""

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        """The request with another model: only that value is spliced, all other bytes stay. None when it has no place
        for one."""
