"""Audits what playtally promises a client, judging only by the publishes that the client received.

Owns the totals that were published to a client, the promises that were broken, and statistics of both. The
same publishes at the same instants always give the same report, even if the audit was stored and rebuilt in
between. Pure: callers pass the time, in nanoseconds of the wall clock, because arrivals are NSQ's
wall-clock stamps.

The audit does not know how a publish travels or where anything is stored. It shares no rule with the code
that publishes, on purpose: a mistake in one of the two can't hide in the other.
"""

import collections
import enum
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..columns import guids_of
from ..triggers import Trigger
from .promises import Broken, Promise, Promises, Publish, PublishedVideo
from .recent import LATE_MAX, Cause, LateTotal, Recent
from .statistics import Statistics
from .videos import PLAYS, Video, Videos

# A retry follows seconds later, after its back-off. This many publishes take hours, so its key is still kept.
KEYS_MAX = 10_000

# The first broken promises show what is wrong; the count by promise shows how often.
BROKEN_KEPT_MAX = 100

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


class Verdict(enum.Enum):
    """The audit's verdict on a publish."""

    ACCEPTED = "new key: its totals are taken over"
    DUPLICATE = "known key, same content: counted apart, nothing else changes"
    CONFLICT = "known key, other content: a broken promise, nothing is taken over"


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """A publish with all that the audit judges it by: see `Audit.receive`. `promises`: those of that time."""

    publish: Publish
    received_at_ns: int
    held_up_ms: int
    together: int
    promises: Promises


class Receipt(msgspec.Struct, frozen=True):
    """What one publish changed. `videos`: their new values. `found`: all promises that it broke."""

    verdict: Verdict
    videos: dict[str, Video] = {}
    found: tuple[Broken, ...] = ()


