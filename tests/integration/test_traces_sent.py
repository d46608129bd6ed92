"""How spans leave the process: off the calls' way, bounded whatever the collector does, and only where asked for."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from harness import lab, route, until, upstream
from otlp import collector
from peers import CHAT, chat
from ports import free_port
from processes import ROOT, served, start
from stage import LENIENT
from traced import SAMPLED, traced


async def counted(url: str) -> dict[str, float]:
    """Spans by what became of them."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("seawall_trace_spans_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def test_spans_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        await at.chat()
        await at.spans.calls()
        await until(lambda: at.running.service._tracer and at.running.service._tracer.spans()["sent"] == 2)
        assert await counted(at.running.admin_url) == {"sent": 2, "failed": 0, "dropped": 0}


async def test_the_standard_variables_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "OTEL_SERVICE_NAME": "assistant-proxy",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=pod-1,service.version=7",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=seven",
    }
    async with traced(tmp_path, monkeypatch, **variables) as at:
        await at.chat()
        (call,) = await at.spans.calls()
        assert call.service["service.name"] == "assistant-proxy"
        assert (call.service["k8s.pod.name"], call.service["service.version"]) == ("pod-1", "7")
        assert at.spans.fields[0]["x-tenant"] == "seven"


async def test_a_version_of_ones_own_stays_where_the_name_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with traced(tmp_path, monkeypatch, OTEL_RESOURCE_ATTRIBUTES="service.version=7") as at:
        await at.chat()
        (call,) = await at.spans.calls()
        assert (call.service["service.name"], call.service["service.version"]) == ("seawall", "7")


async def test_it_is_said_once_that_spans_are_lost_and_once_that_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        tracer = at.running.service._tracer
        assert tracer is not None
        at.spans.status = 401
        for number in (1, 2):
            await at.chat()
            await until(lambda: tracer.spans()["failed"] == 2 * number)  # noqa: B023 - waited for here
        at.spans.status = 200
        await at.chat()
        await until(lambda: tracer.spans()["sent"] == 2)
    said = [one.message for one in caplog.records if "traces" in one.message]
    assert len(said) == 2 and "401" in said[0] and said[1] == "traces are sent again"


async def test_a_collector_that_is_away_changes_nothing_for_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": nowhere, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}
    async with traced(tmp_path, monkeypatch, **variables) as at:
        for _ in range(5):
            assert (await at.chat()).choices
        tracer = at.running.service._tracer
        assert tracer is not None
        await until(lambda: tracer.spans()["failed"] >= 2)
    said = [one.message for one in caplog.records if "traces" in one.message]
    assert len(said) == 1 and said[0].startswith("traces cannot be sent, and are lost:")


async def test_what_a_slow_collector_does_not_take_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
    async with traced(tmp_path, monkeypatch, **bounds) as at:
        at.spans.pause.clear()
        for _ in range(10):
            await asyncio.wait_for(at.chat(), 5)
        tracer = at.running.service._tracer
        assert tracer is not None
        # Two are on their way, four wait.
        await until(lambda: tracer.spans()["dropped"] == 14)
        at.spans.pause.set()
        await until(lambda: tracer.spans()["sent"] == 6)
        assert await counted(at.running.admin_url) == {"sent": 6, "failed": 0, "dropped": 14}


async def test_a_collector_that_hangs_does_not_hold_the_end_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        at.spans.pause.clear()
        await at.chat()
        async with asyncio.timeout(8):
            await at.running.service.close()


async def test_nothing_is_traced_unless_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collector() as spans, lab() as upstreams:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        policy = tmp_path / "policy.yaml"
        policy.write_text(upstream("a", f"{upstreams.url}/v1", "OpenAI", LENIENT) + route("chat", "/v1", "a"))
        async with (
            served(policy, tmp_path) as process,
            httpx.AsyncClient(base_url=process.url, trust_env=False) as http,
        ):
            assert (await http.post(CHAT, json=chat(), headers=SAMPLED)).status_code == 200
            assert await counted(process.admin_url) == {}
            process.tell(signal.SIGTERM)
            assert await process.code() == 0
        assert spans.spans == []


async def test_a_process_sends_what_waits_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collector() as spans, lab() as upstreams:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        policy = tmp_path / "policy.yaml"
        policy.write_text(upstream("a", f"{upstreams.url}/v1", "OpenAI", LENIENT) + route("chat", "/v1", "a"))
        async with (
            served(policy, tmp_path, "--traces", "otlp") as process,
            httpx.AsyncClient(base_url=process.url, trust_env=False) as http,
        ):
            assert (await http.post(CHAT, json=chat(), headers=SAMPLED)).status_code == 200
            await http.aclose()
            process.tell(signal.SIGTERM)
            assert await process.code() == 0
        assert len(spans.spans) == 2


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc' is not what --traces otlp can do: http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "'zipkin' is not what --traces otlp can do: otlp"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10", "--traces otlp: max_export_batch_size must be"),
    ],
)
async def test_what_cannot_be_done_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    code, errors = await _refused(tmp_path)
    assert code == 2 and said in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize(("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
async def test_the_standard_switches_switch_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    async with traced(tmp_path, monkeypatch, **{variable: value}) as at:
        assert at.running.service._tracer is None
        await at.chat()
        assert at.asked.traceparents == []


async def _refused(folder: Path) -> tuple[int, str]:
    process = await start(ROOT / "config" / "policy.yaml", folder, "--traces", "otlp")
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, errors.decode()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """As where it is not installed: its package is not found."""
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from seawall.cli import main; "
        "sys.exit(main(['serve', '--traces', 'otlp', '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, env=environment)
    assert (done.returncode, done.stderr) == (2, "seawall: --traces otlp needs seawall[traces] to be installed\n")


def test_without_the_switch_nothing_of_it_is_imported(tmp_path: Path) -> None:
    code = "import sys, seawall.serve; print(sorted(name for name in sys.modules if 'opentelemetry' in name))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, env=environment)
    assert done.stdout == "[]\n"
