"""When the client may be tried: back-off after failures, circuit breaker, rate limit, attempts at once.

Pure; callers pass the time in milliseconds on a clock that is never set. All rules apply to all attempts
together. At most `in_flight_max` attempts are on their way. While the client says that it has too much to do,
it is one; each batch that it accepts then allows one more. Attempts that were on their way when another
failed, and fail too, are one failure: they say nothing new.

With a rate limit, no attempt is allowed while a disk holds up another. Otherwise all of them would leave at
once when the disk works again.

    CLOSED ──CIRCUIT_FAILURES in a row──▶ OPEN ──pause over──▶ HALF_OPEN ──accepted──▶ CLOSED
                                           ▲                       │
                                           └─────────failed────────┘

A pause is exponential with full jitter: a random time from 0 to a bound that doubles with each failure, so
that services which failed together do not come back together. While the circuit is open, a pause is at least
half of the bound: a client that is down gets a probe now and then, and no flood.

A client may ask for a longer pause, up to a limit. At a drain, and when the client has just started, one
attempt leaves whatever the pause. While somebody has paused publishing (`paused`), none leaves.
"""

from collections.abc import Callable
from enum import StrEnum
from math import ceil

from .client_delays import ClientDelays

BACK_OFF_MS_FIRST = 100
BACK_OFF_MS_MAX = 10_000
CIRCUIT_FAILURES = 5
RETRY_AFTER_MS_MAX = 60_000


