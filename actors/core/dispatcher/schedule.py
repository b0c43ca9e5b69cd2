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

from collections.abc import Callable
from math import ceil
from operator import itemgetter

import numpy as np
from msgspec import Struct

from ..columns import VIDEO_BYTES, Int64s, by_video, count
from ..messages import Pending
from .calendar import Calendar
from .lead_time import Margin
from .outbox import Trigger
from .pending import TRIGGERS, Waiting, WaitingColumns, WaitingVideos

MANY = 40  # of fewer each is offered on its own: numpy's calls would take longer
_GUID = np.dtype((np.void, VIDEO_BYTES))
_REALTIME, _DEADLINE, _OVERDUE = map(TRIGGERS.index, (Trigger.REALTIME, Trigger.DEADLINE, Trigger.OVERDUE))


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

    def waiting(self, arrived_ms: int, ordinal: int, now_ms: int) -> Waiting:
        """What such a video waits for."""
        latest_ms, trigger = self.latest(arrived_ms, ordinal, now_ms)
        return Waiting(latest_ms, trigger, ordinal, arrived_ms + self.deadline_ms <= now_ms)

    def waiting_columns(self, arrived_ms: Int64s, ordinals: Int64s, now_ms: int) -> WaitingColumns:
        """What each of many such videos waits for."""
        deadlines_ms = arrived_ms + self.deadline_ms
        overdue = deadlines_ms <= now_ms
        triggers = np.where(overdue, _OVERDUE, _DEADLINE)
        latest_ms = np.where(overdue, now_ms + self.overdue_linger_ms, deadlines_ms)
        realtime = ordinals < self.realtime_below
        triggers[realtime] = _REALTIME
        latest_ms[realtime] = now_ms + self.realtime_linger_ms
        return WaitingColumns(latest_ms, triggers, ordinals, overdue)


