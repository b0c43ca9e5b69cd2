"""What playtally promises a client, audited by one that believes only what it receives.

Owns the totals a client was told, the promises it saw broken, and the figures about both. Promises
that the same publishes at the same instants always give the same report, also when the audit was
rebuilt from what it stored in between. Pure: callers pass the time, in nanoseconds of the wall
clock, because arrivals are NSQ's wall-clock stamps.

Refuses to know how a publish travels and where anything is stored. It shares no rule with the code
that publishes, on purpose: a mistake made in one place only cannot hide in both.
"""

import collections
import enum
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

# A retry comes within back-off, seconds later; this many later publishes is hours away from it.
KEYS_MAX = 10_000

# The first of them tell what is wrong; the count by promise tells how much.
BROKEN_KEPT_MAX = 100

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


class Trigger(enum.StrEnum):
    """Why a publish left."""

    REALTIME = "realtime"
    DEADLINE = "deadline"
    OVERDUE = "overdue"
    DRAIN = "drain"


class Promise(enum.StrEnum):
    """Every promise audited, by the name under which the report counts it."""

    WIDTH = "width"  # 1 to batch_size_max videos in a publish
    ONCE = "once_a_batch"  # a video is in a publish once
    CHANGED = "only_changed"  # a total differs from the last one told; before any, that is 0
    NEVER_FALLS = "never_falls"  # a total is not below the last one told
    DEADLINE = "deadline"  # received by arrived_at_ns + deadline_s; not judged when overdue
    ONE_CONTENT = "one_content_a_key"  # a key that comes again brings the same content
    EVERY_PLAY = "every_play"  # only where promised: no total below realtime_below is skipped


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """What this client was promised: the settings of the same names."""

    realtime_below: int = 100
    deadline_s: float = 60
    batch_size_max: int = 20
    every_play: bool = False


class Entry(msgspec.Struct, frozen=True):
    """One video of a publish: its total, and when its oldest untold play arrived on the queue.

    `overdue`: that play's deadline had passed when it was received, so nobody could have kept it.
    """

    video_id: str
    plays: int
    arrived_at_ns: int
    overdue: bool = False


class Publish(msgspec.Struct, frozen=True):
    """One publish; `batch` is its key."""

    batch: str
    trigger: Trigger
    videos: tuple[Entry, ...]

    def fingerprint(self) -> bytes:
        """16 bytes that differ where the content does, the key aside."""
        content = msgspec.msgpack.encode((self.trigger, self.videos))
        return hashlib.blake2b(content, digest_size=16).digest()


class Video(msgspec.Struct, frozen=True):
    """The last total told of a video, when, and the plain timer's window in which it changed."""

    plays: int
    received_at_ns: int
    timer_window: int


class Broken(msgspec.Struct, frozen=True):
    """One broken promise. `video_id` is None where the whole publish broke it."""

    promise: Promise
    batch: str
    video_id: str | None
    expected: str
    found: str


class Verdict(enum.Enum):
    ACCEPTED = "new, and taken over"
    DUPLICATE = "known key, same content: counted apart, nothing else changed"
    CONFLICT = "known key, other content: a broken promise, nothing taken over"


class Receipt(msgspec.Struct, frozen=True):
    """What one publish changed, for whoever stores it.

    `videos` are the new values. `fingerprint` is None unless the key is new. `broken` are only
    those worth keeping: the first `BROKEN_KEPT_MAX` of all.
    """

    verdict: Verdict
    videos: dict[str, Video] = {}
    fingerprint: bytes | None = None
    broken: tuple[Broken, ...] = ()


