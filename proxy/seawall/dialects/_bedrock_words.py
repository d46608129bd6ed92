"""What Bedrock calls its errors, counts as usage and says of how an answer ended. Data, and how it is read.

Sources: the API reference of Amazon Bedrock Runtime (errors of Converse, ConverseStream and InvokeModel), AWS's common
errors, and what its models are known to say within a ValidationException.
"""

import msgspec

from seawall.dialects._classify import Said, Words, phrase
from seawall.dialects._json import Count, read
from seawall.faults import Code
from seawall.types import Headers, Usage, header

# A model's own words come as they are, or within Bedrock's.
_MODEL = r"(?:The model returned the following errors: )?(?:\W*message\W+)?"

WORDS = Words(
    exact={
        "ServiceQuotaExceededException": Code.QUOTA_EXHAUSTED,
        "ModelErrorException": Code.SERVER_ERROR,
        "ModelStreamErrorException": Code.SERVER_ERROR,
        "ModelTimeoutException": Code.UPSTREAM_TIMEOUT,
        "ConflictException": Code.CONFLICT,
        # Of the signature and the keys behind it.
        "ExpiredTokenException": Code.UNAUTHORIZED,
        "IncompleteSignatureException": Code.UNAUTHORIZED,
        "InvalidSignatureException": Code.UNAUTHORIZED,
        "InvalidClientTokenId": Code.UNAUTHORIZED,
        "MissingAuthenticationTokenException": Code.UNAUTHORIZED,
        "SignatureDoesNotMatch": Code.UNAUTHORIZED,
        "UnrecognizedClientException": Code.UNAUTHORIZED,
    },
    general={
        "AccessDeniedException": Code.FORBIDDEN,
        "InternalServerException": Code.SERVER_ERROR,
        "InternalFailure": Code.SERVER_ERROR,
        "ModelNotReadyException": Code.RATE_LIMITED,
        "ResourceNotFoundException": Code.NOT_FOUND,
        "ServiceUnavailableException": Code.OVERLOADED,
        "ThrottlingException": Code.RATE_LIMITED,
        "TooManyRequestsException": Code.RATE_LIMITED,
        "UnknownOperationException": Code.NOT_FOUND,
        "ValidationException": Code.INVALID_REQUEST,
    },
    phrases=(
        phrase(r"Too many tokens per day", Code.QUOTA_EXHAUSTED, limited=True),
        phrase(r"The provided model identifier is invalid", Code.NOT_FOUND),
        phrase(_MODEL + r"Input is too long for requested model", Code.CONTEXT_LENGTH),
        phrase(_MODEL + r"prompt is too long\b", Code.CONTEXT_LENGTH),
        phrase(_MODEL + r"input length and `max_tokens` exceed context limit", Code.CONTEXT_LENGTH),
        phrase(_MODEL + r"Too many input tokens\b", Code.CONTEXT_LENGTH),
        phrase(_MODEL + r"Input Tokens Exceeded", Code.CONTEXT_LENGTH),
        phrase(_MODEL + r"This model's maximum context length is\b", Code.CONTEXT_LENGTH),
        phrase(_MODEL + r"Output blocked by content filtering policy", Code.CONTENT_POLICY),
        phrase(
            _MODEL
            + r"The (?:generated text|generated image\(s\)|input) ha(?:s|ve) been blocked by our content filters",
            Code.CONTENT_POLICY,
        ),
    ),
)

STOPPED = {
    "guardrail_intervened": Code.CONTENT_POLICY,
    "content_filtered": Code.CONTENT_POLICY,
    "malformed_model_output": Code.SERVER_ERROR,
    "malformed_tool_use": Code.SERVER_ERROR,
}
"""Stop reasons of an answer that was withheld, or that the model failed to write."""


class _Body(msgspec.Struct, gc=False):
    type: object = msgspec.field(default=None, name="__type")
    code: object = None
    message: object = None
    Message: object = None
    Output: msgspec.Raw = msgspec.Raw(b"")


_BODY = msgspec.json.Decoder(_Body)


def said(headers: Headers, body: bytes) -> Said:
    """An error, as botocore reads it: its name from the field `x-amzn-errortype`, else from the body."""
    found = read(_BODY, body) or _Body()
    field = header(headers, b"x-amzn-errortype")
    name = field.decode("latin-1") if field is not None else found.code or found.type
    return Said(type=_name(name), message=found.message or found.Message)


def told(name: str, payload: bytes, words: str = "") -> Said:
    """An exception within a stream, whose name begins with a small letter."""
    found = read(_BODY, payload) or _Body()
    return Said(type=_name(name[:1].upper() + name[1:]), message=words or found.message or found.Message)


def unknown(headers: Headers, body: bytes) -> Said | None:
    """The error in an answer with 200, as AWS's gateways give it to what no service of theirs knows; None where there
    is none."""
    if header(headers, b"x-amzn-errortype") is not None:
        return said(headers, body)
    if b'"__type"' not in body:
        return None
    found = read(_BODY, body) or _Body()
    within = read(_BODY, found.Output) if len(found.Output) else None
    name = found.type or (within.type if within is not None else None)
    return Said(type=_name(name), message=found.message) if isinstance(name, str) else None


def _name(value: object) -> str | None:
    """`com.amazon.coral.service#ThrottlingException:http://…` → `ThrottlingException`."""
    return value.partition(":")[0].rpartition("#")[2] if isinstance(value, str) else None


class Tokens(msgspec.Struct, gc=False, rename="camel"):
    """`usage` of Converse and, by their other names, of the models that answer as their makers' APIs do."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_write_input_tokens: Count | None = None
    own_input: Count | None = msgspec.field(default=None, name="input_tokens")
    own_output: Count | None = msgspec.field(default=None, name="output_tokens")
    own_read: Count | None = msgspec.field(default=None, name="cache_read_input_tokens")
    own_written: Count | None = msgspec.field(default=None, name="cache_creation_input_tokens")


class Answer(msgspec.Struct, gc=False, rename="camel"):
    """A plain answer: Converse's, or what an invoked model wrote."""

    stop_reason: object = None
    model: object = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_TOKENS = msgspec.json.Decoder(Tokens)
_ANSWER = msgspec.json.Decoder(Answer)


def answer_of(body: bytes) -> Answer:
    return read(_ANSWER, body) or Answer()


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """Tokens; what was read from and written to the cache counts as input, as it does for the other providers."""
    tokens = read(_TOKENS, raw) if len(raw) > 4 else None
    if tokens is None:
        return None
    cached = tokens.cache_read_input_tokens or tokens.own_read or 0
    written = tokens.cache_write_input_tokens or tokens.own_written or 0
    return Usage(
        input=(tokens.input_tokens or tokens.own_input or 0) + cached + written,
        output=tokens.output_tokens or tokens.own_output or 0,
        cached=cached,
    )
