"""What the commands share with each other: the error that a person can mend, and where the actions' socket is."""

import os
import tempfile


class Unusable(Exception):
    """What a person can mend: printed as one line, exit code 2."""


def default_socket(admin: str) -> str:
    """Where the actions' socket of a proxy with this admin address is: one per port, so that several can run."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/seawall-{os.getuid()}"
    return f"{folder}/seawall-{admin.rpartition(':')[2]}.sock"
