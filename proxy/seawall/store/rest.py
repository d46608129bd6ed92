"""When to leave a store alone that does not answer. No I/O, no clock: times are arguments, in seconds."""


class Rest:
    """After `failures` in a row it rests for `seconds`; then one is let through to see, and so on until one succeeds.
    (A breaker of core/ would do more than a store needs: it has no candidates, and a miss costs little.)"""

    def __init__(self, failures: int = 5, seconds: float = 1.0) -> None:
        self._most = failures
        self._seconds = seconds
        self._failures = 0
        self._until = 0.0

    @property
    def resting(self) -> bool:
        """Whether the last ones failed, and none has succeeded since."""
        return self._failures >= self._most

    def allows(self, now: float) -> bool:
        """Whether the store may be asked."""
        if self._failures < self._most:
            return True
        if now < self._until:
            return False
        # This one sees. Should it never come to an end, another may after as long a rest.
        self._until = now + self._seconds
        return True

    def another(self) -> "Rest":
        """One with the same patience, for operations of another kind."""
        return Rest(self._most, self._seconds)

    def good(self) -> None:
        self._failures = 0

    def bad(self, now: float) -> None:
        self._failures += 1
        if self._failures >= self._most:
            self._until = now + self._seconds
