"""The due time of each pending video: a deadline, or the end of a linger.

Pure. Thousands of videos that come together, in a backlog or after a start, go into columns: 32 bytes per
video, including its GUID, and a slot. Videos that come one by one go into a dict, which is faster for few
videos. A large dict is moved into the columns. The order in which videos leave is the schedule's business.

A video that leaves frees its row, which is used again when the same video is pending again. When most rows
are free, a new table takes over: what is added goes there, and each call moves a block of rows, so that no
call takes the time of all. Until the last row is moved, a video is in one table of the two.
"""

from collections.abc import Collection, Mapping

import numpy as np
from msgspec import Struct, structs

from ..columns import GUID, Bools, Int64s, video_words
from ..table import EMPTY, FEW, VideoTable
from ..triggers import Trigger
from .calendar import Calendar

TRIGGERS = list(Trigger)
NEVER_MS = 1 << 62
LONE_MAX = 1 << 12  # they are moved in five milliseconds
LONE_FEW = 1 << 9  # up to so many stay in the dict, with their totals, when a column comes
_MARK_BITS = 16
_MARK_FACTOR = 0x9E3779B97F4A7C15  # of Fibonacci hashing (Knuth): ids that begin alike get other marks
MOVED_ROWS = 1 << 12  # rows of a former table that one call looks at: a millisecond
# Another table takes over when one has more than ROWS_A_VIDEO rows per pending video and ROWS_SPARE more.
ROWS_A_VIDEO = 4
ROWS_SPARE = 4096
# The columns of the table's cells, after the video's two words.
_LATEST_MS, _KIND = 2, 3
_CELLS = 4
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

    def take(self, places: Int64s) -> "DueColumns":
        """These of the videos."""
        latest_ms, triggers, ordinals = (
            column.take(places) for column in (self.latest_ms, self.triggers, self.ordinals)
        )
        return DueColumns(latest_ms, triggers, ordinals, self.overdue.take(places))


