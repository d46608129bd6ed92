"""Follows an operator: asks it for the bundle of this sidecar's profile, runs it, and says so with the next question.

What runs is the best that is there: what was taken last (in memory), else the last good one of this pod (a file), else
the one that the operator left for new pods (a mounted ConfigMap), else the pass-through policy. An operator that is
away, or a bundle that cannot be used, changes nothing but a metric and a log line.
"""

import asyncio
import logging
import os
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from seawall.policy import EffectivePolicy
from seawall.policy.bundle import Bundle, BundleError, unpack
from seawall.reload import take
from seawall.types import Observer, Reloaded

if TYPE_CHECKING:
    import aiohttp

FILE = "bundle.json.gz"
HOLD = 60.0
"""Seconds for one question; the operator holds it for less."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
SOON = 1.0
"""Seconds between two questions at least, where the first one has brought nothing."""
MAX_PACKED = 8 * 1024 * 1024
BEHIND = 300.0
"""An operator that knows less than this sidecar does lags. One that does so for longer was set back, as by a restored
backup, and is right."""
MAX_ERROR = 900
"""Characters of what is said about a refused bundle."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Following:
    """Whom, and as what. `state`: a folder of the pod's own; `bundle_file`: where new pods find theirs."""

    url: str
    namespace: str
    profile: str
    token_file: Path
    ca_file: Path | None = None
    state: Path | None = None
    bundle_file: Path | None = None


def kept_bundles(following: Following) -> tuple[list[Bundle], list[str]]:
    """What to start with, the best first, and what was passed over for being unusable."""
    found: list[Bundle] = []
    passed_over: list[str] = []
    files = [following.state / FILE if following.state else None, following.bundle_file]
    for file in (file for file in files if file is not None):
        try:
            with file.open("rb") as stream:
                found.append(unpack(stream.read(MAX_PACKED)))
        except FileNotFoundError:
            continue
        except (OSError, BundleError) as error:
            passed_over.append(f"{file}: {error.strerror if isinstance(error, OSError) else error}")
    return found, passed_over


class Follower:
    """Keeps a process on its operator's newest bundle. `prepare` and `apply` as for a Reloader."""

    def __init__(
        self,
        following: Following,
        first: Bundle | None,
        otherwise: EffectivePolicy,
        prepare: Callable[[EffectivePolicy], None],
        apply: Callable[[EffectivePolicy], None],
        observe: Observer,
    ) -> None:
        """`first`: what runs already. `otherwise`: what runs where the operator has no routes for this namespace."""
        self._following = following
        self._otherwise = otherwise
        self._prepare = prepare
        self._apply = apply
        self._observe = observe
        self._running = first.revision if first else ""
        self._sequence = first.sequence if first else 0
        self._refused = ""
        self._refused_packed = b""
        self._error = ""
        self._trusted: tuple[str | None, ssl.SSLContext] | None = None
        self._behind_since: float | None = None
        self._asked = asyncio.Event()
        self._away = False

    def ask(self) -> None:
        """Ask again now, where it waits for an operator that was away (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        import aiohttp

        wait = FIRST_WAIT
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HOLD, sock_connect=5.0)) as session:
            while True:
                try:
                    await self._once_more()
                    await self._question(session)
                    wait, self._away = FIRST_WAIT, False
                    continue
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._say_away(error)
                self._asked.clear()
                try:
                    # Spread, so that a thousand sidecars do not come back to a new operator at once.
                    async with asyncio.timeout(wait * random.uniform(0.5, 1.0)):
                        await self._asked.wait()
                except TimeoutError:
                    wait = min(LONGEST_WAIT, wait * 2)

    async def _question(self, session: "aiohttp.ClientSession") -> None:
        following, loop = self._following, asyncio.get_running_loop()
        began = loop.time()
        token = (await asyncio.to_thread(following.token_file.read_text)).strip()
        headers = {"Authorization": f"Bearer {token}", "X-Seawall-Sequence": str(self._sequence)}
        if self._running:
            headers["If-None-Match"] = f'"{self._running}"'
        if self._refused:
            headers |= {"X-Seawall-Refused": self._refused, "X-Seawall-Error": quote(self._error)}
        url = f"{following.url}/v1/bundles/{following.namespace}/{following.profile}"
        async with session.get(url, headers=headers, ssl=await asyncio.to_thread(self._trust)) as response:
            sequence = _number(response.headers.get("X-Seawall-Sequence", ""))
            if response.status == 304:
                self._caught_up(sequence)
                if loop.time() - began < SOON:
                    # Such as an operator that is about to end.
                    await asyncio.sleep(SOON)
                return
            response.raise_for_status()
            packed = await _body(response)
            revision = response.headers.get("ETag", "").strip('"')
        if sequence < self._sequence:
            self._caught_up(sequence)
            await asyncio.sleep(SOON)
            return
        await self._take(packed, revision, sequence)

    async def _once_more(self) -> None:
        """What was refused for a file that this pod lacked may be usable by now: those of a mounted Secret come when
        somebody adds them."""
        if self._refused and self._refused_packed:
            await self._take(self._refused_packed, self._refused, self._sequence)

    async def _take(self, packed: bytes, revision: str, sequence: int) -> None:
        try:
            bundle = await asyncio.to_thread(unpack, packed)
        except BundleError as error:
            errors: Sequence[str] = (str(error),)
            packed = b""
            self._observe(Reloaded("", (f"operator's bundle: {error}",)))
        else:
            policy = bundle.policy if bundle.policy.routes else self._otherwise
            errors = await take(policy, self._prepare, self._apply, self._observe)
            if bundle.dropped:
                log.warning("a newer operator sent fields that this version does not know: %s", bundle.dropped)
        if errors:
            self._refused, self._refused_packed, self._error = revision, packed, "; ".join(errors)[:MAX_ERROR]
            return
        self._running, self._refused, self._refused_packed, self._error = bundle.revision, "", b"", ""
        self._sequence, self._behind_since = max(self._sequence, sequence), None
        await self._keep(packed)

    async def _keep(self, packed: bytes) -> None:
        if self._following.state is not None:
            try:
                await asyncio.to_thread(_write, self._following.state / FILE, packed)
            except OSError as error:
                log.warning("the last good bundle could not be kept: %s", error)

    def _caught_up(self, sequence: int) -> None:
        """The operator knows of everything up to this."""
        now = asyncio.get_running_loop().time()
        if sequence >= self._sequence:
            self._sequence, self._behind_since = sequence, None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > BEHIND:
            log.warning("the operator has been set back: following it anew")
            self._sequence, self._behind_since = 0, None

    def _trust(self) -> ssl.SSLContext:
        """The file is read anew for each question, since authorities are rotated too. Where it says the same as before
        so is the context: the connection is used again."""
        file = self._following.ca_file
        text = file.read_text() if file is not None else None
        if self._trusted is None or self._trusted[0] != text:
            self._trusted = text, ssl.create_default_context(cadata=text)
        return self._trusted[1]

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning("the operator does not answer, what runs stays: %s", error or type(error).__name__)


async def _body(response: "aiohttp.ClientResponse") -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_PACKED:
            raise OSError(f"the operator's answer is larger than {MAX_PACKED // 2**20} MiB")
    return bytes(body)


def _write(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else 0
