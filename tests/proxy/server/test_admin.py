"""The admin server over real sockets, TCP and Unix, with live state and controls made of the real dataclasses."""

import asyncio
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import httpx
import pytest
import pytest_asyncio
import uvloop
from prometheus_client import CollectorRegistry

from seawall.clock import SystemClock
from seawall.server import admin_client
from seawall.server.admin import PATHS, Admin, Pages
from seawall.server.controls import UnknownNameError
from seawall.telemetry.live import LiveCollector
from seawall.telemetry.metrics import Metrics
from seawall.telemetry.recent import Recent
from seawall.telemetry.report import (
    BreakerView,
    CandidateView,
    CredentialView,
    ProcessView,
    RestView,
    RouteView,
    ShadowCount,
    Snapshot,
    UpstreamView,
)
from seawall.types import BreakerMoved

NASTY = '<script>alert("x")</script>\'&</pre>'
UPSTREAM = UpstreamView("default/east", "LLM", "OpenAI", "https://api.example.com:443")
ROUTE = RouteView("chat", "default", "OpenAI", ("/v1",), (CandidateView("default/east"),))
PROCESS = ProcessView("0.1.0", "c0ffee", started=1_750_000_000.0, ready=True)


class Proxy:
    """LiveState and Controls over one upstream whose breakers really change."""

    def __init__(self) -> None:
        self.states = {"gpt-4o": "closed", "o3/high": "open"}
        self.shown = Snapshot(PROCESS, (UPSTREAM,), (ROUTE,))

    def snapshot(self) -> Snapshot:
        return replace(self.shown, upstreams=(replace(self.shown.upstreams[0], breakers=self.views(None)),))

    def views(self, model: str | None) -> tuple[BreakerView, ...]:
        return tuple(BreakerView(key, state) for key, state in self.states.items() if model in (None, key))

    def move(self, upstream: str, model: str | None, to: str) -> Sequence[BreakerView]:
        if upstream != UPSTREAM.name:
            raise UnknownNameError("upstream", upstream, [UPSTREAM.name])
        if model is not None and model not in self.states:
            raise UnknownNameError("model", model, self.states)
        for key in self.states if model is None else (model,):
            self.states[key] = to
        return self.views(model)

    def isolate(self, upstream: str, model: str | None) -> Sequence[BreakerView]:
        return self.move(upstream, model, "isolated")

    def force_close(self, upstream: str, model: str | None) -> Sequence[BreakerView]:
        return self.move(upstream, model, "forced_closed")

    def reset(self, upstream: str, model: str | None) -> Sequence[BreakerView]:
        return self.move(upstream, model, "closed")

    def cache(self) -> dict[str, object]:
        return {"routes": {}, "stores": {}}

    def drain(self) -> None:
        self.shown = replace(self.shown, process=replace(self.shown.process, draining=True))