class Schedule:
    """The pending videos by due time. Four verbs: offer, take, confirm, fail; and forget."""

    def __init__(self, rule: Rule, batch_size_max: int, margin: Margin, salt: bytes = bytes(16)):
        """`margin`: what a batch takes; its owner measures, and the due times follow at once.

        `salt`: see `VideoTable`.
        """
        self.rule = rule
        self._batch_size_max = batch_size_max
        self._margin = margin
        self._waiting = WaitingVideos(salt)
        self._taken: dict[bytes, Waiting] = {}
        self._deadlines = Calendar()
        self._lingering = Calendar()
        self._begin: tuple[int, int] | None = None  # when the deadlines do, after so many measurements

    def __len__(self) -> int:
        """How many videos wait or are in a batch on its way."""
        waiting = len(self._deadlines) + len(self._lingering)
        return waiting + sum(self._waiting.get(video) is None for video in self._taken)

    def __contains__(self, video: bytes) -> bool:
        return video in self._taken or self._waiting.get(video) is not None

    def offer(self, video: bytes, arrived_ms: int, ordinal: int, now_ms: int) -> None:
        """A video (16 bytes) is pending. One that waits already keeps the earlier due time.

        A video in a batch on its way may be offered again: the plays since then wait for the next.
        """
        self._wait(video, self.rule.waiting(arrived_ms, ordinal, now_ms))

    def offer_all(self, pending: Pending, now_ms: int) -> None:
        """The same of all that a counter says. Of those that are due together and wait already, none goes
        before one that did not. Raises `ValueError` when the columns do not match."""
        if count(pending.videos, VIDEO_BYTES) >= MANY:
            self._offer_many(pending, now_ms)
            return
        for video, arrived_ns, ordinal in by_video(pending.videos, pending.arrived_ns, pending.ordinals):
            self.offer(video, arrived_ns // 1_000_000, ordinal, now_ms)

    def next_due_ms(self) -> int | None:
        """When the next batch is due, or None when nothing waits."""
        dues_ms = self._lingering.times[:1]
        if self._deadlines.times:
            if self._begin is None or self._begin[1] != self._margin.measured:
                self._begin = self._begin_ms(), self._margin.measured
            dues_ms.append(self._begin[0])
        return min(dues_ms, default=None)

    def take(self, now_ms: int) -> tuple[Trigger, list[bytes]]:
        """Take the earliest along, and why they leave.

        They are in a batch on its way until `confirm` or `fail`. Raises `LookupError` when none waits.
        """
        due_ms = self.next_due_ms()
        if due_ms is None:
            raise LookupError("nothing is pending")
        size, lead_ms = self._batch_size_max, self._margin.lead_ms()
        deadlines, lingering = self._deadlines.first(size), self._lingering.first(size)
        trigger = Trigger.DEADLINE
        if lingering and lingering[0][0] <= due_ms:
            first = self._waiting.get(lingering[0][1])
            assert first is not None, "it lingers and does not wait"
            trigger = first.trigger
        pressing = self._pressing(now_ms)
        others = [*lingering, *((latest_ms - lead_ms, video) for latest_ms, video in deadlines[pressing:])]
        others.sort(key=itemgetter(0))
        videos = [video for _, video in [*deadlines[:pressing], *others][:size]]
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
        self._begin = None
        for calendar in (self._deadlines, self._lingering):
            calendar.forget(gone)
        self._waiting.keep(self._deadlines.column() + self._lingering.column())

    def _offer_many(self, pending: Pending, now_ms: int) -> None:
        arrived_ms = np.frombuffer(pending.arrived_ns, np.int64) // 1_000_000
        ordinals = np.frombuffer(pending.ordinals, np.int64)
        guids = np.frombuffer(pending.videos, _GUID)
        if not len(guids) == len(arrived_ms) == len(ordinals):
            raise ValueError(f"{len(guids)} videos, {len(arrived_ms)} arrivals, {len(ordinals)} ordinals")
        self._begin = None
        waiting = self.rule.waiting_columns(arrived_ms, ordinals, now_ms)
        new = self._waiting.add(pending.videos, waiting)
        late = waiting.triggers[new] == _DEADLINE
        for calendar, places in ((self._deadlines, new[late]), (self._lingering, new[~late])):
            if len(places):
                calendar.add_all(waiting.latest_ms[places], guids[places])
        if len(new) < len(guids):
            for place in np.delete(np.arange(len(guids)), new).tolist():
                self.offer(guids[place].tobytes(), int(arrived_ms[place]), int(ordinals[place]), now_ms)

    def _begin_ms(self) -> int:
        """By when the first batch must leave for all deadlines to be kept: the formula above."""
        size, lead_ms = self._batch_size_max, self._margin.lead_ms
        begin_ms = self._deadlines.times[0] - lead_ms()
        longest_ms = lead_ms(max(0, len(self._deadlines) - 1) // size)
        doubtful, place = [], 0
        for times_ms, videos in self._deadlines.blocks():
            if times_ms[0] - longest_ms >= begin_ms:
                break  # nor can any after it be sooner
            block_ms = lead_ms((place + videos - 1) // size)
            doubtful.append((times_ms[0] - block_ms, times_ms, place))
            begin_ms = min(begin_ms, times_ms[-1] - block_ms)
            place += videos
        for soonest_ms, times_ms, first in doubtful:
            if soonest_ms < begin_ms:
                place = first
                for latest_ms in times_ms:
                    if latest_ms - longest_ms >= begin_ms:
                        break
                    place += self._deadlines.count(latest_ms)
                    begin_ms = min(begin_ms, latest_ms - lead_ms((place - 1) // size))
        return begin_ms

    def _pressing(self, now_ms: int) -> int:
        """How many deadlines could not be kept if a batch without them left now: they go ahead.

        None ahead of a video that was due half a deadline before it, so that all get on where the client
        is too slow for everything.
        """
        if not self._lingering.times or not self._deadlines.times:
            return 0
        size, margin = self._batch_size_max, self._margin
        next_ms = now_ms + ceil(max(margin.publish_ms, margin.interval_ms))
        fair_ms = self._lingering.times[0] + self.rule.deadline_ms // 2

        def in_time(latest_ms: int, place: int) -> bool:
            """Whether so many without those that press are answered by then."""
            return next_ms + margin.lead_ms((place - pressing - 1) // size) <= latest_ms

        safe_ms = next_ms + margin.lead_ms(len(self._deadlines) // size)
        place = pressing = 0
        for times_ms, videos in self._deadlines.blocks():
            if times_ms[0] >= min(safe_ms, fair_ms + 1) or pressing >= size:
                break
            end = place + videos
            if not in_time(times_ms[0], end):  # else all of them are
                for latest_ms in times_ms:
                    place += self._deadlines.count(latest_ms)
                    if latest_ms <= fair_ms and not in_time(latest_ms, place):
                        pressing = max(pressing, place - size * margin.batches(latest_ms - next_ms))
            place = end
        return min(pressing, size)

    def _due_ms(self, waiting: Waiting) -> int:
        return waiting.latest_ms - (self._margin.lead_ms() if waiting.trigger is Trigger.DEADLINE else 0)

    def _wait(self, video: bytes, waiting: Waiting) -> None:
        self._begin = None
        before = self._waiting.get(video)
        if before is None:
            self._waiting.put(video, waiting)
            self._calendar(waiting).add(waiting.latest_ms, video)
            return
        first, second = sorted((before, waiting), key=self._due_ms)
        ordinal, overdue = min(first.ordinal, second.ordinal), first.overdue or second.overdue
        self._waiting.pop(video)
        self._waiting.put(video, Waiting(first.latest_ms, first.trigger, ordinal, overdue))
        if first is not before:
            self._calendar(before).remove(before.latest_ms, video)
            self._calendar(first).add(first.latest_ms, video)

    def _remove(self, video: bytes) -> Waiting:
        self._begin = None
        waiting = self._waiting.pop(video)
        self._calendar(waiting).remove(waiting.latest_ms, video)
        return waiting

    def _calendar(self, waiting: Waiting) -> Calendar:
        return self._deadlines if waiting.trigger is Trigger.DEADLINE else self._lingering
