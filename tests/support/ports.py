"""Ports for programs that do not take 0."""

import socket


def free_port() -> int:
    """Of 127.0.0.1; free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
