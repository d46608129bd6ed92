"""What an agent hears while its stream is held back: nothing before a direct call would have said something, comments
from then on, and whatever comes of it leaves nothing behind."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import Running, lab, proxy, until
from held import COMMENT, HELD, KINDS, NO_RETRY, REST, ROLE, SSE, at, comments, one, pair, slowly, stream
from leaving import WHOLE as ASKED
from leaving import Heard, chunk, leave, nothing_held, unblamed
from leftovers import sockets
from peers import CHAT, QUICK, always, chat, request_head, serving, wire

from seawall.answer import Answer
from seawall.attempt import Attempt
from seawall.call import Call
from seawall.keep_alive import KeepAlive
from seawall.run import Run


@KINDS
async def test_a_held_stream_is_waited_for_with_comments_and_comes_whole(
    tmp_path: Path, dialect: str, path: str, body: Any
) -> None:
    async with lab() as upstreams:
        upstreams.script(["ok", "first-token-300ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD, dialect), tmp_path) as running:
            at_once = await wire(running, body, path=path)
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, got.field(b"content-type")) == (200, True, b"text/event-stream")
            said = comments(got)
            assert said >= 2
            assert len(got.body) - said * len(COMMENT) == len(at_once.body)
            # What was not known when it was opened comes behind it.
            call = await running.call(2)
            assert got.field(b"x-seawall-request-id") == call.call_id.encode()
            assert got.field(b"x-seawall-outcome") is None
            assert got.trailers[b"x-seawall-outcome"] == b"primary"
            assert got.trailers[b"x-seawall-upstream"] == b"a"
            assert set(got.trailers) == set((got.field(b"trailer") or b"").split(b", "))
            assert (call.status, call.outcome.value, call.stream, call.opened) == (200, "primary", True, True)
            assert (call.keep_alives, call.answer_bytes) == (said, len(got.body))
            assert call.first_content_seconds is not None and call.first_content_seconds > 0.25


async def test_an_answer_that_comes_in_time_is_what_it_was_without(tmp_path: Path) -> None:
    async with serving(always(stream(ROLE, REST))) as port:
        heard = []
        for rule in ("streaming: {keepAlive: 0s}\n", "", HELD):
            async with proxy(one(at(port), QUICK + rule), tmp_path) as running:
                got = await wire(running, chat(stream=True))
                call = await running.call()
                heard.append(got.data.replace(call.call_id.encode(), b"-"))
                assert not call.opened and not call.keep_alives
        assert heard[0] == heard[1] == heard[2]
        assert b"trailer" not in heard[0]


async def test_without_an_interval_a_held_agent_hears_nothing(tmp_path: Path) -> None:
    rule = QUICK + "streaming: {commit: Complete, keepAlive: 0s}\n"
    async with (
        serving(slowly(SSE + chunk(ROLE), chunk(REST) + b"0\r\n\r\n")) as port,
        proxy(one(at(port), rule), tmp_path) as running,
    ):
        got = await wire(running, chat(stream=True))
        assert (got.whole, comments(got), got.field(b"x-seawall-outcome")) == (True, 0, b"primary")


async def test_before_an_upstream_has_begun_well_the_status_is_kept_for_its_error(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-byte-200ms+503", "first-byte-200ms+400"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.status, got.field(b"x-seawall-attempts")) == (400, b"2")
            assert not (await running.call()).opened


async def test_a_head_that_comes_late_with_its_content_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-byte-300ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, comments(got), got.field(b"server")) == (True, 0, b"seawall-lab")


async def test_a_late_head_is_passed_on_as_it_is_where_content_soon_follows(tmp_path: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        for seconds, piece in ((0.3, SSE), (0.03, chunk(ROLE + REST) + b"0\r\n\r\n")):
            await asyncio.sleep(seconds)
            writer.write(piece)

    rule = QUICK + "streaming: {commit: Complete, keepAlive: 200ms}\n"
    async with serving(handle) as port, proxy(one(at(port), rule), tmp_path) as running:
        got = await wire(running, chat(stream=True))
        assert (got.whole, got.body, got.field(b"x-seawall-outcome")) == (True, ROLE + REST, b"primary")


async def test_a_held_prelude_and_an_upstreams_own_pings_are_waited_for_too(tmp_path: Path) -> None:
    pieces = [SSE + chunk(ROLE), *[chunk(b": ping\n\n")] * 3, chunk(REST), chunk(b": late\n\n"), b"0\r\n\r\n"]
    async with serving(slowly(*pieces, seconds=0.1)) as port:
        rule = QUICK + "streaming: {keepAlive: 60ms}\n"
        async with proxy(one(at(port), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert got.whole
            assert comments(got) >= 3
            # From the commit on the upstream speaks for itself, however long it is silent.
            assert got.body.endswith(ROLE + b": ping\n\n" * 3 + REST + b": late\n\n")


async def test_an_opened_answer_is_not_committed_and_the_next_attempt_answers(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms+cut-6", "503", "first-token-100ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.status, got.whole, b"error" in got.body) == (200, True, False)
            assert comments(got) >= 2
            assert got.body.count(b'"role"') == got.body.count(b"[DONE]") == 1
            assert (got.trailers[b"x-seawall-outcome"], got.trailers[b"x-seawall-attempts"]) == (b"retry", b"3")


async def test_comments_go_on_while_an_opened_call_waits_for_its_next_attempt(tmp_path: Path) -> None:
    rule = "retry: {attempts: 0}\n" + HELD
    async with lab() as upstreams:
        upstreams.script(["first-token-100ms+cut-6"], upstream="a")
        upstreams.script(["first-byte-300ms"], upstream="b")
        policy = pair(f"{upstreams.url}/u/a/v1", f"{upstreams.url}/u/b/v1", rule)
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, got.trailers[b"x-seawall-outcome"]) == (True, b"failover")
            assert comments(got) >= 3


async def test_a_route_whose_clients_may_fail_on_comments_gets_none(tmp_path: Path) -> None:
    async with (
        serving(slowly(SSE + chunk(ROLE), chunk(REST) + b"0\r\n\r\n")) as port,
        proxy(one(at(port), NO_RETRY + HELD, "Generic"), tmp_path) as running,
    ):
        got = await wire(running, chat(stream=True))
        assert (got.whole, got.body) == (True, ROLE + REST)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_agent_that_leaves_while_comments_flow_ends_everything_at_once(tmp_path: Path, how: str) -> None:
    heard = Heard(SSE + chunk(ROLE))
    async with serving(heard) as port, proxy(one(at(port), QUICK + HELD), tmp_path) as running:
        ingress = running.service._ingress
        assert ingress is not None
        before = sockets()

        def commented() -> bool:
            exchanges = [line._current for line in ingress._lines]
            return any(e is not None and e.sent_bytes >= 3 * len(COMMENT) for e in exchanges)

        await leave(how, ASKED, port=running.service.port, when=commented)
        await until(lambda: heard.left == 1 and ingress.connections == 0 and nothing_held(running), 1.0)
        await until(lambda: sockets() == before)
        # No timer goes on behind it.
        await until(lambda: alive() == [])
        call = await running.call()
        assert (call.fault, call.status, call.opened) == ("AGENT_GONE", 200, True)
        assert call.keep_alives and call.keep_alives >= 3
        assert unblamed(running)


def alive() -> list[object]:
    """What calls are made of; an armed timer would hold on to it."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, KeepAlive | Run | Attempt | Answer | Call)]


