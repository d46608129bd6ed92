"""Columns for people."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """As kubectl prints them. "" without rows."""
    cells = [[_text(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in (list(head), *cells)) for column in range(len(head))]
    lines = (
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (list(head), *cells)
    )
    return "\n".join(lines) + "\n"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _text(cell: object) -> str:
    return "-" if cell is None or cell == "" else str(cell)
