"""The client's side of the admin Unix socket, for `seawall admin`. Every failure is one line that says what and
where."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    import httpx

Action = Literal["isolate", "force-close", "reset"]
Verb = Literal["offline", "online"]


class AdminError(Exception):
    """One line for a person: no such socket, nobody answers, or the proxy refused."""


def state(path: Path, timeout: float = 5.0) -> dict[str, object]:
    """`/state`. `path`: the socket's; `timeout` in seconds. Raises AdminError, as all of these do."""
    return _ask(path, "GET", "/state", timeout)


def health(path: Path, timeout: float = 5.0) -> dict[str, object]:
    """`/health`, also when it is bad."""
    return _ask(path, "GET", "/health", timeout)


def breaker(
    path: Path, action: Action, upstream: str, model: str | None = None, timeout: float = 5.0
) -> dict[str, object]:
    """Act on an upstream's breakers, or on that of one model."""
    query = f"?model={quote(model, safe='')}" if model is not None else ""
    return _ask(path, "POST", f"/actions/breakers/{quote(upstream, safe='')}/{action}{query}", timeout)


def set_offline(path: Path, verb: Verb, route: str | None = None, timeout: float = 5.0) -> dict[str, object]:
    """Keep a route's calls (None: all) from every upstream, or let them again."""
    query = f"?route={quote(route, safe='')}" if route is not None else ""
    return _ask(path, "POST", f"/actions/{verb}{query}", timeout)


def cache(path: Path, timeout: float = 5.0) -> dict[str, object]:
    """`/cache`."""
    return _ask(path, "GET", "/cache", timeout)


def purge(path: Path, by: Mapping[str, str], timeout: float = 65.0) -> dict[str, object]:
    """Forget kept answers. by: `route`, `upstream`, `model`, `key`; those that are given must all agree."""
    return _ask(path, "POST", f"/actions/purge?{urlencode(by)}", timeout)


def drain(path: Path, timeout: float = 5.0) -> dict[str, object]:
    """Begin a drain."""
    return _ask(path, "POST", "/actions/drain", timeout)


def _ask(path: Path, method: str, target: str, timeout: float) -> dict[str, object]:
    import httpx  # only the command line needs it

    _reach(path, timeout)
    transport = httpx.HTTPTransport(uds=str(path))
    try:
        with httpx.Client(transport=transport, base_url="http://seawall", timeout=timeout, trust_env=False) as client:
            answer = client.request(method, target)
    except httpx.TimeoutException as error:
        raise AdminError(f"no answer on {path} within {timeout:g} s") from error
    except httpx.TransportError as error:
        raise AdminError(f"cannot talk to seawall on {path}: {error}") from error
    return _read(path, answer)


def _reach(path: Path, timeout: float) -> None:
    """Connect once, for an error in the system's own words (httpx wraps them, and leaves its socket open)."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout)
        try:
            probe.connect(str(path))
        except FileNotFoundError as error:
            raise AdminError(f"no admin socket at {path}: is seawall running here, with that socket?") from error
        except OSError as error:
            raise AdminError(f"cannot talk to seawall on {path}: {error.strerror or error}") from error


def _read(path: Path, answer: "httpx.Response") -> dict[str, object]:
    try:
        value = answer.json()
    except ValueError as error:
        raise AdminError(f"{path} answered {answer.status_code} without JSON: is that seawall's socket?") from error
    if not isinstance(value, dict):
        raise AdminError(f"{path} answered {answer.status_code} without an object: is that seawall's socket?")
    if "error" in value:
        raise AdminError(str(value["error"].get("message", value["error"])))
    return value
