"""`seawall demo` as a newcomer meets it: a process, its terminal, the lines to paste, Ctrl-C."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from seawall.demo import at_lab
from seawall.policy import load_policy

PROXY = Path(__file__).parents[2] / "proxy"
DEMO = Path(__file__).parents[2] / "config" / "examples" / "demo.yaml"
SECONDS = 40.0


class Demo:
    """A running demo on free ports, with all it printed."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.out, self.errors = folder / "out", folder / "errors"
        arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-socket", str(folder / "admin")]
        with self.out.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "seawall.cli", "demo", *arguments],
                stdout=out,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(PROXY), "SEAWALL_LAB_LISTEN": "127.0.0.1:0", **environment},
            )

    def lines(self) -> list[str]:
        return self.out.read_text("utf-8").splitlines()

    def wait(self, condition: Callable[[list[str]], object], seconds: float) -> list[str]:
        """The lines, as soon as they meet a condition."""
        end = time.monotonic() + seconds
        while not condition(self.lines()):
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < end, "\n".join(self.lines())
            time.sleep(0.05)
        return self.lines()

    def to_paste(self) -> list[str]:
        lines = self.wait(lambda lines: sum(line.startswith("#") for line in lines) >= 2, 15)
        first = next(n for n, line in enumerate(lines) if line.startswith("#"))
        return lines[first + 1 : first + 4]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    started = Demo(tmp_path)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait(5)


def curl(line: str) -> httpx.Response:
    """Does what a pasted curl line would do."""
    words = shlex.split(line)
    assert words[:2] == ["curl", "-i"]
    name, _, value = words[words.index("-H") + 1].partition(": ")
    return httpx.post(words[2], headers={name: value}, content=words[words.index("-d") + 1], timeout=20)


def test_the_three_lines_work_as_pasted_and_ctrl_c_ends_it(demo: Demo) -> None:
    call, snippet, dashboard = demo.to_paste()
    answer = curl(call)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["x-seawall-upstream"].startswith("lab-")

    words = shlex.split(snippet)
    assert words[0] == "python"
    said = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=60, check=True)
    assert len(said.stdout.split()) == 12, "the lab answers in twelve words"

    page = httpx.get(dashboard, timeout=5)
    assert page.status_code == 200
    assert "lab-east" in page.text

    # Yours are told from the demo's own in the log.
    lines = demo.wait(lambda lines: sum(" chat lab-" in line for line in lines) >= 2, 5)
    own = next(n for n, line in enumerate(lines) if "demo-traffic" in line and not line.startswith("#"))
    assert own > lines.index(dashboard)

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(5) == 0
    assert demo.errors.read_text() == ""


def test_retries_failover_and_a_breaker_that_opens_and_recovers_show_by_themselves(demo: Demo) -> None:
    shown = {
        "a retry": r"retry +demo-traffic → lab-east .*retry in",
        "a failover": r"retry +demo-traffic → lab-east 503 .*failover to lab-west",
        "a call that was moved": r"200 +demo-traffic lab-west 2 attempts .* failover",
        "an open breaker": r"breaker +lab-east gpt-4o-mini OPEN for",
        "a call that went around it": r"200 +demo-traffic lab-west 1 attempt .* failover",
        "a probe": r"breaker +lab-east gpt-4o-mini HALF-OPEN",
        "a recovery": r"breaker +lab-east gpt-4o-mini CLOSED",
    }
    lines = demo.wait(lambda lines: re.search(shown["a recovery"], "\n".join(lines)), SECONDS)
    text = "\n".join(lines)
    assert [name for name, pattern in shown.items() if not re.search(pattern, text)] == []
    finished = [line for line in lines if re.search(r" \d{3} +demo-traffic", line)]
    assert [line for line in finished if " 200 " not in line] == [], "agents saw a failure"

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(5) == 0
    assert demo.errors.read_text() == ""


def test_a_stream_that_hangs_does_not_hold_ctrl_c_up(demo: Demo) -> None:
    call, *_ = demo.to_paste()
    body = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream(
        "POST", shlex.split(call)[2], json=body, headers={"x-lab-fault": "stall-4"}, timeout=20
    ) as answer:
        assert next(answer.iter_bytes())
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(5) == 0
    assert demo.errors.read_text() == ""


@pytest.mark.parametrize("kind", ["taken", "nonsense"])
def test_a_lab_address_that_can_not_be_used_is_one_line_and_exit_2(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}" if kind == "taken" else "nonsense"
        demo = Demo(tmp_path, SEAWALL_LAB_LISTEN=address)
        assert demo.process.wait(15) == 2
    (line,) = demo.errors.read_text().splitlines()
    assert address in line


def test_upstreams_of_the_lab_follow_it_and_others_stay(tmp_path: Path) -> None:
    text = DEMO.read_text("utf-8").replace("http://127.0.0.1:4110/u/west/v1", "https://api.example.com/v1")
    (tmp_path / "demo.yaml").write_text(text, "utf-8")
    policy = load_policy([tmp_path / "demo.yaml"]).policy
    assert policy is not None
    moved = at_lab(policy, "http://127.0.0.1:5")
    assert {upstream.name: upstream.base_url for upstream in moved.upstreams.values()} == {
        "lab-east": "http://127.0.0.1:5/u/east/v1",
        "lab-west": "https://api.example.com/v1",
        "lab-claude": "http://127.0.0.1:5/u/claude",
        "lab-warehouse": "http://127.0.0.1:5/u/warehouse/warehouse",
    }
    assert moved.revision == policy.revision
