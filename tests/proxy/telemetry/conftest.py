"""Events and live state made of the real dataclasses, and a clock that only moves when told to."""

import pytest

from seawall.telemetry.report import (
    BreakerView,
    CandidateView,
    LimitView,
    ProcessView,
    RestView,
    RouteView,
    Snapshot,
    UpstreamView,
)
from seawall.types import CallEnded, Outcome, ServiceLevel, Usage

WALL = 1_750_000_000.125  # 2025-06-15T15:06:40.125Z


class StillClock:
    def __init__(self) -> None:
        self.time = WALL

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class Live:
    """A LiveState that shows what a test puts there."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.shown = snapshot

    def snapshot(self) -> Snapshot:
        return self.shown


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def call() -> CallEnded:
    return CallEnded(
        call_id="0af76519", route="chat", rule="default", dialect="OpenAI", operation="chat", method="POST",
        path="/v1/chat/completions", upstream="lab-west", model="gpt-4o", outcome=Outcome.FAILOVER, fault="",
        status=200, attempts=2, retries=1, stream=False, service_level=ServiceLevel.DEGRADED, seconds=0.031,
        first_content_seconds=0.03, overhead_seconds=0.0004, request_bytes=210, answer_bytes=512,
        usage=Usage(input=12, output=34, cached=5, reasoning=8),
    )  # fmt: skip


@pytest.fixture
def live() -> Live:
    east = UpstreamView(
        "lab-east", "LLM", "OpenAI", "http://127.0.0.1:4110", samples=40, error_rate=0.6, p50=0.1, p95=0.4, p99=0.9,
        breakers=(
            BreakerView("gpt-4o", "open", reason="5 consecutive failures", retry_after=9.8),
            BreakerView("http://127.0.0.1:4110", "closed", transport=True),
        ),
        limit=LimitView(in_flight=2, max_in_flight=8, queued=3, max_queued=16), retry_budget=4.5,
        cooldowns=(RestView("gpt-4o", 2.0),), parked=(RestView("gpt-4o", 60.0, "QUOTA_EXHAUSTED"),),
    )  # fmt: skip
    west = UpstreamView("lab-west", "LLM", "OpenAI", "http://127.0.0.1:4111", samples=40, error_rate=0.0, p95=0.2)
    route = RouteView("chat", "default", "OpenAI", ("/v1",), (CandidateView("lab-east"), CandidateView("lab-west", 1)))
    process = ProcessView(
        "0.1.0", "c0ffee", started=WALL - 90, ready=True, in_flight=7, streams_open=4, calls=200, failed=3,
        buffer_bytes=1024, buffer_limit=65536,
    )  # fmt: skip
    return Live(Snapshot(process, (east, west), (route,)))
