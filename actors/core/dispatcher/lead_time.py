"""How long before its deadline a video must leave, so that the client has it in time.

Pure. Follows the measured time of publishes the way TCP's retransmission timer follows round trips
(RFC 6298: smoothed mean plus four deviations), because a mean alone is late half of the time. Owns what
a batch costs, in time; which videos wait, and so how many batches, is the schedule's.
"""

from bisect import bisect_right
from math import sqrt

from msgspec import Struct

# For what no publish time shows: timers, a busy machine. A hundredth of the deadline, at least this.
SLACK_MS_MIN = 50
# Until a publish is measured it is taken to need a tenth of the deadline, at least this. That is once in the
# life of a state: a guess that is too long makes one batch early, one that is too short makes several late.
GUESS_MS_MIN = 200.0
BATCHES_MAX = 1 << 16  # of which each would take half a millisecond of half a minute


class Pace(Struct, frozen=True, array_like=True):
    """What publishes take, as measured: the smoothed mean, and the deviation from it. Milliseconds."""

    mean_ms: float
    deviation_ms: float = 0.0


class Margin:
    """The measured publish time, and the margins that follow from it. Milliseconds."""

    def __init__(
        self,
        deadline_ms: int,
        *,
        interval_ms: float = 0.0,
        slack_ms: int | None = None,
        pace: Pace | None = None,
    ):
        """`interval_ms`: batches leave no closer than this, where the client has a rate limit.

        `slack_ms`: None for the usual one. `pace`: what was measured before; None to guess.
        """
        self._deadline_ms = deadline_ms
        self.interval_ms = interval_ms
        self._slack_ms = max(SLACK_MS_MIN, deadline_ms // 100) if slack_ms is None else slack_ms
        self.pace = pace
        used = pace or Pace(max(GUESS_MS_MIN, deadline_ms / 10))
        self._mean_ms, self._deviation_ms = used.mean_ms, used.deviation_ms
        self.measured = 0  # publishes, by this one

    @property
    def publish_ms(self) -> float:
        """What a publish takes at the most, as far as those so far can tell."""
        return self._mean_ms + 4 * self._deviation_ms

    def measure(self, took_ms: float) -> None:
        """A publish took that long, from leaving to the client's answer."""
        self.measured += 1
        if self.pace is None:
            # RFC 6298 takes half of the first; a deadline is known a minute ahead and can do with less.
            self._mean_ms, self._deviation_ms = took_ms, took_ms / 8
        else:
            error = took_ms - self._mean_ms
            self._mean_ms += error / 8
            self._deviation_ms += (abs(error) - self._deviation_ms) / 4
        self.pace = Pace(self._mean_ms, self._deviation_ms)

    def lead_ms(self, batches_before: int = 0) -> int:
        """How long before its deadline a batch leaves, or the first of those that go before it.

        The means add up; deviations grow with the root of how many there are, as slow ones and quick ones
        even out. At most half the deadline: more than that is not mended by leaving early. But a rate limit
        is known and not measured, so what it asks for may take all of it.
        """
        publishes_ms = self._mean_ms + batches_before * max(self._mean_ms, self.interval_ms)
        deviation_ms = 4 * self._deviation_ms * sqrt(batches_before + 1)
        most_ms = self._deadline_ms // 2
        if self.interval_ms:
            rated_ms = self._slack_ms + self._mean_ms + batches_before * self.interval_ms
            most_ms = max(most_ms, min(self._deadline_ms, int(rated_ms)))
        return int(min(most_ms, self._slack_ms + publishes_ms + deviation_ms))

    def batches(self, within_ms: int) -> int:
        """How many batches, one after the other, are answered within that time; `BATCHES_MAX`: any number."""
        return bisect_right(range(BATCHES_MAX), within_ms, key=self.lead_ms)
