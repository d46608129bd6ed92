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

from seawall.cli import main

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


SHADOW = """---
apiVersion: seawall.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: trial}
spec:
  enforcement: Shadow
  targetSelectors: [{kind: AgentRoute, matchLabels: {}}, {kind: Upstream, matchLabels: {}}]
  defaults: {retry: {attempts: 5}, timeouts: {firstContent: 20s}, circuitBreaker: {consecutiveFailures: 2}}
"""


def test_check_and_explain_tell_what_a_shadow_policy_would_change(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY + SHADOW)
    checked = seawall("check", str(file)).stdout.splitlines()
    # The route sets its own firstContent; at the upstream the policy would cap it.
    fields = "circuitBreaker.consecutiveFailures, retry.attempts, timeouts.firstContent"
    assert checked[1:] == [f"shadow: ResiliencePolicy default/trial defaults would change {fields} at 2 targets"]
    request = ("POST", "http://127.0.0.1:4100/openai/v1/chat/completions")
    told = seawall("explain", "--policy", str(file), "--request", *request).stdout
    source = "ResiliencePolicy default/trial defaults"
    assert [line for line in told.splitlines() if "shadow" in line] == [
        f"  shadow: retry.attempts 2 → 5, {source}",
        f"  shadow: circuitBreaker.consecutiveFailures 5 → 2, {source}",
        f"  shadow: timeouts.firstContent unset → 20s, {source}",
    ]


def test_explain_of_a_request_that_no_rule_takes_names_the_routes(policy: str) -> None:
    done = seawall("explain", "--policy", policy, "--request", "GET", "http://127.0.0.1:4100/nowhere")
    assert done.returncode == 1
    assert "known routes: /openai/v1" in done.stdout


def test_explain_does_not_repeat_a_key_in_the_query(policy: str) -> None:
    for path in ("nowhere", "openai/v1/models"):
        done = seawall("explain", "--policy", policy, "--request", "GET", f"http://127.0.0.1:4100/{path}?key=secret-1")
        assert f"/{path}" in done.stdout or "/models" in done.stdout
        assert "secret-1" not in done.stdout + done.stderr


def test_explain_of_an_unreadable_request_is_one_line(policy: str) -> None:
    done = seawall("explain", "--policy", policy, "--request", "/no/such/file")
    assert (done.returncode, done.stderr) == (2, "seawall: /no/such/file: No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--policy", "/no/such/policy.yaml"], "/no/such/policy.yaml"),
        (["--listen", "nonsense"], "seawall: --listen: 'nonsense' is not HOST:PORT, such as 127.0.0.1:4100"),
        (["--buffer-budget", "many"], "seawall: --buffer-budget: 'many' is not a size, such as 64Mi"),
    ],
)
def test_what_cannot_be_used_is_named_and_exits_2(words: list[str], line: str) -> None:
    done = seawall("serve", *words)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "variable"])
