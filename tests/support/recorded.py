"""Requests to providers as they were recorded, read from the cassettes that lie beside the checkout."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

WIRE = Path(__file__).resolve().parents[3] / "shared" / "wire"
ABSENT = f"the recorded provider traffic is not there: {WIRE.name}/replay.py beside the checkout, in ../shared"

Headers = list[tuple[bytes, bytes]]

# What a client makes anew for its own connection.
_OWN = frozenset({"host", "connection", "content-length", "transfer-encoding"})
_ERROR = re.compile(rb'^data: \{[^\n]*"error": ?\{', re.MULTILINE)
_WITHHELD = re.compile(r'"finishReason": "(?:SAFETY|MODEL_ARMOR)"')
_REGION = re.compile(r"bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com")


@dataclass(frozen=True)
class Recording:
    """One recorded request, and which answer belongs to it. `nth` among those of the cassette that look the same."""

    cassette: str
    nth: int
    host: str
    method: str
    target: str
    headers: Headers
    body: bytes
    status: int
    stream: bool
    failed: bool
    """By its status, by an error event in its stream, or because a filter withheld it."""
    answer: bytes = field(default=b"", repr=False)
    """Its body."""

    def request(self, run: str, prefix: str = "", *, encoding: str = "") -> bytes:
        """The request in raw bytes. encoding: replaces the recorded Accept-Encoding."""
        fields = [f for f in self.headers if not (encoding and f[0].lower() == b"accept-encoding")]
        if encoding:
            fields.append((b"Accept-Encoding", encoding.encode()))
        fields += [(b"x-replay-cassette", self.cassette.encode()), (b"x-replay-host", self.host.encode())]
        fields += [(b"x-replay-run", run.encode()), (b"x-replay-skip", b"%d" % self.nth)]
        if self.body or self.method == "POST":
            fields.append((b"Content-Length", b"%d" % len(self.body)))
        lines = b"".join(b"%b: %b\r\n" % f for f in fields)
        return (
            f"{self.method} {prefix}{self.target} HTTP/1.1\r\nHost: agent.test\r\n".encode()
            + lines
            + b"\r\n"
            + self.body
        )

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body.startswith(b"{") else {}


@cache
def recordings() -> tuple[Recording, ...]:
    found: list[Recording] = []
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in sorted(WIRE.glob("cassettes/**/*.yaml")):
        seen: Counter[tuple[str, str, str]] = Counter()
        if file.name.endswith(".xai.yaml"):
            continue  # not HTTP
        for entry in yaml.load(file.read_bytes(), Loader=loader)["interactions"]:
            if "uri" not in entry.get("request", {}):
                continue
            recording = _recording(file.relative_to(WIRE).as_posix(), entry["request"], entry["response"], seen)
            found.append(recording)
    return tuple(found)


def _recording(
    cassette: str, asked: dict[str, Any], answered: dict[str, Any], seen: Counter[tuple[str, str, str]]
) -> Recording:
    url = urlsplit(asked["uri"])
    target = url.path + (f"?{url.query}" if url.query else "")
    key = (asked["method"].upper(), url.netloc, target)
    seen[key] += 1
    body = asked["parsed_body"] if asked.get("parsed_body") is not None else asked.get("body")
    if isinstance(body, dict | list):
        body = json.dumps(body)
    fields = [(name, value) for name, values in asked["headers"].items() for value in values]
    headers = [(name.encode(), _bytes(value)) for name, value in fields if name.lower() not in _OWN]
    kinds = [v for name, vs in answered["headers"].items() if name.lower() == "content-type" for v in vs]
    stream = any(k.startswith(("text/event-stream", "application/vnd.amazon.eventstream")) for k in kinds)
    told = answered.get("parsed_body")
    text = json.dumps(told).encode() if told is not None else _bytes((answered.get("body") or {}).get("string") or b"")
    status = answered["status"]["code"]
    withheld = _WITHHELD.search(json.dumps(told)) is not None
    failed = status >= 400 or withheld or (stream and _ERROR.search(text) is not None)
    return Recording(
        cassette, seen[key] - 1, _REGION.sub("bedrock-runtime.us-east-1.amazonaws.com", url.netloc), key[0], target,
        headers, _bytes(body or b""), status, stream, failed, text,
    )  # fmt: skip


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
