"""Which candidates of another dialect a request may go to: what cannot be carried, what a model cannot do, what does
not fit into it, and what `fallbackOn` lists. The reasons stand in the log."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import anthropic
import openai
import pytest
from across import OTHER, SAME, across, after_its_own, anthropic_agent, key_file, only, openai_agent, other_first
from harness import lab, proxy, route, upstream
from peers import agent
from stage import LENIENT, ONE_TRY

ASK: list[Any] = [{"role": "user", "content": "hi"}]
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PATHS = {
    "chat": "/openai/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "messages": "/anthropic/v1/messages",
    "generate": "/gemini/v1beta/models/m:generateContent",
}
DIALECT = {"chat": "OpenAI", "responses": "OpenAI", "messages": "Anthropic", "generate": "Gemini"}
BASE: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": ASK},
    "responses": {"model": "m", "input": "hi", "store": False},
    "messages": {"model": "m", "max_tokens": 9, "messages": ASK},
    "generate": {"contents": [{"parts": [{"text": "hi"}]}]},
}
UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"n": 2}, "n"),
    ("chat", {"logprobs": True}, "logprobs"),
    ("chat", {"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}, "audio"),
    ("chat", {"web_search_options": {}}, "web_search_options"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages[0]"),
    ("chat", {"functions": [{"name": "f"}]}, "functions"),
    ("chat", {"top_secret_field": 1}, "top_secret_field"),
    ("responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("responses", {"conversation": "conv_1"}, "conversation"),
    ("responses", {"tools": [{"type": "web_search"}]}, "tools[0]"),
    ("responses", {"background": True}, "background"),
    ("responses", {"prompt": {"id": "p"}}, "prompt"),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ("messages", {"mcp_servers": [{"type": "url", "url": "http://x.test", "name": "x"}]}, "mcp_servers"),
    ("messages", {"container": "c"}, "container"),
    ("messages", {"speed": "fast"}, "speed"),
    ("generate", {"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
    ("generate", {"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
    ("generate", {"cachedContent": "cachedContents/abc"}, "cachedContent"),
    ("generate", {"generationConfig": {"topK": 3}}, "top_k"),
    ("generate", {"topSecretField": 1}, "topSecretField"),
]
STATE = frozenset({"previous_response_id", "conversation", "background", "prompt", "container", "cachedContent"})


@pytest.mark.parametrize(("operation", "fields", "name"), UNFIT)
async def test_what_cannot_be_carried_skips_the_candidate_by_name(
    tmp_path: Path, operation: str, fields: dict[str, Any], name: str
) -> None:
    """First with none left, then with its own provider behind it."""
    foreign, own = OTHER[DIALECT[operation]], SAME[DIALECT[operation]]
    body = {**BASE[operation], **fields}
    for backends in (only, other_first):
        async with across(tmp_path, backends) as at, agent(at.running) as http:
            answer = await http.post(PATHS[operation], json=body)
            call = await at.running.call()
            # What builds on state goes to its own provider in the first place: no other can hold it.
            if backends is only or name not in STATE:
                assert [text for text in call.skipped if text.startswith(f"{foreign}: {name}")], call.skipped
            assert at.lab.attempts(upstream=foreign) == []
            if backends is only:
                told = answer.json()
                assert (answer.status_code, told["seawall"]["code"]) == (503, "NO_CANDIDATE")
                assert f"{foreign}: {name}" in told["error"]["message"]
                assert (call.fault, call.attempts) == ("NO_CANDIDATE", 0)
            else:
                assert (answer.status_code, call.upstream) == (200, own)


async def test_sdks_raise_a_clear_error_where_no_candidate_is_left(tmp_path: Path) -> None:
    async with across(tmp_path) as at:
        async with openai_agent(at, max_retries=2) as gpt:
            with pytest.raises(openai.InternalServerError, match="n: ") as one:
                await gpt.chat.completions.create(model="m", messages=ASK, n=2)
            assert one.value.status_code == 503
        async with anthropic_agent(at, max_retries=2) as claude:
            with pytest.raises(anthropic.APIStatusError, match="tools"):
                await claude.messages.create(
                    model="m", max_tokens=9, messages=ASK, tools=[{"type": "web_search_20250305", "name": "web_search"}]
                )
        assert at.lab.attempts() == []
        # It stays so however often it is asked.
        assert len(at.running.calls) == 2


def capable(folder: Path, url: str, models: dict[str, str], rule: str = ONE_TRY, order: str = "") -> str:
    """Two upstreams of each dialect; models: what the policy tells of the model of each."""
    auth = f"auth: {{type: APIKey, keyFile: {key_file(folder)}}}\n{dedent(LENIENT)}"
    text = ""
    for name, dialect in (("o", "OpenAI"), ("p", "OpenAI"), ("a", "Anthropic"), ("b", "Anthropic")):
        base = f"{url}/u/{name}" + ("/v1" if dialect == "OpenAI" else "")
        told = f"models: [{{name: m, {models[name]}}}]\n" if name in models else ""
        text += upstream(name, base, dialect, auth + told)
    return (
        text
        + route("openai", "/openai/v1", order or "a b", f"dialect: OpenAI\n{rule}")
        + route("anthropic", "/anthropic", order or "o p", f"dialect: Anthropic\n{rule}")
    )


TOOL = {"type": "object", "properties": {}, "additionalProperties": False}
PICTURE = {"type": "image_url", "image_url": {"url": PIXEL}}
NEEDS: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"tools": [{"type": "function", "function": {"name": "t", "parameters": TOOL}}]}, "Tools"),
    ("chat", {"messages": [{"role": "user", "content": [PICTURE]}]}, "Images"),
    ("responses", {"tools": [{"type": "function", "name": "t", "parameters": TOOL}]}, "Tools"),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]}]}, "Images"),
    ("messages", {"tools": [{"name": "t", "input_schema": TOOL}]}, "Tools"),
    ("messages", {"output_config": {"format": {"type": "json_schema", "schema": TOOL}}}, "JSONSchema"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "fields", "need"), NEEDS)
async def test_what_a_model_cannot_do_skips_the_candidate_by_name(
    tmp_path: Path, operation: str, fields: dict[str, Any], need: str
) -> None:
    everything = {"Tools", "Images", "JSONSchema"}
    lacking = f"capabilities: [{', '.join(sorted(everything - {need}))}]"
    able = "capabilities: [Tools, Images, JSONSchema]"
    first, second = ("a", "b") if DIALECT[operation] == "OpenAI" else ("o", "p")
    async with lab() as providers:
        text = capable(tmp_path, providers.url, {first: lacking, second: able})
        async with proxy(text, tmp_path) as running, agent(running) as http:
            answer = await http.post(PATHS[operation], json={**BASE[operation], **fields})
            assert (answer.status_code, answer.headers["x-seawall-upstream"]) == (200, second), answer.text
            assert (await running.call()).skipped == (f"{first}: m has no {need}",)
            assert (await http.post(PATHS[operation], json=BASE[operation])).headers["x-seawall-upstream"] == first


@pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_too_long_goes_to_a_larger_window_across_dialects(
    tmp_path: Path, operation: str, stream: bool
) -> None:
    windows = {"o": 8_000, "p": 8_000, "a": 8_000, "b": 200_000}
    if operation == "messages":
        windows = {"a": 8_000, "b": 8_000, "o": 8_000, "p": 200_000}
    models = {name: f"contextTokens: {tokens}" for name, tokens in windows.items()}
    large = max(windows, key=lambda name: windows[name])
    for order in ("o a b", "a o b") if operation != "messages" else ("a o p", "o a p"):
        async with lab() as providers:
            text = capable(tmp_path, providers.url, models, order=order)
            async with proxy(text, tmp_path) as running, agent(running) as http:
                for name in windows:
                    providers.script([], upstream=name, then="ok" if name == large else "context")
                answer = await http.post(PATHS[operation], json={**BASE[operation], "stream": stream})
                assert (answer.status_code, answer.headers["x-seawall-upstream"]) == (200, large)
                # Those that are no larger were not asked in vain.
                assert {a.upstream for a in providers.attempts()} == {order[0], large}


LISTED = [
    ("auth", "Unauthorized"), ("forbidden", "Forbidden"), ("not-found", "NotFound"), ("filter", "ContentPolicy"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "listed"), LISTED)
async def test_a_refusal_fails_over_to_the_other_dialect_where_the_policy_lists_it(
    tmp_path: Path, fault: str, listed: str
) -> None:
    for reverse in (False, True):
        for rule, status in ((ONE_TRY, None), (f"{ONE_TRY}\nfallbackOn: [{listed}]\n", 200)):
            order = other_first if reverse else after_its_own
            async with across(tmp_path, order, rule) as at, agent(at.running) as http:
                for operation, path in PATHS.items():
                    first, second = order(DIALECT[operation]).split()
                    at.lab.script([fault], upstream=first)
                    answer = await http.post(path, json=BASE[operation])
                    wanted = first if status is None else second
                    assert answer.headers["x-seawall-upstream"] == wanted
                    # Gemini tells what its filter withheld within a 200.
                    good = status is not None or (operation, fault, first) == ("generate", "filter", "g")
                    assert answer.status_code == (status or answer.status_code) and (answer.status_code < 400) is good


async def test_names_of_models_are_mapped_for_translated_calls(tmp_path: Path) -> None:
    async with lab() as providers:
        auth = f"auth: {{type: APIKey, keyFile: {key_file(tmp_path)}}}\n"
        aliases = "models: [{name: claude-big, aliases: [house-model]}, {name: claude-small}]\n"
        text = upstream("a", f"{providers.url}/u/a", "Anthropic", auth + aliases)
        refs = {"plain": "", "one": ", model: claude-small", "map": ", modelMap: [{from: gpt-5*, to: claude-big}]"}
        for path, more in refs.items():
            chosen = route(path, f"/{path}/v1", "a", "dialect: OpenAI\n")
            text += chosen.replace("{name: a, priority: 0}", f"{{name: a, priority: 0{more}}}")
        async with proxy(text, tmp_path) as running, agent(running) as http:
            for path, asked, sent in (
                ("plain", "house-model", "claude-big"), ("plain", "other", "other"), ("one", "gpt-5", "claude-small"),
                ("map", "gpt-5-mini", "claude-big"), ("map", "house-model", "claude-big"), ("map", "x", "x"),
            ):  # fmt: skip
                answer = await http.post(f"/{path}/v1/chat/completions", json={"model": asked, "messages": ASK})
                assert answer.json()["model"] == answer.headers["x-seawall-model"] == sent
                assert providers.attempts()[-1].model == sent
