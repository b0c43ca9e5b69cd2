"""Statistics of all publishes that one client received. The size of the statistics doesn't grow with the
number of publishes.

Pure: callers pass the time, in nanoseconds of the wall clock.
"""

import math

import msgspec

from ..triggers import Trigger
from .promises import Promise, Promises
from .recent import LateTotal

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_LOG_GROWTH = math.log(1.02)  # each bucket is 2 % wider than the one before


class Durations(msgspec.Struct):
    """A histogram of durations. Each bucket is 2 % wider than the one before; the maximum is exact.

    A quantile is the middle of its bucket, so it is at most 1 % off. All durations below 1 µs share one
    bucket, and 2**63 ns is in bucket 1856, so memory is bounded.
    """

    buckets: dict[int, int] = {}
    count: int = 0
    max_ns: int = 0

    def add(self, duration_ns: int) -> None:
        """Count a duration. A negative one (two clocks disagree) counts as zero."""
        bucket = int(math.log(max(duration_ns, 1000) / 1000) / _LOG_GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.max_ns = max(self.max_ns, duration_ns)

    def quantile_ms(self, share: float) -> float | None:
        """The nearest-rank quantile in milliseconds, or None if nothing was counted."""
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                middle_ns = 1000 * math.exp((bucket + 0.5) * _LOG_GROWTH)
                return round(min(middle_ns, self.max_ns) / _NS_PER_MS, 3)
        return None

    def max_ms(self) -> float | None:
        """The longest duration in milliseconds, or None if nothing was counted."""
        return round(self.max_ns / _NS_PER_MS, 3) if self.count else None


class PlainTimer(msgspec.Struct):
    """Counts the publishes that a plain timer would have needed for the same plays.

    The timer fires every `deadline_s` seconds after the first publish. It then sends every video that changed
    since it last fired, at most `batch_size_max` videos a publish. A window is the time between two firings.
    Here a video changed in a window if the client received a changed total of it in that window. So a window
    costs ceil(videos changed / batch_size_max) publishes. The open window is counted as if the timer fired
    now. The count is a lower bound: the real timer would not need fewer publishes. It is no fair comparison,
    because such a timer publishes the first plays of a video up to `deadline_s` late.
    """

    window: int = 0
    started_at_ns: int = 0
    videos_changed: int = 0
    publishes_before: int = 0

    def turn(self, now_ns: int, promises: Promises) -> None:
        """Close the open window if its time is over. A window without a change costs nothing."""
        if self.window == 0:
            self.window, self.started_at_ns = 1, now_ns
            return
        period_ns = round(promises.deadline_s * _NS_PER_S)
        elapsed = (now_ns - self.started_at_ns) // period_ns
        if elapsed > 0:
            self.publishes_before = self.publishes(promises)
            self.window += 1
            self.videos_changed = 0
            self.started_at_ns += elapsed * period_ns

    def publishes(self, promises: Promises) -> int:
        """The timer's publishes in all windows, including the open one."""
        return self.publishes_before + -(-self.videos_changed // promises.batch_size_max)


class Statistics(msgspec.Struct):
    """All statistics of one client, without the totals.

    `widths`: for each number of videos in a publish, how many publishes had that number. `late`,
    `late_by_client` and `overdue` count totals that came after their deadline. `realtime` and `hot`: the
    times from a play's arrival on the queue until the client received it. `together`: for each number of
    publishes that the client had at once, how many publishes were among so many. `latest_late`: the last
    totals that came late, newest last.
    """

    publishes: dict[Trigger, int] = {}
    duplicates: int = 0
    widths: dict[int, int] = {}
    late: int = 0
    late_by_client: int = 0
    overdue: int = 0
    broken: dict[Promise, int] = {}
    realtime: Durations = msgspec.field(default_factory=Durations)
    hot: Durations = msgspec.field(default_factory=Durations)
    timer: PlainTimer = msgspec.field(default_factory=PlainTimer)
    first_received_at_ns: int = 0
    last_received_at_ns: int = 0
    together: dict[int, int] = {}
    latest_late: list[LateTotal] = []

    def __post_init__(self) -> None:
        """Statistics that an earlier version stored have no count of a trigger or promise of today."""
        self.publishes = dict.fromkeys(Trigger, 0) | self.publishes
        self.broken = dict.fromkeys(Promise, 0) | self.broken

    def publishes_total(self) -> int:
        """The publishes of all triggers. A publish that is received again is not counted again."""
        return sum(self.publishes.values())
