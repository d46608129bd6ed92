"""AWS Signature Version 4: requests signed with access keys, by AWS's own library (botocore).

It is imported only by a process whose policy signs, since it costs 4 to 16 MB. Keys come from a credentials file, or
from where AWS's SDKs look for them: the environment, a web identity token (IRSA), a container's or an instance's
role. What has to be fetched is fetched in a thread, before it expires, so that no call waits but the first ones.
Secrets never leave this module but as signatures; reprs and errors hold none.
"""

import asyncio
import errno
import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.clock import Clock
from seawall.types import Headers
from seawall.upstream.credential import Unsigned

# Keys and the files with them are looked at again at most this often, in seconds.
_CHECK_SECONDS = 1.0
# A refresh begins so long before keys expire (botocore's own advisory time). It is tried again after a failure, and not
# soon after a success: some keys live no longer than that.
_EARLY_SECONDS = 15 * 60
_AGAIN_SECONDS = 10.0
_CALM_SECONDS = 60.0

# Of a request's fields these are signed, and all that begin so. Others may be changed on their way by proxies.
_SIGNED = frozenset({b"host", b"content-type"})
_SIGNED_PREFIX = b"x-amz-"
SIGNATURE_FIELDS = frozenset({b"authorization", b"x-amz-content-sha256", b"x-amz-date", b"x-amz-security-token"})
"""An agent's own signature, in lower case."""

# What signing adds.
_ADDED = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


def require() -> None:
    """Raises OSError where signing needs what is not installed."""
    if importlib.util.find_spec("botocore") is None:
        raise OSError(errno.ENOPKG, "auth.type AWSSigV4 needs seawall[bedrock] to be installed")
    importlib.import_module("botocore.auth")
    importlib.import_module("botocore.session")
    log = logging.getLogger("botocore")
    # In its own words it tells what it signs, and with which token.
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Source:
    """Where access keys are. file: with sections as AWS's command line writes them, of which `profile` is read; None:
    wherever AWS's SDKs find some. region: of the token service."""

    file: Path | None
    profile: str
    region: str


