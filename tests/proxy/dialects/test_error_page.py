"""docs/errors.md tells users what the taxonomy says."""

import re
from pathlib import Path

from seawall.faults import Code

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
ROW = re.compile(r"^\| `([A-Z_]+)` \| (\d+) \| ([a-z_]+) \| (yes|no) \| (.+) \|$", re.MULTILINE)
UNSEEN = {Code.RACE_LOST, Code.AGENT_GONE, Code.AGENT_STALLED}


def test_the_page_lists_every_code_as_it_is() -> None:
    told = {Code(code): tuple(rest) for code, *rest in ROW.findall(PAGE.read_text())}
    known = {
        code: (
            str(code.rule.status),
            code.rule.category.value,
            "yes" if code.rule.recoverable else "no",
            code.rule.suggested_action,
        )
        for code in Code
        if code not in UNSEEN
    }
    assert told == known
