"""Whose token it is that a sidecar shows, as the API server says; kept for a while."""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from seawall_operator.kube import ApiError, Caller

GOOD_SECONDS, BAD_SECONDS = 600.0, 60.0
"""What the API server says of a token holds so long: thousands of sidecars would ask it hundreds of times a second. A
token that was taken back meanwhile reads the policy of its own namespace for a while yet."""
MAX_TOKENS, MAX_BAD_TOKENS = 20_000, 1000
"""What is invented must not push out what is good."""
AT_ONCE = 10
"""Tokens that the API server is asked for at a time."""

V = TypeVar("V")
Review = Callable[[str], Awaitable[Caller | None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a caller gets nothing: an HTTP status, fields, and a word."""

    status: int
    fields: Mapping[str, str]
    text: str


NO_TOKEN = Denied(401, {"WWW-Authenticate": "Bearer"}, "no token\n")
BAD_TOKEN = Denied(401, {"WWW-Authenticate": "Bearer"}, "not a valid token\n")
FOREIGN = Denied(403, {}, "a pod reads its own namespace's bundle only\n")
NO_REVIEW = Denied(503, {"Retry-After": "1"}, "tokens cannot be reviewed\n")


class Callers:
    """All that were seen lately."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._good: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._bad: OrderedDict[bytes, float] = OrderedDict()
        self._places = asyncio.Semaphore(AT_ONCE)

    def known(self, authorization: str, namespace: str) -> Caller | Denied | None:
        """Of an Authorization field; None where the API server must be asked first."""
        token = _token(authorization)
        if not token:
            return NO_TOKEN
        digest, now = _digest(token), asyncio.get_running_loop().time()
        if (found := self._good.get(digest)) is not None and now - found[0] < GOOD_SECONDS:
            return found[1] if found[1].namespace == namespace else FOREIGN
        return BAD_TOKEN if now - self._bad.get(digest, float("-inf")) < BAD_SECONDS else None

    async def ask(self, authorization: str, namespace: str) -> Caller | Denied:
        """The same, and the API server is asked where it must be."""
        async with self._places:
            if (found := self.known(authorization, namespace)) is not None:
                return found
            token = _token(authorization)
            try:
                caller = await self._review(token)
            except ApiError as error:
                log.warning("a token could not be reviewed: %s", error)
                return NO_REVIEW
        digest, now = _digest(token), asyncio.get_running_loop().time()
        if caller is None:
            self._good.pop(digest, None)
            _keep(self._bad, digest, now, MAX_BAD_TOKENS)
            return BAD_TOKEN
        _keep(self._good, digest, (now, caller), MAX_TOKENS)
        return caller if caller.namespace == namespace else FOREIGN


def _keep(known: OrderedDict[bytes, V], digest: bytes, value: V, most: int) -> None:
    known[digest] = value
    known.move_to_end(digest)
    while len(known) > most:
        known.popitem(last=False)


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
