"""The chart's dashboard and alerts ask for nothing that is not there."""

import json
import re
from pathlib import Path

import pytest
from helm import CHART
from monitoring.__main__ import texts
from monitoring.asked import labels, mistakes, series
from monitoring.definitions import known

from monitoring import alerts, dashboard

DOCS = Path(__file__).parents[2] / "docs"


def test_no_panel_and_no_alert_asks_for_what_does_not_exist() -> None:
    asked = [*dashboard.expressions(), *alerts.expressions()]
    assert len(asked) > 40
    assert mistakes(asked, known()) == []


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("sum(rate(seawall_request_total[5m]))", "no metric seawall_request_total"),
        ("sum by (model) (seawall_ready)", "no label model"),
        ('seawall_breaker_state{modell="x"} > 1', "no label modell"),
        ("histogram_quantile(0.99, rate(seawall_overhead_seconds[5m]))", "no metric seawall_overhead_seconds"),
        ("vector(1)", "no metric at all"),
    ],
)
def test_a_mistake_would_be_found(expression: str, mistake: str) -> None:
    assert mistake in mistakes([expression], known())[0]


def test_what_an_expression_asks_for() -> None:
    expression = (
        'sum by (le, route) (rate(a_bucket{pod=~"x{2}",b!="c"}[5m])) / on (namespace) group_left () d_total > 0.5'
    )
    assert series(expression) == {"a_bucket", "d_total"}
    assert labels(expression) == {"le", "route", "pod", "b", "namespace"}


def test_the_charts_files_are_the_newest() -> None:
    for name, text in texts().items():
        assert (CHART / "files" / name).read_text() == text


def test_every_alert_has_its_paragraph() -> None:
    headings = re.findall(r"^#+ (.*)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    anchors = {re.sub("[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for alert in alerts.ALERTS:
        assert alert.name.lower() in anchors, alert.name


def test_every_panel_has_a_place_of_its_own() -> None:
    panels = json.loads(texts()["dashboard.json"])["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not mine & cells and at["x"] + at["w"] <= 24
        cells |= mine
    assert len({panel["id"] for panel in panels}) == len(panels)
