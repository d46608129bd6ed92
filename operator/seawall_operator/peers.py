"""Replicas among each other: one that does not write passes on what its sidecars say to the one that does.

Whoever sends must show a token of the operator's own service account, for the audience that sidecars' tokens have too:
an agent's pod cannot speak for others. What cannot be delivered is tried again for as long as it counts.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from seawall_operator.bundles import Review
from seawall_operator.kube import ApiError, Caller
from seawall_operator.sidecars import SEEN_SECONDS, Key, Report

GATHER = 0.25
TIMEOUT = 5.0
RETRY = 1.0
MAX_REPORTS = 50_000
BATCH = 100
"""Reports in one request: a sidecar's reason to refuse a bundle may be a thousand characters long."""
REVIEW_SECONDS = 60.0
"""What the API server says of a peer's token holds so long: there may be a hundred requests after an edit."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peering:
    """token_file: with which this replica shows who it is. authority: that peers are trusted by, PEM; "": as the system
    has it. name: that their certificates must have."""

    token_file: Path
    authority: Callable[[], str]
    name: str


class Outbox:
    """Of a replica that does not lead."""

    def __init__(self, peering: Peering, leader: Callable[[], str]) -> None:
        """`leader`: the address of the one that does; "" while there is none."""
        self._peering = peering
        self._leader = leader
        self._reports: dict[tuple[Key, str], Report] = {}
        self._any = asyncio.Event()
        self._cut_off = False
        self._trusted: tuple[str, ssl.SSLContext] | None = None

    def put(self, key: Key, pod: str, report: Report) -> None:
        if len(self._reports) < MAX_REPORTS or (key, pod) in self._reports:
            self._reports[key, pod] = report
            self._any.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT)) as session:
            while True:
                await self._any.wait()
                await asyncio.sleep(GATHER)
                self._any.clear()
                if not await self._deliver(session):
                    await asyncio.sleep(RETRY)

    async def _deliver(self, session: aiohttp.ClientSession) -> bool:
        """False: something is left."""
        reports, self._reports = self._reports, {}
        rows = list(reports.items())
        address = self._leader()
        for begin in range(0, len(rows), BATCH):
            if not (address and await self._send(session, address, rows[begin : begin + BATCH])):
                self._keep(rows[begin:])
                return not self._reports
        return True

    def _keep(self, rows: Sequence[tuple[tuple[Key, str], Report]]) -> None:
        """Of what was not delivered, what still counts and was not said anew."""
        now = asyncio.get_running_loop().time()
        for (key, pod), report in rows:
            if now - report.at < SEEN_SECONDS and (key, pod) not in self._reports:
                self.put(key, pod, report)

    async def _send(
        self, session: aiohttp.ClientSession, address: str, reports: Sequence[tuple[tuple[Key, str], Report]]
    ) -> bool:
        now = asyncio.get_running_loop().time()
        rows = [[*key, pod, r.running, r.refused, r.error, now - r.at] for (key, pod), r in reports]
        try:
            token = (await asyncio.to_thread(self._peering.token_file.read_text)).strip()
            headers = {"Authorization": f"Bearer {token}"}
            url, name = f"{address}/v1/reports", self._peering.name
            async with session.post(url, json=rows, headers=headers, ssl=self._trust(), server_hostname=name) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if not self._cut_off:
                log.warning("reports are not passed on to %s for now: %s", address, error or type(error).__name__)
            self._cut_off = True
            return False
        self._cut_off = False
        return True

    def _trust(self) -> ssl.SSLContext:
        """The same one for the same authority: the connection is used again."""
        authority = self._peering.authority()
        if self._trusted is None or self._trusted[0] != authority:
            self._trusted = authority, ssl.create_default_context(cadata=authority or None)
        return self._trusted[1]


class Inbox:
    """Of the one that leads."""

    def __init__(self, peering: Peering, review: Review, say: Callable[[Key, str, Report], None]) -> None:
        self._peering = peering
        self._review = review
        self._say = say
        self._own: Caller | None = None
        self._known: tuple[str, float] = "", float("-inf")
        """A peer's token, and when it was reviewed."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/reports", self._reports)]

    async def _reports(self, request: web.Request) -> web.Response:
        if not await self._is_peer(request.headers.get("Authorization", "").removeprefix("Bearer ")):
            raise web.HTTPForbidden(text="only the operator's own replicas pass reports on\n")
        now = asyncio.get_running_loop().time()
        try:
            rows = [_row(row, now) for row in (await request.json())[:MAX_REPORTS]]
        except (json.JSONDecodeError, TypeError, ValueError):
            raise web.HTTPBadRequest(text="not a list of reports\n") from None
        for key, pod, report in rows:
            self._say(key, pod, report)
        return web.Response(status=204)

    async def _is_peer(self, token: str) -> bool:
        now = asyncio.get_running_loop().time()
        if token and token == self._known[0] and now - self._known[1] < REVIEW_SECONDS:
            return True
        try:
            if self._own is None:
                own = await asyncio.to_thread(self._peering.token_file.read_text)
                self._own = await self._review(own.strip())
            caller = await self._review(token) if token else None
        except (ApiError, OSError) as error:
            log.warning("a replica's token could not be reviewed: %s", error)
            return False
        own_account = self._own and (self._own.namespace, self._own.service_account)
        if caller is None or (caller.namespace, caller.service_account) != own_account:
            return False
        self._known = token, now
        return True


def _row(row: Any, now: float) -> tuple[Key, str, Report]:
    namespace, profile, pod, running, refused, error, age = row
    at = now - max(0.0, float(age))
    return (str(namespace), str(profile)), str(pod), Report(str(running), str(refused), str(error), at)
