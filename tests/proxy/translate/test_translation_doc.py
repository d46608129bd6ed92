"""docs/translation.md: what it says is left out is what the code leaves out, with the same reasons."""

from collections.abc import Mapping
from pathlib import Path

from seawall.translate import anthropic_content, anthropic_request, gemini_content, gemini_request, gemini_tools
from seawall.translate import openai_chat_request as chat
from seawall.translate import openai_responses_input as items
from seawall.translate import openai_responses_request as responses

PAGE = Path(__file__).parents[3] / "docs" / "translation.md"
LEFT_OUT: dict[str, Mapping[str, str]] = {
    "chat": chat.HARMLESS,
    "responses": responses.HARMLESS,
    "responses: items": items.HARMLESS,
    "responses: `reasoning`": responses.HARMLESS_OF_REASONING,
    "responses: `include`": responses.INCLUDED,
    "messages": anthropic_request.LEFT_OUT,
    "messages: tools": anthropic_request.LEFT_OUT_OF_TOOLS,
    "messages: content": anthropic_content.HARMLESS,
    "generate": gemini_request.LEFT_OUT,
    "generate: parts": gemini_content.LEFT_OUT,
    "generate: `toolConfig`": gemini_tools.LEFT_OUT,
    "generate: `functionCallingConfig`": gemini_tools.LEFT_OUT_OF_CALLING,
}


def told() -> set[tuple[str, str, str]]:
    """Where, field and reason, as the page's table lists them."""
    table = PAGE.read_text().partition("## Left out")[2].partition("## ")[0]
    found = set()
    for line in table.splitlines():
        if not line.startswith("| ") or line.startswith("| where"):
            continue
        where, fields, why = line.strip("| ").split(" | ")
        found |= {(one, field.strip("`"), why) for one in where.split(", ") for field in fields.split(", ")}
    return found


def test_the_page_lists_what_is_left_out() -> None:
    assert told() == {(where, field, why) for where, table in LEFT_OUT.items() for field, why in table.items()}


def test_the_page_names_what_is_never_carried() -> None:
    page = PAGE.read_text()
    for field in ("previous_response_id", "conversation", "prompt"):
        assert field in responses.UNFIT
        assert f"`{field}`" in page
