"""Deadlines of videos awaiting publication: earliest due first, twenty at a time.

Pure; callers pass the time in whole milliseconds on a clock that is never set. The one rule: every pending
video has a due time; a batch leaves at the earliest due time, with the twenty videos that are due earliest.
To leave earlier never saves a publish, and neither does an empty place in a batch (docs/decisions/0003). What
sets the due time gives the batch its trigger: see `Rule`.

A due time is when a video leaves in a batch. A deadline is when the client must have the video. Batches leave
one after the other, so a deadline's due time depends on how many deadlines come before it. Sort the deadlines
and number them from 0. Deadline i can't be in a batch before batch i // 20, and it is in that batch if every
batch is full. So all deadlines are kept if the first batch leaves by

    min over i of  deadline[i] - lead(i // 20)       lead(k): the time that k + 1 batches take

If the first batch leaves later, a deadline is missed: i // 20 + 1 batches can't be answered sooner. Only the
first deadline of each batch matters, because it is the earliest of its twenty.

Batches are not interrupted. A realtime video may be due first, while its batch would still be on its way when
the deadlines have to begin. Then the deadlines that could not wait for its answer go ahead of it.
"""

from collections.abc import Callable, Container, Iterable
from math import ceil
from operator import itemgetter

import numpy as np
from msgspec import structs

from ..columns import GUID, VIDEO_BYTES, Bools, Column, by_video, unpack_numbers
from ..messages import Pending
from ..triggers import Trigger
from .beginning import beginning
from .calendar import Calendar
from .lead_time import LeadTime
from .pending import NEVER_MS, TRIGGERS, Due, PendingVideos
from .pressing import pressing
from .rule import Rule
from .shortage import Shortage, shortage

MANY = 40  # fewer are offered one by one, because numpy's calls would take longer
_HELD = Due(NEVER_MS, Trigger.DEADLINE, 0, False)
_DEADLINE = TRIGGERS.index(Trigger.DEADLINE)


