"""How long before its deadline a video must leave, so that the client has it in time.

Pure. Estimates the publish time the way TCP's retransmission timer estimates round trips (RFC 6298: smoothed
mean plus four deviations), because a mean alone would be too short half of the time. The schedule knows how
many batches there are; this module knows how long they take.
"""

from bisect import bisect_right
from math import inf, sqrt

from msgspec import Struct

# Slack for what a publish time does not show: late timers, a busy machine. A hundredth of the deadline, at
# least this.
SLACK_MS_MIN = 50
# The guess before the first publish was measured: a tenth of the deadline, at least this. It is needed once
# in the life of a state. A guess that is too long makes one batch early; a guess that is too short makes
# several batches late.
GUESS_MS_MIN = 200.0
OWN_MS_FIRST = 10.0
BATCHES_MAX = 1 << 16  # more than fit before any deadline


class PublishTime(Struct, frozen=True, array_like=True):
    """The measured duration of publishes, in milliseconds: smoothed mean, and mean deviation from it.

    `own_ms`: the least time from one departure to the next, which is our own work, however many batches may
    be on their way.
    """

    mean_ms: float
    deviation_ms: float = 0.0
    own_ms: float = OWN_MS_FIRST


class LeadTime:
    """The measured publish time, and the lead times that follow from it, in milliseconds."""

    def __init__(
        self,
        deadline_ms: int,
        *,
        interval_ms: float = 0.0,
        slack_ms: int | None = None,
        publish_time: PublishTime | None = None,
        in_flight_max: int = 1,
    ):
        """`interval_ms`: the least time between two batches, by the client's rate limit; 0 for no limit.

        `in_flight_max`: how many batches may be on their way at once. `slack_ms`: None for the usual slack.
        `publish_time`: what was measured before; None for a guess.
        """
        self._deadline_ms = deadline_ms
        self.interval_ms = interval_ms
        self._slack_ms = max(SLACK_MS_MIN, deadline_ms // 100) if slack_ms is None else slack_ms
        self.publish_time = publish_time
        used = publish_time or PublishTime(max(GUESS_MS_MIN, deadline_ms / 10))
        self._mean_ms, self._deviation_ms, self._own_ms = used.mean_ms, used.deviation_ms, used.own_ms
        self._in_flight_max = in_flight_max
        self.measured = 0  # the number of publishes measured here

    @property
    def publish_ms(self) -> float:
        """An estimate of the longest time that a publish takes, from the measurements so far."""
        return self._mean_ms + 4 * self._deviation_ms

    @property
    def apart_ms(self) -> float:
        """The longest time from a batch to the next one that need not wait for a free place."""
        return max(self._own_ms if self._in_flight_max > 1 else self.publish_ms, self.interval_ms)

    @property
    def mean_ms(self) -> float:
        """How long a publish takes on average; 0 before the first was measured."""
        return 0.0 if self.publish_time is None else self._mean_ms

    @property
    def possible_per_s(self) -> float:
        """How many publishes a second the client and its rate limit allow, as far as it was measured."""
        apart_ms = max(self.mean_ms / self._in_flight_max, self.interval_ms)
        return 1000 / apart_ms if apart_ms else inf

    @property
    def is_rate_limited(self) -> bool:
        """Whether the rate limit allows fewer publishes than the time that each takes."""
        return self.interval_ms > self.mean_ms / self._in_flight_max

    def shortest_ms(self, batches_before: int) -> float:
        """How long a batch and `batches_before` before it take on average: `lead_ms` with no allowance."""
        rounds = batches_before // self._in_flight_max
        return self.mean_ms + max(rounds * self.mean_ms, batches_before * self.interval_ms)

    def use_limits(self, interval_ms: float, in_flight_max: int) -> None:
        """Use other limits from now on: see `__init__`."""
        self.interval_ms, self._in_flight_max = interval_ms, in_flight_max

    def measure(self, took_ms: float) -> None:
        """Take in a measurement: the time from a batch's leaving to the client's answer."""
        self.measured += 1
        if self.publish_time is None:
            # RFC 6298 takes half of the first measurement; a deadline is known a minute ahead and needs less.
            self._mean_ms, self._deviation_ms = took_ms, took_ms / 8
        else:
            error = took_ms - self._mean_ms
            self._mean_ms += error / 8
            self._deviation_ms += (abs(error) - self._deviation_ms) / 4
        self.publish_time = PublishTime(self._mean_ms, self._deviation_ms, self._own_ms)

    def measure_own(self, took_ms: float) -> None:
        """Take in a measurement of our own time per publish. It counts from the next `measure` on."""
        self._own_ms += (took_ms - self._own_ms) / 8

    def lead_ms(self, batches_before: int = 0) -> int:
        """How long before its deadline a batch, or the first of `batches_before` before it, must leave.

        As many batches as may be on their way take the time of one, and at least our own time each. These
        times add up. Their deviations grow with the square root of their number, because slow and quick
        batches even out. A guess is for one after the other: nothing shows yet that the client takes several.
        The result is at most half the deadline: leaving earlier doesn't help
        a slower client. A rate limit is known, not guessed, so its waits may take the whole deadline.
        """
        rounds = batches_before // (1 if self.publish_time is None else self._in_flight_max)
        apart_ms = self.interval_ms if self._in_flight_max == 1 else max(self._own_ms, self.interval_ms)
        publishes_ms = self._mean_ms + max(rounds * self._mean_ms, batches_before * apart_ms)
        deviation_ms = 4 * self._deviation_ms * sqrt(rounds + 1)
        most_ms = self._deadline_ms // 2
        if self.interval_ms:
            rated_ms = self._slack_ms + self._mean_ms + batches_before * self.interval_ms
            most_ms = max(most_ms, min(self._deadline_ms, int(rated_ms)))
        return int(min(most_ms, self._slack_ms + publishes_ms + deviation_ms))

    def batches(self, within_ms: int) -> int:
        """How many batches are answered within that time; at most `BATCHES_MAX`."""
        return bisect_right(range(BATCHES_MAX), within_ms, key=self.lead_ms)