@dataclass
class Running:
    proxy: Proxy
    recent: Recent
    metrics: Metrics
    admin: Admin
    url: str
    path: Path
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def tcp(self) -> httpx.AsyncClient:
        return self._client(httpx.AsyncClient(base_url=self.url, timeout=10))

    def unix(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.path))
        return self._client(httpx.AsyncClient(transport=transport, base_url="http://seawall", timeout=10))

    def _client(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        self.clients.append(client)
        return client


def pages(proxy: Proxy) -> tuple[Pages, Recent, Metrics]:
    clock, registry = SystemClock(), CollectorRegistry()
    metrics, recent = Metrics(registry, clock), Recent(clock)
    collector = LiveCollector(registry, proxy, metrics.labels)
    return Pages(proxy, collector, registry, recent, proxy, clock), recent, metrics


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's may have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sw") as name:
        yield Path(name)


@pytest_asyncio.fixture
async def running(folder: Path) -> AsyncIterator[Running]:
    proxy = Proxy()
    shown, recent, metrics = pages(proxy)
    admin = Admin(shown)
    path = folder / "run" / "admin.sock"
    port = await admin.start("127.0.0.1", 0, path)
    made = Running(proxy, recent, metrics, admin, f"http://127.0.0.1:{port}", path)
    yield made
    for client in made.clients:
        await client.aclose()
    await admin.close()


def error(answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["content-type"].startswith("application/json")
    return cast("dict[str, object]", answer.json()["error"])


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_answers_get_and_head_on_both_sockets(path: str, running: Running) -> None:
    for client in (running.tcp(), running.unix()):
        got = await client.get(path)
        assert got.status_code == 200
        assert got.content
        assert got.headers["cache-control"] == "no-store"
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")


async def test_an_unknown_path_names_the_known_ones(running: Running) -> None:
    got = await running.tcp().get("/metricz")
    assert got.status_code == 404
    assert error(got)["known"] == list(PATHS)


async def test_a_wrong_method_names_the_right_one(running: Running) -> None:
    got = await running.tcp().post("/metrics")
    assert got.status_code == 405
    assert "GET" in got.headers["allow"]
    assert error(got)["code"] == "METHOD_NOT_ALLOWED"


async def test_probes_follow_policy_and_drain(running: Running) -> None:
    client = running.tcp()

    async def probes() -> list[int]:
        return [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/startupz")]

    assert await probes() == [200, 200, 200]
    running.proxy.drain()
    assert await probes() == [200, 503, 200]
    running.proxy.shown = replace(running.proxy.shown, process=replace(PROCESS, ready=False))
    assert await probes() == [200, 503, 503]
    assert "no usable policy" in str(error(await client.get("/readyz"))["message"])


async def test_health_is_503_when_nothing_can_be_served(running: Running) -> None:
    client = running.tcp()
    good = await client.get("/health")
    assert (good.status_code, good.json()["service_level"]) == (200, "degraded")
    running.proxy.isolate(UPSTREAM.name, None)
    bad = await client.get("/health")
    assert (bad.status_code, bad.json()["service_level"]) == (503, "offline")
    assert bad.json()["memory_bytes"] > 1_000_000


@pytest.mark.parametrize(
    ("accept", "content_type", "last"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", ""),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0", "# EOF"),
        ("application/openmetrics-text; version=bogus, */*", "application/openmetrics-text; version=1.0.0", "# EOF"),
        ("text/plain; version=bogus", "text/plain; version=0.0.4; charset=utf-8", ""),
    ],
)
async def test_metrics_come_in_the_format_that_was_asked_for(
    accept: str, content_type: str, last: str, running: Running
) -> None:
    running.metrics(BreakerMoved("", "gpt-4o", "closed", "open", "x"))
    got = await running.tcp().get("/metrics", headers={"Accept": accept})
    assert got.headers["content-type"].startswith(content_type)
    assert got.text.rstrip("\n").splitlines()[-1].startswith(last)
    assert 'seawall_breaker_transitions_total{key="gpt-4o",to="open",upstream=""} 1.0' in got.text
    assert 'seawall_breaker_state{key="o3/high",upstream="default/east"} 2.0' in got.text


async def test_actions_are_refused_on_tcp_with_the_reason(running: Running) -> None:
    client = running.tcp()
    for path in ("/actions/breakers/default%2Feast/isolate", "/actions/drain", "/actions", "/actions/nonsense"):
        got = await client.post(path)
        assert got.status_code == 403
        assert error(got)["code"] == "SOCKET_ONLY"
    assert running.proxy.states["gpt-4o"] == "closed"
    assert not running.proxy.shown.process.draining


@pytest.mark.parametrize(
    ("verb", "state"), [("isolate", "isolated"), ("force-close", "forced_closed"), ("reset", "closed")]
)
async def test_an_action_moves_all_breakers_of_an_upstream_or_one(verb: str, state: str, running: Running) -> None:
    client = running.unix()
    base = f"/actions/breakers/default%2Feast/{verb}"
    one = await client.post(base, params={"model": "o3/high"})
    assert [(b["key"], b["state"]) for b in one.json()["breakers"]] == [("o3/high", state)]
    assert running.proxy.states["gpt-4o"] == "closed"
    assert len((await client.post(base)).json()["breakers"]) == 2
    assert set(running.proxy.states.values()) == {state}


async def test_an_unknown_name_is_404_with_the_known_ones(running: Running) -> None:
    client = running.unix()
    wrong = await client.post("/actions/breakers/default%2Fwest/reset")
    assert wrong.status_code == 404
    assert error(wrong)["known"] == ["default/east"]
    model = await client.post("/actions/breakers/default%2Feast/reset?model=nope")
    assert error(model)["known"] == ["gpt-4o", "o3/high"]
    verb = await client.post("/actions/breakers/default%2Feast/explode")
    assert "POST /actions/drain" in cast("list[str]", error(verb)["known"])


async def test_a_misspelt_parameter_does_not_act_on_the_whole_upstream(running: Running) -> None:
    got = await running.unix().post("/actions/breakers/default%2Feast/isolate?modle=gpt-4o")
    assert got.status_code == 400
    assert running.proxy.states["gpt-4o"] == "closed"


async def test_drain_is_taken_over_the_socket(running: Running) -> None:
    got = await running.unix().post("/actions/drain")
    assert got.status_code == 202
    assert (await running.tcp().get("/readyz")).status_code == 503


async def test_the_dashboard_escapes_whatever_it_shows_and_lets_no_script_run(running: Running) -> None:
    upstream = replace(
        UPSTREAM, name=NASTY, origin=NASTY, cooldowns=(RestView(NASTY, 2.0),), error_rate=0.4, samples=50, p99=1.5,
        credential=CredentialView(NASTY, last_key_in_use=True),
    )  # fmt: skip
    route = RouteView(NASTY, NASTY, "OpenAI", (NASTY,), (CandidateView(NASTY, model=NASTY),))
    process = replace(PROCESS, revision=NASTY, version=NASTY)
    running.proxy.states[NASTY] = "open"
    running.proxy.states["\ud800"] = "open"
    upstream = replace(upstream, shadow=(BreakerView(NASTY, "open", reason=NASTY),))
    shadow = ShadowCount(NASTY, NASTY, "failure", "retry", "give_up", 3)
    running.proxy.shown = Snapshot(process, (upstream,), (route,), (shadow,))
    running.recent(BreakerMoved(NASTY, NASTY, "closed", "open", NASTY, 9.8))
    got = await running.tcp().get("/")
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in got.headers["content-security-policy"]
    assert "<script" not in got.text
    assert got.text.count("</pre>") == 1
    assert got.text.count("&lt;script&gt;") >= 13
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", got.text)
    assert 'http-equiv="refresh"' in got.text


async def test_the_socket_and_its_directory_are_private_and_the_file_goes_away(running: Running) -> None:
    assert stat.S_IMODE(running.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.path.parent.stat().st_mode) == 0o700
    await running.admin.close()
    assert not running.path.exists()
    with pytest.raises(httpx.ConnectError):
        await running.tcp().get("/livez")


async def test_a_stale_socket_file_is_replaced(folder: Path) -> None:
    path = folder / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    admin = Admin(pages(Proxy())[0])
    await admin.start("127.0.0.1", 0, path)
    assert (await asyncio.to_thread(admin_client.state, path))["upstreams"]
    await admin.close()


async def test_a_socket_in_use_a_file_and_a_busy_port_are_one_clear_error(running: Running, folder: Path) -> None:
    plain = folder / "plain"
    plain.write_text("mine")
    port = int(running.url.rpartition(":")[2])
    too_long = folder / ("x" * 200)
    for where, path, expected in (
        (0, running.path, str(running.path)),
        (0, plain, "not a socket"),
        (0, too_long, str(too_long)),
        (port, None, str(port)),
    ):
        admin = Admin(pages(Proxy())[0])
        with pytest.raises(OSError, match=re.escape(expected)):
            await admin.start("127.0.0.1", where, path)
    assert plain.read_text() == "mine"
    assert (await running.unix().get("/livez")).status_code == 200


async def test_closing_leaves_a_socket_that_another_process_took_over(folder: Path) -> None:
    path = folder / "admin.sock"
    admin = Admin(pages(Proxy())[0])
    await admin.start("127.0.0.1", 0, path)
    path.rename(folder / "kept")  # keeps the inode in use, so that the next file has another
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        await admin.close()
    assert path.exists()


async def test_the_client_reads_and_acts_over_the_socket(running: Running) -> None:
    async def ask(call: Callable[..., dict[str, object]], *args: object) -> dict[str, object]:
        return await asyncio.to_thread(call, running.path, *args)

    assert (await ask(admin_client.health))["revision"] == "c0ffee"
    moved = await ask(admin_client.breaker, "isolate", "default/east")
    assert moved["action"] == "isolate"
    assert set(running.proxy.states.values()) == {"isolated"}
    assert (await ask(admin_client.health))["service_level"] == "offline"  # 503, and still the report
    await ask(admin_client.breaker, "reset", "default/east", "o3/high")
    assert running.proxy.states == {"gpt-4o": "isolated", "o3/high": "closed"}
    assert (await ask(admin_client.drain))["draining"] is True
    with pytest.raises(admin_client.AdminError, match='no upstream "west"; known: default/east'):
        await ask(admin_client.breaker, "reset", "west")


def test_the_client_says_in_one_line_what_is_wrong(folder: Path) -> None:
    with pytest.raises(admin_client.AdminError, match=r"no admin socket at .*absent") as missing:
        admin_client.state(folder / "absent")
    assert "\n" not in str(missing.value)
    path = folder / "dead"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        with pytest.raises(admin_client.AdminError, match=r"cannot talk to seawall on .*refused"):
            admin_client.drain(path)
        dead.listen()
        with pytest.raises(admin_client.AdminError, match=r"no answer on .* within 0\.2 s"):
            admin_client.state(path, timeout=0.2)


def test_it_runs_on_uvloop_as_well(folder: Path) -> None:
    async def main() -> dict[str, object]:
        admin = Admin(pages(Proxy())[0])
        await admin.start("127.0.0.1", 0, folder / "admin.sock")
        try:
            return await asyncio.to_thread(admin_client.state, folder / "admin.sock")
        finally:
            await admin.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main())["routes"]
    assert not (folder / "admin.sock").exists()


def test_telemetry_and_controls_import_no_server() -> None:
    names = "access_log, labels, lines, live, metrics, process, recent, redact, report, text_log"
    code = f"import sys; from seawall.telemetry import {names}; from seawall.server import admin_client, controls"
    code += "; sys.exit(any(m in sys.modules for m in ('aiohttp', 'httpx', 'pydantic')))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False).returncode == 0
