"""Metrics, /health and /state after real calls: what an operator can tell from them."""

import asyncio
from pathlib import Path
from typing import cast

import httpx
from harness import lab, proxy, route, until, upstream
from peers import CHAT, QUICK, agent, chat, raw, wire
from prometheus_client.parser import text_string_to_metric_families as parse

from seawall.core.breaker import State
from seawall.server import admin_client
from seawall.server.admin_client import Action
from seawall.telemetry.redact import REDACTED


async def test_metrics_and_reports_tell_what_happened(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="500")
        policy = (
            upstream("a", f"{upstreams.url}/u/a/v1", extra="circuitBreaker: {consecutiveFailures: 3}\n")
            + upstream("b", f"{upstreams.url}/u/b/v1")
            + route("models", "/v1", "a b", QUICK)
        )
        await _shown(policy, tmp_path)


async def _shown(policy: str, folder: Path) -> None:
    async with proxy(policy, folder) as running, agent(running) as client:
        for _ in range(3):
            await client.post(CHAT, json=chat())
        await client.post(CHAT, json=chat(stream=True, stream_options={"include_usage": True}))
        await running.call(4)
        page = (await client.get(f"{running.admin_url}/metrics")).text
        found = {(x.name, *sorted(x.labels.values())): x.value for f in parse(page) for x in f.samples}
        for wanted, value in {
            ("seawall_attempts_total", "SERVER_ERROR", "a", "gpt"): 9,
            ("seawall_breaker_state", "a", "gpt"): 2,
            ("seawall_breaker_transitions_total", "a", "gpt", "open"): 1,
            ("seawall_retries_total", "models"): 6,
            ("seawall_wasted_attempts_total", "a", "gpt"): 9,
            ("seawall_request_duration_seconds_count", "b", "gpt", "models"): 4,
            ("seawall_first_content_seconds_count", "b", "gpt", "models"): 4,
            ("seawall_requests_total", "", "2xx", "b", "failover", "gpt", "models"): 4,
            ("seawall_tokens_total", "b", "gpt", "models", "output"): 48,
            ("seawall_streams_open",): 0,
            ("seawall_requests_in_flight",): 0,
            ("seawall_config_last_reload_successful",): 1,
        }.items():
            assert found[wanted] == value, wanted
        health = (await client.get(f"{running.admin_url}/health")).json()
        assert health["upstreams"]["a"]["breakers"]["gpt"] == "open"
        assert health["service_level"] == health["routes"]["models/main"] == "degraded"
        shown = (await client.get(f"{running.admin_url}/state")).json()
        assert shown["upstreams"][0]["breakers"][0]["reason"] == "3 consecutive failures"


async def test_reports_show_who_is_under_way_and_who_waits(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="silent")
        policy = upstream("a", f"{upstreams.url}/v1", extra="concurrency: {maxParallelRequests: 1}\n")
        policy += route("models", "/v1", "a", QUICK)
        async with (
            proxy(policy, tmp_path) as running,
            httpx.AsyncClient(base_url=running.admin_url) as admin,
            raw(running, chat()),
            raw(running, chat()),
        ):
            await until(lambda: running.upstream("a").limiter.snapshot().pending == 1)
            page = (await admin.get("/metrics")).text
            assert 'seawall_upstream_requests_in_flight{upstream="a"} 1.0' in page
            assert 'seawall_upstream_queue_depth{upstream="a"} 1.0' in page
            assert "seawall_requests_in_flight 2.0" in page
            shown = (await admin.get("/state")).json()["upstreams"][0]["limit"]
            assert (shown["in_flight"], shown["queued"]) == (1, 1)


Report = tuple[str, str, dict[str, str], list[dict[str, object]], str]


async def _report(admin: httpx.AsyncClient) -> Report:
    """Of upstream a: its level and state in /health, its breakers there and in /state, and all its gauges."""
    health = (await admin.get("/health")).json()["upstreams"]["a"]
    state = (await admin.get("/state")).json()["upstreams"][0]["breakers"]
    page = (await admin.get("/metrics")).text
    return health["service_level"], health["state"], health["breakers"], state, page


