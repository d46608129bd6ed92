"""What a Bedrock request asks for: the model and operation in its path, and of its body what policy asks about."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from seawall.dialects._json import model_name, read
from seawall.dialects._needs import Format, needed

_NOTHING = msgspec.Raw(b"")

# As botocore writes a model's id or ARN into the path: everything but unreserved characters is escaped.
_OPERATION = re.compile(
    r"(?P<before>/model/)(?P<model>[^/?]+)"
    r"(?P<after>/(?P<name>converse|converse-stream|invoke|invoke-with-response-stream|count-tokens))(?=\?|$)"
)
_NAMES = {
    "converse": ("converse", False),
    "converse-stream": ("converse", True),
    "invoke": ("invoke", False),
    "invoke-with-response-stream": ("invoke", True),
    "count-tokens": ("count_tokens", False),
}

# Quotes within a JSON string are escaped, so that text can not look like these.
_HOSTED = re.compile(rb'"systemTool"\s*:\s*\{')
_OWNED = re.compile(rb'"s3Location"\s*:\s*\{')
_IMAGE = re.compile(rb'"image"\s*:\s*\{|"type"\s*:\s*"image(?:_url)?"')


class Asked(NamedTuple):
    operation: str
    model: str
    stream: bool


def operation_of(path: str) -> Asked | None:
    """What a path below the base URL asks for; None for what just passes through."""
    found = _OPERATION.search(path.partition("?")[0])
    if found is None:
        return None
    operation, stream = _NAMES[found["name"]]
    return Asked(operation, model_name(unquote(found["model"])), stream)


def with_model(path: str, model: str) -> str | None:
    """The path with another model."""
    found = _OPERATION.search(path)
    return None if found is None else path[: found.start("model")] + quote(model, safe="") + path[found.end("model") :]


def hosted(body: bytes) -> bool:
    """Whether tools run at the provider (`nova_code_interpreter`, `nova_grounding`)."""
    return _HOSTED.search(body) is not None


def owned(body: bytes) -> bool:
    """Whether it refers to files that only this account can read."""
    return _OWNED.search(body) is not None


class _Tools(msgspec.Struct, gc=False):
    tools: msgspec.Raw = _NOTHING


class _Output(msgspec.Struct, gc=False, rename="camel"):
    text_format: Format | None = None
    format: Format | None = None


class _Request(msgspec.Struct, gc=False, rename="camel"):
    """Converse's, and what Anthropic's and OpenAI's models are invoked with."""

    tool_config: _Tools | None = None
    output_config: _Output | None = None
    anthropic_output: _Output | None = msgspec.field(default=None, name="output_config")
    openai_format: Format | None = msgspec.field(default=None, name="response_format")
    tools: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING
    messages: list[msgspec.Raw] | None = None


_REQUEST = msgspec.json.Decoder(_Request)


def needs(body: bytes) -> frozenset[str]:
    """See `Dialect.needs`."""
    request = read(_REQUEST, body)
    if request is None:
        return frozenset()
    tools = request.tool_config.tools if request.tool_config is not None else _NOTHING
    formats = (
        request.output_config.text_format if request.output_config is not None else None,
        request.anthropic_output.format if request.anthropic_output is not None else None,
        request.openai_format,
    )
    return needed((bytes(tools), bytes(request.tools)), formats, _IMAGE, body)


def conversation(body: bytes) -> bytes:
    """See `Dialect.conversation`."""
    request = read(_REQUEST, body)
    if request is None or not request.messages:
        return b""
    return bytes(request.system) + bytes(request.messages[0])
