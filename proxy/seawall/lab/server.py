"""The lab: emulated providers on one port, with faults on demand. What users test their agents against.

It must never leave a connection, task or attempt without an end, however broken the answer that it was asked to give.
"""

import asyncio
import random
from collections import OrderedDict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from seawall.clock import Clock, SystemClock
from seawall.lab import azure, bigquery, gemini_paths, realtime
from seawall.lab.answer import Json, Mint, RejectedError
from seawall.lab.attempts import Attempt, Ring
from seawall.lab.clickhouse import ClickHouse
from seawall.lab.control import control
from seawall.lab.converse import asked as in_path
from seawall.lab.errors import bent, error_answer
from seawall.lab.families import Family
from seawall.lab.grammar import parse_model, parse_steps
from seawall.lab.perform import perform
from seawall.lab.plan import HEALTHY, Plan, Spec, Status, Trouble
from seawall.lab.play import play
from seawall.lab.probe import FAMILY, echo, look
from seawall.lab.routes import Routes, labelled
from seawall.lab.script import Phase, ScriptDocument, Scripts, Step, Window
from seawall.lab.trino import Trino
from seawall.lab.words import FaultSyntaxError
from seawall.server.exchange import Exchange
from seawall.server.listener import Server, serve
from seawall.types import Headers, header