class PendingVideos:
    """All pending videos, by GUID (16 bytes)."""

    def __init__(self, salt: bytes):
        """`salt`: see `VideoTable`."""
        self._salt = salt
        self._lone: dict[bytes, Due] = {}
        self._table = VideoTable(2, salt)
        self._former: VideoTable | None = None  # its pending videos are moved, up to the row `_moved`
        self._moved = 0
        self._in_rows = 0  # how many videos both have

    def get(self, video: bytes) -> Due | None:
        """When a video is due; None if it is not pending."""
        waiting = self._lone.get(video)
        if waiting is None and self._in_rows:
            for table in self._tables:
                if (row := table.row(video)) != EMPTY and (found := _due(*table.numbers(row))):
                    return found
        return waiting

    def which(self, videos: Collection[bytes]) -> list[bytes]:
        """Those of these videos that are pending."""
        if not self._in_rows or len(videos) < FEW:
            return [video for video in videos if self.get(video) is not None]
        words, pending = video_words(b"".join(videos)), np.zeros(len(videos), bool)
        for table in self._tables:
            pending |= _kinds(table, table.rows_of(words)) > 0
        return [
            video for video, one in zip(videos, pending.tolist(), strict=True) if one or video in self._lone
        ]

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
        if not self._in_rows:
            return [self._lone.pop(video) for video in videos]
        found = [self._lone.pop(video, None) for video in videos]
        for table in self._tables:
            places = [place for place, waiting in enumerate(found) if waiting is None]
            if places:
                rows = table.rows_of(video_words(b"".join([videos[place] for place in places])))
                for place, row in zip(places, rows.tolist(), strict=True):
                    found[place] = None if row == EMPTY else _due(*table.numbers(row))
                table.cells[rows[rows != EMPTY], _KIND] = 0
                self._in_rows -= sum(found[place] is not None for place in places)
        self._tidy()
        popped = [waiting for waiting in found if waiting is not None]
        assert len(popped) == len(videos), "one is not pending"
        return popped

    def add(self, videos: bytes, waiting: DueColumns) -> Int64s:
        """Add those videos of a packed column that are not pending. Returns their indexes in it, sorted.

        A video that is in the column twice is added with its first index.
        """
        words = video_words(videos)
        if self._lone and (len(self._lone) > max(LONE_FEW, len(words)) or self._may_be_lone(words)):
            self._settle()
        places = self._add(words, waiting)
        self._tidy()
        return places

    def keep(self, videos: bytes) -> None:
        """Keep only these videos (a packed column of 16-byte GUIDs) and drop every other pending one."""
        self._settle()
        kept = [
            _pending_cells(one.cells.take(_rows(one, video_words(videos)), axis=0)) for one in self._tables
        ]
        self._table, self._former, self._in_rows = VideoTable(2, self._salt), None, sum(map(len, kept))
        self._table.lengthen(self._in_rows)
        np.concatenate(kept, out=self._table.cells)
        self._table.reindex()

    def linger_longer(self, lingering: Calendar, longer_ms: Mapping[Trigger, int]) -> Calendar:
        """Make pending videos due later by so much, by trigger. Returns the calendar for them.

        `lingering`: the calendar of all videos whose trigger is in `longer_ms`.
        """
        moved = Calendar()
        videos = lingering.column()
        if not any(longer_ms.values()) or not videos:
            return lingering
        self._settle()
        by_number = np.array([longer_ms.get(trigger, 0) for trigger in TRIGGERS], np.int64)
        for table in self._tables:
            rows = _rows(table, video_words(videos))
            cells = _pending_cells(table.cells.take(rows, axis=0))
            cells[:, _LATEST_MS] += by_number[cells[:, _KIND] & _WAITS - 1]
            table.cells[table.rows_of(cells[:, :_LATEST_MS]), _LATEST_MS] = cells[:, _LATEST_MS]
            moved.add_all(cells[:, _LATEST_MS], np.ascontiguousarray(cells[:, :_LATEST_MS]).view(GUID)[:, 0])
        return moved

    @property
    def _tables(self) -> list[VideoTable]:
        return [self._table] if self._former is None else [self._table, self._former]

    def _may_be_lone(self, words: Int64s) -> bool:
        """Whether the first word of one of these videos is that of a video in the dict."""
        firsts = words[:, 0]
        lone = np.sort(np.frombuffer(b"".join(self._lone), np.int64)[::2])
        marked = np.zeros(1 << _MARK_BITS, np.bool_)
        marked[_marks(lone)] = True
        similar = firsts[marked.take(_marks(firsts))]  # few: a search for all takes ten times as long
        return bool((lone.take(lone.searchsorted(similar), mode="clip") == similar).any())

    def _add(self, words: Int64s, waiting: DueColumns) -> Int64s:
        """`add`, for videos of which none is in the dict."""
        known = len(self._table)
        rows = self._table.rows_of(words, open_new=True)
        cells, places = self._table.cells, np.arange(len(rows))
        filled, new = cells[known:], None  # if none of them is known, the last rows are theirs
        if self._former is not None or known + len(rows) != len(cells):  # else none of them is known
            is_free = _kinds(self._table, rows) == 0
            if self._former is not None:
                is_free &= _kinds(self._former, self._former.rows_of(words)) == 0
            places = is_free.nonzero()[0]
            new = rows.take(places)
            # for a moment: the first index of a video that is there twice
            cells[new[::-1], _LATEST_MS] = places[::-1]
            first = cells[new, _LATEST_MS] == places
            if not first.all():
                places, new = places[first], new[first]
            waiting = waiting.take(places)
            filled = np.empty((len(new), _CELLS), np.int64)
        filled[:, _LATEST_MS] = waiting.latest_ms
        filled[:, _KIND] = (
            waiting.triggers | _WAITS | waiting.overdue * _OVERDUE | waiting.ordinals << _ORDINAL_AT
        )
        if new is not None:
            cells[new, _LATEST_MS:] = filled[:, _LATEST_MS:]
        self._in_rows += len(filled)
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
        self._add(video_words(b"".join(self._lone)), columns)
        self._lone.clear()

    def _tidy(self) -> None:
        """Do the next piece of work for a table with fewer free rows."""
        if not self._in_rows:
            self._former = None
            if len(self._table):
                self._table = VideoTable(2, self._salt)
        elif self._former is not None:
            self._move_block(self._former)
        elif len(self._table) > ROWS_A_VIDEO * self._in_rows + ROWS_SPARE:
            self._former, self._table, self._moved = self._table, VideoTable(2, self._salt), 0

    def _move_block(self, former: VideoTable) -> None:
        cells = former.cells[self._moved : self._moved + MOVED_ROWS]
        pending = _pending_cells(cells)
        rows = self._table.rows_of(pending[:, :_LATEST_MS], open_new=True)
        self._table.cells[rows, _LATEST_MS:] = pending[:, _LATEST_MS:]
        cells[:, _KIND] = 0
        self._moved += len(cells)
        if self._moved == len(former):
            self._former = None


def _due(latest_ms: int, kind: int) -> Due | None:
    """What the numbers of a row say; None if the row is free."""
    trigger = TRIGGERS[kind & _WAITS - 1]
    return Due(latest_ms, trigger, kind >> _ORDINAL_AT, kind & _OVERDUE > 0) if kind else None


def _marks(firsts: Int64s) -> Int64s:
    """A number of `_MARK_BITS` bits for each first word of a video."""
    marks = firsts.astype(np.uint64) * np.uint64(_MARK_FACTOR) >> np.uint64(64 - _MARK_BITS)
    return marks.view(np.int64)


def _kinds(table: VideoTable, rows: Int64s) -> Int64s:
    """The kinds in these rows, 0 for `EMPTY`."""
    if not len(table):
        return np.zeros(len(rows), np.int64)
    kinds: Int64s = table.cells.reshape(-1).take(rows * _CELLS + _KIND, mode="wrap")
    kinds[rows == EMPTY] = 0
    return kinds


def _rows(table: VideoTable, words: Int64s) -> Int64s:
    """The rows of those of these videos that the table has."""
    rows = table.rows_of(words)
    found: Int64s = rows[rows != EMPTY]
    return found


def _pending_cells(cells: Int64s) -> Int64s:
    """Those of these rows that are not free."""
    pending: Int64s = cells.take(cells[:, _KIND].nonzero()[0], axis=0)
    return pending
