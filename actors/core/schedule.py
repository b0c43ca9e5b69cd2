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

from bisect import bisect_left, insort
from collections.abc import Callable
from itertools import count
from math import ceil

from msgspec import Struct

from .margin import Margin
from .outbox import Trigger

_Line = tuple[int, int, bytes]  # by when, which offer, which video


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


class Waiting(Struct, gc=False):
    """One pending video. `ordinal`: the total that its oldest untold play made.

    `latest_ms` is when the client must have it, or by a linger, when it leaves. `overdue`: that play's
    deadline had passed when it was received, so nobody could have kept it.
    """

    video: bytes
    latest_ms: int
    trigger: Trigger
    ordinal: int
    overdue: bool
    sequence: int


class Schedule:
    """The pending videos by due time. Four verbs: offer, take, confirm, fail; and forget."""

    def __init__(self, rule: Rule, batch_size_max: int, margin: Margin):
        """`margin`: what a batch takes; its owner measures, and the due times follow at once."""
        self.rule = rule
        self._batch_size_max = batch_size_max
        self._margin = margin
        self._waiting: dict[bytes, Waiting] = {}
        self._taken: dict[bytes, Waiting] = {}
        # Sorted: a heap cannot tell its twentieth. Almost all lines are added at the end.
        self._deadlines: list[_Line] = []
        self._lingering: list[_Line] = []
        self._sequence = count()

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
        self._wait(Waiting(video, latest_ms, trigger, ordinal, overdue, next(self._sequence)))

    def next_due_ms(self) -> int | None:
        """When the next batch is due, or None when nothing waits."""
        dues_ms = [line[0] for line in self._lingering[:1]]
        if self._deadlines:
            dues_ms.append(self._begin_ms())
        return min(dues_ms, default=None)

    def take(self, now_ms: int) -> tuple[Trigger, list[bytes]]:
        """Take the earliest along, and why they leave.

        They are in a batch on its way until `confirm` or `fail`. Raises `LookupError` when none waits.
        """
        due_ms = self.next_due_ms()
        if due_ms is None:
            raise LookupError("nothing is pending")
        by_linger = bool(self._lingering) and self._lingering[0][0] <= due_ms
        trigger = self._waiting[self._lingering[0][2]].trigger if by_linger else Trigger.DEADLINE
        ahead = self._deadlines[: self._pressing(now_ms)]
        places = self._batch_size_max - len(ahead)
        others = self._lingering[:places] + self._deadlines[len(ahead) : self._batch_size_max]
        others.sort(key=self._due)
        lines = ahead + others[:places]
        for line in lines:
            self._taken[line[2]] = self._remove(line[2])
        return trigger, [line[2] for line in lines]

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
            self._wait(taken)

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """The counter of some videos is gone; it offers them again when it is back.

        Those in a batch on its way stay taken until that is confirmed or failed.
        """
        self._waiting = {video: one for video, one in self._waiting.items() if not gone(video)}
        self._deadlines = [line for line in self._deadlines if line[2] in self._waiting]
        self._lingering = [line for line in self._lingering if line[2] in self._waiting]

    def _begin_ms(self) -> int:
        """By when the first batch must leave for all deadlines to be kept: the formula above."""
        deadlines, size, lead_ms = self._deadlines, self._batch_size_max, self._margin.lead_ms
        longest_ms = lead_ms(len(deadlines) // size)
        begin_ms = deadlines[0][0] - lead_ms()
        for place in range(size, len(deadlines), size):
            if deadlines[place][0] - longest_ms >= begin_ms:
                break  # nor can any after it be sooner
            begin_ms = min(begin_ms, deadlines[place][0] - lead_ms(place // size))
        return begin_ms

    def _pressing(self, now_ms: int) -> int:
        """How many deadlines could not be kept if a batch without them left now: they go ahead.

        None ahead of a video that was due half a deadline before it, so that all get on where the client
        is too slow for everything.
        """
        if not self._lingering:
            return 0
        size, margin = self._batch_size_max, self._margin
        next_ms = now_ms + ceil(margin.publish_ms)
        fair_ms = self._lingering[0][0] + self.rule.deadline_ms // 2
        safe_ms = next_ms + margin.lead_ms(len(self._deadlines) // size)
        pressing = 0
        for place, (latest_ms, _, _) in enumerate(self._deadlines):
            if latest_ms >= min(safe_ms, fair_ms + 1) or pressing >= size:
                break
            pressing = max(pressing, place + 1 - size * margin.batches(latest_ms - next_ms))
        return min(pressing, size)

    def _due(self, line: _Line) -> tuple[int, int]:
        waiting = self._waiting[line[2]]
        return self._due_ms(waiting), waiting.sequence

    def _due_ms(self, waiting: Waiting) -> int:
        return waiting.latest_ms - (self._margin.lead_ms() if waiting.trigger is Trigger.DEADLINE else 0)

    def _wait(self, waiting: Waiting) -> None:
        before = self._waiting.get(waiting.video)
        if before is not None:
            first, second = sorted((before, waiting), key=self._due_ms)
            first.ordinal = min(first.ordinal, second.ordinal)
            first.overdue = first.overdue or second.overdue
            if first is before:
                return
            self._remove(waiting.video)
        self._waiting[waiting.video] = waiting
        insort(self._lines(waiting), (waiting.latest_ms, waiting.sequence, waiting.video))

    def _remove(self, video: bytes) -> Waiting:
        waiting = self._waiting.pop(video)
        lines = self._lines(waiting)
        del lines[bisect_left(lines, (waiting.latest_ms, waiting.sequence))]
        return waiting

    def _lines(self, waiting: Waiting) -> list[_Line]:
        return self._deadlines if waiting.trigger is Trigger.DEADLINE else self._lingering
