"""The anthropic SDK, pointed straight at the lab."""

from collections.abc import AsyncIterator

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam, TextBlock, ToolParam, ToolUseBlock

from seawall.lab import Lab

HI: list[MessageParam] = [{"role": "user", "content": "hi"}]
SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[ToolParam] = [{"name": name, "input_schema": SCHEMA} for name in ("get_weather", "get_time")]


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=lab.url, api_key="sk-ant-lab", max_retries=0, timeout=10) as made:
        yield made


async def test_a_plain_message_has_text_usage_and_request_id(client: AsyncAnthropic) -> None:
    message = await client.messages.create(model="claude", max_tokens=100, messages=HI)
    block = message.content[0]
    assert isinstance(block, TextBlock)
    assert len(block.text.split()) == 12
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 12
    assert message._request_id is not None
    assert message._request_id.startswith("req_")


async def test_a_streamed_message_says_what_the_plain_one_says(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model="claude", max_tokens=100, messages=HI) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    plain = (await client.messages.create(model="claude", max_tokens=100, messages=HI)).content[0]
    assert isinstance(plain, TextBlock)
    assert text == plain.text
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 12


async def test_max_tokens_cuts(client: AsyncAnthropic) -> None:
    message = await client.messages.create(model="claude", max_tokens=3, messages=HI)
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("model", "called"), [("claude", ["get_weather"]), ("lab-tools", ["get_weather", "get_time"]), ("lab-no-tools", [])]
)
async def test_tool_calls_plain_and_streamed(client: AsyncAnthropic, model: str, called: list[str]) -> None:
    plain = await client.messages.create(model=model, max_tokens=100, messages=HI, tools=TOOLS)
    async with client.messages.stream(model=model, max_tokens=100, messages=HI, tools=TOOLS) as stream:
        streamed = await stream.get_final_message()
    for message in (plain, streamed):
        uses = [block for block in message.content if isinstance(block, ToolUseBlock)]
        assert [use.name for use in uses] == called
        assert all(use.input == {"city": "lab"} for use in uses)
        assert message.stop_reason == ("tool_use" if called else "end_turn")


async def test_tool_results_lead_to_the_final_answer(client: AsyncAnthropic) -> None:
    first = await client.messages.create(model="claude", max_tokens=100, messages=HI, tools=TOOLS)
    use = first.content[0]
    assert isinstance(use, ToolUseBlock)
    messages: list[MessageParam] = [
        *HI,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "fine"}]},
    ]
    second = await client.messages.create(model="claude", max_tokens=100, messages=messages, tools=TOOLS)
    assert second.stop_reason == "end_turn"


async def test_a_forced_tool_is_called(client: AsyncAnthropic) -> None:
    message = await client.messages.create(
        model="claude", max_tokens=9, messages=HI, tools=TOOLS, tool_choice={"type": "tool", "name": "get_time"}
    )
    assert [block.name for block in message.content if isinstance(block, ToolUseBlock)] == ["get_time"]


async def test_tokens_are_counted(client: AsyncAnthropic) -> None:
    short = await client.messages.count_tokens(model="claude", messages=HI)
    long = await client.messages.count_tokens(model="claude", messages=[{"role": "user", "content": "word " * 100}])
    assert 0 < short.input_tokens < long.input_tokens


async def test_models_are_listed_in_its_own_shape(client: AsyncAnthropic) -> None:
    assert "claude-sonnet-4-5" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("claude-x")).display_name == "claude-x"


@pytest.mark.parametrize(
    ("model", "raised"),
    [
        ("lab-400", anthropic.BadRequestError),
        ("lab-quota", anthropic.BadRequestError),
        ("lab-401", anthropic.AuthenticationError),
        ("lab-403", anthropic.PermissionDeniedError),
        ("lab-404", anthropic.NotFoundError),
        ("lab-429", anthropic.RateLimitError),
        ("lab-500", anthropic.InternalServerError),
        ("lab-overloaded", anthropic.InternalServerError),
        ("lab-reset", anthropic.APIConnectionError),
        ("lab-mistyped", anthropic.NotFoundError),
    ],
)
async def test_faults_raise_the_sdks_exceptions(
    client: AsyncAnthropic, model: str, raised: type[anthropic.AnthropicError]
) -> None:
    with pytest.raises(raised):
        await client.messages.create(model=model, max_tokens=100, messages=HI)


async def test_an_error_event_raises_in_the_midst_of_a_stream(client: AsyncAnthropic) -> None:
    seen = 0
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with client.messages.stream(model="lab-error-6-overloaded", max_tokens=100, messages=HI) as stream:
            async for _ in stream.text_stream:
                seen += 1
    assert seen == 3


async def test_a_message_needs_max_tokens(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        await client.post("/v1/messages", body={"model": "claude", "messages": HI}, cast_to=object)
