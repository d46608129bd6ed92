"""Programs that run beside the tests, with a log each. They end with the test run, whatever its end."""

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_TAIL = 1500


def end_with_parent() -> None:
    """In the child: a test run that is killed leaves nothing behind (Linux; elsewhere it would)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@dataclass(slots=True)
class Daemons:
    """`folder` is where they work and log. `enter`: what a command begins with to be where they run."""

    folder: Path
    enter: Sequence[str] = ()
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, program: Path, *options: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{program.name}.log").open("wb") as log:
            # Of a group of its own: a ctrl-C of the test run must not end it before the tests have.
            process = subprocess.Popen(
                [*self._begin(), str(program), *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.started.append(process)
        return process

    def _begin(self) -> tuple[str, ...]:
        # Whoever enters other mounts leaves the working directory behind.
        return (*self.enter, "env", f"--chdir={self.folder}") if self.enter else ()

    def stop(self) -> None:
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def daemons(enter: Sequence[str] = ()) -> Iterator[Daemons]:
    """None yet, in a folder of their own. Where there is an exception, the ends of their logs are printed."""
    folder = Path(tempfile.mkdtemp(prefix="seawall-kube-"))
    running = Daemons(folder, enter)
    try:
        yield running
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-_TAIL:]}", file=sys.stderr)
        raise
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
