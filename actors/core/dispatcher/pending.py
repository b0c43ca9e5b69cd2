"""The due time of each pending video: a deadline, or the end of a linger.

Pure. Thousands of videos that come together, in a backlog or after a start, go into columns: 32 bytes per
video, including its GUID, and a slot. Videos that come one by one go into a dict, which is faster for few
videos. A large dict is moved into the columns. The order in which videos leave is the schedule's business.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct, structs

from ..columns import GUID, Bools, Int64s, unpack_videos, video_words
from ..table import EMPTY, VideoTable
from ..triggers import Trigger
from .calendar import Calendar

TRIGGERS = list(Trigger)
NEVER_MS = 1 << 62
LONE_MAX = 1 << 15  # some five megabytes
# The table is rebuilt when it has more than ROWS_A_VIDEO rows per pending video and ROWS_SPARE more.
ROWS_A_VIDEO = 4
ROWS_SPARE = 4096
# The columns of the table's cells, after the video's two words.
_LATEST_MS, _KIND = 2, 3
_WAITS = 1 << 6  # set in the kind of a pending video, beside the trigger's number; a kind of 0 is a free row
_OVERDUE = 1 << 7
_ORDINAL_AT = 8  # the bits of a kind from this one on are the ordinal


class Due(Struct, frozen=True, gc=False):
    """When a pending video is due, and why.

    `latest_ms`: for a deadline, when the client must have the video; for a linger, when the video leaves.
    `ordinal`: the total that its oldest unpublished play made. `overdue`: the deadline of that play had
    passed when it was received, so nothing could have kept it. `total`, `arrived_ns`: what its counter has
    put into its next batch already, as in `Collected`; 0 if it has to be asked for it.
    """

    latest_ms: int
    trigger: Trigger
    ordinal: int
    overdue: bool
    total: int = 0
    arrived_ns: int = 0

    def later(self, longer_ms: Mapping[Trigger, int]) -> "Due":
        """This with a linger that is longer by so much, by trigger."""
        later_ms = longer_ms.get(self.trigger, 0)
        return structs.replace(self, latest_ms=self.latest_ms + later_ms) if later_ms else self


class DueColumns(Struct, frozen=True):
    """`Due` of many videos, one array per field. `triggers`: indexes into `TRIGGERS`."""

    latest_ms: Int64s
    triggers: Int64s
    ordinals: Int64s
    overdue: Bools


class PendingVideos:
    """All pending videos, by GUID (16 bytes)."""

    def __init__(self, salt: bytes):
        """`salt`: see `VideoTable`."""
        self._salt = salt
        self._lone: dict[bytes, Due] = {}
        self._table = VideoTable(2, salt)
        self._in_rows = 0

    def get(self, video: bytes) -> Due | None:
        """When a video is due; None if it is not pending."""
        waiting = self._lone.get(video)
        if waiting is None and self._in_rows:
            return self._at(self._table.row(video))
        return waiting

    def put(self, video: bytes, waiting: Due) -> None:
        """Add a video that is not pending."""
        self._lone[video] = waiting
        if len(self._lone) > LONE_MAX:
            self._settle()

    def pop(self, video: bytes) -> Due:
        """Remove a pending video and return its due time. It must be pending."""
        (waiting,) = self.pop_all([video])
        return waiting

    def pop_all(self, videos: list[bytes]) -> list[Due]:
        """Remove these videos and return their due times. Each must be pending, and named once."""
        found = [self._lone.pop(video, None) for video in videos]
        places = [place for place, waiting in enumerate(found) if waiting is None]
        if places:
            rows = self._table.rows_of(video_words(b"".join([videos[place] for place in places])))
            for place, row in zip(places, rows.tolist(), strict=True):
                found[place] = self._at(row)
            self._table.cells[rows, _KIND] = 0
            self._in_rows -= len(places)
            if len(self._table) > ROWS_A_VIDEO * self._in_rows + ROWS_SPARE or not self._in_rows:
                self._use_rows(self._table.cells[:, _KIND].nonzero()[0])
        popped = [waiting for waiting in found if waiting is not None]
        assert len(popped) == len(videos), "one is not pending"
        return popped

    def add(self, videos: bytes, waiting: DueColumns) -> Int64s:
        """Add those videos of a packed column that are not pending. Returns their indexes in it, sorted.

        A video that is in the column twice is added with its first index.
        """
        if self._lone and not self._lone.keys().isdisjoint(unpack_videos(videos)):
            self._settle()
        return self._add(videos, waiting)

    def keep(self, videos: bytes) -> None:
        """Keep only these videos (a packed column of 16-byte GUIDs) and drop every other pending one."""
        self._settle()
        self._use_rows(self._table.rows_of(video_words(videos)))

    def linger_longer(self, lingering: Calendar, longer_ms: Mapping[Trigger, int]) -> Calendar:
        """Make pending videos due later by so much, by trigger. Returns the calendar for them.

        `lingering`: the calendar of all videos whose trigger is in `longer_ms`.
        """
        moved = Calendar()
        videos = lingering.column()
        if not any(longer_ms.values()) or not videos:
            return lingering
        self._settle()
        rows = self._table.rows_of(video_words(videos))
        cells = self._table.cells
        by_number = np.array([longer_ms.get(trigger, 0) for trigger in TRIGGERS], np.int64)
        cells[rows, _LATEST_MS] += by_number[cells[rows, _KIND] & _WAITS - 1]
        moved.add_all(cells[rows, _LATEST_MS], np.frombuffer(videos, GUID))
        return moved

    def _at(self, row: int) -> Due | None:
        if row == EMPTY:
            return None
        latest_ms, kind = self._table.numbers(row)
        trigger = TRIGGERS[kind & _WAITS - 1]
        return Due(latest_ms, trigger, kind >> _ORDINAL_AT, kind & _OVERDUE > 0) if kind else None

    def _add(self, videos: bytes, waiting: DueColumns) -> Int64s:
        rows = self._table.rows_of(video_words(videos), open_new=True)
        cells = self._table.cells
        places: Int64s = (cells[rows, _KIND] == 0).nonzero()[0]
        new = rows[places]
        cells[new[::-1], _LATEST_MS] = places[
            ::-1
        ]  # for a moment: the first index of a video that is there twice
        first = cells[new, _LATEST_MS] == places
        if not first.all():
            places, new = places[first], new[first]
        cells[new, _LATEST_MS] = waiting.latest_ms[places]
        kinds = waiting.triggers[places] | _WAITS | waiting.overdue[places] * _OVERDUE
        cells[new, _KIND] = kinds | waiting.ordinals[places] << _ORDINAL_AT
        self._in_rows += len(new)
        return places

    def _settle(self) -> None:
        """Move the videos of the dict into rows."""
        waiting = self._lone.values()
        columns = DueColumns(
            np.array([one.latest_ms for one in waiting], np.int64),
            np.array([TRIGGERS.index(one.trigger) for one in waiting], np.int64),
            np.array([one.ordinal for one in waiting], np.int64),
            np.array([one.overdue for one in waiting], bool),
        )
        self._add(b"".join(self._lone), columns)
        self._lone.clear()

    def _use_rows(self, rows: Int64s) -> None:
        """Rebuild the table with only these rows, which are those of pending videos."""
        cells = self._table.cells[rows]
        self._table, self._in_rows = VideoTable(2, self._salt), len(rows)
        self._table.lengthen(len(rows))
        self._table.cells[:] = cells
        self._table.reindex()
