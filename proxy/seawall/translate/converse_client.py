"""What pydantic-ai's Bedrock model takes for boto3's client, without boto3's own HTTP: it sends nothing by itself.

The model calls a client in a thread of its own and waits there, 40 of them at most. Here a call gives back at once what
is to be sent; `converse_model` sends it over the attempt's wire, so that deadlines, faults, connections and signatures
are those of every other call.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
from botocore.eventstream import EventStreamBuffer

_encode = msgspec.json.Encoder().encode


class _Events:
    """Hooks of boto3's clients, of which none is ever called."""

    def register_first(self, *hook: Any, **options: Any) -> None:
        return


class _Meta:
    def __init__(self, url: str) -> None:
        self.endpoint_url = url
        self.events = _Events()


class ConverseClient:
    """The part of boto3's client for `bedrock-runtime` that the model uses."""

    def __init__(self, url: str) -> None:
        self.meta = _Meta(url)

    def converse(self, **asked: Any) -> dict[str, Any]:
        """`asked` as it was given, beside what the model looks for in an answer."""
        return {"output": {}, "asked": asked}

    def converse_stream(self, **asked: Any) -> dict[str, Any]:
        return {"asked": asked}


def request_of(url: str, asked: dict[str, Any], *, stream: bool) -> tuple[str, bytes]:
    """URL and body, as botocore writes them: the model in the path, everything else as JSON, bytes in base64. What is
    not valid the provider refuses, in its own words."""
    rest = {name: value for name, value in asked.items() if name != "modelId"}
    operation = "converse-stream" if stream else "converse"
    return f"{url}/model/{quote(asked['modelId'], safe='')}/{operation}", _written(rest)


def _written(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:
        # A provider cut within a character: the half goes back as the escape that it came as.
        return json.dumps(value, default=lambda data: b64encode(data).decode(), separators=(",", ":")).encode()


def answer_of(body: bytes, request_id: str | None) -> dict[str, Any]:
    """A whole answer as boto3 gives it."""
    answer: dict[str, Any] = json.loads(body)
    for block in answer["output"]["message"]["content"]:
        _unsealed(block)
    return {**answer, "ResponseMetadata": {"RequestId": request_id}}


class Events:
    """A streamed answer's events, each by its name, as boto3 gives them, but asynchronous."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        buffer = EventStreamBuffer()
        async for data in self._response.aiter_bytes():
            # Checksums and exceptions have been looked at: this holds events only.
            buffer.add_data(data)
            for message in buffer:
                event = json.loads(message.payload)
                _unsealed(event.get("delta"))
                yield {message.headers.get(":event-type", ""): event}

    async def aclose(self) -> None:
        await self._response.aclose()


def _unsealed(block: Any) -> None:
    """Bytes stand in base64; of what is looked at only sealed reasoning is such."""
    reasoning = block.get("reasoningContent") if isinstance(block, dict) else None
    sealed = reasoning.get("redactedContent") if isinstance(reasoning, dict) else None
    if isinstance(reasoning, dict) and isinstance(sealed, str):
        reasoning["redactedContent"] = b64decode(sealed)
