"""A new policy without a dropped stream or a forgotten breaker, and an end without a cut answer."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import CHAT, agent, chat, raw, wire
from processes import served

from seawall import reload
from seawall.core.breaker import State
from seawall.lab import Lab
from seawall.reload import Reloader
from seawall.server import admin_client

RULE = "retry: {attempts: 0}\n"


def policy(upstreams: Lab, backend: str = "a", extra: str = "") -> str:
    names = "".join(upstream(name, f"{upstreams.url}/u/{name}/v1", extra=extra) for name in ("a", "b"))
    return names + route("models", "/v1", backend, RULE)


@asynccontextmanager
async def watching(
    running: Running, *paths: Path, monkeypatch: pytest.MonkeyPatch, interval: float = 0.02
) -> AsyncIterator[Reloader]:
    """What `seawall serve` does with its files, more often."""
    monkeypatch.setattr(reload, "INTERVAL", interval)
    reloader = Reloader(paths, running.service.prepare, running.service.apply, running.service.events)
    task = asyncio.create_task(reloader.run())
    try:
        yield reloader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(running: Running) -> set[str]:
    return {u.name for u in running.service._current().upstreams.values()}


async def answered_by(running: Running) -> bytes | None:
    return (await wire(running, chat())).field(b"x-seawall-upstream")


async def test_a_changed_file_is_taken_and_running_streams_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "policy.yaml"
    async with lab() as upstreams:
        file.write_text(policy(upstreams))
        upstreams.script(["gap-25ms"], upstream="a")
        async with proxy(file.read_text(), tmp_path) as running, raw(running, chat(stream=True)) as (reader, _):
            head = await reader.readuntil(b"data: ")
            async with watching(running, file, monkeypatch=monkeypatch):
                breaker = running.upstream("a").breaker("gpt", 0)
                breaker.isolate(time.monotonic())
                file.write_text(policy(upstreams, "b"))
                await until(lambda: running.service._current().plans[0].groups[0][0].upstream.name == "b")
                assert await answered_by(running) == b"b"
                assert b"x-seawall-upstream: a" in head
                await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n")
                assert running.upstream("a").breaker("gpt", 0) is breaker
                assert breaker.state(time.monotonic()) is State.ISOLATED


@pytest.mark.parametrize("bad", ["", "kind: [", "kind: Nonsense", "\x00", "---\n- 1\n"])
async def test_a_bad_file_keeps_the_old_policy_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    file = tmp_path / "policy.yaml"
    async with lab() as upstreams:
        good = policy(upstreams)
        file.write_text(good)
        async with proxy(good, tmp_path) as running, agent(running) as client:

            async def health() -> dict[str, object]:
                report: dict[str, dict[str, object]] = (await client.get(f"{running.admin_url}/health")).json()
                return report["last_reload"]

            async with watching(running, file, monkeypatch=monkeypatch):
                file.write_text(bad)
                await until(lambda: running.service.view.reload and running.service.view.reload.errors)
                assert await answered_by(running) == b"a"
                told = await health()
                assert told["ok"] is False
                assert told["errors"]
                page = (await client.get(f"{running.admin_url}/metrics")).text
                assert "seawall_config_last_reload_successful 0.0" in page
                assert 'seawall_config_reloads_total{result="refused"} 1.0' in page
                assert (await client.get(f"{running.admin_url}/readyz")).status_code == 200
                file.write_text(policy(upstreams, "b"))
                await until(lambda: running.service.view.reload and not running.service.view.reload.errors)
                assert (await answered_by(running), (await health())["ok"]) == (b"b", True)


async def test_a_file_that_vanishes_or_a_ca_that_cannot_be_read_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "policy.yaml"
    async with lab() as upstreams:
        good = policy(upstreams)
        file.write_text(good)
        async with proxy(good, tmp_path) as running, watching(running, file, monkeypatch=monkeypatch):
            before = running.service._current()
            file.unlink()
            await until(lambda: running.service.view.reload and running.service.view.reload.errors)
            broken = tmp_path / "ca.pem"
            broken.write_text("not a certificate")
            file.write_text(
                good.replace("http:", "https:").replace(
                    "spec:\n  dialect", f"spec:\n  tls: {{caFile: {broken}}}\n  dialect"
                )
            )
            await until(lambda: running.service.view.reload and str(broken) in running.service.view.reload.errors[0])
            assert running.service._current() is before
            assert await answered_by(running) == b"a"


async def test_a_mounted_configmap_is_followed_through_its_symlinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet writes a new folder and then moves the link `..data` over to it."""
    mount = tmp_path / "mount"
    async with lab() as upstreams:
        for version, backend in (("..v1", "a"), ("..v2", "b")):
            (mount / version).mkdir(parents=True)
            (mount / version / "policy.yaml").write_text(policy(upstreams, backend))
        (mount / "..data").symlink_to("..v1")
        (mount / "policy.yaml").symlink_to("..data/policy.yaml")
        async with (
            proxy(policy(upstreams), tmp_path) as running,
            watching(running, mount, monkeypatch=monkeypatch),
        ):
            assert await answered_by(running) == b"a"
            (mount / "..tmp").symlink_to("..v2")
            os.replace(mount / "..tmp", mount / "..data")  # noqa: PTH105 - atomic, as the kubelet does it
            await until(lambda: running.service._current().plans[0].groups[0][0].upstream.name == "b")
            assert await answered_by(running) == b"b"
            assert names(running) == {"a", "b"}


