"""The videos pending at the dispatcher, kept apart from its schedule, to check which videos a batch takes.

The rule of the schedule in its simplest form: a batch takes the pending videos that are due earliest, twenty
of them if there are twenty. Only the schedule knows how long before its deadline a video is due. So a due
time is an interval here: half a deadline wide for a deadline, and a point for a linger.
"""

from collections.abc import Collection, Iterable

from msgspec import Struct

from actors.core.columns import unpack_numbers, unpack_videos
from actors.core.messages import Pending
from actors.core.shards import shard_of

from .checks import Invariant, Violation
from .client import BATCH_SIZE_MAX
from .plan import Plan


class Due(Struct):
    """The interval in which a video is due. `ordinal`: the total that its oldest unpublished play made."""

    low_ms: int
    high_ms: int
    ordinal: int

    def merge(self, other: "Due") -> None:
        """Merge both: the earlier times count."""
        self.low_ms = min(self.low_ms, other.low_ms)
        self.high_ms = min(self.high_ms, other.high_ms)
        self.ordinal = min(self.ordinal, other.ordinal)


class Waiting:
    """The pending videos in one life of the dispatcher."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._realtime_ms, self._overdue_ms = plan.linger_ms, OVERDUE_LINGER_MS
        self._due: dict[bytes, Due] = {}
        self._taken: dict[bytes, Due] = {}
        self._later: dict[bytes, Due] = {}  # newer plays of videos that are taken
        self._apart: set[bytes] = set()  # taken, and in no batch: refused, or in a half that has not left
        # By number of a batch that the counters are asked for: its videos, and the shards that are to answer.
        self._asked: dict[int, tuple[set[bytes], set[int]]] = {}

    def offer(self, pending: Pending, now_ms: int, wall_ms: int) -> None:
        """A counter announces pending videos. Their stamps are of the wall clock."""
        received_ms = min(pending.received_ms or now_ms, now_ms)
        stamps_ns, ordinals = unpack_numbers(pending.arrived_ns), unpack_numbers(pending.ordinals)
        for video, stamp_ns, ordinal in zip(unpack_videos(pending.videos), stamps_ns, ordinals, strict=True):
            arrived_ms = now_ms - max(0, wall_ms - stamp_ns // 1_000_000)
            due = self._due_of(arrived_ms, ordinal, received_ms)
            if video not in self._taken:
                self._wait(video, due)
            elif video in self._later:
                self._later[video].merge(due)
            else:
                self._later[video] = due

    def use_lingers(self, realtime_ms: int, overdue_ms: int) -> None:
        """Other lingers hold from now on, for what is pending too. How each is due is not known."""
        longer_ms = (realtime_ms - self._realtime_ms, overdue_ms - self._overdue_ms)
        for dues in (self._due, self._taken, self._later):
            for due in dues.values():
                due.low_ms += min(0, *longer_ms)
                due.high_ms += max(0, *longer_ms)
        self._realtime_ms, self._overdue_ms = realtime_ms, overdue_ms

    def hold(self, videos: Iterable[bytes]) -> None:
        """A batch with these videos is on its way. They may be pending again after it."""
        for video in videos:
            self._taken[video] = Due(0, 0, 0)
            if video in self._due:
                self._later[video] = self._due.pop(video)

    def left(self, asked: Collection[int], videos: Collection[bytes]) -> None:
        """The counters are still asked for the batches with these numbers. Of all others these videos left.

        A batch left without the counters that have not answered. They announce their videos again.
        """
        for number in self._asked.keys() - asked:
            own, unanswered = self._asked.pop(number)
            for shard in unanswered:
                self._forget(shard)
            for video in own.difference(videos):
                self._answered(video)

    def tries(self, video: bytes) -> None:
        """A refused video is tried: what it waited for is in its batch."""
        if video in self._later:
            self._taken[video] = self._later.pop(video)

    def refused_alone(self, video: bytes, linked: set[int]) -> None:
        """The client refused a video alone: it waits apart for what it waited for."""
        taken, self._taken[video] = self._taken.get(video, Due(0, 0, 0)), Due(0, 0, 0)
        if taken.ordinal and shard_of(video, self._plan.shards) in linked:
            if video in self._later:
                self._later[video].merge(taken)
            else:
                self._later[video] = taken

    def set_apart(self, apart: set[bytes], held: set[bytes], linked: set[int]) -> None:
        """These are refused, or in halves that have not left. `held`: those in batches."""
        self.refused(self._apart - apart - held, linked)
        self._apart = apart

    def leave(
        self,
        number: int,
        asked: dict[int, list[bytes]],
        known: list[bytes],
        width: int = BATCH_SIZE_MAX,
        alone: Collection[bytes] = (),
        probes: bool = False,
    ) -> None:
        """A batch leaves with these videos: `asked` of the counters, by shard, and `known` with their totals.
        `width`: how many it may have.

        `alone`: videos that leave one by one, in turn with the others. `probes`: all do so, in any order.
        """
        leaving = [*known, *(video for videos in asked.values() for video in videos)]
        self._asked[number] = set(leaving), set(asked)
        if not leaving:
            return
        twice = [video for video in leaving if video in self._taken]
        if twice:
            raise Violation(Invariant.ONE_BATCH, f"{len(twice)} videos leave and are on their way")
        strangers = [video for video in leaving if video not in self._due]
        if strangers:
            raise Violation(Invariant.EARLIEST_FIRST, f"{len(strangers)} videos leave and are not pending")
        for video in leaving:
            self._taken[video] = self._due.pop(video)
        if len(leaving) == 1 and (probes or leaving[0] in alone):
            return
        if probes:
            raise Violation(Invariant.EARLIEST_FIRST, f"{len(leaving)} leave together as a probe")
        staying = [due for video, due in self._due.items() if video not in alone]
        lowest_ms = min((due.high_ms for due in staying), default=None)
        if lowest_ms is None:
            return
        if len(leaving) < width:
            raise Violation(Invariant.EARLIEST_FIRST, f"{len(leaving)} leave and {len(staying)} stay")
        later_ms = max(self._taken[video].low_ms for video in leaving) - lowest_ms
        if later_ms > 0:
            raise Violation(Invariant.EARLIEST_FIRST, f"a video due {later_ms} ms earlier stays")

    def answered(self, shard: int, number: int) -> None:
        """A counter has sent its totals."""
        if number in self._asked:
            self._asked[number][1].discard(shard)

    def lost(self, shard: int) -> None:
        """A counter is lost."""
        self._forget(shard)
        for _, unanswered in self._asked.values():
            unanswered.discard(shard)

    def refused(self, videos: Iterable[bytes], linked: set[int]) -> None:
        """The client refused these videos: they are pending as before."""
        for video in videos:
            taken = self._taken.get(video)
            self._answered(video)
            if taken is not None and taken.ordinal and shard_of(video, self._plan.shards) in linked:
                self._wait(video, taken)

    def accepted(self, totals: dict[bytes, int]) -> None:
        """The client has these totals."""
        for video, total in totals.items():
            self._answered(video)
            if video in self._due and self._due[video].ordinal <= total:
                del self._due[video]

    def idle(self, now_ms: int) -> None:
        """The dispatcher does nothing, so no video may be due."""
        due = [due for due in self._due.values() if due.high_ms <= now_ms]
        if due:
            raise Violation(Invariant.EARLIEST_FIRST, f"{len(due)} videos are due, but nothing is done")

    def _due_of(self, arrived_ms: int, ordinal: int, now_ms: int) -> Due:
        if ordinal < self._plan.realtime_below:
            due_ms = now_ms + self._realtime_ms
            return Due(due_ms, due_ms, ordinal)
        latest_ms = arrived_ms + self._plan.deadline_ms
        if latest_ms <= now_ms:
            due_ms = now_ms + self._overdue_ms
            return Due(due_ms, due_ms, ordinal)
        return Due(latest_ms - self._plan.deadline_ms // 2, latest_ms, ordinal)

    def _wait(self, video: bytes, due: Due) -> None:
        if video in self._due:
            self._due[video].merge(due)
        else:
            self._due[video] = due

    def _answered(self, video: bytes) -> None:
        """A video is in no batch on its way any more."""
        self._taken.pop(video, None)
        if video in self._later:
            self._wait(video, self._later.pop(video))

    def _forget(self, shard: int) -> None:
        for dues in (self._due, self._later):
            for video in [video for video in dues if shard_of(video, self._plan.shards) == shard]:
                del dues[video]


OVERDUE_LINGER_MS = 100
