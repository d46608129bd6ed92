"""The page on caching says what the code does: its fields, their defaults, and what is left out of keys."""

import re
from pathlib import Path

from seawall.dialects import REGISTRY, _anthropic_cache, _gemini_cache, _openai_cache
from seawall.policy.blocks import Cache
from seawall.policy.cache_settings import DEFAULTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "caching.md").read_text()
ROWS = re.findall(r"^\| `cache\.(\w+)` \| `(\S+)` \|", PAGE, re.MULTILINE)


def test_the_page_lists_every_field_with_the_default_that_holds() -> None:
    fields = {str(field.alias) for field in Cache.model_fields.values()}
    assert {name for name, _ in ROWS} == fields
    assert {f"cache.{name}": default for name, default in ROWS if name != "mode"} == DEFAULTS


def test_both_pages_say_the_same_of_defaults() -> None:
    text = (DOCS / "documents.md").read_text()
    assert re.findall(r"^\| `cache\.(\w+)` \| \w+ \| `(\S+)` \|", text, re.MULTILINE) == ROWS


def test_the_page_lists_what_is_left_out_of_keys_and_what_is_not() -> None:
    for dialect, module in (("OpenAI", _openai_cache), ("Anthropic", _anthropic_cache), ("Gemini", _gemini_cache)):
        (row,) = re.findall(rf"^\| {dialect} \| (.*) \|$", PAGE, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == module.NO_MATTER
        for name in REGISTRY[dialect].cache_fields:
            assert f"`{name.decode()}`" in PAGE


def test_every_dialect_has_said_what_it_keeps() -> None:
    assert {name for name, dialect in REGISTRY.items() if not dialect.cache_fields} == {"Bedrock", "Generic"}
