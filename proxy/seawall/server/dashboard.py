"""The admin port's start page: one small HTML document without scripts or external assets that refreshes itself. Every
value is escaped, and the page is served with a policy that lets no script run.
"""

import html
from collections.abc import Iterable, Mapping, Sequence

from seawall.telemetry import text_log
from seawall.telemetry.report import (
    BreakerView,
    RouteView,
    Severity,
    Snapshot,
    UpstreamView,
    route_level,
    service_level,
    severity,
    upstream_level,
)
from seawall.types import Event, ServiceLevel

REFRESH_SECONDS = 2
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

_STYLE = """
:root{color-scheme:light dark;--ok:#1a7f37;--warn:#9a6700;--bad:#cf222e;--line:#8884}
@media(prefers-color-scheme:dark){:root{--ok:#3fb950;--warn:#d29922;--bad:#f85149}}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:1.6rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);
vertical-align:top}th{font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
.ok{color:var(--ok)}.warn{color:var(--warn)}.bad{color:var(--bad)}
pre{font:13px/1.45 ui-monospace,monospace;overflow-x:auto;border:1px solid var(--line);padding:.6rem}
"""
_SHADES = {
    "full": "ok",
    "degraded": "warn",
    "offline": "bad",
    "ok": "ok",
    "warning": "warn",
    "critical": "bad",
    "closed": "ok",
    "half_open": "warn",
    "open": "bad",
    "isolated": "bad",
    "forced_closed": "warn",
}


def page(snapshot: Snapshot, events: Sequence[tuple[float, Event]], wall: float, memory_bytes: int) -> str:
    """The whole document. `events`: newest first, each with its time of day; `wall`: seconds since 1970."""
    levels = {u.name: upstream_level(u) for u in snapshot.upstreams}
    lines = "\n".join(filter(None, (text_log.line(event, at) for at, event in events)))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>seawall</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{REFRESH_SECONDS}">
<style>{_STYLE}</style></head><body>
<h1>seawall {_shaded(service_level(snapshot).value)}</h1>
<p>{_facts(snapshot, wall, memory_bytes)}</p>
<h2>Upstreams</h2>
{_table(_UPSTREAM_HEADS, [_upstream(u, levels) for u in snapshot.upstreams])}
<h2>Routes</h2>
{_table(("Route", "Matches", "Upstreams in order", "Level"), [_route(r, levels) for r in snapshot.routes])}
{_shadow(snapshot)}<h2>Last events</h2>
<pre>{_text(lines or "none yet")}</pre>
<p><a href="/health">health</a> · <a href="/state">state</a> · <a href="/metrics">metrics</a></p>
</body></html>
"""


_UPSTREAM_HEADS = ("Upstream", "Level", "Breakers", "Errors", "p50", "p95", "p99", "In flight", "Retry budget")


def _shadow(snapshot: Snapshot) -> str:
    """What policies that are only evaluated would have done; nothing where there are none."""
    circuits = [[f"<b>{_text(u.name)}</b>", _circuits(u.shadow)] for u in snapshot.upstreams if u.shadow]
    counts = [
        [
            _text(c.route),
            _text(c.upstream),
            c.about,
            c.would if c.would == c.did else f"<b>{c.would}</b>",
            c.did,
            f"{c.count}",
        ]
        for c in snapshot.shadow
    ]
    if not (circuits or counts):
        return ""
    tables = _table(("Route", "Upstream", "About", "Would", "Did", "Times"), counts) if counts else ""
    tables += _table(("Upstream", "Breakers would be"), circuits) if circuits else ""
    return f"<h2>Shadow policies: nothing of this was done</h2>\n{tables}\n"


def _facts(snapshot: Snapshot, wall: float, memory_bytes: int) -> str:
    process = snapshot.process
    facts = [
        f"version {process.version}",
        f"policy {process.revision or 'none yet'}",
        f"up {_duration(max(0.0, wall - process.started))}",
        f"{memory_bytes / 2**20:.0f} MiB",
        f"{process.calls} calls, {process.failed} failed",
        f"{process.in_flight} in flight",
        f"{process.streams_open} streams open",
    ]
    shown = _text(" · ".join(facts))
    if process.draining:
        shown += ' · <b class="warn">draining</b>'
    if process.reload and process.reload.errors:
        shown += f'<br><b class="bad">last policy refused:</b> {_text(process.reload.errors[0])}'
    return shown


def _upstream(upstream: UpstreamView, levels: Mapping[str, ServiceLevel]) -> list[str]:
    notes = [
        f"{kind} {r.model}" for kind, of in (("cooldown", upstream.cooldowns), ("parked", upstream.parked)) for r in of
    ]
    if upstream.credential is not None:
        notes.append(f"credential {upstream.credential.problem}")
    noted = f'<br><small class="warn">{_text(", ".join(notes))}</small>' if notes else ""
    bad = severity(upstream)
    rate = "–" if upstream.error_rate is None else f"{upstream.error_rate:.1%}"
    errors = rate if bad is Severity.OK else _shaded(bad.value, rate)
    queued = f" +{upstream.limit.queued} waiting" if upstream.limit.queued else ""
    return [
        f"<b>{_text(upstream.name)}</b><br><small>{_text(upstream.origin)}</small>",
        _shaded(levels[upstream.name].value) + noted,
        _circuits(upstream.breakers) or "–",
        errors,
        *(_seconds(p) for p in (upstream.p50, upstream.p95, upstream.p99)),
        f"{upstream.limit.in_flight}{queued}",
        f"{upstream.retry_budget:.0f}",
    ]


def _circuits(breakers: Iterable[BreakerView]) -> str:
    return "<br>".join(
        f"{_shaded(b.state)} {_text(b.key)}"
        + (f" <small>({_text(b.reason)})</small>" if b.reason and b.state != "closed" else "")
        for b in breakers
    )


def _route(route: RouteView, levels: Mapping[str, ServiceLevel]) -> list[str]:
    order = sorted(route.candidates, key=lambda c: c.group)
    names = (f"{c.upstream} as {c.model}" if c.model else c.upstream for c in order)
    return [
        f"<b>{_text(route.route)}</b> {_text(route.rule)}",
        "<br>".join(_text(m) for m in route.matches),
        _text(", ".join(names)),
        _shaded(route_level(route, levels).value),
    ]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _shaded(word: str, text: str = "") -> str:
    return f'<span class="{_SHADES.get(word, "")}">{_text(text or word.replace("_", "-"))}</span>'


def _text(value: str) -> str:
    return html.escape(value.encode("utf-8", "backslashreplace").decode("utf-8"))


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