@pytest.mark.parametrize(
    ("command", "option", "variable", "value", "why"),
    [
        ("serve", "--drain", "DRAIN", "nan", "is not a number of seconds"),
        ("serve", "--drain", "DRAIN", "inf", "is not a number of seconds"),
        ("serve", "--drain", "DRAIN", "-5", "is not a number of seconds"),
        ("serve", "--drain", "DRAIN", "25s", "is not a number of seconds"),
        ("serve", "--log-format", "LOG_FORMAT", "xml", "is none of json, text"),
        ("serve", "--buffer-budget", "BUFFER_BUDGET", "-1", "is not a size"),
        ("serve", "--buffer-budget", "BUFFER_BUDGET", "1e9", "is not a size"),
        ("serve", "--listen", "LISTEN", "127.0.0.1", "is not HOST:PORT"),
        ("serve", "--listen", "LISTEN", "127.0.0.1:65536", "is not HOST:PORT"),
        ("serve", "--admin", "ADMIN", "127.0.0.1:²", "is not HOST:PORT"),
        ("serve", "--admin", "ADMIN", "a..b:4101", "is not HOST:PORT"),
        ("demo", "--lab", "LAB_LISTEN", "lab", "is not HOST:PORT"),
        ("demo", "--drain", "DRAIN", "soon", "is not a number of seconds"),
        ("lab", "--listen", "LAB_LISTEN", "-1", "is not HOST:PORT"),
        ("lab", "--seed", "SEED", "abc", "is not a whole number"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_option_or_its_variable(
    command: str,
    option: str,
    variable: str,
    value: str,
    why: str,
    typed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEAWALL_POLICY", "/no/such/policy.yaml")  # it cannot start, whatever is made of the value
    name = option if typed else f"SEAWALL_{variable}"
    if not typed:
        monkeypatch.setenv(name, value)
    assert main([command, *([option, value] if typed else [])]) == 2
    out, errors = capsys.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    assert errors.startswith(f"seawall: {name}: {value!r} {why}")


def test_a_bad_variable_does_not_disturb_commands_that_do_not_use_it(policy: str) -> None:
    bad = {f"SEAWALL_{v}": "?" for v in ("SEED", "DRAIN", "LISTEN", "LAB_LISTEN", "LOG_FORMAT", "BUFFER_BUDGET")}
    assert seawall("check", policy, **bad).returncode == 0
    done = seawall("serve", SEAWALL_SEED="abc", SEAWALL_POLICY="/no/such/policy.yaml")
    assert "/no/such/policy.yaml" in done.stderr


def test_what_is_typed_beats_the_variable_and_an_empty_one_counts_as_unset(policy: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        empty = {"SEAWALL_DRAIN": "", "SEAWALL_LOG_FORMAT": "", "SEAWALL_ADMIN": "", "SEAWALL_BUFFER_BUDGET": ""}
        done = seawall("serve", "--policy", policy, "--listen", address, SEAWALL_LISTEN="nonsense", **empty)
    assert done.stderr == f"seawall: {address}: Address already in use\n"


@pytest.mark.parametrize(
    "words", [["serve", "--policy", ""], ["check", ""], ["explain", "--policy", "", "--request", "x"]]
)
def test_an_empty_file_name_is_not_the_current_folder(words: list[str]) -> None:
    done = seawall(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "'' is no file or folder" in done.stderr


def test_explain_takes_the_policy_of_the_environment_else_the_built_in_one(policy: str) -> None:
    request = ["--request", "POST", "http://127.0.0.1:4100/openai/v1/chat/completions"]
    given = seawall("explain", *request, SEAWALL_POLICY=policy)
    assert (given.returncode, given.stderr) == (0, "")
    assert "rule       chat/main" in given.stdout
    built_in = seawall("explain", *request, SEAWALL_POLICY="")
    assert (built_in.returncode, built_in.stderr) == (0, "")
    assert "→ POST https://api.openai.com:443/v1/chat/completions" in built_in.stdout


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
        drain = await admin("drain", "main")
        assert (drain.returncode, drain.stderr.count("\n")) == (2, 1)
        assert not running.service.view.draining


def test_admin_without_a_proxy_says_so(tmp_path: Path) -> None:
    done = seawall("admin", "health", SEAWALL_ADMIN_SOCKET=str(tmp_path / "none.sock"))
    assert done.returncode == 1
    assert "is seawall running here" in done.stderr


def test_admin_finds_the_socket_of_the_admin_port_that_the_environment_names(tmp_path: Path) -> None:
    done = seawall("admin", "health", SEAWALL_ADMIN="127.0.0.1:4999", XDG_RUNTIME_DIR=str(tmp_path))
    assert f"{tmp_path}/seawall-4999.sock" in done.stderr
    done = seawall("admin", "health", SEAWALL_ADMIN="nonsense")
    assert (done.returncode, done.stderr[:33]) == (2, "seawall: SEAWALL_ADMIN: 'nonsense")


def test_help_has_examples_and_exit_codes() -> None:
    for command in ("serve", "check", "explain", "lab", "demo", "admin"):
        text = seawall(command, "--help").stdout
        assert "examples:" in text and "exit codes:" in text, command
