"""Rows of panels → a Grafana dashboard. Pure."""

from collections.abc import Iterator
from typing import Any

from monitoring.panels import ROWS, WHERE, Panel

_WIDTH, _HEIGHT = 8, 7
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> dict[str, Any]:
    """For Grafana 10 or newer. It asks for its data source, namespaces and pods."""
    return {
        "title": "seawall",
        "uid": "seawall",
        "tags": ["seawall"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def expressions() -> list[str]:
    """All that its panels and variables ask, as Prometheus would see it."""
    asked = [query for _, panels in ROWS for panel in panels for _, query in panel.queries]
    return [_selected(query).replace("$__rate_interval", "5m") for query in asked] + [
        f"{variable['series']}" for variable in _QUERIES
    ]


_QUERIES = (
    {"name": "namespace", "series": "seawall_ready", "query": "label_values(seawall_ready, namespace)"},
    {
        "name": "pod",
        "series": 'seawall_ready{namespace=~"$namespace"}',
        "query": 'label_values(seawall_ready{namespace=~"$namespace"}, pod)',
    },
)


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}
    for one in _QUERIES:
        yield {
            "name": one["name"],
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": one["query"], "refId": one["name"]},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, panels in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
        }
        number, top = number + 1, top + 1
        for index, panel in enumerate(panels):
            left = index % 3 * _WIDTH
            place = {"x": left, "y": top + index // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            yield _panel(panel, number, place)
            number += 1
        top += -(-len(panels) // 3) * _HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "legendFormat": legend, "expr": _selected(query)}
            for index, (legend, query) in enumerate(panel.queries)
        ],
    }


def _selected(query: str) -> str:
    return query.replace("$where", WHERE)