async def test_sighup_takes_the_file_without_dropping_a_stream_or_forgetting_a_breaker(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    once = "circuitBreaker: {consecutiveFailures: 1, open: {base: 60s}}\n"
    async with lab() as upstreams:
        file.write_text(policy(upstreams, "a b", once))
        upstreams.script(["gap-60ms", "500"], upstream="a")
        async with (
            served(file, tmp_path) as process,
            httpx.AsyncClient(base_url=process.url) as client,
            raw(process, chat(stream=True)) as (reader, _),
        ):
            await reader.readuntil(b"data: ")
            assert (await client.post(CHAT, json=chat("other"))).headers["x-seawall-upstream"] == "b"
            file.write_text(policy(upstreams, "a b", once.replace("60s", "90s")))
            process.tell(signal.SIGHUP)
            async with asyncio.timeout(5):
                while 'reloads_total{result="ok"} 2.0' not in (await client.get(f"{process.admin_url}/metrics")).text:
                    await asyncio.sleep(0.01)
            health = (await client.get(f"{process.admin_url}/health")).json()
            assert health["upstreams"]["a"]["breakers"]["other"] == "open"
            await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n")
            assert (await client.post(CHAT, json=chat("other"))).headers["x-seawall-upstream"] == "b"


async def test_sigterm_finishes_the_stream_takes_no_new_calls_and_exits_0(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    async with lab() as upstreams:
        file.write_text(policy(upstreams))
        upstreams.script(["gap-60ms"], upstream="a")
        async with (
            served(file, tmp_path) as process,
            httpx.AsyncClient() as client,
            raw(process, chat(stream=True)) as (reader, _),
        ):
            await reader.readuntil(b"data: ")
            # The connection of this client, which is idle afterwards, must not hold the process up either.
            assert (await client.get(f"{process.url}/nowhere")).status_code == 404
            process.tell(signal.SIGTERM)
            async with asyncio.timeout(5):
                while (await client.get(f"{process.admin_url}/readyz")).status_code != 503:
                    await asyncio.sleep(0.01)
            with pytest.raises(httpx.ConnectError):
                await client.post(process.url + CHAT, json=chat())
            assert process.process.returncode is None
            await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n")
            # Nor the agent's wish to keep its own: it ends long before the limit of 25 s.
            assert await process.code() == 0
            assert await reader.read() == b""
            assert not process.socket.exists()


async def test_the_limit_of_a_drain_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    async with lab() as upstreams:
        file.write_text(policy(upstreams))
        upstreams.script(["stall-4"], upstream="a")
        async with served(file, tmp_path, "--drain", "0.3") as process, raw(process, chat(stream=True)) as (reader, _):
            await reader.readuntil(b"data: ")
            began = time.monotonic()
            await asyncio.to_thread(admin_client.drain, process.socket)
            assert await process.code() == 0
            assert 0.25 < time.monotonic() - began < 8
            # What is cut does not look whole, and says why.
            rest = await reader.read()
            assert not rest.endswith(b"0\r\n\r\n")
            assert b'"code":"DRAINING"' in rest
            await until(lambda: upstreams.attempts()[0].gone)


async def test_a_call_that_the_drain_cuts_before_its_answer_is_told_to_try_elsewhere(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams), tmp_path) as running:
        upstreams.script(["silent"], upstream="a")
        half, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\n{")
        async with raw(running, chat()) as (reader, _):
            await until(lambda: upstreams.attempts() and running.service.engine.calls == 1)
            await running.service.close(0.05)
            for told in (reader, half):
                answer = await told.read()
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b'"code":"DRAINING"' in answer
        writer.close()
        assert sorted((call.fault, call.status) for call in running.calls) == [("DRAINING", 503)] * 2