class AccessKeys:
    """The keys of a source; nothing is read or fetched before somebody asks. Belongs to one event loop."""

    def __init__(self, source: Source, clock: Clock, fetch: "Callable[[Source, Any], Any] | None" = None) -> None:
        """fetch: looks for keys (or refreshes those that it is given), and may take its time; raises what botocore
        does."""
        self.source = source
        self._clock = clock
        self._fetch = fetch or _fetch
        self._found: Any = None
        """botocore's credentials, which know when they expire."""
        self._frozen: Any = None
        self._stamp: tuple[int, int, int, int] | None = None
        self._checked = float("-inf")
        self._pause_until = float("-inf")
        self._calm_until = float("-inf")
        self._fetching: asyncio.Future[None] | None = None
        self.error = ""

    def __repr__(self) -> str:
        return f"AccessKeys({self.source!r})"

    def current(self) -> Any:
        """Keys that are good now; None where there are none, or none yet. Never waits."""
        now = self._clock.now()
        if now - self._checked >= _CHECK_SECONDS:
            self._checked = now
            if self.source.file is not None:
                self._read(self.source.file)
            else:
                self._look(now)
        return self._frozen

    async def arrival(self, seconds: float | None) -> None:
        """Wait for keys that are being fetched, where there are none to go on with."""
        if self.current() is None and self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=seconds)

    # -- a file ----------------------------------------------------------------------------------------------------

    def _read(self, file: Path) -> None:
        """As a key's file: one that is unusable leaves the last keys in use."""
        from botocore.credentials import SharedCredentialProvider
        from botocore.exceptions import BotoCoreError

        try:
            status = os.stat(file)  # noqa: PTH116 - one call instead of Path's two objects
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp and not self.error:
                return
            with file.open("rb"):
                pass
            found = SharedCredentialProvider(str(file), self.source.profile).load()
        except OSError as error:
            self.error = f"{file}: {error.strerror}"
            return
        except (BotoCoreError, ValueError) as error:
            self.error = f"{file}: {type(error).__name__}"
            return
        if found is None:
            self.error = f"{file}: holds no keys of the profile {self.source.profile}"
            return
        self._stamp, self._frozen, self.error = stamp, found.get_frozen_credentials(), ""

    # -- elsewhere -------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Drop keys that have expired; have them fetched in time."""
        needed = getattr(self._found, "refresh_needed", None)
        if self._found is not None and needed is None:
            # Keys for good.
            return
        due = needed is None or (now >= self._calm_until and needed(_EARLY_SECONDS))
        if needed is not None and needed(0):
            self._frozen, due = None, True
        if due and self._fetching is None and now >= self._pause_until:
            loop = asyncio.get_running_loop()
            self._fetching = loop.create_future()
            threading.Thread(target=self._work, args=(loop,), name="aws-credentials", daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: a token service may take seconds."""
        found, error = None, "no AWS credentials: not in the environment, no web identity, no role"
        try:
            found = self._fetch(self.source, self._found)
        except Exception as failed:  # noqa: BLE001 - told as `error`; whatever it is must not keep calls waiting
            error = _words(failed)
        try:
            loop.call_soon_threadsafe(self._arrived, found, error)
        except RuntimeError:
            # The process ends; nobody waits any more.
            pass

    def _arrived(self, found: Any, error: str) -> None:
        fetching, self._fetching = self._fetching, None
        now = self._clock.now()
        if found is None:
            self.error, self._pause_until = error, now + _AGAIN_SECONDS
        else:
            self._found, self._frozen = found
            self.error, self._calm_until = "", now + _CALM_SECONDS
        self._checked = float("-inf")
        if fetching is not None and not fetching.done():
            fetching.set_result(None)


def _fetch(source: Source, found: Any) -> Any:
    """Keys as AWS's SDKs look for them, with what keeps them fresh; None where there are none."""
    from botocore.session import Session

    if found is None:
        session = Session()
        session.set_config_variable("region", source.region)
        found = session.get_credentials()
        if found is None:
            return None
    return found, found.get_frozen_credentials()


def _words(error: Exception) -> str:
    """What went wrong, in words that hold no secret: of the token service its own short name for it."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    if isinstance(code, str):
        return f"{getattr(error, 'operation_name', 'the token service')}: {code[:64]}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"AWS credentials: {type(error).__name__}"


@dataclass(frozen=True, slots=True)
class Signature:
    """Signs each request anew, with the time of day. See `credential.Credential`.

    The body is signed with it, since Bedrock takes no unsigned one, and so must be there whole.
    """

    keys: AccessKeys
    region: str
    service: str
    replaces: frozenset[bytes]
    covers_body: bool = True

    @property
    def error(self) -> str:
        return self.keys.error

    @property
    def usable(self) -> bool:
        return self.keys.current() is not None

    async def prepare(self, seconds: float | None) -> None:
        await self.keys.arrival(seconds)

    def fields(self, request: Unsigned) -> Headers | None:
        keys = self.keys.current()
        if keys is None or request.body is None:
            return None
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        host = next((value for name, value in request.headers if name.lower() == b"host"), b"").decode("latin-1")
        unsigned = AWSRequest(request.method, f"https://{host}{request.target}", data=request.body)
        for name, value in request.headers:
            lower = name.lower()
            if lower in _SIGNED or lower.startswith(_SIGNED_PREFIX):
                unsigned.headers.add_header(name.decode("latin-1"), value.decode("latin-1"))
        SigV4Auth(keys, self.service, self.region).add_auth(unsigned)
        signed = ((name, unsigned.headers.get(name)) for name in _ADDED)
        return [(name.encode(), value.encode("latin-1")) for name, value in signed if value is not None]

    def problem(self) -> str:
        self.keys.current()
        return self.keys.error
