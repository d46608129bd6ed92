"""What a replica passes on arrives, in pieces that the other one takes, and again where it did not."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from ports import free_port

from seawall_operator import peers
from seawall_operator.kube import Caller
from seawall_operator.peers import Inbox, Outbox, Peering
from seawall_operator.serve import listen
from seawall_operator.sidecars import SEEN_SECONDS, Key, Report

KEY = ("team", "default")


class Two:
    """A replica that leads, when it is up, and one that does not."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        (folder / "token").write_text("operator\n")
        self.heard: dict[str, Report] = {}
        self.port = free_port()
        self.leader = f"https://127.0.0.1:{self.port}"
        self.said = 0
        self._certificate = authority.issue_cert("operator.example")
        self._peering = Peering(folder / "token", lambda: authority.cert_pem.bytes().decode(), "operator.example")
        self.outbox = Outbox(self._peering, lambda: self.leader)

    async def up(self) -> None:
        async def review(token: str) -> Caller | None:
            return {"operator": Caller("seawall", "operator", ""), "agent": Caller("team", "default", "p")}.get(token)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        self.runner, _ = await listen(Inbox(self._peering, review, self._say).routes(), "127.0.0.1", self.port, context)

    def _say(self, key: Key, pod: str, report: Report) -> None:
        self.heard[pod] = report
        self.said += 1

    async def until(self, pods: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < pods:
                await asyncio.sleep(0.01)


@pytest.fixture
async def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(peers, "GATHER", 0.01)
    monkeypatch.setattr(peers, "RETRY", 0.05)
    found = Two(tmp_path)
    running = asyncio.create_task(found.outbox.run())
    yield found
    running.cancel()
    await found.runner.cleanup()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_what_thousands_refuse_with_long_reasons_arrives(two: Two) -> None:
    await two.up()
    for number in range(2500):
        two.outbox.put(KEY, f"p{number}", Report("old", "new", "ü" * 1000, now()))
    await two.until(2500)
    assert two.heard["p7"].error == "ü" * 1000


async def test_what_could_not_be_delivered_is_once_it_can_be_and_only_the_last_word(two: Two) -> None:
    two.outbox.put(KEY, "a", Report("old", at=now()))
    two.outbox.put(KEY, "b", Report("old", at=now()))
    await asyncio.sleep(0.2)
    two.outbox.put(KEY, "a", Report("new", at=now()))
    await two.up()
    await two.until(2)
    assert two.heard["a"].running == "new" and two.heard["b"].running == "old" and two.said == 2


async def test_while_nobody_leads_what_counts_is_kept_and_nothing_else(two: Two) -> None:
    await two.up()
    address, two.leader = two.leader, ""
    two.outbox.put(KEY, "gone", Report("old", at=now() - SEEN_SECONDS - 1))
    two.outbox.put(KEY, "there", Report("old", at=now()))
    await asyncio.sleep(0.2)
    two.leader = address
    await two.until(1)
    assert set(two.heard) == {"there"}


async def test_memory_has_an_end_however_long_nobody_leads(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_REPORTS", 3)
    await two.up()
    address, two.leader = two.leader, ""
    for number in range(10):
        two.outbox.put(KEY, f"p{number}", Report("old", at=now()))
    await asyncio.sleep(0.1)
    two.outbox.put(KEY, "p1", Report("new", at=now()))
    two.leader = address
    await two.until(3)
    assert set(two.heard) == {"p0", "p1", "p2"} and two.heard["p1"].running == "new"
