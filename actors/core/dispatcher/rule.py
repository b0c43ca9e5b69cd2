"""When a pending video is due, and until when the client has it in time. Pure."""

import numpy as np
from msgspec import Struct

from ..columns import Int64s
from ..triggers import Trigger
from .pending import TRIGGERS, Due, DueColumns

_REALTIME, _DEADLINE, _OVERDUE = map(TRIGGERS.index, (Trigger.REALTIME, Trigger.DEADLINE, Trigger.OVERDUE))


class Rule(Struct, frozen=True):
    """When a pending video is due. Fields are milliseconds, `realtime_below` is a number of plays."""

    realtime_below: int = 100
    deadline_ms: int = 60_000
    realtime_linger_ms: int = 0
    overdue_linger_ms: int = 1000

    def latest(self, arrived_ms: int, ordinal: int, now_ms: int) -> tuple[int, Trigger]:
        """The due time and trigger of a video whose oldest unpublished play made its total `ordinal`.

        Below `realtime_below` it is due on receipt. Else it is due at its deadline, counted from its arrival
        on the queue; or after a linger, if the deadline had passed on receipt.
        """
        if ordinal < self.realtime_below:
            return now_ms + self.realtime_linger_ms, Trigger.REALTIME
        if arrived_ms + self.deadline_ms <= now_ms:
            return now_ms + self.overdue_linger_ms, Trigger.OVERDUE
        return arrived_ms + self.deadline_ms, Trigger.DEADLINE

    def due(self, arrived_ms: int, ordinal: int, now_ms: int, total: int = 0, arrived_ns: int = 0) -> Due:
        """`latest` as a `Due`. `total`, `arrived_ns`: as there."""
        latest_ms, trigger = self.latest(arrived_ms, ordinal, now_ms)
        overdue = arrived_ms + self.deadline_ms <= now_ms
        return Due(latest_ms, trigger, ordinal, overdue, total, arrived_ns)

    def lingers_longer_ms(self, before: "Rule") -> dict[Trigger, int]:
        """How much longer a video lingers than by the rule `before`, by its trigger; nothing for others."""
        return {
            Trigger.REALTIME: self.realtime_linger_ms - before.realtime_linger_ms,
            Trigger.OVERDUE: self.overdue_linger_ms - before.overdue_linger_ms,
        }

    def late_after_ms(self, due: Due) -> int:
        """The last moment at which the client has the video in time.

        This is the deadline of the video. A video without a deadline has `deadline_ms` after receipt: the
        dispatcher does not cause the wait on the queue.
        """
        match due.trigger:
            case Trigger.REALTIME:
                return due.latest_ms - self.realtime_linger_ms + self.deadline_ms
            case Trigger.OVERDUE:
                return due.latest_ms - self.overdue_linger_ms + self.deadline_ms
        return due.latest_ms

    def due_columns(self, arrived_ms: Int64s, ordinals: Int64s, now_ms: int) -> DueColumns:
        """`due` of many videos at once."""
        deadlines_ms = arrived_ms + self.deadline_ms
        overdue = deadlines_ms <= now_ms
        triggers = np.where(overdue, _OVERDUE, _DEADLINE)
        latest_ms = np.where(overdue, now_ms + self.overdue_linger_ms, deadlines_ms)
        realtime = ordinals < self.realtime_below
        triggers[realtime] = _REALTIME
        latest_ms[realtime] = now_ms + self.realtime_linger_ms
        return DueColumns(latest_ms, triggers, ordinals, overdue)
