"""A provider emulator with faults on demand: what the demo, the tests and users' game days call.

Start it with `start_lab`. It stands apart from the data plane: only its ingress and header values come from there.
"""

from seawall.lab.server import Lab, start_lab

__all__ = ["Lab", "start_lab"]
