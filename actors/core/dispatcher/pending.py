"""What each pending video waits for: its deadline, or its linger.

Pure. Videos that come by the thousand, in a backlog or after a start, go into columns outside of Python's
objects: 32 bytes each with the GUID, and a slot. Those that come one by one go into a dict, which is quicker
for few, and from there into the columns when they have become many. Refuses to know in which order they
leave: that is the schedule's.
"""

import numpy as np
from msgspec import Struct

from ..columns import Bools, Int64s, unpack_videos, video_words
from ..table import EMPTY, VideoTable
from .outbox import Trigger

TRIGGERS = list(Trigger)
LONE_MAX = 1 << 15  # some four megabytes
ROWS_A_VIDEO = 4  # of those that wait, before the rows of others are given up; and so many at least:
ROWS_SPARE = 4096
# The columns of the table's cells, after the video's two words.
_LATEST_MS, _KIND = 2, 3
_WAITS = 1 << 6  # in a row's kind, beside the trigger's number; 0 is a row of a video that does not wait
_OVERDUE = 1 << 7
_ORDINAL_AT = 8  # the bits of a kind from there on are the ordinal


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

    latest_ms: Int64s
    triggers: Int64s
    ordinals: Int64s
    overdue: Bools


class WaitingVideos:
    """What videos wait for, by GUID."""

    def __init__(self, salt: bytes):
        """`salt`: see `VideoTable`."""
        self._salt = salt
        self._lone: dict[bytes, Waiting] = {}
        self._table = VideoTable(2, salt)
        self._in_rows = 0

    def get(self, video: bytes) -> Waiting | None:
        """What a video waits for; None when it does not."""
        waiting = self._lone.get(video)
        if waiting is None and self._in_rows:
            return self._at(self._table.row(video))
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
            row = self._table.row(video)
            waiting = self._at(row)
            assert waiting is not None, "it does not wait"
            self._table.cells[row, _KIND] = 0
            self._in_rows -= 1
            if len(self._table) > ROWS_A_VIDEO * self._in_rows + ROWS_SPARE or not self._in_rows:
                self._use_rows(self._table.cells[:, _KIND].nonzero()[0])
        return waiting

    def add(self, videos: bytes, waiting: WaitingColumns) -> Int64s:
        """The videos of a column that did not wait do so now. Returns their places in it, in order.

        Of a video that stands in it twice that is the first.
        """
        if self._lone and not self._lone.keys().isdisjoint(unpack_videos(videos)):
            self._settle()
        return self._add(videos, waiting)

    def keep(self, videos: bytes) -> None:
        """All but these, which wait, do so no more: a column."""
        self._settle()
        self._use_rows(self._table.rows_of(video_words(videos)))

    def _at(self, row: int) -> Waiting | None:
        if row == EMPTY:
            return None
        latest_ms, kind = self._table.numbers(row)
        trigger = TRIGGERS[kind & _WAITS - 1]
        return Waiting(latest_ms, trigger, kind >> _ORDINAL_AT, kind & _OVERDUE > 0) if kind else None

    def _add(self, videos: bytes, waiting: WaitingColumns) -> Int64s:
        rows = self._table.rows_of(video_words(videos), open_new=True)
        cells = self._table.cells
        places: Int64s = (cells[rows, _KIND] == 0).nonzero()[0]
        new = rows[places]
        cells[new[::-1], _LATEST_MS] = places[::-1]  # for a moment: of one that stands there twice the first
        first = cells[new, _LATEST_MS] == places
        if not first.all():
            places, new = places[first], new[first]
        cells[new, _LATEST_MS] = waiting.latest_ms[places]
        kinds = waiting.triggers[places] | _WAITS | waiting.overdue[places] * _OVERDUE
        cells[new, _KIND] = kinds | waiting.ordinals[places] << _ORDINAL_AT
        self._in_rows += len(new)
        return places

    def _settle(self) -> None:
        """Put the lone ones into rows, too."""
        waiting = self._lone.values()
        columns = WaitingColumns(
            np.array([one.latest_ms for one in waiting], np.int64),
            np.array([TRIGGERS.index(one.trigger) for one in waiting], np.int64),
            np.array([one.ordinal for one in waiting], np.int64),
            np.array([one.overdue for one in waiting], bool),
        )
        self._add(b"".join(self._lone), columns)
        self._lone.clear()

    def _use_rows(self, rows: Int64s) -> None:
        """Give up all rows but these, of videos that wait."""
        cells = self._table.cells[rows]
        self._table, self._in_rows = VideoTable(2, self._salt), len(rows)
        self._table.lengthen(len(rows))
        self._table.cells[:] = cells
        self._table.reindex()
