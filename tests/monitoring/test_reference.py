"""The reference in docs/ says what there is: every metric with its type and labels, every field of the log, and every
attribute of spans."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitoring.definitions import known

from seawall.telemetry import conventions
from seawall.telemetry.access_log import _UNLOGGED, _named
from seawall.types import (
    AttemptEnded,
    BreakerMoved,
    CallEnded,
    CoolingDown,
    CredentialParked,
    Event,
    Raced,
    Reloaded,
    ShadowMoved,
)

DOCS = Path(__file__).parents[2] / "docs"
EVENTS: tuple[Event, ...] = (
    AttemptEnded("", "", "", "", 1, "", None, 0.0),
    BreakerMoved("", "", "", "", ""),
    ShadowMoved("", "", "", "", ""),
    Raced("", "", "", 2, 1, 0.0),
    CoolingDown("", "", 0.0),
    CredentialParked("", "", 0.0, ""),
    Reloaded(""),
)
CODE = re.compile(r"`([^`]+)`")


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of a table with that heading's row."""
    lines = (DOCS / page).read_text().splitlines()
    start = lines.index(heading)
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def documented() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Name, type and labels of each metric; one cell may be for all names of its row, or each has its own."""
    for page in ("metrics.md", "operator.md"):
        for cells in rows(page, "| metric | type | labels | meaning |"):
            names = CODE.findall(cells[0])
            kinds, labels = cells[1].split(", "), cells[2].split("; ")
            for number, name in enumerate(names):
                kind = kinds[number if len(kinds) > 1 else 0]
                mine = labels[number if len(labels) > 1 else 0]
                yield name, kind, frozenset(filter(None, mine.split(", ")))


def test_every_metric_is_in_the_reference_with_its_type_and_labels() -> None:
    found = {name: (kind, labels) for name, kind, labels in documented() if name != "process_*"}
    there = {}
    for name, definition in known().items():
        if not name.startswith("process_"):
            family = re.sub("_(bucket|sum|count)$", "", name) if definition.kind == "histogram" else name
            there[family] = (definition.kind, definition.labels)
    assert found == there


def test_names_say_their_units() -> None:
    for name, definition in known().items():
        if definition.kind == "counter":
            assert name.endswith("_total"), name
        elif definition.kind == "histogram":
            assert re.search("_seconds_(bucket|sum|count)$", name), name


def test_every_field_of_a_calls_line_is_in_the_reference() -> None:
    found = [name for cells in rows("metrics.md", "| field | |") for name in CODE.findall(cells[0])]
    assert sorted(found) == sorted(CallEnded.__struct_fields__)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_field_of_another_line_is_in_the_reference(event: Event) -> None:
    name, _ = _named(event)
    table = {name: cells[1] for cells in rows("metrics.md", "| event | fields |") for name in CODE.findall(cells[0])}
    missing = [field for field in event.__struct_fields__ if f"`{field}`" not in table[name]]
    assert missing == []


def test_every_line_is_in_the_reference() -> None:
    written = {type(event) for event in EVENTS} | {CallEnded, *_UNLOGGED}
    assert written == set(Event.__args__)
    names = {_named(event)[0] for event in EVENTS} | {"call"}
    assert {
        name for cells in rows("metrics.md", "| event | when | level |") for name in CODE.findall(cells[0])
    } == names


def test_every_attribute_of_spans_is_in_the_reference() -> None:
    text = (DOCS / "traces.md").read_text()
    found = set(
        re.findall(r'"((?:seawall|gen_ai|db|http|server|url|error)\.[a-z_.]+)"', Path(conventions.__file__).read_text())
    )
    assert len(found) > 35
    assert [name for name in sorted(found) if f"`{name}`" not in text] == []
    values = {*conventions.PROVIDERS.values(), *conventions.HOSTS.values(), *conventions.DATABASES.values()}
    assert [name for name in sorted(values) if f"`{name}`" not in text] == []
