"""When to log a trouble that lasts: at once, once a minute while it lasts, and once when it is over."""

EVERY_MS = 60_000
LASTED_MS = 5_000


class Recurring:
    """One trouble, such as a full disk, that is noticed again with each attempt. The caller does the logging.

        if trouble.seen(now_ms):
            log.error("the disk is full")
        ...
        lasted_ms = trouble.over(now_ms)
        if lasted_ms is not None:
            log.info("the disk has space again, after %.1f s", lasted_ms / 1000)

    A trouble that comes and goes many times a second is not logged each time. If it comes back within a
    minute of the last line, a line is due only after it has lasted `LASTED_MS`. A line for its end is due
    only if there was a line for the trouble.

    All times are milliseconds of one clock that is never set, such as `Host.monotonic_ms`.
    """

    def __init__(self) -> None:
        self._since_ms: int | None = None  # None while there is no trouble
        self._said_ms: int | None = None  # when the last line was due
        self._said = False  # whether the present trouble was due for a line

    def seen(self, now_ms: int) -> bool:
        """Note that the trouble is there. Returns whether a line is due."""
        if self._since_ms is None:
            self._since_ms = now_ms
        due = self._said_ms is None or now_ms - self._said_ms >= EVERY_MS
        if not self._said:
            due = due or now_ms - self._since_ms >= LASTED_MS
        if due:
            self._said, self._said_ms = True, now_ms
        return due

    def over(self, now_ms: int) -> int | None:
        """Note that there is no trouble. Returns how many ms it lasted if a line is due, else None."""
        since_ms, said = self._since_ms, self._said
        self._since_ms, self._said = None, False
        return now_ms - since_ms if said and since_ms is not None else None
