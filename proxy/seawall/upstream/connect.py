"""Opening a connection: name lookup, address race, proxy tunnel and TLS, each with a fault of its own.

Nothing has been sent to the upstream when any of this fails, so every fault from here permits another try of any
request.
"""

import asyncio
import base64
import socket
import ssl
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs

from seawall.faults import Code, Fault
from seawall.upstream.connection import Connection

# RFC 8305 §8: the recommended delay between attempts on several addresses.
_CONNECTION_ATTEMPT_DELAY = 0.25


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where connections go; equal endpoints share connections. `tls` None: plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    """URL of the HTTP proxy to go through; it may hold a password."""
    source: object = field(default=None, compare=False, repr=False)
    """What `tls` was made from."""

    def same_as(self, other: "Endpoint") -> bool:
        """Whether connections of one serve the other, though each has a TLS context of its own."""
        mine = (self.origin, self.server_name, self.proxy, self.source)
        return mine == (other.origin, other.server_name, other.proxy, other.source)

    @property
    def origin(self) -> str:
        """(scheme, host, port) as text: the key of transport breakers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def absolute_form(self) -> bool:
        """Whether requests name the whole URL (RFC 9112 §3.2.2): plain HTTP through a proxy."""
        return self.proxy is not None and self.tls is None


def environment_proxy(scheme: str, host: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for a host, as Python's library reads them."""
    if urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies_environment().get(scheme)
    # Without a scheme it is an HTTP proxy, as curl reads it.
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def proxy_authorization(proxy: str) -> bytes | None:
    """The Proxy-Authorization value for the credentials in a proxy's URL (RFC 7617)."""
    url = urlsplit(proxy)
    if url.username is None:
        return None
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return b"Basic " + base64.b64encode(pair.encode())


async def connect(endpoint: Endpoint, connection: Connection) -> Fault | None:
    """Open `connection`; None when it is ready. The caller bounds the time and cancels."""
    host, port = endpoint.host, endpoint.port
    if endpoint.proxy is not None:
        address = _proxy_address(endpoint.proxy)
        if address is None:
            return Fault(Code.CONNECT_FAILED, "the environment's proxy is no valid http:// URL")
        host, port = address
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Fault(Code.DNS_FAILED, f"{host}: {error.strerror or error}")
    except UnicodeError:
        return Fault(Code.DNS_FAILED, f"{host}: not a host name (a label is empty or too long)")
    try:
        sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_CONNECTION_ATTEMPT_DELAY)
    except OSError as error:
        return Fault(Code.CONNECT_FAILED, f"{host}:{port}: {error.strerror or error}")
    return await _over(sock, endpoint, connection)


def _proxy_address(proxy: str) -> tuple[str, int] | None:
    """Where a proxy listens; None for what is no URL of a plain HTTP proxy: others would not understand us, and
    get its password in clear."""
    try:
        url = urlsplit(proxy)
        return (url.hostname, url.port or 80) if url.scheme == "http" and url.hostname else None
    except ValueError:
        return None


async def _over(sock: socket.socket, endpoint: Endpoint, connection: Connection) -> Fault | None:
    """Tunnel and TLS over a connected socket, which is closed on every failure."""
    loop = asyncio.get_running_loop()
    done = False
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.proxy is not None and endpoint.tls is not None:
            refused = await _tunnel(sock, endpoint)
            if refused is not None:
                return refused
        name = (endpoint.server_name or endpoint.host) if endpoint.tls is not None else None
        await loop.create_connection(lambda: connection, sock=sock, ssl=endpoint.tls, server_hostname=name)
        done = True
    except ssl.SSLError as error:
        return Fault(Code.TLS_FAILED, f"{endpoint.host}:{endpoint.port}: {_tls_reason(error)}")
    except OSError as error:
        code = Code.TLS_FAILED if endpoint.tls is not None else Code.CONNECT_FAILED
        return Fault(code, f"{endpoint.host}:{endpoint.port}: {error.strerror or error or 'connection lost'}")
    finally:
        if not done:
            sock.close()
    return None


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return error.reason or str(error)


async def _tunnel(sock: socket.socket, endpoint: Endpoint) -> Fault | None:
    """CONNECT through an HTTP proxy (RFC 9110 §9.3.6)."""
    assert endpoint.proxy is not None
    loop = asyncio.get_running_loop()
    target = f"{endpoint.host}:{endpoint.port}".encode()
    authorization = proxy_authorization(endpoint.proxy)
    extra = b"proxy-authorization: %b\r\n" % authorization if authorization else b""
    await loop.sock_sendall(sock, b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, extra))
    answer = b""
    # Byte by byte would be exact but slow; nothing follows a CONNECT's answer until we speak TLS.
    while b"\r\n\r\n" not in answer:
        data = await loop.sock_recv(sock, 4096)
        if not data or len(answer) > 16384:
            return Fault(Code.CONNECT_FAILED, "the proxy closed the connection")
        answer += data
    status = answer[9:12]
    if not answer.startswith(b"HTTP/1.") or status[:1] != b"2":
        return Fault(Code.CONNECT_FAILED, f"the proxy refused the tunnel: {status.decode('latin-1')}")
    return None
