"""What each pending video waits for: its deadline, or its linger.

Pure. Videos that come by the thousand, in a backlog or after a start, go into columns outside of Python's
objects: 33 bytes each with the GUID, and a slot. Those that come one by one go into a dict, which is quicker
for few, and from there into the columns when they have become many. Refuses to know in which order they
leave: that is the schedule's.
"""

from array import array

import numpy as np
from msgspec import Struct

from .columns import unpack_videos
from .outbox import Trigger
from .table import VideoTable

TRIGGERS = list(Trigger)
LONE_MAX = 1 << 15  # some four megabytes
ROWS_A_VIDEO = 4  # of those that wait, before the rows of others are given up; and so many at least:
ROWS_SPARE = 4096
_WAITS = 1 << 6  # in a row's kind, beside the trigger's number; 0 is a row of a video that does not wait
_OVERDUE = 1 << 7


class Waiting(Struct, frozen=True, gc=False):
    """What a video waits for. `ordinal`: the total that its oldest untold play made.

    `latest_ms` is when the client must have it, or by a linger, when it leaves. `overdue`: that play's
    deadline had passed when it was received, so nobody could have kept it.
    """

    latest_ms: int
    trigger: Trigger
    ordinal: int
    overdue: bool


class WaitingColumns(Struct, frozen=True):
    """The same of many videos: arrays. `triggers`: their places in `TRIGGERS`."""

    latest_ms: np.ndarray
    triggers: np.ndarray
    ordinals: np.ndarray
    overdue: np.ndarray


class WaitingVideos:
    """What videos wait for, by GUID."""

    def __init__(self, salt: str):
        """`salt`: see `VideoTable`."""
        self._salt = salt
        self._lone: dict[bytes, Waiting] = {}
        self._table = VideoTable(salt)
        self._in_rows = 0
        self._latest_ms = array("q")
        self._ordinals = array("q")
        self._kinds = array("B")

    def get(self, video: bytes) -> Waiting | None:
        """What a video waits for; None when it does not."""
        waiting = self._lone.get(video)
        if waiting is None and self._in_rows:
            row = self._table.find(video)
            if row is not None and self._kinds[row]:
                return self._at(row)
        return waiting

    def put(self, video: bytes, waiting: Waiting) -> None:
        """A video that did not wait does so now."""
        self._lone[video] = waiting
        if len(self._lone) > LONE_MAX:
            self._settle()

    def pop(self, video: bytes) -> Waiting:
        """A video that waits does so no more. Returns what it waited for."""
        waiting = self._lone.pop(video, None)
        if waiting is None:
            row = self._table.find(video)
            assert row is not None and self._kinds[row], "it does not wait"
            waiting = self._at(row)
            self._kinds[row] = 0
            self._in_rows -= 1
            if len(self._kinds) > ROWS_A_VIDEO * self._in_rows + ROWS_SPARE or not self._in_rows:
                self._use_rows(np.frombuffer(self._kinds, np.uint8).nonzero()[0])
        return waiting

    def add(self, videos: bytes, waiting: WaitingColumns) -> np.ndarray:
        """The videos of a column that did not wait do so now. Returns their places in it, in order.

        Of a video that stands in it twice that is the first.
        """
        if self._lone and not self._lone.keys().isdisjoint(unpack_videos(videos)):
            self._settle()
        return self._add(videos, waiting)

    def keep(self, videos: bytes) -> None:
        """All but these, which wait, do so no more: a column."""
        self._settle()
        self._use_rows(self._table.rows(videos))

    def _at(self, row: int) -> Waiting:
        kind = self._kinds[row]
        trigger = TRIGGERS[kind & _WAITS - 1]
        return Waiting(self._latest_ms[row], trigger, self._ordinals[row], kind >= _OVERDUE)

    def _add(self, videos: bytes, waiting: WaitingColumns) -> np.ndarray:
        rows = self._table.rows(videos)
        missing = len(self._table) - len(self._kinds)
        self._latest_ms.frombytes(bytes(8 * missing))
        self._ordinals.frombytes(bytes(8 * missing))
        self._kinds.frombytes(bytes(missing))
        kinds, latest_ms = np.frombuffer(self._kinds, np.uint8), np.frombuffer(self._latest_ms, np.int64)
        (places,) = (kinds[rows] == 0).nonzero()
        new = rows[places]
        latest_ms[new[::-1]] = places[::-1]  # for a moment: of one that stands there twice the first remains
        first = latest_ms[new] == places
        if not first.all():
            places, new = places[first], new[first]
        latest_ms[new] = waiting.latest_ms[places]
        np.frombuffer(self._ordinals, np.int64)[new] = waiting.ordinals[places]
        kinds[new] = waiting.triggers[places] | _WAITS | waiting.overdue[places] * np.uint8(_OVERDUE)
        self._in_rows += len(new)
        return places

    def _settle(self) -> None:
        """Put the lone ones into rows, too."""
        waiting = self._lone.values()
        columns = WaitingColumns(
            np.array([one.latest_ms for one in waiting], np.int64),
            np.array([TRIGGERS.index(one.trigger) for one in waiting], np.uint8),
            np.array([one.ordinal for one in waiting], np.int64),
            np.array([one.overdue for one in waiting], bool),
        )
        self._add(b"".join(self._lone), columns)
        self._lone.clear()

    def _use_rows(self, rows: np.ndarray) -> None:
        """Give up all rows but these, of videos that wait."""
        table = VideoTable(self._salt)
        moved = table.rows(self._table.videos(rows))
        self._table, self._in_rows = table, len(rows)
        self._latest_ms = _moved(self._latest_ms, rows, moved)
        self._ordinals = _moved(self._ordinals, rows, moved)
        self._kinds = _moved(self._kinds, rows, moved)


def _moved(column: array, rows: np.ndarray, moved: np.ndarray) -> array:
    """What stood at these rows, at those to which they moved."""
    before = np.asarray(column)
    after = np.empty_like(before, shape=len(rows))
    after[moved] = before[rows]
    return array(column.typecode, after.tobytes())
