"""The lab's own marks in a stream (prelude, terminal events) are where the dialects' watches see them."""

import pytest

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.lab.answer import Answer, Mint
from seawall.lab.plan import Break, Scenario, Trouble
from seawall.lab.routes import Routes
from seawall.types import Facts, Head

TOOLS = {
    "chat": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "responses": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "messages": [{"name": "f", "input_schema": {"type": "object"}}],
}
PATHS = {"chat": "/chat/completions", "responses": "/responses", "messages": "/messages", "completions": "/completions"}
CASES = [("chat", 1, False), ("chat", 3, False), ("chat", 1, True), ("responses", 1, False), ("responses", 1, True),
         ("messages", 1, False), ("messages", 1, True), ("completions", 1, False)]  # fmt: skip


def streamed(operation: str, choices: int, tools: bool) -> tuple[Answer, Watch]:
    body: dict[str, object] = {"model": "m", "stream": True, "max_tokens": 50, "input": "hi", "prompt": "hi"}
    body["messages"] = [{"role": "user", "content": "hi"}]
    if choices > 1:
        body["n"] = choices
    if tools:
        body["tools"] = TOOLS[operation]
    found = Routes(lambda: 0.0).find(Head("POST", PATHS[operation], []), PATHS[operation])
    answer = found.answer(body, Scenario(), Mint(7, 1, 0.0))
    return answer, REGISTRY[found.family.name].watch(Facts(operation, choices=choices))


@pytest.mark.parametrize(("operation", "choices", "tools"), CASES)
def test_content_begins_right_behind_the_prelude(operation: str, choices: int, tools: bool) -> None:
    answer, watch = streamed(operation, choices, tools)
    for frame in answer.frames[: answer.prelude]:
        watch.feed(frame)
    assert not watch.content
    watch.feed(answer.frames[answer.prelude])
    assert watch.content


@pytest.mark.parametrize(("operation", "choices", "tools"), CASES)
def test_a_stream_without_its_terminal_events_is_not_whole(operation: str, choices: int, tools: bool) -> None:
    answer, watch = streamed(operation, choices, tools)
    for frame in answer.frames[: -answer.terminal]:
        watch.feed(frame)
    assert not watch.terminal
    for frame in answer.frames[-answer.terminal :]:
        watch.feed(frame)
    assert (watch.terminal, watch.fault) == (True, None)


@pytest.mark.parametrize(("operation", "choices", "tools"), CASES)
@pytest.mark.parametrize("how", [Break.ERROR, Break.FAILED])
@pytest.mark.parametrize("trouble", Trouble)
def test_an_error_event_is_the_fault_that_it_names(
    operation: str, choices: int, tools: bool, how: Break, trouble: Trouble
) -> None:
    answer, watch = streamed(operation, choices, tools)
    assert answer.error_event is not None
    watch.feed(answer.error_event(trouble, how is Break.FAILED, 0))
    assert watch.fault is not None
    assert (
        watch.fault.code.value
        in {
            Trouble.INVALID: {"INVALID_REQUEST"},
            Trouble.AUTH: {"UNAUTHORIZED"},
            Trouble.FORBIDDEN: {"FORBIDDEN"},
            Trouble.NOT_FOUND: {"NOT_FOUND"},
            Trouble.CONTEXT: {"CONTEXT_LENGTH"},
            Trouble.FILTER: {"CONTENT_POLICY"},
            Trouble.RATE_LIMIT: {"RATE_LIMITED"},
            Trouble.QUOTA: {"QUOTA_EXHAUSTED"},
            Trouble.SERVER: {"SERVER_ERROR"},
            Trouble.OVERLOADED: {"OVERLOADED"},
            Trouble.TIMEOUT: {"UPSTREAM_TIMEOUT"},
        }[trouble]
    )
