"""The Bedrock dialect: the runtime API of Amazon Bedrock, with Converse, InvokeModel, both as streams, and the counting
of tokens with all their facts; every other endpoint passes through.

Requests are signed (AWS Signature Version 4) over their Host, so that an agent's own signature is of no use upstream:
seawall signs anew, or sends an API key. The words of its errors, the watches for its streams and the reading of its
requests are private modules beside this one.
"""

import re
from urllib.parse import unquote

import msgspec

from seawall.dialects import _bedrock_request as request
from seawall.dialects._bedrock_static import static
from seawall.dialects._bedrock_streams import ConverseWatch, InvokeWatch, UnknownWatch, broken_name
from seawall.dialects._bedrock_words import STOPPED, WORDS, answer_of, said, unknown, usage_of
from seawall.dialects._classify import fault_of, judge_good
from seawall.dialects._json import model_name
from seawall.dialects.base import Finish, Form, Material, Never, Watch
from seawall.dialects.eventstream import CONTENT_TYPE, encode
from seawall.dialects.generic import as_json, told
from seawall.dialects.hints import retry_hint
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage

# The first path segments of the runtime's API, as botocore 1.44 knows them, that no other provider's API has.
_OWN = re.compile(r"/(?:model|guardrail|async-invoke)/[^/]+|/async-invoke/?$")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Jobs are known to the account and region that runs them only.
_JOB = re.compile(rb'"invocationArn"\s*:\s*"(arn:[^"\\]{10,300})"')
_JOBS = re.compile(r"/async-invoke/([^/?]+)")
_BEGINNING = 4096

# The exception that the SDK raises, by the status that seawall answers with.
_NAMES = {
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    409: "ConflictException",
    429: "ThrottlingException",
    500: "InternalServerException",
    502: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


class Bedrock:
    """See `seawall.dialects.base.Dialect`."""

    name = "Bedrock"
    version_prefix = ""
    # botocore passes over an event that it does not know; what all other SDKs do is not known.
    keep_alive = b""
    forwarded = False
    credential_protocols: tuple[bytes, ...] = ()
    cache_fields: tuple[bytes, ...] = ()

    def load(self) -> None:
        """Nothing more is needed."""

    def claims(self, head: Head) -> bool:
        return _OWN.match(head.path) is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """A `clientRequestToken` changes nothing: only asynchronous jobs take one, and those just pass through."""
        if head.method in _SAFE_METHODS:
            return Facts("other", safety=Safety.SAFE, pinned=_JOBS.search(path) is not None)
        asked = request.operation_of(path) if head.method == "POST" else None
        if asked is None:
            return Facts("other", pinned=True)
        return Facts(
            asked.operation,
            asked.model,
            asked.stream,
            Safety.UNSAFE if request.hosted(body) else Safety.SAFE_BILLED,
            pinned=request.owned(body),
        )

    def needs(self, body: bytes) -> frozenset[str]:
        return request.needs(body)

    def conversation(self, body: bytes) -> bytes:
        return request.conversation(body)

    def stream_type(self, facts: Facts) -> bytes:
        return CONTENT_TYPE

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        match facts.operation:
            case "converse":
                return ConverseWatch()
            case "invoke":
                return InvokeWatch()
            case _:
                return UnknownWatch()

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if status >= 400:
            return fault_of(WORDS, said(headers, body), status, retry_hint(headers, wall))
        if not 200 <= status < 300 or facts.operation == "other":
            return None
        error = unknown(headers, body)
        if error is not None:
            fault = fault_of(WORDS, error)
            return Fault(fault.code, f"{status} with {fault.detail}", status)
        cut = judge_good(WORDS, status, headers, body, wall, whole=whole)
        if cut is not None:
            return cut
        if facts.operation == "converse" and (b"_filtered" in body or b"malformed_" in body or b"guardrail_" in body):
            reason = answer_of(body).stop_reason
            code = STOPPED.get(reason) if isinstance(reason, str) else None
            return None if code is None else Fault(code, f"{status} with stopReason {reason}", status)
        return None

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        """Converse does not say which model answered; some invoked models do."""
        answer = answer_of(body)
        return model_name(answer.model), usage_of(answer.usage)

    def state_made(self, data: bytes, headers: Headers) -> str:
        found = _JOB.search(data, 0, _BEGINNING)
        return found[1].decode("latin-1") if found else ""

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        found = _JOBS.search(path)
        return (unquote(found[1]),) if found else ()

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        """botocore takes the exception's name from the body where no header field tells it."""
        code = problem.fault.code
        name = _NAMES.get(code.rule.status, "ValidationException")
        if code is Code.QUOTA_EXHAUSTED:
            name = "ServiceQuotaExceededException"
        error = {"__type": name, "message": told(problem), "seawall": problem.seawall()}
        return msgspec.json.encode(error)

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        return as_json(problem)

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        """An exception, which botocore raises as EventStreamError. Operations that nobody knows here get none."""
        if facts.operation == "other":
            return b""
        name = broken_name(problem.fault.code)
        headers = ((":exception-type", name), (":content-type", "application/json"), (":message-type", "exception"))
        return encode(headers, msgspec.json.encode({"message": told(problem), "seawall": problem.seawall()}))

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        return static(facts, text)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        """What a stream of this protocol, and an invoked model, would have to say to be kept is not read here."""
        return Never("dialect")

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        return Finish("dialect")

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        return body if have is want else None

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        """An API key of Bedrock's own (`AWS_BEARER_TOKEN_BEDROCK`)."""
        return b"authorization", b"Bearer " + key

    def credential_fields(self) -> frozenset[bytes]:
        """An agent's SDK signs as well: its signature must not be sent beside a key."""
        return frozenset({b"authorization", b"x-amz-content-sha256", b"x-amz-date", b"x-amz-security-token"})

    def credential_parameters(self) -> frozenset[str]:
        return frozenset()

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        renamed = request.with_model(path, model)
        return None if renamed is None else (renamed, body)
