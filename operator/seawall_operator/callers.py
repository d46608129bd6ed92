"""Whose token it is that a sidecar shows, as the API server says; kept for a while."""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from seawall_operator.kube import ApiError, Caller

GOOD_SECONDS, BAD_SECONDS = 600.0, 60.0
"""What the API server says of a token holds so long: thousands of sidecars would ask it hundreds of times a second. A
token that was taken back meanwhile reads the policy of its own namespace for a while yet."""
MAX_TOKENS = 20_000

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
        self._known: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()

    def known(self, authorization: str, namespace: str) -> Caller | Denied | None:
        """Of an Authorization field; None where the API server must be asked first."""
        token = _token(authorization)
        if not token:
            return NO_TOKEN
        found = self._known.get(_digest(token))
        if found is None:
            return None
        at, caller = found
        if asyncio.get_running_loop().time() - at >= (GOOD_SECONDS if caller is not None else BAD_SECONDS):
            return None
        return BAD_TOKEN if caller is None else caller if caller.namespace == namespace else FOREIGN

    async def ask(self, authorization: str, namespace: str) -> Caller | Denied:
        """The same, and the API server is asked where it must be."""
        if (found := self.known(authorization, namespace)) is not None:
            return found
        token = _token(authorization)
        try:
            caller = await self._review(token)
        except ApiError as error:
            log.warning("a token could not be reviewed: %s", error)
            return NO_REVIEW
        digest = _digest(token)
        self._known[digest] = asyncio.get_running_loop().time(), caller
        self._known.move_to_end(digest)
        while len(self._known) > MAX_TOKENS:
            self._known.popitem(last=False)
        return self.known(authorization, namespace) or BAD_TOKEN


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
