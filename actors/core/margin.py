"""How long before its deadline a video must leave, so that the client has it in time.

Pure. Follows the measured time of publishes the way TCP's retransmission timer follows round trips
(RFC 6298: smoothed mean plus four deviations), because a mean alone is late half of the time. Owns what
a batch costs, in time; which videos wait, and so how many batches, is the schedule's.
"""

# For what no publish time shows: timers, a busy machine. A hundredth of the deadline, at least this.
SLACK_MS_MIN = 50
FIRST_GUESS_MS = 200.0


class Margin:
    """The measured publish time, and the margins that follow from it. Milliseconds."""

    def __init__(
        self, deadline_ms: int, *, interval_ms: float = 0.0, slack_ms: int | None = None,
        guess_ms: float = FIRST_GUESS_MS,
    ):  # fmt: skip
        """`interval_ms`: batches leave no closer than this, where the client has a rate limit.

        `slack_ms`: None for the usual one. `guess_ms`: what a publish takes, until one is measured.
        """
        self._lead_ms_max = deadline_ms // 2
        self._interval_ms = interval_ms
        self._slack_ms = max(SLACK_MS_MIN, deadline_ms // 100) if slack_ms is None else slack_ms
        self._mean_ms = guess_ms
        self._deviation_ms = 0.0
        self._measured = False

    @property
    def publish_ms(self) -> int:
        """What a publish takes at the most, as far as those so far can tell."""
        return -int(-(self._mean_ms + 4 * self._deviation_ms) // 1)

    def measure(self, took_ms: float) -> None:
        """A publish took that long, from leaving to the client's answer."""
        if not self._measured:
            # RFC 6298 takes half of the first; a deadline is known a minute ahead and can do with less.
            self._mean_ms, self._deviation_ms, self._measured = took_ms, took_ms / 8, True
            return
        error = took_ms - self._mean_ms
        self._mean_ms += error / 8
        self._deviation_ms += (abs(error) - self._deviation_ms) / 4

    def lead_ms(self, batches_before: int = 0) -> int:
        """How long before its deadline a batch, or the first of those before it, leaves.

        At most half the deadline: more than that cannot be mended by leaving early.
        """
        publish_ms = self.publish_ms
        queue_ms = batches_before * max(publish_ms, self._interval_ms)
        return int(min(self._lead_ms_max, self._slack_ms + publish_ms + queue_ms))

    def batches(self, until_ms: int) -> int | None:
        """How many batches that leave one after the other from now on are answered by then; None: any."""
        if until_ms >= self._lead_ms_max:
            return None
        spare_ms = until_ms - self._slack_ms - self.publish_ms
        if spare_ms < 0:
            return 0
        each_ms = max(self.publish_ms, self._interval_ms)
        return int(spare_ms // each_ms) + 1 if each_ms else None
