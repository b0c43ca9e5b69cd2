"""When the client may be tried again: back-off after failures, circuit breaker, rate limit.

Pure; callers pass the time in milliseconds on the wall clock. At most one attempt is on its way.

    CLOSED ──CIRCUIT_FAILURES in a row──▶ OPEN ──pause over──▶ HALF_OPEN ──accepted──▶ CLOSED
                                           ▲                       │
                                           └─────────failed────────┘

A pause is exponential with full jitter: a random time from 0 to a bound that doubles with each failure, so
that services which failed together do not come back together. While the circuit is open, a pause is at least
half of the bound: a client that is down gets a probe now and then, and no flood.
"""

from collections.abc import Callable
from enum import StrEnum
from math import ceil

BACK_OFF_MS_FIRST = 100
BACK_OFF_MS_MAX = 10_000
CIRCUIT_FAILURES = 5


class Outcome(StrEnum):
    """The outcome of an attempt. UNKNOWN: no answer came, so the client may have the batch or not."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Circuit(StrEnum):
    """The state of the circuit breaker. HALF_OPEN: one batch is on its way as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Attempts:
    """The outcome of the last attempts, and when the next may leave."""

    def __init__(self, jitter: Callable[[], float], rate_max_per_s: float = 0.0):
        """`jitter`: returns a random number from 0 to 1. `rate_max_per_s`: attempts per second; 0 for no
        limit.
        """
        self.failures = 0
        self.backing_off = False  # from a failure until `resumed` or `accepted`
        self.interval_ms = 1000 / rate_max_per_s if rate_max_per_s else 0.0
        self._jitter = jitter
        self._on_its_way = False
        self._left_ms = 0
        self._permitted_ms = 0.0
        self._failed_ms = 0
        self._resume_ms = 0

    @property
    def circuit(self) -> Circuit:
        """The state of the circuit breaker, from the last attempts."""
        if self.failures < CIRCUIT_FAILURES:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self._on_its_way else Circuit.OPEN

    def left(self, now_ms: int) -> None:
        """Note that an attempt leaves."""
        self._on_its_way = True
        # The interval counts from when the attempt was allowed, not from when it left: timers are late, and
        # the rate must be exact. So a delay of up to one interval is made up for.
        late_ms = now_ms - self._permitted_ms
        start_ms = self._permitted_ms if 0 <= late_ms < self.interval_ms else now_ms
        self._permitted_ms = start_ms + self.interval_ms
        self._left_ms = now_ms

    def rate_wait_ms(self) -> tuple[int, int]:
        """The time (from, to) in which only the rate limit delays the next attempt."""
        return self._left_ms, ceil(self._permitted_ms) if self.interval_ms else self._left_ms

    def accepted(self) -> None:
        """Note that the client accepted the batch."""
        self._on_its_way = False
        self.failures = 0
        self.backing_off = False
        self._resume_ms = 0

    def failed(self, now_ms: int, retry_after_ms: int | None = None) -> None:
        """Note a failed attempt. The pause is `retry_after_ms` at least, if the client asks for one."""
        self._on_its_way = False
        self.backing_off = True
        self.failures += 1
        bound_ms = min(BACK_OFF_MS_MAX, BACK_OFF_MS_FIRST * 2 ** min(self.failures - 1, 16))
        pause_ms = bound_ms * self._jitter()
        if self.circuit is Circuit.OPEN:
            pause_ms = (bound_ms + pause_ms) / 2
        self._failed_ms = now_ms
        self._resume_ms = now_ms + int(max(pause_ms, retry_after_ms or 0))

    def resumed(self) -> None:
        """End the pause, even if the clock is set back afterwards."""
        self.backing_off = False
        self._resume_ms = 0

    def next_ms(self) -> int:
        """When the next attempt may leave; a time in the past means now."""
        return max(self._resume_ms, ceil(self._permitted_ms))

    def may_leave(self, now_ms: int) -> bool:
        """Whether an attempt may leave now."""
        # A clock that was set back must not make a wait longer.
        paused = self._failed_ms <= now_ms < self._resume_ms
        return not paused and not self._left_ms <= now_ms < self._permitted_ms