async def test_a_hundred_held_calls_leave_nothing_behind(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="first-token-400ms")
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            await wire(running, chat(stream=True))
            tasks, open_before = len(asyncio.all_tasks()), sockets()
            for _ in range(2):
                every = await asyncio.gather(*(wire(running, chat(stream=True)) for _ in range(100)))
                assert all(got.whole and comments(got) for got in every)
            await until(lambda: running.service.engine.calls == 0 and len(running.calls) == 201)
            del every
            await until(lambda: len(asyncio.all_tasks()) == tasks)
            assert alive() == []
            await running.service._pool.close()
            await until(lambda: sockets() <= open_before)


async def metrics(running: Running) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{running.admin_url}/metrics")).text


async def test_opened_answers_and_comments_are_counted(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["ok", "first-token-150ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            await wire(running, chat(stream=True))
            await running.call()
            assert "seawall_answers_opened_total{" not in await metrics(running)
            said = comments(await wire(running, chat(stream=True)))
            await running.call(2)
            text = await metrics(running)
            assert 'seawall_answers_opened_total{route="models"} 1.0' in text
            assert f'seawall_keep_alives_total{{route="models"}} {float(said)}' in text


async def test_a_plain_call_and_a_stream_that_is_not_held_get_no_comments(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["latency-200ms", "first-token-200ms"])
        rule = NO_RETRY + "streaming: {keepAlive: 60ms}\n"
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running:
            assert (await wire(running, chat())).field(b"content-type") == b"application/json"
            # No other attempt is possible, so nothing is held: the upstream's own head is there at once.
            got = await wire(running, chat(stream=True), path=CHAT)
            assert (got.whole, comments(got), got.field(b"server")) == (True, 0, b"seawall-lab")
