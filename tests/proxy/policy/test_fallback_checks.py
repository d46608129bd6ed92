"""Fallback steps that contradict themselves, or would do nothing."""

from typing import Any

import pytest
from policy_documents import issues, one, policy, route, rule, upstream

STATIC = {"type": "StaticResponse", "text": "Sorry, {model} is away ({code}, {requestId})."}


def test_a_static_response_is_a_step_inline_and_in_a_policy() -> None:
    assert not issues(upstream(), route(rule(fallback=[STATIC])))
    assert not issues(upstream(), route(rule()), policy(fallback=[{**STATIC, "status": 200}]))


@pytest.mark.parametrize(
    ("steps", "severity", "path", "words"),
    [
        ([{"type": "StaticResponse"}], "error", "[0]", "needs text"),
        ([{**STATIC, "status": 204}], "error", "[0].status", "200, or 400"),
        ([{**STATIC, "status": 302}], "error", "[0].status", "200, or 400"),
        ([{**STATIC, "status": 199}], "error", "[0].status", "200"),
        ([{**STATIC, "text": "{modell}"}], "warning", "[0].text", "{modell} stands for nothing"),
        ([STATIC, STATIC], "warning", "[1]", "never reached"),
    ],
)
@pytest.mark.parametrize("inline", [True, False])
def test_what_a_fallback_must_not_say(
    steps: list[dict[str, Any]], severity: str, path: str, words: str, inline: bool
) -> None:
    if inline:
        found, at = one(upstream(), route(rule(fallback=steps))), "spec.rules[0].fallback"
    else:
        found, at = one(upstream(), route(rule()), policy(fallback=steps)), "spec.defaults.fallback"
    assert found[:2] == (severity, at + path)
    assert words in found[2]
