"""What answers when no upstream can: the policy's own text, as a whole answer or as the agent's usual error."""

import asyncio
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message, TextBlock
from harness import lab, proxy, route, upstream
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from peers import CHAT, agent, chat

from seawall.lab import Lab
from seawall.server import admin_client

AWAY = 'fallback: [{type: StaticResponse, status: %d, text: "{model} is away ({code})"}]\nretry: {attempts: 0}\n'
TALK: Any = [{"role": "user", "content": "hi"}]


def policy(upstreams: Lab, dialect: str = "OpenAI", rule: str = AWAY % 200, then: str = "") -> str:
    path = "" if dialect == "Anthropic" else "/v1"
    base = f"{upstreams.url}/u/a{path}" if dialect != "Generic" else f"{upstreams.url}/u/a"
    return upstream("a", base, dialect) + route("chat", path or "/", "a", rule)


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_takes_it_for_an_answer(tmp_path: Path, stream: bool) -> None:
    async with lab() as upstreams, proxy(policy(upstreams), tmp_path) as running:
        upstreams.script(["503"], repeat=True)
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="k", max_retries=0) as client:
            done: ChatCompletion
            response: Response
            if stream:
                async with client.chat.completions.stream(model="gpt", messages=TALK) as events:
                    done = await events.get_final_completion()
                async with client.responses.stream(model="gpt", input="hi") as answers:
                    response = await answers.get_final_response()
            else:
                done = await client.chat.completions.create(model="gpt", messages=TALK, n=2)
                assert len(done.choices) == 2
                response = await client.responses.create(model="gpt", input="hi")
            assert done.choices[0].message.content == "gpt is away (OVERLOADED)"
            assert (done.choices[0].finish_reason, done.model) == ("stop", "gpt")
            assert (response.output_text, response.status) == ("gpt is away (OVERLOADED)", "completed")
            legacy = await client.completions.create(model="gpt", prompt="hi")
            assert legacy.choices[0].text == "gpt is away (OVERLOADED)"
            assert legacy.usage is not None
            assert legacy.usage.total_tokens == 0
        for call in running.calls:
            assert (call.outcome.value, call.service_level.value, call.status) == ("static", "offline", 200)
            assert call.fault == "OVERLOADED"


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_takes_it_for_an_answer(tmp_path: Path, stream: bool) -> None:
    async with lab() as upstreams, proxy(policy(upstreams, "Anthropic"), tmp_path) as running:
        upstreams.script(["529"], repeat=True)
        async with anthropic.AsyncAnthropic(base_url=running.url, api_key="k", max_retries=0) as client:
            done: Message
            if stream:
                async with client.messages.stream(model="claude", max_tokens=9, messages=TALK) as events:
                    done = await events.get_final_message()
            else:
                done = await client.messages.create(model="claude", max_tokens=9, messages=TALK)
            block = done.content[0]
            assert isinstance(block, TextBlock)
            assert (block.text, done.stop_reason) == ("claude is away (OVERLOADED)", "end_turn")
            assert (done.usage.input_tokens, done.usage.output_tokens) == (0, 0)


async def test_an_open_breaker_is_an_outage(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams), tmp_path) as running, agent(running) as client:
        upstreams.script(["500"], repeat=True)
        answers = [await client.post(CHAT, json=chat()) for _ in range(12)]
        assert {answer.headers["x-seawall-outcome"] for answer in answers} == {"static"}
        assert "BREAKER_OPEN" in {call.fault for call in running.calls}


async def test_by_default_it_is_the_agents_usual_error_with_the_policys_words(tmp_path: Path) -> None:
    rule = AWAY.replace("status: %d, ", "")
    async with lab() as upstreams, proxy(policy(upstreams, rule=rule), tmp_path) as running:
        upstreams.script(["reset"], repeat=True)
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError) as told:
                await client.chat.completions.create(model="gpt", messages=TALK)
        assert told.value.status_code == 503
        assert "gpt is away (CONNECTION_LOST)" in str(told.value)
        assert told.value.response.headers["x-seawall-outcome"] == "static"
        assert told.value.response.json()["seawall"]["code"] == "CONNECTION_LOST"


