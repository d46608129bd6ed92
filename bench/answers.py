"""What the benchmarks' upstream says, and whether an answer that arrived is exactly that.

Both ends import it: an answer is checked against the bytes it should consist of, terminal event included, never by its
status alone.
"""

import json
import zlib
from functools import cache
from typing import Any

MODEL = "bench-model"
END = b"data: [DONE]\n\n"
_COMMON = {"id": "chatcmpl-seawall-bench", "created": 1_750_000_000, "model": MODEL}


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _plain() -> bytes:
    text = "The tide comes in, the tide goes out, the wall stays where it is. " * 6
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
    return _encoded({**_COMMON, "object": "chat.completion", "choices": [choice], "usage": usage})


PLAIN = _plain()
"""The plain answer: a chat completion of about 0.7 KB."""


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One server-sent event of a chat completion. `more` goes in beside the choices."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % _encoded({**_COMMON, "object": "chat.completion.chunk", "choices": [choice], **more})


def token(number: int, **more: Any) -> bytes:
    """The `number`th content event of a stream, from 0."""
    return event({"content": f" wave{number}"}, **more)


ROLE = event({"role": "assistant", "content": ""})
LAST = event({}, "stop") + END
"""Sent, and counted, as one: real providers send them so."""


@cache
def sends(chunks: int) -> tuple[bytes, ...]:
    """What a stream of `chunks` content events consists of, send by send: chunks + 2 of them."""
    return (ROLE, *(token(number) for number in range(chunks)), LAST)


@cache
def streamed(chunks: int) -> bytes:
    """The whole body of such a stream."""
    return b"".join(sends(chunks))


def failed(status: int) -> bytes:
    """The body of an answer with an error status."""
    return _encoded({"error": {"message": f"status {status} as asked", "type": "server_error", "code": None}})


def body_mark(body: bytes) -> bytes:
    """Length and CRC-32 of a request's body, which the upstream returns when asked with `mark=1`."""
    return b"%d-%08x" % (len(body), zlib.crc32(body))


def question(size: int, *, stream: bool) -> bytes:
    """A chat request of about `size` bytes."""
    words = "What does the sea say to the wall? "
    message = {"role": "user", "content": words * (max(0, size - 100) // len(words) + 1)}
    document: dict[str, Any] = {"model": MODEL, "messages": [message]}
    return _encoded({**document, "stream": True} if stream else document)
