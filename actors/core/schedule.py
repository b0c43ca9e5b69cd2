"""Deadlines of videos awaiting publication: one heap, earliest due first, twenty at a time.

Pure: callers pass the time, in whole milliseconds on the wall clock. The one rule: every pending
video has a due time; fire at the earliest, take the earliest twenty along. Firing earlier never
saves a publish and an empty place in a batch never does either (docs/decisions/0003). Only the due
time differs, and what sets it names the batch: see `Rule`.

Refuses to know totals: those are the ledgers', and a batch collects them when it leaves.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from msgspec import Struct

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


class Waiting(Struct, gc=False):
    """One pending video. `ordinal`: the total that its oldest untold play made.

    `latest_ms` is when the client must have it, `due_ms` when it leaves for that. `overdue`: that
    play's deadline had passed when it was received, so nobody could have kept it.
    """

    video: bytes
    latest_ms: int
    due_ms: int
    trigger: Trigger
    ordinal: int
    overdue: bool
    sequence: int


class Schedule:
    """The pending videos by due time. Four verbs: offer, take, confirm, fail; and forget."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self._margin_ms = 0
        self._waiting: dict[bytes, Waiting] = {}
        self._taken: dict[bytes, Waiting] = {}
        self._heap: list[tuple[int, int, bytes]] = []
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
        due_ms = latest_ms - self._lead_ms(trigger)
        overdue = arrived_ms + self.rule.deadline_ms <= now_ms
        sequence = next(self._sequence)
        self._wait(Waiting(video, latest_ms, due_ms, trigger, ordinal, overdue, sequence))

    def keep_margin(self, margin_ms: int) -> None:
        """How long before its deadline a video has to leave, from now on and for all that wait."""
        if margin_ms == self._margin_ms:
            return
        self._margin_ms = margin_ms
        for waiting in self._waiting.values():
            waiting.due_ms = waiting.latest_ms - self._lead_ms(waiting.trigger)
        self._rebuild()

    def next_due_ms(self) -> int | None:
        """When the earliest is due, or None when nothing waits."""
        while self._heap:
            due_ms, sequence, video = self._heap[0]
            waiting = self._waiting.get(video)
            if waiting is not None and waiting.sequence == sequence:
                return due_ms
            heappop(self._heap)
        return None

    def take(self, videos_max: int) -> tuple[Trigger, list[bytes]]:
        """Take the earliest along, `videos_max` at most, and why the first of them is due.

        They are in a batch on its way until `confirm` or `fail`. Raises `LookupError` when none waits.
        """
        trigger, videos = None, []
        while len(videos) < videos_max and self.next_due_ms() is not None:
            video = heappop(self._heap)[2]
            waiting = self._taken[video] = self._waiting.pop(video)
            trigger = trigger or waiting.trigger
            videos.append(video)
        if trigger is None:
            raise LookupError("nothing is pending")
        return trigger, videos

    def taken(self, video: bytes) -> Waiting | None:
        """What a video in a batch on its way was taken for."""
        return self._taken.get(video)

    def confirm(self, video: bytes, total: int) -> None:
        """The client knows this total. What waits of the video and is covered by it waits no more."""
        self._taken.pop(video, None)
        waiting = self._waiting.get(video)
        if waiting is not None and waiting.ordinal <= total:
            del self._waiting[video]

    def release(self, video: bytes) -> None:
        """A video that was taken goes with no batch: it had nothing to tell, or its counter is gone."""
        self._taken.pop(video, None)

    def fail(self, video: bytes) -> None:
        """The batch did not get through: the video waits again, for the same deadline."""
        taken = self._taken.pop(video, None)
        if taken is not None:
            taken.due_ms = taken.latest_ms - self._lead_ms(taken.trigger)
            self._wait(taken)

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """The counter of some videos is gone; it offers them again when it is back.

        Those in a batch on its way stay taken until that is confirmed or failed.
        """
        for video in [video for video in self._waiting if gone(video)]:
            del self._waiting[video]

    def _wait(self, waiting: Waiting) -> None:
        before = self._waiting.get(waiting.video)
        if before is not None:
            first, second = sorted((before, waiting), key=lambda one: one.due_ms)
            first.ordinal = min(first.ordinal, second.ordinal)
            first.overdue = first.overdue or second.overdue
            if first is before:
                return
        self._waiting[waiting.video] = waiting
        heappush(self._heap, (waiting.due_ms, waiting.sequence, waiting.video))
        if len(self._heap) > 64 + 2 * len(self._waiting):
            self._rebuild()  # superseded lines leave only from the top: none may pile up below

    def _lead_ms(self, trigger: Trigger) -> int:
        return self._margin_ms if trigger is Trigger.DEADLINE else 0

    def _rebuild(self) -> None:
        self._heap = [(one.due_ms, one.sequence, one.video) for one in self._waiting.values()]
        heapify(self._heap)
