"""How long before its deadline a video must leave, so that the client has it in time.

Pure. Follows the measured time of publishes the way TCP's retransmission timer follows round trips
(RFC 6298: smoothed mean plus four deviations), because a mean alone is late half of the time. When
more than one batch waits, the later ones wait for the earlier: each costs that time once more.
"""

# For what no publish time shows: timers, a busy machine. A hundredth of the deadline, at least this.
SLACK_MS_MIN = 50
FIRST_GUESS_MS = 200.0
BATCHES_MAX = 50  # more than that are not due at one time
ROUND_MS = 10  # the margin moves in steps, so that a wobble does not rebuild the schedule


class Margin:
    """The measured publish time, and the margin that follows from it. Milliseconds."""

    def __init__(self, deadline_ms: int):
        self._deadline_ms = deadline_ms
        self._slack_ms = max(SLACK_MS_MIN, deadline_ms // 100)
        self._mean_ms = FIRST_GUESS_MS
        self._deviation_ms = 0.0
        self._measured = False

    def measure(self, took_ms: float) -> None:
        """A publish took that long, from leaving to the client's answer."""
        if not self._measured:
            self._mean_ms, self._deviation_ms, self._measured = took_ms, took_ms / 2, True
            return
        error = took_ms - self._mean_ms
        self._mean_ms += error / 8
        self._deviation_ms += (abs(error) - self._deviation_ms) / 4

    def milliseconds(self, batches_waiting: int) -> int:
        """The margin when so many batches wait; at most half the deadline."""
        publish_ms = self._mean_ms + 4 * self._deviation_ms
        margin_ms = self._slack_ms + publish_ms * min(max(1, batches_waiting), BATCHES_MAX)
        return min(self._deadline_ms // 2, -(-int(margin_ms) // ROUND_MS) * ROUND_MS)
