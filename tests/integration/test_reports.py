"""Metrics, /health and /state after real calls: what an operator can tell from them."""

from pathlib import Path

import httpx
from harness import lab, proxy, route, until, upstream
from peers import CHAT, QUICK, agent, chat, raw
from prometheus_client.parser import text_string_to_metric_families as parse


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
