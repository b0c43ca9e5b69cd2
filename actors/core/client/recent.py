"""The last publishes of one client, for its picture, and the last totals that came late.

Pure: callers pass the time, in nanoseconds of the wall clock. Both are bounded.
"""

import collections
import enum
import itertools

import msgspec

from ..triggers import Trigger

MARKS_MAX = 2_000
LATE_MAX = 100
MINUTE_S = 60
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """One publish: its number, when it came, why it left, how many videos it has, and how many of those were
    late, and of these, how many came late for another reason than the service.
    """

    number: int
    received_at_ms: int
    trigger: Trigger
    videos: int
    late: int
    excused: int


class Cause(enum.StrEnum):
    """Why a total came late."""

    SERVICE = "service"  # a broken promise
    CLIENT = "client"  # it would have been in time if this client had not delayed it
    OVERDUE = "overdue"  # its play was received after its deadline


class LateTotal(msgspec.Struct, frozen=True):
    """A total that came late: `late_ms` after the deadline of its oldest play."""

    video_id: str
    plays: int
    trigger: Trigger
    received_at_ms: int
    late_ms: int
    cause: Cause


class Recent:
    """The last `MARKS_MAX` publishes, and how many came in the last minute."""

    def __init__(self, number: int = 0) -> None:
        """`number`: how many publishes came before."""
        self.marks: collections.deque[Mark] = collections.deque(maxlen=MARKS_MAX)
        self.number = number  # of the newest
        self._seconds: collections.deque[tuple[int, int]] = collections.deque()  # a second, its publishes

    def add(self, trigger: Trigger, received_at_ns: int, videos: int, causes: list[Cause]) -> None:
        """Add a publish. `causes`: of its late totals."""
        self.number += 1
        excused = sum(cause is not Cause.SERVICE for cause in causes)
        at_ms = received_at_ns // _NS_PER_MS
        self.marks.append(Mark(self.number, at_ms, trigger, videos, len(causes), excused))
        second = received_at_ns // _NS_PER_S
        if self._seconds and second < self._seconds[-1][0]:
            self._seconds.clear()  # the clock was set back
        if self._seconds and self._seconds[-1][0] == second:
            second, before = self._seconds.pop()
            self._seconds.append((second, before + 1))
        else:
            self._seconds.append((second, 1))
        self._forget(second)

    def last_minute(self, now_ns: int) -> int:
        """How many publishes came in the last 60 seconds, to a second."""
        self._forget(now_ns // _NS_PER_S)
        return sum(publishes for _, publishes in self._seconds)

    def since(self, number: int) -> list[Mark]:
        """The publishes after this number, as far as they are kept, oldest first."""
        count = min(self.number - number, len(self.marks))
        return list(itertools.islice(self.marks, len(self.marks) - count, None))

    def _forget(self, second: int) -> None:
        """Forget what is a minute ago."""
        while self._seconds and self._seconds[0][0] <= second - MINUTE_S:
            self._seconds.popleft()
