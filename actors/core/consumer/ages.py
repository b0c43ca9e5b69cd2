"""How old plays were when they were received: the oldest of the last minute.

Pure; times are milliseconds on a clock that is never set.
"""

from collections import deque

SECONDS = 60


class OldestOfAMinute:
    """The largest age of the last minute, to a second. Holds at most `SECONDS` ages."""

    def __init__(self) -> None:
        # (second, age in ms). Each age is larger than all ages after it.
        self._ages: deque[tuple[int, int]] = deque(maxlen=SECONDS)

    def add(self, age_ms: int, now_ms: int) -> None:
        """Add an age that was measured now. A negative age (two clocks disagree) counts as 0."""
        ages, second, age_ms = self._ages, now_ms // 1000, max(0, age_ms)
        while ages and ages[-1][1] <= age_ms:
            ages.pop()
        if not ages or ages[-1][0] != second:
            ages.append((second, age_ms))

    def at(self, now_ms: int) -> int:
        """The largest age in ms; 0 if no age was added in the last minute."""
        while self._ages and self._ages[0][0] <= now_ms // 1000 - SECONDS:
            self._ages.popleft()
        return self._ages[0][1] if self._ages else 0