async def test_a_generic_route_answers_with_the_text_as_it_stands(tmp_path: Path) -> None:
    rule = "fallback: [{type: StaticResponse, status: 200, text: '{\"rows\": []}'}]\nretry: {attempts: 0}\n"
    policy_text = upstream("a", "http://127.0.0.1:9", "Generic") + route("api", "/api", "a", rule)
    async with proxy(policy_text, tmp_path) as running, agent(running) as client:
        got = await client.get("/api/x")
        assert (got.status_code, got.json(), got.headers["content-type"]) == (200, {"rows": []}, "application/json")


@pytest.mark.parametrize("fault", ["400", "401", "404"])
async def test_a_refusal_is_no_outage_and_passes_as_it_is(tmp_path: Path, fault: str) -> None:
    async with lab() as upstreams, proxy(policy(upstreams), tmp_path) as running, agent(running) as client:
        upstreams.script([fault], repeat=True)
        got = await client.post(CHAT, json=chat())
        assert (got.status_code, got.headers["x-seawall-outcome"]) == (int(fault), "error")


async def test_further_groups_come_first(tmp_path: Path) -> None:
    async with lab() as upstreams:
        both = "".join(upstream(name, f"{upstreams.url}/u/{name}/v1") for name in "ab")
        async with (
            proxy(both + route("chat", "/v1", "a b", AWAY % 200), tmp_path) as running,
            agent(running) as client,
        ):
            upstreams.script(["503"], upstream="a", repeat=True)
            assert (await client.post(CHAT, json=chat())).headers["x-seawall-upstream"] == "b"
            upstreams.script(["503"], upstream="b", repeat=True)
            assert (await client.post(CHAT, json=chat())).headers["x-seawall-outcome"] == "static"


async def test_an_operation_without_such_an_answer_gets_the_error(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams), tmp_path) as running, agent(running) as client:
        upstreams.script(["503"], repeat=True)
        got = await client.post("/v1/embeddings", json={"model": "e", "input": "x"})
        assert (got.status_code, got.headers["x-seawall-outcome"]) == (503, "error")


async def test_offline_asks_no_upstream(tmp_path: Path) -> None:
    async with lab() as upstreams:
        text = policy(upstreams, rule="offline: Enabled\n" + AWAY % 200)
        async with proxy(text, tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, json=chat())
            assert got.json()["choices"][0]["message"]["content"] == "gpt is away (OFFLINE)"
        async with proxy(policy(upstreams, rule="offline: Enabled\n"), tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, json=chat())
            assert (got.status_code, got.json()["seawall"]["code"]) == (503, "OFFLINE")
        async with proxy(policy(upstreams), tmp_path) as running, agent(running) as client:
            running.service.engine.offline.add("chat")
            assert (await client.post(CHAT, json=chat())).headers["x-seawall-outcome"] == "static"
            running.service.engine.offline.clear()
            assert (await client.post(CHAT, json=chat())).headers["x-seawall-outcome"] == "primary"
        assert len(upstreams.attempts()) == 1


async def test_an_operator_takes_routes_offline_and_back(tmp_path: Path) -> None:
    async with lab() as upstreams:
        text = policy(upstreams) + route("other", "/other", "a")
        async with proxy(text, tmp_path) as running, agent(running) as client:

            async def act(verb: admin_client.Verb, name: str | None = None) -> object:
                return (await asyncio.to_thread(admin_client.set_offline, running.socket, verb, name))["offline"]

            async def outcomes() -> list[str]:
                got = [await client.post(path + CHAT.removeprefix("/v1"), json=chat()) for path in ("/v1", "/other")]
                return [one.headers["x-seawall-outcome"] for one in got]

            assert await act("offline", "chat") == ["chat"]
            assert await outcomes() == ["static", "primary"]
            report = (await client.get(f"{running.admin_url}/health")).json()
            assert (report["service_level"], report["routes"]["chat/main"]) == ("degraded", "offline")
            assert await act("offline") == ["chat", "other"]
            assert await outcomes() == ["static", "error"]
            assert (await client.get(f"{running.admin_url}/health")).status_code == 503
            assert await act("online", "other") == ["chat"]
            assert await outcomes() == ["static", "primary"]
            assert await act("online") == []
            assert await outcomes() == ["primary", "primary"]
            with pytest.raises(admin_client.AdminError, match='no route "chta"; known: chat, other'):
                await act("offline", "chta")
