"""The figures of a run: as a table on the terminal, judged against their targets, and as a marked section of a page."""

import datetime
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

from check import Verdict


@dataclass(frozen=True, slots=True)
class Measured:
    """One side in one scenario. Times in microseconds; CPU per request, or per event of a stream."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    peak_mib: float
    answers: int
    wrong: int
    why: dict[str, int]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    stream: bool
    sides: dict[str, Measured]

    def added_us(self, side: str) -> float:
        """Median latency that a side adds to a direct call."""
        return self.sides[side].p50_us - self.sides["direct"].p50_us


@dataclass(slots=True)
class Figures:
    """Everything of one run."""

    tls: bool
    rounds: int
    ready_seconds: float
    idle_mib: float
    scenarios: list[Scenario] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(0, 0, {}))

    @property
    def wrong(self) -> int:
        """Answers of the proxy that were not whole and right."""
        return sum(s.sides["seawall"].wrong for s in self.scenarios) + sum(self.verdict.wrong.values())

    def targets(self) -> list[tuple[str, str, str, bool]]:
        """(what, measured, target, met) for everything that has a target."""
        rows: list[tuple[str, str, str, bool]] = []

        def row(what: str, value: float, most: float, form: str) -> None:
            rows.append((what, form.format(value), "≤ " + form.format(most), value <= most))

        for s in self.scenarios:
            floor, own = s.sides["floor"], s.sides["seawall"]
            if s.name == "plain":
                row("CPU per plain request", own.cpu_us / floor.cpu_us, 1.3, "{:.2f} × floor")
            elif s.name == "stream":
                row("CPU per streamed event", own.cpu_us / floor.cpu_us, 1.2, "{:.2f} × floor")
            elif s.name == "one":
                ratio = s.added_us("seawall") / s.added_us("floor")
                row("added latency on one connection", ratio, 1.3, "{:.2f} × floor")
            elif s.name == "hit":
                row("CPU per answer from the cache", own.cpu_us / floor.cpu_us, 0.5, "{:.2f} × floor")
            elif s.name == "hit-one":
                row("answer from the cache, median on one connection", own.p50_us / 1000, 0.4, "{:.2f} ms")
            elif s.name == "held":
                row("1,000 open streams", own.peak_mib, 130, "{:.0f} MiB")
        row("ready", self.ready_seconds, 1.5, "{:.2f} s")
        row("idle", self.idle_mib, 60, "{:.0f} MiB")
        row("wrong answers", self.wrong, 0, "{:.0f}")
        return rows

    def summary(self) -> list[str]:
        """What is printed below the tables."""
        checked = self.verdict
        lines = [f"{what:34}{value:>16}   target {target:16}{'' if met else 'MISSED'}".rstrip()
                 for what, value, target, met in self.targets()]  # fmt: skip
        answers = sum(s.sides["seawall"].answers for s in self.scenarios)
        lines.append(
            f"checked in full: {answers:,} answers of the load, {checked.checked} of a separate client under load"
            f" ({checked.streams} of them streams)"
        )
        reasons = [(s.name, why) for s in self.scenarios for why in s.sides["seawall"].why.items()]
        reasons += [("separate client", why) for why in checked.wrong.items()]
        lines += [f"WRONG ({where}): {count} × {text}" for where, (text, count) in reasons]
        return lines


_COLUMNS = ("scenario", "side", "answers/s", "p50 µs", "p99 µs", "CPU µs", "per", "peak MiB", "wrong")


def _rows(scenarios: list[Scenario]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for s in scenarios:
        for side, m in s.sides.items():
            unit = "event" if s.stream else "request"
            rows.append(
                (s.name, side, f"{m.per_second:,.0f}", f"{m.p50_us:,.0f}", f"{m.p99_us:,.0f}", f"{m.cpu_us:,.1f}", unit,
                 f"{m.peak_mib:.0f}", str(m.wrong))
            )  # fmt: skip
        floor, own = s.sides["floor"], s.sides["seawall"]
        ratios = [f"{own.per_second / floor.per_second:.2f}", f"{own.p50_us / floor.p50_us:.2f}"]
        ratios += [f"{own.p99_us / floor.p99_us:.2f}", f"{own.cpu_us / max(floor.cpu_us, 1e-9):.2f}", ""]
        rows.append((s.name, "÷ floor", *ratios, f"{own.peak_mib / floor.peak_mib:.2f}", ""))
    return rows


def table(scenarios: list[Scenario]) -> str:
    """For a terminal."""
    widths = (9, 9, 10, 10, 10, 9, 9, 9, 6)
    lines = []
    for row in [_COLUMNS, *_rows(scenarios)]:
        cells = [
            f"{c:<{w}}" if at in (0, 1) else f"{c:>{w}}" for at, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(figures: Figures) -> str:
    """For a page."""
    lines = ["| figure | measured | target |", "|---|---|---|"]
    lines += [
        f"| {what} | {value}{'' if met else ' (missed)'} | {target} |" for what, value, target, met in figures.targets()
    ]
    lines += ["", "| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(figures.scenarios)]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    command = f"bench/run.py{' --tls' if figures.tls else ''} --rounds {figures.rounds}"
    machine = f"{os.cpu_count()} CPUs, Linux {platform.machine()}, Python {platform.python_version()}"
    return "\n".join([*lines, "", f"`{command}`, {today}, {machine}; medians of {figures.rounds} rounds."])


def _markers(tls: bool) -> tuple[str, str]:
    name = "figures-tls" if tls else "figures"
    return f"<!-- {name}: written by bench/run.py -->", f"<!-- /{name} -->"


def writable(page: Path, tls: bool) -> bool:
    """Whether a page has the section that `write` replaces."""
    begin, end = _markers(tls)
    return page.is_file() and 0 <= page.read_text().find(begin) < page.read_text().find(end)


def write(page: Path, figures: Figures) -> None:
    """Replace what stands between the page's markers."""
    begin, end = _markers(figures.tls)
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{markdown(figures)}\n{end}{rest.partition(end)[2]}")
