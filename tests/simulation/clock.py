"""The virtual clock: a heap of future calls, in whole milliseconds since the run began.

Ties break on a sequence number, so a run is always the same.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

# NSQ ids and arrivals count from here; any instant would do.
START_MS = 1_795_502_904_000


class Clock:
    """The time, and the calls to come."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.offset_ms = 0  # how far the service's wall clock is wrong
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = count()

    @property
    def wall_ms(self) -> int:
        """The wall clock of the service's machine."""
        return START_MS + self.now_ms + self.offset_ms

    def at(self, ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call at this time, or now if it is over."""
        heappush(self._heap, (max(ms, self.now_ms), next(self._sequence), call, arguments))

    def after(self, delay_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call after this delay."""
        heappush(self._heap, (self.now_ms + delay_ms, next(self._sequence), call, arguments))

    def step(self) -> bool:
        """Make the next call. Returns False if no call is left."""
        if not self._heap:
            return False
        self.now_ms, _, call, arguments = heappop(self._heap)
        call(*arguments)
        return True
