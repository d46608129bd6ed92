"""Ways to an upstream that lead nowhere: each ends in a fault that says why, none in an exception."""

import ssl

import pytest
from exchanges import HOST, SECOND, outcome, then
from peers import Recorder, always, serving

from seawall.faults import Code, Fault
from seawall.upstream.connect import Endpoint, environment_proxy
from seawall.upstream.exchange import Exchange
from seawall.upstream.pool import Pool, Request

GET = Request("GET", "/", HOST)


async def refused(pool: Pool, endpoint: Endpoint) -> Fault:
    sent = await pool.send(endpoint, GET, 1.0)
    assert isinstance(sent, Fault)
    assert not sent.rule.sent
    return sent


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", ".", "-" * 300])
async def test_what_cannot_be_a_host_name_is_a_name_that_does_not_resolve(pool: Pool, host: str) -> None:
    assert (await refused(pool, Endpoint(host, 80))).code is Code.DNS_FAILED


@pytest.mark.parametrize("proxy", ["http://user:secret@", "http://[::1", "http://a:99999", "http://user:secret@:port"])
async def test_a_proxy_that_is_no_url_is_a_fault(pool: Pool, proxy: str) -> None:
    fault = await refused(pool, Endpoint("model.example", 80, proxy=proxy))
    assert fault.code is Code.CONNECT_FAILED
    assert "secret" not in fault.detail


@pytest.mark.parametrize("scheme", ["https", "socks5"])
async def test_a_proxy_that_is_not_plain_http_gets_nothing_in_clear(pool: Pool, scheme: str) -> None:
    seen = Recorder()
    async with serving(seen) as port:
        fault = await refused(pool, Endpoint("model.example", 80, proxy=f"{scheme}://user:secret@127.0.0.1:{port}"))
        assert (fault.code, seen.heads) == (Code.CONNECT_FAILED, [])
        assert "secret" not in fault.detail


async def test_a_proxy_without_a_scheme_is_an_http_proxy(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(then(SECOND)) as port:
        for name in ("no_proxy", "NO_PROXY", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")
        way = environment_proxy("http", "model.example")
        sent = await pool.send(Endpoint("model.example", 80, proxy=way), GET, 1.0)
        assert isinstance(sent, Exchange)
        assert await outcome(sent) == (200, b"second")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        # The tunnel stands, and ends before TLS does (RFC 9110 §9.3.6: any 2xx).
        (b"HTTP/1.1 200 OK\r\n\r\n", Code.TLS_FAILED),
        (b"HTTP/1.0 201 \r\n\r\n", Code.TLS_FAILED),
        (b"HTTP/1.1 407 No\r\n\r\n", Code.CONNECT_FAILED),
        (b"SSH-2.0-2 server\r\n\r\n", Code.CONNECT_FAILED),
        (b"x" * 40_000, Code.CONNECT_FAILED),
    ],
)
async def test_a_tunnel_stands_with_any_success(pool: Pool, said: bytes, code: Code) -> None:
    async with serving(always(said)) as port:
        way = f"http://127.0.0.1:{port}"
        assert (
            await refused(pool, Endpoint("model.example", 443, ssl.create_default_context(), proxy=way))
        ).code is code
