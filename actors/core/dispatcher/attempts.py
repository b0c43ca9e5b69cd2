"""When the client may be tried again: back-off after failures, the circuit, the rate that it allows.

Pure: callers pass the time, in milliseconds on the wall clock. One attempt is on its way at a time.

    CLOSED ──CIRCUIT_FAILURES in a row──▶ OPEN ──pause over──▶ HALF_OPEN ──accepted──▶ CLOSED
                                           ▲                       │
                                           └─────────failed────────┘

A pause is exponential with full jitter: anything from 0 to a bound that doubles with each failure, so
that services which failed together do not come back together. Once the circuit is open it is at least
half of the bound: a client that is down is probed now and then, by the batch that waits, and not hit.
"""

from collections.abc import Callable
from enum import StrEnum
from math import ceil

BACK_OFF_MS_FIRST = 100
BACK_OFF_MS_MAX = 10_000
CIRCUIT_FAILURES = 5


class Outcome(StrEnum):
    """What became of a delivery. Unknown: no answer came, so the client may have it or not."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Circuit(StrEnum):
    """Whether the client is believed to take batches. Half open: one is on its way to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Attempts:
    """What became of the last attempts, and when the next may leave."""

    def __init__(self, jitter: Callable[[], float], rate_max_per_s: float = 0.0):
        """`jitter`: 0 to 1, at random. `rate_max_per_s`: attempts a second; 0 for any number."""
        self.failures = 0
        self.interval_ms = 1000 / rate_max_per_s if rate_max_per_s else 0.0
        self._jitter = jitter
        self._on_its_way = False
        self._left_ms = 0
        self._permitted_ms = 0.0
        self._failed_ms = 0
        self._resume_ms = 0

    @property
    def circuit(self) -> Circuit:
        """What the last attempts say of the client."""
        if self.failures < CIRCUIT_FAILURES:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self._on_its_way else Circuit.OPEN

    def left(self, now_ms: int) -> None:
        """An attempt leaves."""
        self._on_its_way = True
        # From when it was allowed, not from when it left: timers are late, and the rate is exact. One
        # interval is the most that can be caught up with.
        late_ms = now_ms - self._permitted_ms
        start_ms = self._permitted_ms if 0 <= late_ms < self.interval_ms else now_ms
        self._permitted_ms = start_ms + self.interval_ms
        self._left_ms = now_ms

    def rate_wait_ms(self) -> tuple[int, int]:
        """From when to when the rate alone has held the next attempt up."""
        return self._left_ms, ceil(self._permitted_ms) if self.interval_ms else self._left_ms

    def accepted(self) -> None:
        """The client took it."""
        self._on_its_way = False
        self.failures = 0
        self._resume_ms = 0

    def failed(self, now_ms: int, retry_after_ms: int | None = None) -> None:
        """It failed. `retry_after_ms`: the pause that the client asks for, kept at least."""
        self._on_its_way = False
        self.failures += 1
        bound_ms = min(BACK_OFF_MS_MAX, BACK_OFF_MS_FIRST * 2 ** min(self.failures - 1, 16))
        pause_ms = bound_ms * self._jitter()
        if self.circuit is Circuit.OPEN:
            pause_ms = (bound_ms + pause_ms) / 2
        self._failed_ms = now_ms
        self._resume_ms = now_ms + int(max(pause_ms, retry_after_ms or 0))

    def resumed(self) -> None:
        """The pause is over, also if the clock then says again that it is not."""
        self._resume_ms = 0

    def next_ms(self) -> int:
        """When the next attempt may leave; what has passed means now."""
        return max(self._resume_ms, ceil(self._permitted_ms))

    def may_leave(self, now_ms: int) -> bool:
        """Whether an attempt may leave now."""
        # A clock that was set back must make no wait longer.
        paused = self._failed_ms <= now_ms < self._resume_ms
        return not paused and not self._left_ms <= now_ms < self._permitted_ms
