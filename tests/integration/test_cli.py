"""The command line as a person meets it: output, one-line errors, exit codes, and every option as a variable."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from harness import proxy, route, upstream

ROOT = Path(__file__).parents[2]
POLICY = upstream("main", "http://127.0.0.1:9/v1") + route(
    "chat", "/openai/v1", "main", "timeouts: {firstContent: 60s}"
)


def seawall(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seawall.cli", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "proxy"), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return str(file)


def test_check_of_a_good_file_says_so_and_exits_0(policy: str) -> None:
    done = seawall("check", policy)
    assert done.returncode == 0
    assert done.stdout.startswith("ok: 1 upstreams, 1 rules, revision sha256:")


def test_check_prints_all_errors_at_once_with_file_line_path_and_hint(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(POLICY.replace("timeouts", "timeout").replace("dialect: OpenAI", "dialect: OpenIA"))
    done = seawall("check", str(file))
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert any(line.startswith(f"{file}:6: error: spec.dialect") and "did you mean" in line for line in lines)
    assert any("spec.rules[0].timeout" in line and "did you mean" in line for line in lines)
    assert done.stderr == "2 errors\n"


def test_explain_names_rule_candidates_sources_and_the_worst_case(policy: str, tmp_path: Path) -> None:
    request = tmp_path / "request.http"
    request.write_text('POST /openai/v1/chat/completions HTTP/1.1\nHost: x\n\n{"model": "gpt-4o", "stream": true}')
    done = seawall("explain", "--policy", policy, "--request", str(request))
    assert done.returncode == 0, done.stderr
    assert "rule       chat/main (path below /openai/v1)" in done.stdout
    assert "OpenAI, chat, safeBilled, model gpt-4o, stream" in done.stdout
    assert "1. main (priority group 0, weight 1) → POST http://127.0.0.1:9/v1/chat/completions" in done.stdout
    assert "worst case 3 attempts" in done.stdout
    fields = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  timeouts")}
    assert fields["timeouts.firstContent"] == ["60s", "AgentRoute", "default/chat", "rule", '"main"']
    assert fields["timeouts.connect"] == ["5s", "default"]


def test_explain_of_a_request_that_no_rule_takes_names_the_routes(policy: str) -> None:
    done = seawall("explain", "--policy", policy, "--request", "GET", "http://127.0.0.1:4100/nowhere")
    assert done.returncode == 1
    assert "known routes: /openai/v1" in done.stdout


def test_explain_of_an_unreadable_request_is_one_line(policy: str) -> None:
    done = seawall("explain", "--policy", policy, "--request", "/no/such/file")
    assert (done.returncode, done.stderr) == (2, "seawall: /no/such/file: No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--policy", "/no/such/policy.yaml"], "/no/such/policy.yaml"),
        (["--listen", "nonsense"], "seawall: 'nonsense' is not HOST:PORT, such as 127.0.0.1:4100"),
        (["--buffer-budget", "many"], "--buffer-budget"),
    ],
)
def test_what_cannot_be_used_is_named_and_exits_2(words: list[str], line: str) -> None:
    done = seawall("serve", *words)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_port_is_one_line_and_exit_code_2(policy: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = seawall("serve", "--policy", policy, "--listen", address)
    assert done.returncode == 2
    assert done.stderr.startswith("seawall: ") and address in done.stderr and done.stderr.count("\n") == 1


def test_serve_takes_its_options_from_the_environment_and_stops_on_sigterm(policy: str, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "proxy"),
        "SEAWALL_POLICY": policy,
        "SEAWALL_LISTEN": "127.0.0.1:0",
        "SEAWALL_ADMIN": "127.0.0.1:0",
        "SEAWALL_ADMIN_SOCKET": str(tmp_path / "s.sock"),
        "SEAWALL_LOG_FORMAT": "text",
    }
    command = [sys.executable, "-m", "seawall.cli", "serve"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            greeting = process.stderr.readline()
            assert greeting.startswith("seawall: listening on 127.0.0.1:")
            port = int(greeting.split(":")[2].split(",")[0])
            answer = httpx.post(f"http://127.0.0.1:{port}/nowhere", timeout=10)
            assert answer.status_code == 404
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


async def test_admin_commands_reach_the_proxy_over_its_socket(tmp_path: Path) -> None:
    import asyncio

    async def admin(*words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(seawall, "admin", *words, "--socket", str(running.socket))

    async with proxy(POLICY, tmp_path) as running:
        assert '"service_level": "full"' in (await admin("health")).stdout
        isolated = await admin("isolate", "main", "--model", "gpt-4o")
        assert isolated.returncode == 0 and "isolated" in isolated.stdout
        unknown = await admin("reset", "nobody")
        assert unknown.returncode == 1
        assert unknown.stderr == 'seawall: no upstream "nobody"; known: main\n'
        assert (await admin("isolate")).returncode == 2


def test_admin_without_a_proxy_says_so(tmp_path: Path) -> None:
    done = seawall("admin", "health", SEAWALL_ADMIN_SOCKET=str(tmp_path / "none.sock"))
    assert done.returncode == 1
    assert "is seawall running here" in done.stderr


def test_help_has_examples_and_exit_codes() -> None:
    for command in ("serve", "check", "explain", "lab", "demo", "admin"):
        text = seawall(command, "--help").stdout
        assert "examples:" in text and "exit codes:" in text, command