class Outcome(StrEnum):
    """The outcome of an attempt. UNKNOWN: no answer came, so the client may have the batch or not."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class About(StrEnum):
    """What a refusal is about, and so what helps."""

    MOMENT = "moment"  # the same batch may be taken later
    CONTENT = "content"  # a video in the batch
    CONFLICT = "conflict"  # the content; or an attempt without an answer, on which the client is at work
    WIDTH = "width"  # the batch has too many bytes
    EVERYTHING = "everything"  # any batch: the address, or who is calling


class Circuit(StrEnum):
    """The state of the circuit breaker. HALF_OPEN: one batch is on its way as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Attempts:
    """The outcome of the last attempts, and when the next may leave."""

    def __init__(
        self,
        jitter: Callable[[], float],
        rate_max_per_s: float = 0.0,
        retry_after_max_ms: int = RETRY_AFTER_MS_MAX,
        in_flight_max: int = 1,
    ):
        """`jitter`: returns a random number from 0 to 1. `rate_max_per_s`: attempts per second; 0 for no
        limit. `retry_after_max_ms`: the longest pause that the client can ask for. `in_flight_max`: how many
        attempts may be on their way at once.
        """
        self.failures = 0
        self.on_their_way = 0
        self.delays = ClientDelays()
        self.backing_off = False  # from a failure until `resumed` or `accepted`
        self.paused = False
        self.retry_after_max_ms = retry_after_max_ms
        self.interval_ms = _interval_ms(rate_max_per_s)
        self._jitter = jitter
        self.in_flight_max = self._allowed = in_flight_max
        self._left = self._left_before_failure = 0  # how many attempts
        self._held_up = 0  # how many of those on their way the disk holds up
        self._permitted_ms = 0.0
        self._permit_ms = 0  # the same, rounded up
        self._resume_ms = 0
        self._once_more = False

    @property
    def circuit(self) -> Circuit:
        """The state of the circuit breaker, from the last attempts."""
        if self.failures < CIRCUIT_FAILURES:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self.on_their_way else Circuit.OPEN

    @property
    def room(self) -> int:
        """How many more attempts may be on their way; 0 or less if none may."""
        if self.paused or (self.interval_ms and self._held_up):
            return 0
        return (self._allowed if self.failures < CIRCUIT_FAILURES else 1) - self.on_their_way

    def use_limits(self, rate_max_per_s: float, in_flight_max: int, now_ms: int) -> None:
        """Use other limits from now on: see `__init__`. The rate counts from the attempt that left last."""
        before_ms, self.interval_ms = self.interval_ms, _interval_ms(rate_max_per_s)
        if self._left:
            self._permit(self._permitted_ms + self.interval_ms - before_ms)
        is_busy = self._allowed < self.in_flight_max
        self._allowed = min(self._allowed, in_flight_max) if is_busy else in_flight_max
        self.in_flight_max = in_flight_max
        self.delays.free_sooner(max(now_ms, self.next_ms()))

    def left(self, now_ms: int) -> int:
        """Note that an attempt leaves, once it is stored. Returns its number."""
        self.on_their_way += 1
        self._held_up += 1
        self._left += 1
        self._once_more = False
        self._permit_next(now_ms)
        if self.interval_ms:
            self.delays.answered(self._permit_ms)  # the limit is the client's
        return self._left

    def departed(self, now_ms: int, late: bool) -> None:
        """Note that an attempt really leaves now. `late`: the disk has held it up."""
        self._held_up -= 1
        if late:
            self._permit_next(now_ms)

    def _permit_next(self, now_ms: int) -> None:
        # The interval counts from when the attempt was allowed, not from when it left: timers are late, and
        # the rate must be exact. So a delay of up to one interval is made up for.
        late_ms = now_ms - self._permitted_ms
        start_ms = self._permitted_ms if 0 <= late_ms < self.interval_ms else now_ms
        self._permit(start_ms + self.interval_ms)

    def _permit(self, at_ms: float) -> None:
        self._permitted_ms, self._permit_ms = at_ms, ceil(at_ms)

    def accepted(self, now_ms: int, offered_ms: int, attempt: int | None = None) -> None:
        """Note that the client accepted the batch. `offered_ms`: see `client_delays.py`.

        `attempt`: its number; None for the last that left. One that left before the last failure says nothing
        about the client now.
        """
        self._ended()
        if self._is_news(attempt):
            self._allowed = min(self.in_flight_max, self._allowed + 1)
            self._well()
        self.delays.accepted(offered_ms)
        self.delays.answered(max(now_ms, self.next_ms()))

    def judged(self, now_ms: int, attempt: int) -> None:
        """Note that the client refused a batch for what is in it, or is at work on it. The client is well:
        there is no pause.
        """
        self._ended()
        if self._is_news(attempt):
            self._well()
        self.delays.answered(max(now_ms, self.next_ms()))

    def says_nothing(self, now_ms: int) -> None:
        """Note that an attempt failed for what is in its batch: it says nothing about the client."""
        self._ended()
        self.delays.answered(max(now_ms, self.next_ms()))

    def _ended(self) -> None:
        self.on_their_way -= 1
        self._held_up = min(self._held_up, self.on_their_way)

    def _is_news(self, attempt: int | None) -> bool:
        return attempt is None or attempt > self._left_before_failure

    def _well(self) -> None:
        self.failures = 0
        self.backing_off = self._once_more = False
        self._resume_ms = 0

    def failed(
        self,
        now_ms: int,
        retry_after_ms: int | None = None,
        attempt: int | None = None,
        busy: bool = False,
        opens: bool = False,
    ) -> None:
        """Note a failed attempt. `attempt`: its number; None for the last that left.

        `busy`: the client has too much to do. `opens`: it refuses everything, so the circuit opens at once.
        The pause is `retry_after_ms` at least, up to `retry_after_max_ms`.
        """
        self._ended()
        if busy:
            self._allowed = 1
        asked_ms = min(retry_after_ms or 0, self.retry_after_max_ms)
        if self._is_news(attempt):
            self._back_off(now_ms, opens)
        self._resume_ms = max(self._resume_ms, now_ms + asked_ms)
        self.delays.answered(max(now_ms, self.next_ms()))

    def _back_off(self, now_ms: int, opens: bool) -> None:
        """Begin the pause after one more failure in a row."""
        self._left_before_failure = self._left
        self.backing_off = True
        self.failures = max(self.failures + 1, CIRCUIT_FAILURES if opens else 0)
        bound_ms = min(BACK_OFF_MS_MAX, BACK_OFF_MS_FIRST * 2 ** min(self.failures - 1, 16))
        pause_ms = bound_ms * self._jitter()
        if self.circuit is Circuit.OPEN:
            pause_ms = (bound_ms + pause_ms) / 2
        self._resume_ms = now_ms + int(pause_ms)

    def resumed(self) -> None:
        """End the pause."""
        self.backing_off = False
        self._resume_ms = 0

    def once_more(self) -> None:
        """Let one attempt leave whatever the pause: the present one, or that of the attempt on its way."""
        self._once_more = True

    def bound_rate_wait(self, now_ms: int, longest_ms: int) -> None:
        """Let one attempt leave now if the rate limit would delay it by more than `longest_ms`."""
        if self._permitted_ms - now_ms > longest_ms:
            self._permit(now_ms)

    def next_ms(self) -> int:
        """When the next attempt may leave; a time in the past means now."""
        resume_ms = 0 if self._once_more else self._resume_ms
        return max(resume_ms, self._permit_ms)

    def may_leave(self, now_ms: int) -> bool:
        """Whether an attempt may leave now."""
        return self.room > 0 and now_ms >= self.next_ms()


def _interval_ms(rate_max_per_s: float) -> float:
    return 1000 / rate_max_per_s if rate_max_per_s else 0.0
