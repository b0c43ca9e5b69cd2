"""When each play of a paced run is due. Pure: callers pass the time, in seconds of any one clock.

Promises an even spread and never a burst: a run that fell behind (the queue was away, the machine
was busy) goes on from there at its pace, later by that much, and does not make up for it at once.
"""

import math

LAG_MAX_S = 0.25  # Below this a late tick is caught up with; a longer stall moves the plan instead.


class Pace:
    """`plays_per_second` plays a second; the first is due when `due` is first asked."""

    def __init__(self, plays_per_second: float):
        self.plays_per_second = plays_per_second
        self._started_s: float | None = None

    def offset_s(self, play: int) -> float:
        """When play number `play` (from 0) is due, in seconds from the start of the run."""
        return play / self.plays_per_second

    def due(self, now_s: float, released: int) -> int:
        """How many plays are due at `now_s` beyond the `released` ones.

        What is more than `LAG_MAX_S` late is not due at once: the plan moves by the rest.
        """
        if self._started_s is None:
            self._started_s = now_s - self.offset_s(released)
        lag_s = now_s - self._started_s - self.offset_s(released)
        if lag_s > LAG_MAX_S:
            self._started_s += lag_s - LAG_MAX_S
            lag_s = LAG_MAX_S
        if lag_s < 0:
            return 0
        return 1 + math.floor(lag_s * self.plays_per_second)