_REMEMBERED = 10_000
# What agents send and records keep is cut or refused above these, so that memory stays bounded (some 100 MB at worst).
_LONGEST = 4096
_LONGEST_FIELD = 64
_MOST_FIELDS = 200
_BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a request body that are kept to be read as JSON; larger ones are only counted and hashed."""


class Lab:
    """A running lab. `seed` fixes ids, texts and chance; `clock` times schedules and records."""

    def __init__(self, host: str, *, seed: int = 0, clock: Clock | None = None) -> None:
        self.host = host
        self.ring = Ring()
        self.scripts = Scripts()
        self._seed = seed
        self._clock = clock or SystemClock()
        self._began = self._clock.now()
        self._rng = random.Random(seed)
        self._routes = Routes(self.elapsed)
        self._counts: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self._specs: OrderedDict[str, list[Spec]] = OrderedDict()
        self._number = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Without a path: `http://127.0.0.1:4110`."""
        assert self._server is not None
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._server.port}"

    @property
    def trino(self) -> Trino:
        """What its Trino remembers."""
        return self._routes.trino

    @property
    def clickhouse(self) -> ClickHouse:
        """What its ClickHouse remembers."""
        return self._routes.clickhouse

    @property
    def connections(self) -> int:
        """Open sockets."""
        return self._server.connections if self._server is not None else 0

    def elapsed(self) -> float:
        """Seconds since the lab's start."""
        return self._clock.now() - self._began

    def attempts(self, **wanted: str) -> list[Attempt]:
        """What it saw, oldest first, narrowed down by fields: `attempts(upstream="east")`."""
        return self.ring.select(**wanted)

    def clear(self) -> None:
        """Forget attempts and scripts."""
        self.ring.clear()
        self.scripts.clear()

    def script(
        self,
        steps: list[str | Step] | None = None,
        *,
        upstream: str | None = None,
        model: str | None = None,
        path: str | None = None,
        schedule: list[Phase] | None = None,
        windows: list[Window] | None = None,
        then: str = "ok",
        repeat: bool = False,
    ) -> None:
        """As `POST /_lab/script`. Raises FaultSyntaxError."""
        document = ScriptDocument(upstream, model, path, steps, schedule, windows, then, repeat)
        self.scripts.set([document], self.elapsed())

    async def listen(self, port: int) -> None:
        """Raises OSError where the address can not be had."""
        self._server = await serve(self._handle, self.host, port)

    async def close(self, grace: float = 0.0) -> None:
        """Stop; what is under way has `grace` seconds to finish."""
        if self._server is not None:
            await self._server.close(grace)

    # -- one request -----------------------------------------------------------------------------------------------

    async def _handle(self, exchange: Exchange) -> None:
        if exchange.head.path.startswith("/_lab"):
            await control(self, exchange)
            return
        attempt, path = self._seen(exchange)
        raw = 0
        try:
            if path == "/echo" and not exchange.wants_websocket:
                attempt.status = 200
                fields = self._fields(FAMILY, Mint(self._seed, attempt.number, self._clock.wall()))
                attempt.bytes_in, attempt.body_sha256 = await echo(exchange, fields)
            else:
                raw = await self._answer(exchange, attempt, path)
        except asyncio.CancelledError:
            attempt.gone = True
            raise
        finally:
            attempt.end = self.elapsed()
            attempt.bytes_out = exchange.sent_bytes + raw

    def _seen(self, exchange: Exchange) -> tuple[Attempt, str]:
        head = exchange.head
        self._number += 1
        upstream, path = labelled(head.path)
        peer = exchange.transport.get_extra_info("peername")
        attempt = Attempt(
            number=self._number,
            received_at=datetime.fromtimestamp(self._clock.wall(), UTC).isoformat(timespec="milliseconds"),
            received=self.elapsed(),
            upstream=upstream,
            method=head.method,
            path=path[:_LONGEST],
            key=(header(head.headers, b"x-lab-key") or b"").decode("latin-1")[:_LONGEST],
            header_names=[name.decode("latin-1")[:_LONGEST_FIELD] for name, _ in head.headers[:_MOST_FIELDS]],
            peer=f"{peer[0]}:{peer[1]}" if peer else "",
        )
        self.ring.add(attempt)
        return attempt, path

    async def _answer(self, exchange: Exchange, attempt: Attempt, path: str) -> int:
        body = await self._read(exchange, attempt)
        mint = Mint(self._seed, attempt.number, self._clock.wall())
        family = self._routes.family(exchange.head, path)
        plan = HEALTHY
        try:
            if self._routes.takes_text(path):
                document: Any = {"statement": body.decode("utf-8", "replace")}
            else:
                document = _document(exchange.head.method, body)
            _note_facts(attempt, document, path)
            if exchange.wants_websocket:
                attempt.model = _short(realtime.model(exchange.head.target), "model")
            plan = self._plan(exchange, attempt)
            if exchange.wants_websocket and realtime.owns(path) and plan.status is None and plan.wire is None:
                return await self._socket(exchange, attempt, path, plan, mint)
            looked = look(exchange, path, attempt.body_sha256, attempt.bytes_in)
            if looked is not None:
                family, answer = FAMILY, looked
            else:
                operation = self._routes.find(exchange.head, path)
                family, attempt.operation = operation.family, operation.name
                answer = operation.answer(_needed(document), plan.scenario, mint)
        except RejectedError as refused:
            answer = error_answer(family, Status(trouble=refused.trouble, message=refused.message), mint)
        except FaultSyntaxError as error:
            answer = error_answer(family, Status(trouble=Trouble.NOT_FOUND, message=str(error)), mint)
        attempt.dialect = family.name
        answer, exhausted = bent(answer, plan, family, mint)
        attempt.healthy = plan.healthy and answer.status < 400

        def sending(status: int | None) -> None:
            if attempt.first_byte is None:
                attempt.first_byte = self.elapsed()
            if attempt.status is None:
                attempt.status = status

        fields = [*self._fields(family, mint, exhausted=exhausted), *answer.headers]
        return await play(perform(answer, plan, fields, self._rng), exchange, sending)

    async def _socket(self, exchange: Exchange, attempt: Attempt, path: str, plan: Plan, mint: Mint) -> int:
        family = self._routes.family(exchange.head, path)
        socket = await realtime.grant(exchange, path, plan, self._fields(family, mint), self._rng)
        attempt.dialect, attempt.operation, attempt.healthy = family.name, "websocket", plan.healthy
        attempt.status, attempt.first_byte = 101, self.elapsed()
        await realtime.serve(socket, exchange, path, plan, mint)
        return socket.bytes

    async def _read(self, exchange: Exchange, attempt: Attempt) -> bytes:
        digest, chunks = sha256(), list[bytes]()
        while data := await exchange.body.read():
            digest.update(data)
            attempt.bytes_in += len(data)
            if attempt.bytes_in <= _BODY_LIMIT:
                chunks.append(data)
        attempt.body_sha256 = digest.hexdigest()
        return b"".join(chunks) if attempt.bytes_in <= _BODY_LIMIT else b""

    def _fields(self, family: Family, mint: Mint, *, exhausted: bool = False) -> Headers:
        date = datetime.fromtimestamp(mint.now, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
        own = [(b"date", date), (b"server", b"seawall-lab"), (b"x-lab-attempt", b"%d" % mint.attempt)]
        return [*own, *family.headers(mint, exhausted=exhausted)]

    # -- faults ----------------------------------------------------------------------------------------------------

    def _plan(self, exchange: Exchange, attempt: Attempt) -> Plan:
        """The header's fault, else the script's, else the one in the model's name. Raises FaultSyntaxError."""
        elapsed = self.elapsed()
        asked = header(exchange.head.headers, b"x-lab-fault")
        if asked is not None:
            text = _short(asked.decode("latin-1"), "x-lab-fault")
            steps = self._parsed(text)
            nth = self._nth("header", attempt.key or text)
            spec = steps[min(nth, len(steps) - 1)]
        else:
            scripted = self.scripts.next(attempt.upstream, attempt.model, attempt.path, elapsed)
            named = scripted if scripted is not None else self._in_name(attempt.model)
            if named is None:
                return HEALTHY
            spec = named
            nth = self._nth("name", attempt.upstream, attempt.model, spec.text)
        attempt.fault = spec.text
        return spec.resolve(elapsed=elapsed, nth=nth, rng=self._rng)

    def _in_name(self, model: str) -> Spec | None:
        if not model.startswith("lab-"):
            return None
        known = self._specs.get(model)
        if known is None:
            spec = parse_model(model)
            assert spec is not None
            known = self._remember(model, [spec])
        return known[0]

    def _parsed(self, text: str) -> list[Spec]:
        return self._specs.get("=" + text) or self._remember("=" + text, parse_steps(text))

    def _remember(self, key: str, specs: list[Spec]) -> list[Spec]:
        self._specs[key] = specs
        if len(self._specs) > _REMEMBERED:
            self._specs.popitem(last=False)
        return specs

    def _nth(self, *key: str) -> int:
        """How many attempts came before under this key."""
        nth = self._counts.pop(key, 0)
        self._counts[key] = nth + 1
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return nth


async def start_lab(host: str = "127.0.0.1", port: int = 0, *, seed: int = 0, clock: Clock | None = None) -> Lab:
    """A lab that listens on host:port (0: any free port). Raises OSError where the address can not be had."""
    lab = Lab(host, seed=seed, clock=clock)
    await lab.listen(port)
    return lab


def _document(method: str, body: bytes) -> Any:
    """The JSON of a body; None where it has none."""
    if method not in ("POST", "PUT", "PATCH") or not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _needed(document: Any) -> Json:
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise RejectedError(Trouble.INVALID, "the body must be a JSON object")
    return document


def _note_facts(attempt: Attempt, document: Any, path: str) -> None:
    """Model and stream; a warehouse's name, a project's or a pipeline's stands where a model's would."""
    if (asked := in_path(path)) is not None:
        attempt.model, attempt.stream = _short(asked[0], "model"), "stream" in asked[1]
    elif isinstance(document, dict):
        model = document.get("model") or document.get("warehouse") or document.get("warehouse_id")
        attempt.model = _short(model, "model") if isinstance(model, str) else ""
        attempt.stream = document.get("stream") is True
    elif path.startswith("/warehouse/pipelines/"):
        attempt.model = _short(path.split("/")[3], "pipeline")
    if (project := bigquery.project(path)) is not None:
        attempt.model = _short(project, "project")
    named, stream = gemini_paths.called(path)
    if named:
        attempt.model, attempt.stream = _short(named, "model"), stream
    if deployed := azure.deployment(path):
        attempt.model = _short(deployed, "deployment")


def _short(text: str, name: str) -> str:
    if len(text) > _LONGEST:
        raise RejectedError(Trouble.INVALID, f"{name}: at most {_LONGEST} characters")
    return text
