"""Any HTTP API, warehouses included: replay safety by method and idempotency key, faults by status, nothing else.

There is no contract about the answers here, so none is ever judged broken beyond what HTTP itself says.
"""

import msgspec

from seawall.dialects._classify import Words, judge_status
from seawall.dialects._json import is_strict
from seawall.dialects.base import Finish, Form, Material, Never, Watch
from seawall.dialects.sse import EventWatch
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage, header

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_WORDS = Words(exact={"insufficient_quota": Code.QUOTA_EXHAUSTED}, general={}, phrases=())


def told(problem: Problem) -> str:
    """The message of an error that seawall makes; for an unknown route, with the known ones."""
    if problem.known_routes and problem.fault.code is Code.NO_ROUTE:
        return f"{problem.message} (known routes: {', '.join(problem.known_routes)})"
    return problem.message


def as_json(problem: Problem) -> tuple[int, Headers]:
    """Status and fields of an error in JSON."""
    return problem.fault.rule.status, [(b"content-type", b"application/json")]


class PlainWatch(EventWatch):
    """A stream without a contract: any event is content, and a clean end is an end."""

    __slots__ = ()

    def _event(self, name: bytes, data: bytes) -> bool:
        self.content = True
        self.progress += 1
        return True

    def end(self) -> bytes:
        rest = super().end()
        self.terminal = True
        return rest


class Generic:
    """See `seawall.dialects.base.Dialect`."""

    name = "Generic"
    version_prefix = ""
    # google-genai, for one, fails on a comment.
    keep_alive = b""
    forwarded = False
    credential_protocols: tuple[bytes, ...] = ()
    cache_fields: tuple[bytes, ...] = ()
    """An answer itself says which of a request's fields it depends on (Vary)."""

    def load(self) -> None:
        """Nothing more is needed."""

    def claims(self, head: Head) -> bool:
        return False

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """GET, HEAD and OPTIONS are safe (RFC 9110); with `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header)
        others are keyed. PUT and DELETE stay unsafe without one: idempotent by definition, but not in the field."""
        if head.method in _SAFE_METHODS:
            return Facts("other", safety=Safety.SAFE)
        keyed = header(head.headers, b"idempotency-key")
        return Facts("other", safety=Safety.KEYED if keyed else Safety.UNSAFE)

    def needs(self, body: bytes) -> frozenset[str]:
        return frozenset()

    def conversation(self, body: bytes) -> bytes:
        return b""

    def stream_type(self, facts: Facts) -> bytes:
        return b"text/event-stream"

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        return PlainWatch()

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        return judge_status(_WORDS, status, headers, body, wall)

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        return "", None

    def state_made(self, data: bytes, headers: Headers) -> str:
        return ""

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        return ()

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        code = problem.fault.code
        # Twice, because of SDKs that a wrong base URL brings here: OpenAI's shows only the inner object, AWS's only the
        # outer message.
        seawall, message = problem.seawall(), told(problem)
        error = {"message": message, "type": code.rule.category.value, "code": code.value, "seawall": seawall}
        return msgspec.json.encode({"error": error, "message": message, "seawall": seawall})

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        return as_json(problem)

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        """None: a client that does not expect such an event fails on it (google-genai cannot parse the line
        `event: error`); to break off says as much in any protocol."""
        return b""

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        """The text as it stands: what an answer here looks like, only its policy knows."""
        return b"application/json" if is_strict(text.encode()) else b"text/plain; charset=utf-8", text.encode()

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        """GET and HEAD, for which RFC 9111 has the rules; what another method's body means, nobody here knows."""
        if facts.safety is Safety.SAFE:
            return Material(b"", deterministic=True, by_http=True)
        return Never("not a read", by_http=True)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        return Finish()

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        return body

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        return b"authorization", b"Bearer " + key

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"authorization"})

    def credential_parameters(self) -> frozenset[str]:
        return frozenset()

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        return None
