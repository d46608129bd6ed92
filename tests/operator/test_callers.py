"""Whose token it is: asked of the API server once in a while, whatever is sent."""

import asyncio

import pytest

from seawall_operator import callers
from seawall_operator.callers import BAD_TOKEN, FOREIGN, NO_REVIEW, NO_TOKEN, Callers
from seawall_operator.kube import ApiError, Caller


class Server:
    """What it is asked, and how many times at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once = self.most = 0
        self.away = False

    async def review(self, token: str) -> Caller | None:
        self.asked.append(token)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if self.away:
            raise ApiError(0, "Away", "")
        return Caller("team", "default", token) if token.startswith("good") else None


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_token_is_asked_for_once_in_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Callers(server.review)
    assert known.known("Bearer good", "team") is None
    for _ in range(3):
        assert await known.ask("Bearer good", "team") == Caller("team", "default", "good")
        assert await known.ask("Bearer bad", "team") is BAD_TOKEN
    assert known.known("bearer  good ", "team") == Caller("team", "default", "good")
    assert server.asked == ["good", "bad"]
    monkeypatch.setattr(callers, "GOOD_SECONDS", 0.0)
    monkeypatch.setattr(callers, "BAD_SECONDS", 0.0)
    assert known.known("Bearer good", "team") is None and known.known("Bearer bad", "team") is None
    await known.ask("Bearer good", "team")
    await known.ask("Bearer bad", "team")
    assert server.asked == ["good", "bad"] * 2


async def test_a_token_that_is_good_no_more_is_not_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Callers(server.review)
    await known.ask("Bearer good", "team")
    with monkeypatch.context() as later:
        later.setattr(callers, "GOOD_SECONDS", 0.0)

        async def revoked(token: str) -> Caller | None:
            return None

        later.setattr(known, "_review", revoked)
        assert await known.ask("Bearer good", "team") is BAD_TOKEN
    assert known.known("Bearer good", "team") is BAD_TOKEN


async def test_another_namespaces_token_reads_nothing(server: Server) -> None:
    known = Callers(server.review)
    assert await known.ask("Bearer good", "other") is FOREIGN
    assert known.known("Bearer good", "other") is FOREIGN


@pytest.mark.parametrize("field", ["", "Bearer", "Bearer ", "Basic good", "good"])
async def test_what_is_no_token_is_not_asked_for(server: Server, field: str) -> None:
    assert await Callers(server.review).ask(field, "team") is NO_TOKEN
    assert not server.asked


async def test_a_server_that_is_away_makes_no_token_bad(server: Server) -> None:
    known, server.away = Callers(server.review), True
    assert await known.ask("Bearer good", "team") is NO_REVIEW
    server.away = False
    assert await known.ask("Bearer good", "team") == Caller("team", "default", "good")


async def test_invented_tokens_push_no_good_one_out_and_are_asked_for_a_few_at_a_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "MAX_BAD_TOKENS", 50)
    known = Callers(server.review)
    await known.ask("Bearer good", "team")
    await asyncio.gather(*(known.ask(f"Bearer invented-{number}", "team") for number in range(500)))
    assert server.most == callers.AT_ONCE
    assert known.known("Bearer good", "team") == Caller("team", "default", "good")
    assert known.known("Bearer invented-0", "team") is None, "forgotten again"