class Durations(msgspec.Struct):
    """Durations in buckets that are each 2 % wider than the one before; the maximum is exact.

    A quantile is the middle of its bucket, so at most 1 % off. Below 1 µs everything is one bucket;
    2**63 ns is in bucket 1856, so memory is bounded whatever is put in.
    """

    buckets: dict[int, int] = {}
    count: int = 0
    max_ns: int = 0

    def add(self, duration_ns: int) -> None:
        """Counts one. A negative one (clocks that disagree) counts as zero."""
        bucket = int(math.log(max(duration_ns, 1000) / 1000) / _LOG_GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.max_ns = max(self.max_ns, duration_ns)

    def quantile_ms(self, share: float) -> float | None:
        """The nearest-rank quantile in milliseconds, None when nothing was counted."""
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                middle_ns = 1000 * math.exp((bucket + 0.5) * _LOG_GROWTH)
                return round(min(middle_ns, self.max_ns) / _NS_PER_MS, 3)
        return None

    def max_ms(self) -> float | None:
        """The longest in milliseconds, None when nothing was counted."""
        return round(self.max_ns / _NS_PER_MS, 3) if self.count else None


_LOG_GROWTH = math.log(1.02)


class PlainTimer(msgspec.Struct):
    """How many publishes a plain timer would have made of the same plays, as seen by the client.

    The timer fires every `deadline_s`, counted from the first publish received, and sends every
    video that changed since it last fired, `batch_size_max` a publish. A video counts as changed in
    a window when a changed total of it was received in that window, so a window costs
    ceil(distinct videos changed / batch_size_max). The window still open is counted as if its timer
    fired now. That is a lower bound of the naive way's price, not a rival: such a timer also tells
    the first plays of a video up to `deadline_s` late.
    """

    window: int = 0
    started_at_ns: int = 0
    videos_changed: int = 0
    publishes_before: int = 0

    def turn(self, now_ns: int, promises: Promises) -> None:
        """Closes the open window when its time is over. Windows without a change cost nothing."""
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
        return self.publishes_before + -(-self.videos_changed // promises.batch_size_max)


class Statistics(msgspec.Struct):
    """All figures that are not totals. Its size doesn't grow with the plays or the publishes."""

    publishes: dict[Trigger, int] = msgspec.field(default_factory=lambda: dict.fromkeys(Trigger, 0))
    duplicates: int = 0
    widths: dict[int, int] = {}
    late: int = 0
    late_by_client: int = 0
    overdue: int = 0
    broken: dict[Promise, int] = msgspec.field(default_factory=lambda: dict.fromkeys(Promise, 0))
    realtime: Durations = msgspec.field(default_factory=Durations)
    hot: Durations = msgspec.field(default_factory=Durations)
    timer: PlainTimer = msgspec.field(default_factory=PlainTimer)
    first_received_at_ns: int = 0
    last_received_at_ns: int = 0

    def publishes_total(self) -> int:
        return sum(self.publishes.values())


class Audit:
    """The audit of everything one client was ever told."""

    def __init__(
        self,
        promises: Promises,
        *,
        statistics: Statistics | None = None,
        videos: Mapping[str, Video] | None = None,
        fingerprints: Mapping[str, bytes] | None = None,
        broken: Iterable[Broken] = (),
        keys_max: int = KEYS_MAX,
    ) -> None:
        """An empty audit, or the one that left these behind. `fingerprints` are oldest first."""
        self.promises = promises
        self.statistics = statistics or Statistics()
        self.videos = dict(videos or {})
        self.broken = list(broken)
        self.keys_max = keys_max
        self.plays = sum(video.plays for video in self.videos.values())
        # Ordered: a plain dict finds its oldest key by walking over all that were deleted.
        self._fingerprints = collections.OrderedDict(fingerprints or {})

    def receive(self, publish: Publish, received_at_ns: int, held_up_ms: int = 0) -> Receipt:
        """Audits one publish and takes it over. The receipt says all that it changed.

        `held_up_ms`: for how long the client did not take it, as the sender says. What is late stays a
        broken promise, but is counted apart where it would have been in time without that.
        """
        fingerprint = publish.fingerprint()
        known = self._fingerprints.get(publish.batch)
        if known is None:
            return self._accept(publish, fingerprint, received_at_ns, held_up_ms)
        if known == fingerprint:
            self.statistics.duplicates += 1
            return Receipt(Verdict.DUPLICATE)
        broken = Broken(
            Promise.ONE_CONTENT,
            publish.batch,
            None,
            f"content {known.hex()} as at first",
            f"content {fingerprint.hex()}",
        )
        return Receipt(Verdict.CONFLICT, broken=self._record([broken]))

    def totals(self) -> dict[str, int]:
        """The last total told of each video."""
        return {video_id: video.plays for video_id, video in self.videos.items()}

    def report(self) -> dict[str, Any]:
        """All figures, ready for JSON; times in ms, None where there is nothing to say yet."""
        statistics, plays = self.statistics, self.plays
        publishes = statistics.publishes_total()
        entries = sum(width * count for width, count in statistics.widths.items())
        timer_publishes = statistics.timer.publishes(self.promises)
        return {
            "publishes": {"total": publishes}
            | {trigger.value: count for trigger, count in statistics.publishes.items()},
            "publishes_per_minute": _ratio(publishes, self._minutes()),
            "duplicates": statistics.duplicates,
            "plays": plays,
            "videos": len(self.videos),
            "videos_published": entries,
            "videos_per_publish": {
                "mean": _ratio(entries, publishes),
                "histogram": {str(width): statistics.widths[width] for width in sorted(statistics.widths)},
            },
            "plays_per_publish": _ratio(plays, publishes),
            "promises": msgspec.to_builtins(self.promises),
            "promises_broken": [msgspec.to_builtins(broken) for broken in self.broken],
            "promises_broken_total": sum(statistics.broken.values()),
            "promises_broken_by_promise": {
                promise.value: count for promise, count in statistics.broken.items()
            },
            "late": statistics.late,
            "late_by_client": statistics.late_by_client,
            "overdue": statistics.overdue,
            "realtime_latency_ms": {
                "count": statistics.realtime.count,
                "p50": statistics.realtime.quantile_ms(0.50),
                "p99": statistics.realtime.quantile_ms(0.99),
                "max": statistics.realtime.max_ms(),
            },
            "hot_lateness_ms": {
                "count": statistics.hot.count,
                "p50": statistics.hot.quantile_ms(0.50),
                "max": statistics.hot.max_ms(),
            },
            "publishes_if_one_a_play": plays,
            "publishes_if_plain_timer": timer_publishes,
            "saving_percent": _saving_percent(publishes, plays),
            "saving_percent_against_plain_timer": _saving_percent(publishes, timer_publishes),
        }

    def _accept(self, publish: Publish, fingerprint: bytes, received_at_ns: int, held_up_ms: int) -> Receipt:
        self._count(publish, received_at_ns)
        broken = list(self._broken_as_a_whole(publish))
        touched: dict[str, Video] = {}
        for entry in publish.videos:
            if entry.video_id in touched:
                broken.append(_broken(Promise.ONCE, publish, entry, "once", "again"))
            broken += self._broken_by_entry(publish, entry, received_at_ns)
            touched[entry.video_id] = self._take_over(entry, received_at_ns)
            self._measure(publish, entry, received_at_ns, held_up_ms)
        self._fingerprints[publish.batch] = fingerprint
        while len(self._fingerprints) > self.keys_max:
            self._fingerprints.popitem(last=False)
        return Receipt(Verdict.ACCEPTED, touched, fingerprint, self._record(broken))

    def _count(self, publish: Publish, received_at_ns: int) -> None:
        statistics = self.statistics
        statistics.publishes[publish.trigger] += 1
        width = len(publish.videos)
        statistics.widths[width] = statistics.widths.get(width, 0) + 1
        statistics.first_received_at_ns = statistics.first_received_at_ns or received_at_ns
        statistics.last_received_at_ns = received_at_ns
        statistics.timer.turn(received_at_ns, self.promises)

    def _broken_as_a_whole(self, publish: Publish) -> Iterable[Broken]:
        width, width_max = len(publish.videos), self.promises.batch_size_max
        if not 1 <= width <= width_max:
            yield Broken(Promise.WIDTH, publish.batch, None, f"1 to {width_max} videos", f"{width}")

    def _broken_by_entry(self, publish: Publish, entry: Entry, received_at_ns: int) -> Iterable[Broken]:
        last = self._last_told(entry.video_id)
        if entry.plays == last:
            yield _broken(Promise.CHANGED, publish, entry, f"other than {last}", f"{last} again")
        elif entry.plays < last:
            yield _broken(Promise.NEVER_FALLS, publish, entry, f"over {last}", f"{entry.plays}")
        elif self._is_step_promised(last) and entry.plays != last + 1:
            yield _broken(Promise.EVERY_PLAY, publish, entry, f"{last + 1}", f"{entry.plays}")
        if self._is_past_deadline(entry, received_at_ns) and not _is_excused(publish, entry):
            age_s = (received_at_ns - entry.arrived_at_ns) / _NS_PER_S
            yield _broken(
                Promise.DEADLINE,
                publish,
                entry,
                f"within {self.promises.deadline_s:g} s of arrival",
                f"after {age_s:.3f} s",
            )

    def _take_over(self, entry: Entry, received_at_ns: int) -> Video:
        timer = self.statistics.timer
        before = self.videos.get(entry.video_id)
        window = before.timer_window if before else 0
        last = before.plays if before else 0
        if entry.plays != last and window != timer.window:
            window = timer.window
            timer.videos_changed += 1
        self.plays += entry.plays - last
        video = self.videos[entry.video_id] = Video(entry.plays, received_at_ns, window)
        return video

    def _measure(self, publish: Publish, entry: Entry, received_at_ns: int, held_up_ms: int) -> None:
        age_ns = received_at_ns - entry.arrived_at_ns
        if entry.plays >= self.promises.realtime_below:
            self.statistics.hot.add(age_ns)
        elif publish.trigger == Trigger.REALTIME:
            self.statistics.realtime.add(age_ns)
        if self._is_past_deadline(entry, received_at_ns):
            # Overdue: the deadline had passed when the play was received. Nobody broke a promise,
            # but the client was told late all the same, so it is counted.
            if _is_excused(publish, entry):
                self.statistics.overdue += 1
            else:
                self.statistics.late += 1
                offered_at_ns = received_at_ns - held_up_ms * _NS_PER_MS
                self.statistics.late_by_client += not self._is_past_deadline(entry, offered_at_ns)

    def _record(self, broken: list[Broken]) -> tuple[Broken, ...]:
        for one in broken:
            self.statistics.broken[one.promise] += 1
        kept = broken[: max(0, BROKEN_KEPT_MAX - len(self.broken))]
        self.broken += kept
        return tuple(kept)

    def _is_step_promised(self, last: int) -> bool:
        return self.promises.every_play and last + 1 < self.promises.realtime_below

    def _last_told(self, video_id: str) -> int:
        video = self.videos.get(video_id)
        return video.plays if video else 0

    def _is_past_deadline(self, entry: Entry, received_at_ns: int) -> bool:
        return received_at_ns > entry.arrived_at_ns + round(self.promises.deadline_s * _NS_PER_S)

    def _minutes(self) -> float:
        """From the first receipt to the last; at least one, so that a burst isn't extrapolated."""
        span_ns = self.statistics.last_received_at_ns - self.statistics.first_received_at_ns
        return max(1.0, span_ns / (60 * _NS_PER_S))


def _is_excused(publish: Publish, entry: Entry) -> bool:
    """Whether the play was received too late already: a batch that left for another reason may
    carry such a one along."""
    return entry.overdue or publish.trigger == Trigger.OVERDUE


def _broken(promise: Promise, publish: Publish, entry: Entry, expected: str, found: str) -> Broken:
    return Broken(promise, publish.batch, entry.video_id, expected, found)


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 3) if whole else None


def _saving_percent(publishes: int, instead_of: int) -> float | None:
    return round(100 * (1 - publishes / instead_of), 4) if instead_of else None
