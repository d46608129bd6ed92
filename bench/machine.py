"""Processes under measurement: started on a CPU of their own, read through /proc, ended for sure. Linux only."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from answers import PLAIN, question

HERE = Path(__file__).parent
FIRST_CPU = min(os.sched_getaffinity(0))
LAST_CPU = max(os.sched_getaffinity(0))
_TICK = os.sysconf("SC_CLK_TCK")
_VM = re.compile(r"^(VmRSS|VmHWM):\s+(\d+) kB", re.M)


class Broken(Exception):
    """The benchmark cannot run; the message is for people."""


class Process:
    """A started process. CPU in seconds, memory in MiB; its threads are counted, it must not have children."""

    def __init__(self, name: str, command: list[str], cpu: int, folder: Path) -> None:
        self.name = name
        self.output = folder / f"{name}.out"
        self.errors = folder / f"{name}.err"
        self.began = time.perf_counter()
        with self.output.open("wb") as out, self.errors.open("wb") as err:
            self._popen = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
            )
        self._proc = Path(f"/proc/{self._popen.pid}")

    @property
    def pid(self) -> int:
        return self._popen.pid

    def cpu_seconds(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> dict[str, float]:
        """VmRSS now, VmHWM (the peak) since `forget_peak`."""
        status = (self._proc / "status").read_text()
        return {name: int(kib) / 1024 for name, kib in _VM.findall(status)}

    def forget_peak(self) -> None:
        """See proc(5): clear_refs."""
        (self._proc / "clear_refs").write_text("5")

    def check(self) -> None:
        """Raises Broken, with the end of what it said, if it has ended."""
        code = self._popen.poll()
        if code is not None:
            said = self.errors.read_text(errors="replace").strip()[-2000:]
            raise Broken(f"{self.name} ended with {code}: {said or 'no message'}")

    def stop(self) -> None:
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Stage:
    """Where a benchmark plays: a folder for logs and policies, and the processes in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[Process] = []

    def start(self, name: str, command: list[str], cpu: int) -> Process:
        process = Process(name, command, cpu, self.folder)
        self._processes.append(process)
        return process

    def python(self, name: str, script: str, *arguments: str, cpu: int) -> Process:
        """Start one of the programs of this folder."""
        return self.start(name, [sys.executable, str(HERE / script), *arguments], cpu)

    def seawall(
        self, policy: str, port: int, admin: int, cpu: int = FIRST_CPU, name: str = "seawall",
        variables: Mapping[str, str] | None = None,
    ) -> Process:  # fmt: skip
        """Start `seawall serve` as a user would; `policy` is YAML. name: of this one, where there are several.
        variables: of its environment, besides ours."""
        path = self.folder / f"{name}.yaml"
        path.write_text(policy)
        listen = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        socket_path = str(self.folder / f"{name}.sock")
        command = [sys.executable, "-m", "seawall.cli", "serve", "--policy", str(path), *listen]
        said = ["env", *(f"{name}={value}" for name, value in (variables or {}).items())]
        return self.start(name, [*said, *command, "--admin-socket", socket_path], cpu)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.stop()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A stage, with this process moved out of the way of what is measured, and cleared at the end."""
    os.sched_setaffinity(0, {LAST_CPU})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        made = Stage(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def ready(process: Process, url: str, seconds: float = 30.0, cafile: str | None = None) -> float:
    """Ask until there is the first good answer; returns seconds since the process was started. Raises Broken."""
    context = ssl.create_default_context(cafile=cafile) if cafile else None
    headers = {"content-type": "application/json", "authorization": "Bearer sk-bench"}
    request = urllib.request.Request(url, question(200, stream=False), headers)
    last = ""
    while time.perf_counter() - process.began < seconds:
        process.check()
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise Broken(f"{process.name} answers {error.code}: {error.read()[:500]!r}") from None
        except OSError as error:
            last = str(error)
            time.sleep(0.01)
            continue
        if body != PLAIN:
            raise Broken(f"{process.name} does not answer what the upstream said: {body[:200]!r}")
        return time.perf_counter() - process.began
    raise Broken(f"{process.name} gave no answer within {seconds:g} s: {last}")


def said(command: list[str], cpu: int = LAST_CPU) -> dict[str, object]:
    """Run one of our programs to its end; the JSON object that it prints."""
    done = subprocess.run(command, capture_output=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    if done.returncode:
        raise Broken(f"{command[1]}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    result: dict[str, object] = json.loads(done.stdout)
    return result
