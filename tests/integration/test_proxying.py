"""Transparency: what an agent says arrives, and what the upstream answers returns, byte for byte, fields of one hop and
seawall's own apart. Both sides are read by another parser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from harness import Running, proxy, route, upstream
from peers import serving
from recorder import Message, Recorder, answers, heard, ok, say

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "MKCOL", "PURGE"]
CLOSE = b"connection: close\r\n"


@asynccontextmanager
async def between(
    folder: Path, answer: bytes = ok(b"{}"), extra: str = "", prefix: str = "/api", base: str = "/base"
) -> AsyncIterator[tuple[Running, Recorder]]:
    """A proxy before a recorder. `extra`: of the upstream."""
    recorder = Recorder(answer)
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}{base}", "Generic", extra) + route("api", prefix, "a")
        async with proxy(policy, folder) as running:
            yield running, recorder


def request(line: bytes = b"GET /api/x HTTP/1.1", fields: bytes = b"", body: bytes = b"") -> bytes:
    return line + b"\r\nHost: seawall\r\n" + fields + CLOSE + b"\r\n" + body


async def asked(running: Running, *what: bytes, method: str = "GET") -> Message:
    return await heard(running.service.port, request(*what), method)


@pytest.mark.parametrize("method", METHODS)
async def test_any_method_passes(tmp_path: Path, method: str) -> None:
    async with between(tmp_path) as (running, recorder):
        answer = await asked(running, f"{method} /api/x HTTP/1.1".encode(), method=method)
        assert answer.status == 200
        assert recorder.last.line == f"{method} /base/x HTTP/1.1".encode()


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        (b"/api", b"/base"),
        (b"/api/", b"/base/"),
        (b"/api?x=1", b"/base?x=1"),
        (b"/api?", b"/base?"),
        (b"/api//a//b/", b"/base//a//b/"),
        (b"/api/%2F%2f%20%c3%A9%00/%zz", b"/base/%2F%2f%20%c3%A9%00/%zz"),
        (b"/api/a;v=1/b;c?d;e=f&&=&g", b"/base/a;v=1/b;c?d;e=f&&=&g"),
        (b"/api/a?b?c=/api/x//y", b"/base/a?b?c=/api/x//y"),
        (b"/api/a:generate,b@c!$'()*+~|{}^`<>\"\\[]", b"/base/a:generate,b@c!$'()*+~|{}^`<>\"\\[]"),
        (b"/api/./a/../b", b"/base/./a/../b"),
        (b"http://other:81/api/x?y=z", b"/base/x?y=z"),
        (b"HTTPS://other/api", b"/base"),
        (b"/api/" + b"x" * 60000, b"/base/" + b"x" * 60000),
    ],
)
async def test_any_target_passes_as_it_is(tmp_path: Path, target: bytes, arrives: bytes) -> None:
    async with between(tmp_path) as (running, recorder):
        assert (await asked(running, b"GET " + target + b" HTTP/1.1")).status == 200
        assert recorder.last.line == b"GET " + arrives + b" HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "arrives"), [(b"/", b"/"), (b"/?x", b"/?x"), (b"//a", b"//a"), (b"http://h?x=/1", b"/?x=/1")]
)
async def test_a_route_of_everything_passes_every_path(tmp_path: Path, target: bytes, arrives: bytes) -> None:
    async with between(tmp_path, prefix="/", base="") as (running, recorder):
        assert (await asked(running, b"GET " + target + b" HTTP/1.1")).status == 200
        assert recorder.last.line == b"GET " + arrives + b" HTTP/1.1"


@pytest.mark.parametrize(
    "line", [b"OPTIONS * HTTP/1.1", b"GET /apix HTTP/1.1", b"GET /API/x HTTP/1.1", b"GET / HTTP/1.1"]
)
async def test_what_no_route_takes_is_404_with_the_known_ones(tmp_path: Path, line: bytes) -> None:
    async with between(tmp_path) as (running, recorder):
        answer = await asked(running, line)
        assert answer.status == 404
        assert b"known routes: /api" in answer.body and b'"NO_ROUTE"' in answer.body
        assert recorder.requests == []


async def test_fields_arrive_in_order_and_case_with_duplicates_and_any_byte(tmp_path: Path) -> None:
    sent = [
        (b"User-Agent", b"a/1"), (b"X-Dup", b"1"), (b"user-agent", b"b/2"), (b"x-dup", b""), (b"X-DUP", b"1"),
        (b"Content-Type", b"application/json"), (b"content-type", b"text/plain"), (b"Accept", b"*/*"),
        (b"x-latin", b"caf\xe9 \xff\x80"), (b"x-utf", "naïve ☃".encode()), (b"X-Tab", b"a\tb"), (b"x_under", b"1"),
        (b"Authorization", b"Bearer k"), (b"Cookie", b"a=1; b=2"), (b"cookie", b"c=3"), (b"!#$%&'*+-.^_`|~9z", b"odd"),
        (b"x-long", b"y" * 100_000), (b"X-Forwarded-For", b"1.2.3.4"), (b"Via", b"1.1 x"), (b"Range", b"bytes=0-1"),
    ]  # fmt: skip
    sent += [(b"x-%d" % n, b"v") for n in range(500)]
    async with between(tmp_path) as (running, recorder):
        lines = b"".join(b"%b: %b\r\n" % f for f in sent)
        assert (await asked(running, b"GET /api/x HTTP/1.1", lines)).status == 200
        assert recorder.last.fields[1:] == sent
        assert recorder.last.fields[0][0] == b"Host"


async def test_fields_of_one_hop_stay_on_it_both_ways(tmp_path: Path) -> None:
    hop = (
        b"Connection: keep-alive, X-Named,  x-other , Host, Content-Length, content-type\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\n"
        b"X-Named: 1\r\nx-OTHER: 2\r\nProxy-Authenticate: x\r\nX-Kept: 3\r\nContent-Type: text/x\r\n"
    )
    answer = b"HTTP/1.1 200 OK\r\n" + hop + b"Content-Length: 2\r\n\r\nok"
    async with between(tmp_path, answer) as (running, recorder):
        sent = b"POST /api/x HTTP/1.1\r\nHost: s\r\n" + hop + b"Content-Length: 2\r\n\r\nhi"
        returned = answers(await say(running.service.port, sent + request()), ["POST", "GET"])[0]
        names = [name for name, _ in recorder.requests[0].fields]
        assert names == [b"Host", b"X-Kept", b"Content-Type", b"Content-Length"]
        assert recorder.requests[0].body == b"hi"
        kept = [name for name, _ in returned.fields if not name.startswith(b"x-seawall-")]
        assert kept == [b"X-Kept", b"Content-Type", b"Content-Length"]
        assert returned.body == b"ok"


async def test_the_host_is_the_upstreams_or_with_passthrough_the_agents(tmp_path: Path) -> None:
    async with between(tmp_path) as (running, recorder):
        await asked(running)
        host = recorder.last.all(b"host")[0]
        assert host.startswith(b"127.0.0.1:")
        # HTTP/1.0 needs none.
        assert b" 200 OK\r\n" in await say(running.service.port, b"GET /api HTTP/1.0\r\n\r\n")
        assert recorder.last.all(b"host") == [host]
    async with between(tmp_path, extra="hostHeader: Passthrough") as (running, recorder):
        await asked(running)
        assert recorder.last.all(b"host") == [b"seawall"]


async def test_the_answer_returns_in_order_and_case_with_duplicates_and_its_reason(tmp_path: Path) -> None:
    fields = [
        (b"Set-Cookie", b"a=1"), (b"X-B", b"1"), (b"set-cookie", b"b=2"), (b"Server", b"x"), (b"server", b"y"),
        (b"Content-Type", b"text/plain"), (b"content-type", b"x/y"), (b"Date", b"now"), (b"x-long", b"z" * 60_000),
        (b"x-latin", b"caf\xe9"), (b"WWW-Authenticate", b"Basic"), (b"Retry-After", b"7"), (b"Via", b"1.1 u"),
        (b"x-should-retry", b"true"), (b"Content-Length", b"2"),
    ]  # fmt: skip
    fields[:0] = [(b"y-%d" % n, b"v") for n in range(300)]
    lines = b"".join(b"%b: %b\r\n" % f for f in fields)
    answer = b"HTTP/1.1 418 I'm a \xff teapot\r\n" + lines + b"x-seawall-outcome: forged\r\n\r\nok"
    async with between(tmp_path, answer) as (running, _):
        data = await say(running.service.port, request())
        assert data.startswith(b"HTTP/1.1 418 I'm a \xff teapot\r\n" + lines + b"x-seawall-")
        assert b"forged" not in data
        assert data.endswith(b"\r\n\r\nok")


async def test_control_characters_in_an_answers_field_return_as_they_came(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Ctl: a\x01b\x7f\r\ncontent-length: 2\r\n\r\nok"
    async with between(tmp_path, answer) as (running, _):
        data = await say(running.service.port, request())
        assert b"X-Ctl: a\x01b\x7f\r\n" in data and data.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: x\r\n\r\n", [b"12345"]),
        ("HEAD", b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n", [b"9"]),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", []),
        ("GET", b"HTTP/1.1 204 Nothing\r\nx: y\r\n\r\n", []),
        ("GET", b"HTTP/1.1 304 Same\r\nContent-Length: 777\r\nETag: x\r\n\r\n", [b"777"]),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", [b"0"]),
        ("POST", b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", [b"0"]),
    ],
)
async def test_an_answer_without_body_keeps_its_fields_and_the_connections(
    tmp_path: Path, method: str, answer: bytes, length: list[bytes]
) -> None:
    async with between(tmp_path, answer) as (running, recorder):
        line = f"{method} /api/x HTTP/1.1\r\nhost: a\r\n".encode()
        data = await say(running.service.port, (line + b"\r\n") * 2 + line + CLOSE + b"\r\n")
        for message in answers(data, [method] * 3):
            assert (message.all(b"content-length"), message.body) == (length, b"")
            assert message.line.split(b" ", 1)[1] in answer
        assert (len(recorder.requests), recorder.connections) == (3, 1)


async def test_interim_answers_are_passed_on_except_100(tmp_path: Path) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\n\r\n"
    async with between(tmp_path, b"HTTP/1.1 100 Go\r\n\r\n" + early + ok(b"hi")) as (running, _):
        data = await say(running.service.port, request())
        assert answers(data)[0].interims == [103]
        assert b"103 \r\nLink: </a>; rel=preload\r\n\r\n" in data
        # HTTP/1.0 has none.
        assert (await say(running.service.port, b"GET /api HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_pipelined_requests_on_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    async with between(tmp_path) as (running, recorder):
        sent = (
            b"".join(b"POST /api/%d HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n%d" % (n, n) for n in range(9))
            + request()
        )
        found = answers(await say(running.service.port, sent), ["POST"] * 9 + ["GET"])
        assert [m.status for m in found] == [200] * 10
        assert [r.line for r in recorder.requests[:9]] == [b"POST /base/%d HTTP/1.1" % n for n in range(9)]
        assert [r.body for r in recorder.requests[:9]] == [b"%d" % n for n in range(9)]
        assert recorder.connections == 1


@pytest.mark.parametrize("fields", [b"", b"connection: keep-alive\r\n"])
async def test_an_http_1_0_agent_is_served_in_its_own_version(tmp_path: Path, fields: bytes) -> None:
    for answer in (ok(b"hello"), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
        async with between(tmp_path, answer) as (running, recorder):
            last = b"GET /api HTTP/1.0\r\n\r\n" if fields and b"chunked" not in answer else b""
            data = await say(running.service.port, b"GET /api HTTP/1.0\r\n" + fields + b"\r\n" + last)
            assert data.endswith(b"\r\n\r\nhello") and b"chunked" not in data
            assert data.count(b"hello") == (2 if last else 1)
            assert recorder.last.line == b"GET /base HTTP/1.1"


async def test_h2c_is_ignored(tmp_path: Path) -> None:
    async with between(tmp_path) as (running, recorder):
        fields = b"Connection: Upgrade\r\nUpgrade: %b\r\n"
        line = b"POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n"
        sent = line + fields % b"h2c" + b"\r\nhello" + request()
        assert len(answers(await say(running.service.port, sent), ["POST", "GET"])) == 2
        assert recorder.requests[0].body == b"hello"
        assert not recorder.requests[0].all(b"upgrade")


async def test_no_upstream_speaks_in_seawalls_name(tmp_path: Path) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Seawall-Outcome: fake\r\n\r\n"
    late = b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: a\r\nX-Seawall-Attempts: untrue\r\n\r\n"
    recorder = Recorder(early + b"HTTP/1.1 200 OK\r\nX-Seawall-Model: fake\r\n" + late)
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}", "Generic") + route("api", "/api", "a")
        async with proxy(policy, tmp_path) as running:
            data = await say(running.service.port, b"GET /api HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert b"Link: </a>" in data
            assert b"X-T: a" in data
            assert b"fake" not in data
            assert b"untrue" not in data