class Audit:
    """The audit of all publishes that one client received."""

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
        """Start an empty audit, or continue a stored one. `fingerprints`: by key, oldest first.

        `videos`: in the order of their numbers. If they are `Videos`, they are taken over.
        """
        self.promises = promises
        self.statistics = statistics or Statistics()
        self.videos = videos if isinstance(videos, Videos) else Videos()
        if videos is not self.videos:
            self.videos.update(videos or {})
        self.broken = list(broken)
        self.keys_max = keys_max
        self.recent = Recent(self.statistics.publishes_total())
        self.plays = self.videos.plays()
        # An OrderedDict: a plain dict walks over all deleted keys to find its oldest.
        self._fingerprints = collections.OrderedDict(fingerprints or {})

    def receive(
        self, publish: Publish, received_at_ns: int, held_up_ms: int = 0, together: int = 1
    ) -> Receipt:
        """Audit one publish and take over its totals. Returns everything that changed.

        `held_up_ms`: for how long the client has delayed the publish, as its sender says. A total that would
        have been in time without that delay breaks no promise. It is counted in `late`, and also in
        `late_by_client`. `together`: how many publishes the client had at once, this one included.
        """
        fingerprint = publish.fingerprint()
        known = self._fingerprints.get(publish.batch)
        if known is None:
            self.statistics.together[together] = self.statistics.together.get(together, 0) + 1
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
        self._record([broken])
        return Receipt(Verdict.CONFLICT, found=(broken,))

    def receive_again(self, taken: Iterable[Taken]) -> list[Receipt]:
        """Audit publishes that were received before, in their order, by the promises of that time."""
        promises, receipts = self.promises, []
        for one in taken:
            self.promises = one.promises
            receipts.append(self.receive(one.publish, one.received_at_ns, one.held_up_ms, one.together))
        self.promises = promises
        return receipts

    def newest_keys(self, count: int) -> list[tuple[str, bytes]]:
        """The keys that came last, the newest first, each with the fingerprint of its content."""
        return list(itertools.islice(reversed(self._fingerprints.items()), count))

    def totals(self) -> dict[str, int]:
        """The last published total of each video."""
        cells = self.videos.cells
        return dict(zip(guids_of(cells[:, :PLAYS]), cells[:, PLAYS].tolist(), strict=True))

    def report(self) -> dict[str, Any]:
        """All statistics, ready for JSON. Times are in ms; None where nothing was measured yet."""
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
            "together": {str(number): statistics.together[number] for number in sorted(statistics.together)},
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
            "latest_late": [msgspec.to_builtins(late) for late in reversed(statistics.latest_late)],
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
        deadline_ns = round(self.promises.deadline_s * _NS_PER_S)
        # A play that arrived before this is late; before the second, it would be late without the delay too.
        late_ns = received_at_ns - deadline_ns
        late_anyway_ns = late_ns - held_up_ms * _NS_PER_MS
        broken = list(self._broken_as_a_whole(publish))
        touched: dict[str, Video] = {}
        causes: list[Cause] = []
        rows = self.videos.rows_of([entry.video_id for entry in publish.videos])
        for entry, row in zip(publish.videos, rows, strict=True):
            last, _, window = self.videos.numbers(row)  # zeros for a new video
            if entry.video_id in touched:
                broken.append(_broken(Promise.ONCE, publish, entry, "once", "again"))
            touched[entry.video_id] = self._take_over(entry, row, last, window, received_at_ns)
            if publish.trigger is Trigger.REPUBLISH:
                continue  # any total may come again, and none has an arrival
            is_late_anyway = entry.arrived_at_ns < late_anyway_ns
            if is_late_anyway or entry.plays != last + 1:
                broken += self._broken_by_entry(publish, entry, last, received_at_ns, is_late_anyway)
            self._measure(publish, entry, received_at_ns)
            if entry.arrived_at_ns < late_ns:
                causes.append(self._count_late(publish, entry, is_late_anyway))
                self._keep_late(publish, entry, received_at_ns, late_ns, causes[-1])
        self._fingerprints[publish.batch] = fingerprint
        while len(self._fingerprints) > self.keys_max:
            self._fingerprints.popitem(last=False)
        self._record(broken)
        self.recent.add(publish.trigger, received_at_ns, len(publish.videos), causes)
        return Receipt(Verdict.ACCEPTED, touched, tuple(broken))

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

    def _broken_by_entry(
        self, publish: Publish, entry: PublishedVideo, last: int, received_at_ns: int, is_late_anyway: bool
    ) -> Iterable[Broken]:
        if entry.plays == last:
            yield _broken(Promise.CHANGED, publish, entry, f"other than {last}", f"{last} again")
        elif entry.plays < last:
            yield _broken(Promise.NEVER_FALLS, publish, entry, f"over {last}", f"{entry.plays}")
        elif self._is_step_promised(last) and entry.plays != last + 1:
            yield _broken(Promise.EVERY_PLAY, publish, entry, f"{last + 1}", f"{entry.plays}")
        if is_late_anyway and not _is_excused(publish, entry):
            age_s = (received_at_ns - entry.arrived_at_ns) / _NS_PER_S
            yield _broken(
                Promise.DEADLINE,
                publish,
                entry,
                f"within {self.promises.deadline_s:g} s of arrival",
                f"after {age_s:.3f} s",
            )

    def _take_over(
        self, entry: PublishedVideo, row: int, last: int, window: int, received_at_ns: int
    ) -> Video:
        timer = self.statistics.timer
        if entry.plays != last and window != timer.window:
            window = timer.window
            timer.videos_changed += 1
        self.plays += entry.plays - last
        self.videos.put(row, entry.plays, received_at_ns, window)
        return Video(entry.plays, received_at_ns, window, row + 1)

    def _measure(self, publish: Publish, entry: PublishedVideo, received_at_ns: int) -> None:
        age_ns = received_at_ns - entry.arrived_at_ns
        if entry.plays >= self.promises.realtime_below:
            self.statistics.hot.add(age_ns)
        elif publish.trigger is Trigger.REALTIME:
            self.statistics.realtime.add(age_ns)

    def _count_late(self, publish: Publish, entry: PublishedVideo, is_late_anyway: bool) -> Cause:
        # Overdue: the play was received after its deadline. No promise was broken, but the play
        # was published late all the same, so it is counted.
        if _is_excused(publish, entry):
            self.statistics.overdue += 1
            return Cause.OVERDUE
        self.statistics.late += 1
        self.statistics.late_by_client += not is_late_anyway
        return Cause.SERVICE if is_late_anyway else Cause.CLIENT

    def _keep_late(
        self, publish: Publish, entry: PublishedVideo, received_at_ns: int, late_ns: int, cause: Cause
    ) -> None:
        """Keep a late total. `late_ns`: plays that arrived before it are late."""
        at_ms, by_ms = received_at_ns // _NS_PER_MS, (late_ns - entry.arrived_at_ns) // _NS_PER_MS
        late = LateTotal(entry.video_id, entry.plays, publish.trigger, at_ms, by_ms, cause)
        self.statistics.latest_late.append(late)
        del self.statistics.latest_late[:-LATE_MAX]

    def _record(self, broken: list[Broken]) -> None:
        for one in broken:
            self.statistics.broken[one.promise] += 1
        self.broken += broken[: max(0, BROKEN_KEPT_MAX - len(self.broken))]

    def _is_step_promised(self, last: int) -> bool:
        return self.promises.every_play and last + 1 < self.promises.realtime_below

    def _minutes(self) -> float:
        """Minutes from the first publish to the last; at least 1, so that a burst isn't extrapolated."""
        span_ns = self.statistics.last_received_at_ns - self.statistics.first_received_at_ns
        return max(1.0, span_ns / (60 * _NS_PER_S))


def _is_excused(publish: Publish, entry: PublishedVideo) -> bool:
    """Whether the play was received after its deadline. Such a play may also be in a batch that left for
    another reason, so the trigger alone does not show it.
    """
    return entry.overdue or publish.trigger == Trigger.OVERDUE


def _broken(promise: Promise, publish: Publish, entry: PublishedVideo, expected: str, found: str) -> Broken:
    return Broken(promise, publish.batch, entry.video_id, expected, found)


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 3) if whole else None


def _saving_percent(publishes: int, instead_of: int) -> float | None:
    return round(100 * (1 - publishes / instead_of), 4) if instead_of else None
