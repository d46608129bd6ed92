"""docs/lab.md tells the whole grammar, and tells it right."""

import re
from pathlib import Path

from seawall.lab.grammar import PARAMETERS, parse
from seawall.lab.words import WORDS

PAGE = (Path(__file__).parents[3] / "docs" / "lab.md").read_text(encoding="utf-8")


def test_every_word_and_parameter_is_documented_as_the_lab_itself_tells_it() -> None:
    missing = [word.form for word in WORDS if f"| `{word.form}` | `{word.example}` | {word.effect} |" not in PAGE]
    missing += [name for name, meaning in PARAMETERS.items() if f"| `{name}` | {meaning} |" not in PAGE]
    assert missing == []


def test_every_fault_in_an_example_parses() -> None:
    faults = re.findall(r"x-lab-fault: ([^'`|]+)['`]", PAGE) + re.findall(r'"(?:fault|then)": "([^"]+)"', PAGE)
    faults += re.findall(r'"model": "lab-([^"]+)"', PAGE)
    assert len(faults) >= 8
    for fault in faults:
        assert parse(fault).parts
