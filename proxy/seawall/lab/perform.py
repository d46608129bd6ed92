"""Turns an answer and a plan into the very actions on the wire: heads, bytes, waits, cuts. Pure; it sends nothing.

This is the whole of the fault engine's effect, as an iterator that may be endless (endless headers, huge bodies): the
one who plays it must be able to stop at any action.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from seawall.clock import Rng
from seawall.lab.answer import Answer
from seawall.lab.plan import HALF, PRELUDE, Break, Breakage, Plan, Wire
from seawall.types import Headers
from seawall.wire import field_lines

_PIECES = 16
"""A plain body counts as this many events where a fault needs a position in it."""
_ZEROS = bytes(64 * 1024)
_SHORTFALL = 1000


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Inform:
    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Start:
    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes of the body, framed as the head announced."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes straight onto the connection."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """A proper end."""

    trailers: Headers = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Close:
    """FIN without a proper end."""


@dataclass(frozen=True, slots=True)
class Reset:
    """TCP reset, after what was written has gone out."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more, with the connection open, until the client goes away."""


Action = Wait | Inform | Start | Send | Raw | End | Close | Reset | Hang


def perform(answer: Answer, plan: Plan, fields: Headers, rng: Rng) -> Iterator[Action]:
    """The actions of one attempt. `fields`: the answer's header fields without type, length and encoding."""
    if plan.first_byte is not None:
        yield Wait(plan.first_byte.draw(rng))
    if plan.early_hints:
        yield Inform(103, [(b"link", b"</lab>; rel=preload")])
    if plan.wire is not None:
        yield from _wire(plan.wire, answer, fields)
    elif plan.huge is not None:
        yield from _huge(plan.huge, fields)
    else:
        yield from _body(answer, plan, fields, rng)


def _wire(wire: Wire, answer: Answer, fields: Headers) -> Iterator[Action]:
    match wire:
        case Wire.RESET:
            yield Reset()
        case Wire.CLOSE:
            yield Close()
        case Wire.SILENT:
            yield Hang()
        case Wire.GARBAGE:
            yield Raw(b"\x15\x03\x01\x00\x02\x02 these bytes are not HTTP\r\n\r\n" * 4)
            yield Close()
        case Wire.ENDLESS_HEADERS:
            yield Raw(b"HTTP/1.1 200 OK\r\n")
            number = 0
            while True:
                yield Raw(b"".join(b"x-lab-%d: %b\r\n" % (number + at, b"a" * 100) for at in range(64)))
                number += 64
        case Wire.BAD_HEADER:
            body = b"".join(answer.frames)
            bad = [(b"content-type", answer.content_type), (b"x-lab-bad", b"before\x01after\x7f")]
            sized = [*bad, (b"content-length", b"%d" % len(body)), *fields]
            yield Raw(b"HTTP/1.1 %d OK\r\n%b\r\n%b" % (answer.status, field_lines(sized), body))
            yield Close()


def _huge(size: int, fields: Headers) -> Iterator[Action]:
    yield Start(200, [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % size), *fields])
    left = size
    while left > 0:
        yield Send(_ZEROS if left >= len(_ZEROS) else _ZEROS[:left])
        left -= len(_ZEROS)
    yield End()


def _body(answer: Answer, plan: Plan, fields: Headers, rng: Rng) -> Iterator[Action]:
    if answer.status in (204, 304):
        yield Start(answer.status, fields)
        yield End()
        return
    broken = plan.breakage
    whole = answer.frames
    if not answer.stream and (broken is not None or plan.gap is not None):
        whole = _pieces(b"".join(whole))
    if plan.gzip:
        fields = [*fields, (b"content-encoding", b"gzip")]
        # An edit of the events comes before the coding, a cut after it: both sides of a real server.
        edited, prelude = _edited(whole, answer, broken), answer.prelude
        whole = _zipped(edited)
    else:
        whole = edited = _edited(whole, answer, broken)
        prelude = answer.prelude
    frames = whole[: _cut_at(len(whole), answer, broken)]
    length = _length(whole, frames, answer, plan)
    sized = [(b"content-type", answer.content_type), *fields]
    if length is not None:
        sized.append((b"content-length", b"%d" % length))
    elif plan.trailers:
        sized.append((b"trailer", b"x-lab-trailer"))
    yield Start(answer.status, sized)
    yield from _frames(frames, prelude, plan, rng)
    yield from _ending(plan)


