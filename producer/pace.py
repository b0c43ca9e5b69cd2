"""When each play of a paced run is due. Pure: callers pass the time, in seconds of any one clock.

Plays are spread evenly, without bursts. A run may fall behind: the queue was away, or the machine was
busy. Such a run goes on at the same pace and ends later. It makes up for `LAG_MAX_S` at most.
"""

import math

LAG_MAX_S = 0.25  # A run that is late by more moves its plan by the rest.


class Pace:
    """A pace of `plays_per_second`. The first play is due at the first call of `due`."""

    def __init__(self, plays_per_second: float):
        self.plays_per_second = plays_per_second
        self._started_s: float | None = None

    def due(self, now_s: float, released: int) -> int:
        """How many plays are due at `now_s`, not counting the first `released` plays.

        If the run is late by more than `LAG_MAX_S`, the plan of all further plays moves by the rest.
        """
        planned_s = released / self.plays_per_second
        if self._started_s is None:
            self._started_s = now_s - planned_s
        lag_s = now_s - self._started_s - planned_s
        if lag_s > LAG_MAX_S:
            self._started_s += lag_s - LAG_MAX_S
            lag_s = LAG_MAX_S
        if lag_s < 0:
            return 0
        return 1 + math.floor(lag_s * self.plays_per_second)
