"""When one client was last heard, and what it is late with. Pure: callers pass the time, in monotonic ms."""

from . import limits


class Pulse:
    """One client. `blocked_ms`: since when it does not read. `unfinished_ms`: when its command began."""

    def __init__(self, now_ms: int) -> None:
        self.read_ms = self.beat_ms = now_ms
        self.blocked_ms: int | None = None
        self.unfinished_ms: int | None = None

    def late_with(self, now_ms: int, heartbeat_interval_ms: int) -> str | None:
        """Why it is to be dropped ("it …"), or None. It has two heartbeat intervals to answer, one to read.

        As in nsqd, an unfinished command counts from its beginning, so it has that long too; at most it has
        BODY_TIMEOUT_S. `heartbeat_interval_ms`: 0 without any.
        """
        most_ms = min(2 * heartbeat_interval_ms or limits.BODY_TIMEOUT_S * 1000, limits.BODY_TIMEOUT_S * 1000)
        if self.unfinished_ms is not None and now_ms - self.unfinished_ms > most_ms:
            return f"did not finish a command within {most_ms / 1000:g} s"
        if not heartbeat_interval_ms:
            return None
        if now_ms - self.read_ms > 2 * heartbeat_interval_ms:
            return "does not answer heartbeats"
        if self.blocked_ms is not None and now_ms - self.blocked_ms > heartbeat_interval_ms:
            return "does not read its messages"
        return None

    def beat(self, now_ms: int, heartbeat_interval_ms: int) -> bool:
        """Whether a heartbeat is due now. Then the next one is due after the interval."""
        if not heartbeat_interval_ms or now_ms - self.beat_ms < heartbeat_interval_ms:
            return False
        self.beat_ms = now_ms
        return True

    def excuse(self, stall_ms: int) -> None:
        """Give it that much longer: this nsqd stood still for so long."""
        self.read_ms += stall_ms
        if self.blocked_ms is not None:
            self.blocked_ms += stall_ms
        if self.unfinished_ms is not None:
            self.unfinished_ms += stall_ms