def _pieces(body: bytes) -> list[bytes]:
    size = max(-(-len(body) // _PIECES), 1)
    return [body[at : at + size] for at in range(0, len(body), size)]


def _position(broken: Breakage, number: int, prelude: int) -> int:
    at = {HALF: number // 2, PRELUDE: prelude}.get(broken.at, broken.at)
    return min(at, number)


def _edited(frames: list[bytes], answer: Answer, broken: Breakage | None) -> list[bytes]:
    """The events, with those changed that a fault changes."""
    if broken is None:
        return frames
    at = _position(broken, len(frames), answer.prelude)
    match broken.how:
        case Break.MALFORMED if not answer.stream:
            return frames[: min(at, len(frames) - 1)]
        case Break.MALFORMED:
            spoil = answer.malformed or _malformed
            return [*frames[:at], spoil(frames[min(at, len(frames) - 1)]), *frames[at + 1 :]]
        case Break.ERROR | Break.FAILED if answer.error_event is not None:
            error = answer.error_event(broken.trouble, broken.how is Break.FAILED, at)
            return [*frames[:at], error]
        case Break.NO_TERMINAL:
            return frames[: len(frames) - answer.terminal] if answer.terminal else frames[: len(frames) // 2]
        case _:
            return frames


def _malformed(frame: bytes) -> bytes:
    """The event with its JSON cut off in the middle."""
    start, marker, payload = frame.rpartition(b"data: ")
    if not marker and payload[:1] in (b"[", b","):
        # An array's element, behind what separates it from those before.
        start, marker = payload[: payload.find(b"{")], b""
        payload = payload[len(start) :]
    payload = payload.strip()
    broken = payload[: len(payload) // 2] if payload.startswith(b"{") else b'{"broken'
    return start + marker + broken + frame[len(frame.rstrip(b"\n")) :]


_CUTS = frozenset({Break.CUT, Break.UNCLEAN, Break.RESET, Break.STALL, Break.BAD_CHUNK, Break.TRUNCATED})


def _cut_at(number: int, answer: Answer, broken: Breakage | None) -> int:
    return number if broken is None or broken.how not in _CUTS else _position(broken, number, answer.prelude)


def _length(whole: list[bytes], frames: list[bytes], answer: Answer, plan: Plan) -> int | None:
    """The Content-Length to announce; None: chunked."""
    how = plan.breakage.how if plan.breakage is not None else None
    if how is Break.TRUNCATED:
        sent, full = sum(map(len, frames)), sum(map(len, whole))
        return full if full > sent else sent + _SHORTFALL
    if answer.stream or plan.trailers or how in (Break.CUT, Break.BAD_CHUNK):
        return None
    return sum(map(len, whole))


def _zipped(frames: list[bytes]) -> list[bytes]:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH) for frame in frames]
    if packed:
        packed[-1] += packer.flush()
    return packed


def _frames(frames: list[bytes], prelude: int, plan: Plan, rng: Rng) -> Iterator[Action]:
    for index, frame in enumerate(frames):
        if index and plan.gap is not None:
            yield Wait(plan.gap.draw(rng))
        if plan.first_token is not None and index == prelude:
            yield Wait(plan.first_token.draw(rng))
        if plan.drip is None:
            yield Send(frame)
            continue
        for at in range(0, len(frame), plan.drip.size):
            yield Send(frame[at : at + plan.drip.size])
            yield Wait(plan.drip.seconds)


def _ending(plan: Plan) -> Iterator[Action]:
    match plan.breakage.how if plan.breakage is not None else None:
        case Break.UNCLEAN | Break.TRUNCATED:
            yield Close()
        case Break.RESET:
            yield Reset()
        case Break.STALL:
            yield Hang()
        case Break.BAD_CHUNK:
            yield Raw(b"zz; not a size\r\n{}\r\n")
            yield Close()
        case _:
            yield End([(b"x-lab-trailer", b"end")] if plan.trailers else [])
