"""The name spaces in which a node lives: network, mounts and processes of its own. What happens there stays there, and
ends with them: containers, bridges, addresses, mounts, tables of the packet filter. Only control groups are the
machine's.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ADDRESS = "10.99.99.1"
"""Of the node, on its own loopback: pods reach it, and nothing outside does."""

SERVICES = "10.96.0.0/16"
"""Where Services have their addresses. Nobody is there, and yet the kernel wants a way before kube-proxy's rules are
asked."""

# The first process. It waits for the end of its input, which comes with the end of the tests, however that comes;
# without a first process the kernel ends all others. Bash, since it must wait for orphans' ends as well.
_FIRST = f"""
mount -t tmpfs -o mode=755 none /run
ip link set lo up
ip address add {ADDRESS}/32 dev lo
ip route add {SERVICES} dev lo src {ADDRESS}
echo 1 > /proc/sys/net/ipv4/ip_forward
echo up
read -r _ || true
"""


@dataclass(frozen=True, slots=True)
class Namespaces:
    first: "subprocess.Popen[bytes]"

    @property
    def enter(self) -> tuple[str, ...]:
        """What a command begins with to run there."""
        children = f"--pid=/proc/{self.first.pid}/ns/pid_for_children"
        return ("nsenter", f"--target={self.first.pid}", "--net", "--mount", children, "--")

    @property
    def network(self) -> tuple[str, ...]:
        """What a command begins with that stays outside, but reaches what listens there."""
        return ("nsenter", f"--target={self.first.pid}", "--net", "--")

    def end(self) -> None:
        """All processes, and then the rest. May be called again."""
        if self.first.stdin is not None:
            self.first.stdin.close()
        self.first.wait(60)


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    options = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    # Of a session of its own: a ctrl-C of the test run must not end it before the tests have.
    first = subprocess.Popen(
        ["unshare", *options, "bash", "-euc", _FIRST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    found = Namespaces(first)
    try:
        assert first.stdout is not None
        with first.stdout as said:
            assert said.readline() == b"up\n", "the node's name spaces cannot be made"
        yield found
    finally:
        found.end()
