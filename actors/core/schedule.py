"""Deadlines of videos awaiting publication: earliest due first, twenty at a time.

Pure: callers pass the time, in whole milliseconds on the wall clock. The one rule: every pending
video has a due time; fire at the earliest, take the earliest twenty along. Firing earlier never
saves a publish and an empty place in a batch never does either (docs/decisions/0003). Only the due
time differs, and what sets it names the batch: see `Rule`.

A due time is when a batch leaves. A deadline is when the client must have it, and batches go one after
the other; so a deadline's due time depends on how many wait. Of deadlines in order, number i (from 0) can
be in no batch before number i // 20, and in that one it is when each batch is full. So all are kept by
whoever begins by

    min over i of  deadline[i] - lead(i // 20)       lead(k): what k batches before it and its own take

and by nobody who begins later: the first i // 20 + 1 batches cannot be answered sooner. Only each
batch's first matters, as it is the earliest of its twenty.

Batches are not interrupted. Where a realtime video is due first and its batch would be on its way when
the deadlines have to begin, as many of them as could not wait for its answer go ahead of it.

Refuses to know totals: those are the ledgers', and a batch collects them when it leaves.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from math import ceil

from msgspec import Struct

from .margin import Margin
from .outbox import Trigger


class Rule(Struct, frozen=True):
    """When a pending video is due. Milliseconds, but for `realtime_below`, which is plays."""

    realtime_below: int = 100
    deadline_ms: int = 60_000
    realtime_linger_ms: int = 0
    overdue_linger_ms: int = 1000

    def latest(self, arrived_ms: int, ordinal: int, now_ms: int) -> tuple[int, Trigger]:
        """By when a video is to be published whose oldest untold play made its total `ordinal`.

        Below `realtime_below`: on receipt. Else at its deadline, counted from arrival on the queue;
        or, when that has passed on receipt, after a linger.
        """
        if ordinal < self.realtime_below:
            return now_ms + self.realtime_linger_ms, Trigger.REALTIME
        if arrived_ms + self.deadline_ms <= now_ms:
            return now_ms + self.overdue_linger_ms, Trigger.OVERDUE
        return arrived_ms + self.deadline_ms, Trigger.DEADLINE


class Waiting(Struct, frozen=True, gc=False):
    """What a video waits for. Videos that wait for the same share it. `ordinal`: the total that its
    oldest untold play made.

    `latest_ms` is when the client must have it, or by a linger, when it leaves. `overdue`: that play's
    deadline had passed when it was received, so nobody could have kept it.
    """

    latest_ms: int
    trigger: Trigger
    ordinal: int
    overdue: bool


class Schedule:
    """The pending videos by due time. Four verbs: offer, take, confirm, fail; and forget."""

    def __init__(self, rule: Rule, batch_size_max: int, margin: Margin):
        """`margin`: what a batch takes; its owner measures, and the due times follow at once."""
        self.rule = rule
        self._batch_size_max = batch_size_max
        self._margin = margin
        self._waiting: dict[bytes, Waiting] = {}
        self._taken: dict[bytes, Waiting] = {}
        self._deadlines = _Calendar()
        self._lingering = _Calendar()
        self._last = Waiting(0, Trigger.REALTIME, 0, False)

    def __len__(self) -> int:
        """How many videos wait or are in a batch on its way."""
        return len(self._waiting) + sum(video not in self._waiting for video in self._taken)

    def __contains__(self, video: bytes) -> bool:
        return video in self._waiting or video in self._taken

    def offer(self, video: bytes, arrived_ms: int, ordinal: int, now_ms: int) -> None:
        """A video is pending. One that waits already keeps the earlier due time.

        A video in a batch on its way may be offered again: the plays since then wait for the next.
        """
        latest_ms, trigger = self.rule.latest(arrived_ms, ordinal, now_ms)
        overdue = arrived_ms + self.rule.deadline_ms <= now_ms
        waiting = Waiting(latest_ms, trigger, ordinal, overdue)
        if waiting == self._last:
            waiting = self._last
        self._last = waiting
        self._wait(video, waiting)

    def next_due_ms(self) -> int | None:
        """When the next batch is due, or None when nothing waits."""
        dues_ms = self._lingering.times[:1]
        if self._deadlines.times:
            dues_ms.append(self._begin_ms())
        return min(dues_ms, default=None)

    def take(self, now_ms: int) -> tuple[Trigger, list[bytes]]:
        """Take the earliest along, and why they leave.

        They are in a batch on its way until `confirm` or `fail`. Raises `LookupError` when none waits.
        """
        due_ms = self.next_due_ms()
        if due_ms is None:
            raise LookupError("nothing is pending")
        trigger = Trigger.DEADLINE
        if self._lingering.times and self._lingering.times[0] <= due_ms:
            trigger = self._waiting[next(self._lingering.videos())].trigger
        size = self._batch_size_max
        deadlines = list(islice(self._deadlines.videos(), size))
        pressing = self._pressing(now_ms)
        others = [*islice(self._lingering.videos(), size), *deadlines[pressing:]]
        others.sort(key=lambda video: self._due_ms(self._waiting[video]))
        videos = [*deadlines[:pressing], *others][:size]
        for video in videos:
            self._taken[video] = self._remove(video)
        return trigger, videos

    def taken(self, video: bytes) -> Waiting | None:
        """What a video in a batch on its way was taken for."""
        return self._taken.get(video)

    def confirm(self, video: bytes, total: int) -> None:
        """The client knows this total. What waits of the video and is covered by it waits no more."""
        self._taken.pop(video, None)
        waiting = self._waiting.get(video)
        if waiting is not None and waiting.ordinal <= total:
            self._remove(video)

    def release(self, video: bytes) -> None:
        """A video that was taken goes with no batch: it had nothing to tell, or its counter is gone."""
        self._taken.pop(video, None)

    def fail(self, video: bytes) -> None:
        """The batch did not get through: the video waits again, for the same deadline."""
        taken = self._taken.pop(video, None)
        if taken is not None:
            self._wait(video, taken)

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """The counter of some videos is gone; it offers them again when it is back.

        Those in a batch on its way stay taken until that is confirmed or failed.
        """
        for video in [video for video in self._waiting if gone(video)]:
            del self._waiting[video]
        for calendar in (self._deadlines, self._lingering):
            calendar.keep(self._waiting.__contains__)

    def _begin_ms(self) -> int:
        """By when the first batch must leave for all deadlines to be kept: the formula above."""
        size, lead_ms = self._batch_size_max, self._margin.lead_ms
        begin_ms = self._deadlines.times[0] - lead_ms()
        longest_ms = lead_ms(max(0, len(self._deadlines) - 1) // size)
        place = 0
        for latest_ms in self._deadlines.times:
            if latest_ms - longest_ms >= begin_ms:
                break  # nor can any after it be sooner
            place += self._deadlines.count(latest_ms)
            begin_ms = min(begin_ms, latest_ms - lead_ms((place - 1) // size))
        return begin_ms

    def _pressing(self, now_ms: int) -> int:
        """How many deadlines could not be kept if a batch without them left now: they go ahead.

        None ahead of a video that was due half a deadline before it, so that all get on where the client
        is too slow for everything.
        """
        if not self._lingering.times:
            return 0
        size, margin = self._batch_size_max, self._margin
        next_ms = now_ms + ceil(max(margin.publish_ms, margin.interval_ms))
        fair_ms = self._lingering.times[0] + self.rule.deadline_ms // 2
        safe_ms = next_ms + margin.lead_ms(len(self._deadlines) // size)
        place = pressing = 0
        for latest_ms in self._deadlines.times:
            if latest_ms >= min(safe_ms, fair_ms + 1) or pressing >= size:
                break
            place += self._deadlines.count(latest_ms)
            pressing = max(pressing, place - size * margin.batches(latest_ms - next_ms))
        return min(pressing, size)

    def _due_ms(self, waiting: Waiting) -> int:
        return waiting.latest_ms - (self._margin.lead_ms() if waiting.trigger is Trigger.DEADLINE else 0)

    def _wait(self, video: bytes, waiting: Waiting) -> None:
        before = self._waiting.get(video)
        if before is not None:
            first, second = sorted((before, waiting), key=self._due_ms)
            ordinal, overdue = min(first.ordinal, second.ordinal), first.overdue or second.overdue
            waiting = Waiting(first.latest_ms, first.trigger, ordinal, overdue)
            if first is before:
                self._waiting[video] = waiting
                return
            self._remove(video)
        self._waiting[video] = waiting
        self._calendar(waiting).add(waiting.latest_ms, video)

    def _remove(self, video: bytes) -> Waiting:
        waiting = self._waiting.pop(video)
        self._calendar(waiting).remove(waiting.latest_ms, video)
        return waiting

    def _calendar(self, waiting: Waiting) -> "_Calendar":
        return self._deadlines if waiting.trigger is Trigger.DEADLINE else self._lingering


class _Calendar:
    """Videos by the millisecond, and in it in the order in which they came. `times`: in order, each once.

    A heap of videos could not tell its twentieth, and would keep a line of its own for each.
    """

    def __init__(self) -> None:
        self.times: list[int] = []
        self._videos: dict[int, list[bytes]] = {}
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def count(self, time_ms: int) -> int:
        """How many videos that time has."""
        return len(self._videos[time_ms])

    def videos(self) -> Iterator[bytes]:
        """All, the earliest first."""
        return (video for time_ms in self.times for video in self._videos[time_ms])

    def add(self, time_ms: int, video: bytes) -> None:
        """Put in a video that is not there."""
        videos = self._videos.get(time_ms)
        if videos is None:
            videos = self._videos[time_ms] = []
            if not self.times or time_ms > self.times[-1]:
                self.times.append(time_ms)  # nearly always: what comes later is due later
            else:
                self.times.insert(bisect_left(self.times, time_ms), time_ms)
        videos.append(video)
        self._len += 1

    def remove(self, time_ms: int, video: bytes) -> None:
        """Take out a video that is there."""
        videos = self._videos[time_ms]
        videos.remove(video)
        self._len -= 1
        if not videos:
            del self._videos[time_ms]
            del self.times[bisect_left(self.times, time_ms)]

    def keep(self, kept: Callable[[bytes], bool]) -> None:
        """Take out all the others."""
        everything = self._videos.items()
        left = {time_ms: [video for video in videos if kept(video)] for time_ms, videos in everything}
        self._videos = {time_ms: videos for time_ms, videos in left.items() if videos}
        self.times = sorted(self._videos)
        self._len = sum(map(len, self._videos.values()))
