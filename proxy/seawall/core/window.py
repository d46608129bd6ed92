"""Counters over the last seconds, kept in a ring of a few cells instead of a list of samples.

Memory and time per sample do not depend on traffic; a sample is forgotten together with its cell, so that a window of
`parts` cells covers between (parts - 1) and `parts` times `width` seconds.
"""

PARTS = 10
"""Cells per window: a tenth of the window is as exact as a percentage of its calls needs to be."""


class Window:
    """`sums[i]` is counter i over the window, as of the last `advance` or `add`. `width`: seconds per cell, above 0."""

    __slots__ = ("_cell", "_cells", "_head", "_next", "_width", "sums")

    def __init__(self, width: float, parts: int, counters: int) -> None:
        self._width = width
        self._cells = [[0] * counters for _ in range(parts)]
        self.sums = [0] * counters
        self._turn_to(0)

    def advance(self, now: float) -> None:
        """Forget the cells that are too old. O(1) amortised."""
        if now < self._next:
            return
        head = int(now / self._width)
        passed = head - self._head
        if passed >= len(self._cells):
            self.clear()
        else:
            for number in range(self._head + 1, head + 1):
                self._forget(self._cells[number % len(self._cells)])
        self._turn_to(head)

    def add(self, now: float, counter: int) -> None:
        """Count one."""
        if now >= self._next:
            self.advance(now)
        self._cell[counter] += 1
        self.sums[counter] += 1

    def clear(self) -> None:
        for values in (*self._cells, self.sums):
            values[:] = [0] * len(values)

    def rescale(self, width: float) -> None:
        """Change the length in place. What was counted stays, as if it had all happened in the youngest cell."""
        if width == self._width:
            return
        carried = list(self.sums)
        self.clear()
        head = int(self._head * self._width / width)
        self._width = width
        self._turn_to(head)
        self._cell[:] = carried
        self.sums[:] = carried

    def _turn_to(self, head: int) -> None:
        self._head = head
        self._cell = self._cells[head % len(self._cells)]
        self._next = (head + 1) * self._width
        """When the next cell begins."""

    def _forget(self, cell: list[int]) -> None:
        sums = self.sums
        for counter, value in enumerate(cell):
            if value:
                sums[counter] -= value
                cell[counter] = 0
