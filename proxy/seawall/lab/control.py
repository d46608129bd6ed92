"""The lab's control endpoint, below /_lab: attempts, scripts, connections, the grammar. It only reads and sets."""

from typing import Protocol
from urllib.parse import parse_qsl

import msgspec

from seawall.lab.answer import encode
from seawall.lab.attempts import Ring
from seawall.lab.grammar import PARAMETERS
from seawall.lab.script import ScriptDocument, Scripts
from seawall.lab.words import WORDS, FaultSyntaxError
from seawall.server.exchange import Exchange

_FILTERS = ("upstream", "model", "path", "key", "method", "operation", "status")
_BODY_LIMIT = 4 * 1024 * 1024


class Bench(Protocol):
    """What the control endpoint works on."""

    ring: Ring
    scripts: Scripts

    @property
    def connections(self) -> int: ...
    def elapsed(self) -> float: ...


async def control(bench: Bench, exchange: Exchange) -> None:
    """Answer one request below /_lab."""
    size = 0
    chunks: list[bytes] = []
    while data := await exchange.body.read():
        size += len(data)
        if size <= _BODY_LIMIT:
            chunks.append(data)
    if size > _BODY_LIMIT:
        return _reply(exchange, 413, {"error": f"a script may not exceed {_BODY_LIMIT} bytes"})
    _, _, query = exchange.head.target.partition("?")
    try:
        status, body = _answer(
            bench, exchange.head.method, exchange.head.path, dict(parse_qsl(query)), b"".join(chunks)
        )
    except (FaultSyntaxError, msgspec.DecodeError) as error:
        status, body = 400, {"error": str(error)}
    return _reply(exchange, status, body)


def _reply(exchange: Exchange, status: int, body: object) -> None:
    payload = encode(body)
    exchange.start(status, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))])
    if exchange.head.method != "HEAD":
        exchange.write(payload)
    exchange.end()


def _answer(bench: Bench, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, object]:
    match method, path.removeprefix("/_lab").strip("/"):
        case "GET", "attempts":
            wanted = {name: value for name, value in query.items() if name in _FILTERS}
            return 200, {"total": bench.ring.total, "attempts": bench.ring.select(**wanted)}
        case "DELETE", "attempts":
            bench.ring.clear()
            return 200, {"total": 0}
        case "GET", "script":
            entries = bench.scripts.entries.values()
            return 200, {"scripts": [{"used": e.machine.used, **_document(e.document)} for e in entries]}
        case "POST", "script":
            documents = msgspec.json.decode(body, type=ScriptDocument | list[ScriptDocument])
            bench.scripts.set(documents if isinstance(documents, list) else [documents], bench.elapsed())
            return 200, {"scripts": len(bench.scripts.entries)}
        case "DELETE", "script":
            return 200, {"removed": bench.scripts.clear(query.get("upstream"), query.get("model"), query.get("path"))}
        case "GET", "connections":
            return 200, {"open": bench.connections - 1}  # without the one that asks
        case "GET", "grammar":
            words = [{"word": word.form, "example": word.example, "effect": word.effect} for word in WORDS]
            return 200, {"words": words, "parameters": PARAMETERS}
        case _:
            known = "attempts, script, connections, grammar"
            return 404, {"error": f"no {method} {path}; below /_lab there are: {known}"}


def _document(document: ScriptDocument) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(document).items() if value is not None}