class Schedule:
    """The pending videos by due time. Its verbs are offer, take, confirm, fail, release, forget."""

    def __init__(self, rule: Rule, batch_size_max: int, lead_time: LeadTime, salt: bytes = bytes(16)):
        """`lead_time`: a new measurement in it changes the due times at once. `salt`: see `VideoTable`."""
        self.rule = rule
        self._batch_size_max = batch_size_max
        self._lead_time = lead_time
        self._waiting = PendingVideos(salt)
        self._taken: dict[bytes, Due] = {}
        self._later: dict[bytes, Due] = {}  # newer plays of videos that are taken
        self._deadlines = Calendar()
        self._lingering = Calendar()
        self._begin: tuple[int, int] | None = None  # when deadlines begin, after how many measurements
        self._added_ms = NEVER_MS  # the earliest deadline that was added since then

    def __len__(self) -> int:
        """The number of videos that are pending or in a batch on its way."""
        return self.waiting + len(self._taken)

    @property
    def waiting(self) -> int:
        """The number of videos that are pending and in no batch."""
        return len(self._deadlines) + len(self._lingering)

    def __contains__(self, video: bytes) -> bool:
        return video in self._taken or self.is_pending(video)

    def pending_within(self, bounds_ms: list[int]) -> list[int]:
        """How many videos in no batch are due by each bound: see `Calendar.within`."""
        pairs = zip(self._deadlines.within(bounds_ms), self._lingering.within(bounds_ms), strict=True)
        return [one + another for one, another in pairs]

    def is_pending(self, video: bytes) -> bool:
        """Whether a video is pending and in no batch."""
        return self._waiting.get(video) is not None

    def offer(
        self, video: bytes, arrived_ms: int, ordinal: int, now_ms: int, total: int = 0, arrived_ns: int = 0
    ) -> None:
        """Add a pending video (16 bytes). If it is pending already, the earlier due time counts.

        The newer plays of a video in a batch on its way wait until the client has answered. `total`,
        `arrived_ns`: see `Due`. They hold until the video is offered again.
        """
        waiting = self.rule.due(arrived_ms, ordinal, now_ms, total, arrived_ns if total else 0)
        if video in self._taken:
            before = self._later.get(video)
            self._later[video] = waiting if before is None else self._sooner(before, waiting)
        else:
            self._wait(video, waiting)

    def hold(self, videos: Iterable[bytes]) -> None:
        """Note that a batch that did not come from here has these videos."""
        self._taken |= dict.fromkeys(videos, _HELD)
        self._move_taken()

    def offer_all(self, pending: Pending, now_ms: int, ahead_ms: int = 0) -> None:
        """Add all pending videos that a counter names. Raises `ValueError` if the columns differ in length.

        `ahead_ms`: how far the wall clock is ahead of `now_ms`. Arrivals are stamps of the wall clock. A
        stamp in the future counts as now. What is overdue, and until when a quiet video is in time, counts
        from when the consumer received the plays. Of videos with the same due time, those that were not
        pending before go first.
        """
        received_ms = min(pending.received_ms or now_ms, now_ms)
        if len(pending.videos) >= MANY * VIDEO_BYTES:
            self._offer_many(pending, received_ms, now_ms, ahead_ms)
            return
        totals = unpack_numbers(pending.totals or bytes(len(pending.ordinals)))
        each = by_video(pending.videos, pending.arrived_ns, pending.ordinals)
        for (video, arrived_ns, ordinal), total in zip(each, totals, strict=True):
            arrived_ms = min(arrived_ns // 1_000_000 - ahead_ms, now_ms)
            self.offer(video, arrived_ms, ordinal, received_ms, total, arrived_ns)

    def next_due_ms(self, wait_ms: int = 0) -> int | None:
        """When the next batch is due; None if nothing is pending.

        `wait_ms`: how much longer than its linger a video may wait. A deadline does not wait.
        """
        begin_ms = self.begin_ms() if self._deadlines.times else None
        due_ms = self._lingering.times[0] + wait_ms if self._lingering.times else begin_ms
        return due_ms if begin_ms is None or due_ms is None else min(due_ms, begin_ms)

    def begin_ms(self) -> int | None:
        """When the deadlines must begin to leave; None if none is pending."""
        if not self._deadlines.times:
            return None
        if self._begin is None or self._begin[1] != self._lead_time.measured:
            begin_ms = beginning(self._deadlines, self._batch_size_max, self._lead_time)
            self._begin = begin_ms, self._lead_time.measured
        elif self._added_ms < NEVER_MS:
            known = self._begin[0], self._added_ms
            begin_ms = beginning(self._deadlines, self._batch_size_max, self._lead_time, *known)
            self._begin = begin_ms, self._begin[1]
        self._added_ms = NEVER_MS
        return self._begin[0]

    def shortage(self, now_ms: int) -> Shortage | None:
        """By how much too few publishes can be made for the deadlines; None if they are enough."""
        deadline_ms = self.rule.deadline_ms
        return shortage(self._deadlines, now_ms, self._batch_size_max, deadline_ms, self._lead_time)

    def use_width(self, width: int) -> None:
        """Fill batches up to `width` videos from now on."""
        self._batch_size_max, self._begin = width, None

    def use_rule(self, rule: Rule) -> None:
        """Use another rule with this deadline. What lingers is due as if the rule had always been it."""
        longer_ms = rule.lingers_longer_ms(self.rule)
        self.rule, self._begin = rule, None
        self._lingering = self._waiting.linger_longer(self._lingering, longer_ms)
        for dues in (self._taken, self._later):
            dues |= {video: due.later(longer_ms) for video, due in dues.items()}

    def take(
        self, now_ms: int, width: int | None = None, without: Container[bytes] = ()
    ) -> tuple[Trigger, list[bytes]]:
        """Take the next batch. Returns its trigger and its videos, which are no longer pending.

        `width`: how many videos it takes at most; None for as many as any. `without`: videos that are passed
        over; if no other is due, none is taken. They are in a batch on its way until `confirm`, `fail` or
        `release`. Raises `LookupError` if nothing is pending.
        """
        due_ms = self.next_due_ms()
        if due_ms is None:
            raise LookupError("nothing is pending")
        size, lead_ms, ahead = width or self._batch_size_max, 0, 0
        deadlines, lingering = list[tuple[int, bytes]](), self._lingering.first(size, without)
        if self._deadlines.times:
            deadlines, lead_ms = self._deadlines.first(size, without), self._lead_time.lead_ms()
            ahead = self._pressing(now_ms)
        trigger = Trigger.DEADLINE
        if without:
            begins_ms = [latest_ms - lead_ms for latest_ms, _ in deadlines[:1]]
            due_ms = min([*begins_ms, *(time_ms for time_ms, _ in lingering[:1])], default=NEVER_MS)
            if due_ms > now_ms:
                return trigger, []
        if lingering and lingering[0][0] <= due_ms:
            first = self._waiting.get(lingering[0][1])
            assert first is not None, "it lingers and is not pending"
            trigger = first.trigger
        chosen = lingering
        if deadlines:
            others = [*lingering, *((latest_ms - lead_ms, video) for latest_ms, video in deadlines[ahead:])]
            others.sort(key=itemgetter(0))
            chosen = [*deadlines[:ahead], *others]
        videos = [video for _, video in chosen[:size]]
        self._begin = None
        for video, waiting in zip(videos, self._waiting.pop_all(videos), strict=True):
            self._calendar(waiting).remove(waiting.latest_ms, video)
            self._taken[video] = waiting
        return trigger, videos

    def newest_due(self, now_ms: int, without: Container[bytes]) -> bytes | None:
        """The pending video that became due last; None if no other than `without` is due."""
        begins_ms = now_ms + self._lead_time.lead_ms()
        return self._lingering.newest(now_ms, without) or self._deadlines.newest(begins_ms, without)

    def taken(self, video: bytes) -> Due | None:
        """The due time of a video in a batch on its way; None if it is in none."""
        return self._taken.get(video)

    def late(self, videos: Iterable[bytes], told_ms: int, offered_ms: int) -> tuple[int, int]:
        """How many videos of a batch on its way are late, told at `told_ms`, and told at `offered_ms`."""
        late = late_then = 0
        for video in videos:
            if due := self._taken.get(video):
                after_ms = self.rule.late_after_ms(due)
                late += after_ms < told_ms
                late_then += after_ms < offered_ms
        return late, late_then

    def confirm(self, video: bytes, total: int) -> None:
        """Note that the client has this total. Only plays that it does not cover are pending from now on."""
        if self._taken.pop(video, None) is not None:  # so its newer plays are in `_later`
            later = self._later.pop(video, None)
            if later is not None and later.ordinal > total:
                self._wait(video, later)
            return
        waiting = self._waiting.get(video)
        if waiting is not None and waiting.ordinal <= total:
            self._remove(video)

    def release(self, video: bytes) -> None:
        """Take a video out of its batch: it had no new total, or its counter is gone."""
        self._taken.pop(video, None)
        later = self._later.pop(video, None)
        if later is not None:
            self._wait(video, later)

    def fail(self, video: bytes) -> None:
        """Note that the client refused the batch: the video is pending again, with the same due time."""
        taken = self._taken.get(video)
        self.release(video)
        if taken is not None and taken is not _HELD:
            self._wait(video, structs.replace(taken, total=0))  # there may be newer plays

    def put_aside(self, video: bytes, keep: bool = True) -> None:
        """Keep a video that is in a batch out of all others, until `take_alone` or `release`.

        `keep`: False if its counter is gone, which offers it again.
        """
        taken, later = self._taken.get(video), self._later.pop(video, None)
        dues = [due for due in (taken, later) if due is not None and due is not _HELD]
        if dues and keep:
            self._later[video] = self._sooner(dues[0], dues[-1])
        self._taken[video] = _HELD

    def postpone(self, video: bytes, now_ms: int) -> None:
        """Make a video that was put aside pending after all that is due now."""
        due = self._later.get(video)
        if due is not None:
            latest_ms = max(due.latest_ms, now_ms + self.rule.deadline_ms)
            self._later[video] = structs.replace(due, latest_ms=latest_ms)
        self.release(video)

    def take_alone(self, video: bytes) -> Trigger:
        """Take a video that is pending or was put aside into a batch of its own. Returns its trigger."""
        due = self._remove(video) if self.is_pending(video) else self._later.pop(video, _HELD)
        self._taken[video] = due
        return due.trigger

    def forget(self, gone: Callable[[Column], Bools]) -> None:
        """Drop the pending videos that are `gone`, not those in a batch on its way: see `Calendar`."""
        self._begin = None
        later = zip(self._later.items(), gone(b"".join(self._later)).tolist(), strict=True)
        self._later = {video: due for (video, due), is_gone in later if not is_gone}
        for calendar in (self._deadlines, self._lingering):
            calendar.forget(gone)
        self._waiting.keep(self._deadlines.column() + self._lingering.column())

    def _offer_many(self, pending: Pending, received_ms: int, now_ms: int, ahead_ms: int) -> None:
        arrived_ms = np.frombuffer(pending.arrived_ns, np.int64) // 1_000_000 - ahead_ms
        arrived_ms = np.minimum(arrived_ms, now_ms)
        ordinals = np.frombuffer(pending.ordinals, np.int64)
        guids = np.frombuffer(pending.videos, GUID)
        if not len(guids) == len(arrived_ms) == len(ordinals):
            raise ValueError(f"{len(guids)} videos, {len(arrived_ms)} arrivals, {len(ordinals)} ordinals")
        waiting = self.rule.due_columns(arrived_ms, ordinals, received_ms)
        new = self._waiting.add(pending.videos, waiting)
        late = waiting.triggers.take(new) == _DEADLINE
        for calendar, places in ((self._deadlines, new[late]), (self._lingering, new[~late])):
            if len(places):
                latest_ms = waiting.latest_ms.take(places)
                calendar.add_all(latest_ms, guids.take(places))
                if calendar is self._deadlines:
                    self._added_ms = min(self._added_ms, int(latest_ms.min()))
        if len(new) < len(guids):
            for place in np.delete(np.arange(len(guids)), new).tolist():
                self.offer(guids[place].tobytes(), int(arrived_ms[place]), int(ordinals[place]), received_ms)
        self._move_taken()

    def _move_taken(self) -> None:
        """Let the newer plays of videos in a batch on its way wait for the answer to it."""
        for video in self._waiting.which(self._taken):
            due = self._remove(video)
            before = self._later.get(video)
            self._later[video] = due if before is None else self._sooner(before, due)

    def _pressing(self, now_ms: int) -> int:
        """How many deadlines would be missed if a batch without them left now. They go first.

        A deadline never goes ahead of a video that was due half a deadline before it. So every video is
        published, even if the client is too slow.
        """
        if not self._lingering.times or not self._deadlines.times:
            return 0
        next_ms = now_ms + ceil(self._lead_time.apart_ms)
        fair_ms = self._lingering.times[0] + self.rule.deadline_ms // 2
        return pressing(self._deadlines, next_ms, fair_ms, self._batch_size_max, self._lead_time)

    def _due_ms(self, waiting: Due) -> int:
        return waiting.latest_ms - (self._lead_time.lead_ms() if waiting.trigger is Trigger.DEADLINE else 0)

    def _wait(self, video: bytes, waiting: Due) -> None:
        before = self._waiting.get(video)
        if before is None:
            self._waiting.put(video, waiting)
            self._calendar(waiting).add(waiting.latest_ms, video)
            if waiting.trigger is Trigger.DEADLINE:
                self._added_ms = min(self._added_ms, waiting.latest_ms)
            return
        self._begin = None
        sooner = self._sooner(before, waiting)
        self._waiting.pop(video)
        self._waiting.put(video, sooner)
        if (sooner.latest_ms, sooner.trigger) != (before.latest_ms, before.trigger):
            self._calendar(before).remove(before.latest_ms, video)
            self._calendar(sooner).add(sooner.latest_ms, video)

    def _sooner(self, before: Due, waiting: Due) -> Due:
        """The due time of a video that is due at both of these. The total is the one of `waiting`."""
        first, second = sorted((before, waiting), key=self._due_ms)
        ordinal, overdue = min(first.ordinal, second.ordinal), first.overdue or second.overdue
        total, arrived_ns = waiting.total, waiting.arrived_ns
        return Due(first.latest_ms, first.trigger, ordinal, overdue, total, arrived_ns)

    def _remove(self, video: bytes) -> Due:
        self._begin = None
        waiting = self._waiting.pop(video)
        self._calendar(waiting).remove(waiting.latest_ms, video)
        return waiting

    def _calendar(self, waiting: Due) -> Calendar:
        return self._deadlines if waiting.trigger is Trigger.DEADLINE else self._lingering