async def test_an_upstream_that_is_held_by_hand_is_shown_so_before_its_first_call(tmp_path: Path) -> None:
    async with lab() as upstreams:
        url = f"{upstreams.url}/v1"
        policy = upstream("a", url) + route("models", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running, httpx.AsyncClient(base_url=running.admin_url) as admin:

            async def act(verb: Action) -> list[tuple[object, object]]:
                done = await asyncio.to_thread(admin_client.breaker, running.socket, verb, "a")
                return [(b["key"], b["state"]) for b in cast("list[dict[str, object]]", done["breakers"])]

            assert await act("isolate") == [("*", "isolated")]
            level, state, breakers, rows, page = await _report(admin)
            assert (level, state, breakers["*"]) == ("offline", "isolated", "isolated")
            assert (rows[0]["key"], rows[0]["state"], rows[0]["reason"]) == ("*", "isolated", "isolated by hand")
            assert (rows[0]["by_hand"], rows[0]["transport"], rows[0]["admitted"]) == (True, False, 0.0)
            assert 'seawall_breaker_state{key="*",upstream="a"} 3.0' in page
            assert 'seawall_upstream_service_level{upstream="a"} 0.0' in page
            assert "isolated</span> * <small>(isolated by hand)</small>" in (await admin.get("/")).text
            assert (await admin.get("/health")).status_code == 503
            assert (await wire(running, chat())).status == 503

            origin = (upstreams.url, "forced_closed")
            assert await act("force-close") == [("*", "forced_closed"), ("gpt", "forced_closed"), origin]
            level, state, breakers, _, page = await _report(admin)
            assert (level, state, breakers["*"]) == ("full", "forced_closed", "forced_closed")
            assert 'seawall_breaker_state{key="*",upstream="a"} -1.0' in page

            assert await act("reset") == [("gpt", "closed"), (upstreams.url, "closed")]
            level, state, breakers, _, page = await _report(admin)
            assert (level, state, "*" in breakers) == ("full", "closed", False)
            assert 'seawall_breaker_state{key="*"' not in page
        told = [(m.before, m.after) for m in running.moves if m.key == "*"]
        assert told == [("closed", "isolated"), ("isolated", "forced_closed"), ("forced_closed", "closed")]


async def test_one_model_that_is_let_through_makes_an_isolated_upstream_degraded(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/v1") + route("models", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running, httpx.AsyncClient(base_url=running.admin_url) as admin:
            view = running.service.view
            view.isolate("a", None)
            view.reset("a", "gpt")
            level, state, breakers, *_ = await _report(admin)
            assert (level, state, breakers["gpt"]) == ("degraded", "isolated", "closed")
            assert ((await wire(running, chat())).status, (await wire(running, chat("other"))).status) == (200, 503)


async def test_a_key_that_was_sent_as_a_models_name_is_not_shown_yet_acted_upon(tmp_path: Path) -> None:
    secrets = ["sk-proj-0123456789abcdef", "sk-proj-fedcba9876543210"]
    async with lab() as upstreams:
        upstreams.script(["rate-limit-9", "quota"], upstream="a", then="ok")
        policy = upstream("a", f"{upstreams.url}/u/a/v1", extra="circuitBreaker: {consecutiveFailures: 3}\n")
        policy += route("models", "/v1", "a", "retry: {attempts: 0}\n")
        async with proxy(policy, tmp_path) as running, httpx.AsyncClient(base_url=running.admin_url) as admin:
            for secret in secrets:
                await wire(running, chat(secret))
            await running.call(2)
            done = await asyncio.to_thread(admin_client.breaker, running.socket, "isolate", "a", secrets[1])
            assert running.upstream("a").breaker(secrets[1], 0).snapshot(0).state is State.ISOLATED
            assert running.upstream("a").breaker(secrets[0], 0).snapshot(0).state is State.CLOSED
            pages = [(await admin.get(path)).text for path in ("/health", "/state", "/", "/metrics")]
            for page in (*pages, str(done)):
                assert not any(secret[8:] in page for secret in secrets)
            state = (await admin.get("/state")).json()["upstreams"][0]
            assert [rest["model"] for kind in ("cooldowns", "parked") for rest in state[kind]] == [REDACTED, REDACTED]
            # Of two under one name, the worse is shown.
            assert (await admin.get("/health")).json()["upstreams"]["a"]["breakers"][REDACTED] == "isolated"
            assert {row.key for row in running.service.view.reset("a", None)} == {REDACTED, upstreams.url}
