"""A hash table from videos to rows of numbers, which looks up a whole column of videos at once.

Pure. A row is a few 64-bit words outside of Python's objects: two are the video, the others are its owner's
numbers. Rows are found by open addressing: a slot holds a row number, and the slots take 8 to 16 bytes per
video. A column of videos is looked up in rounds. In the first round each video looks into its first slot. A
video that finds another video there looks into the next slot in the next round. A dict would take 112 bytes
per video and wait for memory once per video. A single video can't be removed: an owner that needs few of its
videos makes a new table.

When half of the slots have a row, twice as many slots are filled beside them, a block of rows at a time,
while rows are added. So no call takes the time of all rows. Until the larger ones have every row, all calls
use the others, of which not six in ten have a row at last.
"""

from array import array
from struct import Struct
from typing import ClassVar

import numpy as np

from .columns import Bools, Int32s, Int64s, Numbers

EMPTY = -1  # no row
FEW = 6  # up to this many are looked up one by one: two microseconds each; a round takes ten
BLOCK_ROWS = 8192  # as many are put into new slots at once: what that takes stays in the processor's cache
BLOCK_SLOTS = 16 * BLOCK_ROWS  # as many new slots are emptied at once
BLOCKS_A_BLOCK = 16  # so many blocks of either are done while a block of rows is added
_SLOTS_MIN = 256
_ROWS, _OF_SLOTS = 1, 2  # with so many rows it grows: a fuller table needs more rounds
_MIX = 0xBF58476D1CE4E5B9  # of splitmix64 (Steele, Lea, Flood: Fast splittable generators)
_SHIFT = 29
_WORD = (1 << 64) - 1
_halves = Struct("=qq")
_factors = Struct("=QQ")


class VideoTable:
    """Rows 0, 1, 2 and so on, in the order in which their videos were added."""

    block_rows: ClassVar[int] = BLOCK_ROWS  # at least BLOCKS_A_BLOCK
    _larger: "VideoTable | None"  # while it grows: the same rows with twice as many slots

    def __init__(self, numbers: int, salt: bytes = bytes(16), room: int = 0):
        """`numbers`: the number of words per row, beside the video's two. `room`: how many rows to expect.

        `salt`: 16 secret bytes, so that nobody can make up videos that all fall into one slot. It decides
        about slots only, never about rows.
        """
        low, high = _factors.unpack(salt)
        self._factors: tuple[int, int] = low | 1, (high ^ _MIX) | 1
        self._width = 2 + numbers
        self._expects_new = False  # most videos of the last column had no row
        self._words = array("q")  # grows in place; a numpy array would leave holes in the heap
        self._set_slots(np.full(slots_for(room), EMPTY, np.int32))

    def __len__(self) -> int:
        return len(self._words) // self._width

    @property
    def cells(self) -> Int64s:
        """All rows: the two words of the video, then the numbers. Drop the array before rows are added."""
        return np.frombuffer(self._words, np.int64).reshape(-1, self._width)

    def video(self, row: int) -> bytes:
        """The video of one row."""
        return self._words[row * self._width : row * self._width + 2].tobytes()

    def numbers(self, row: int) -> Numbers:
        """A copy of the numbers of one row."""
        return self._words[row * self._width + 2 : (row + 1) * self._width]

    def set_numbers(self, row: int, *numbers: int) -> None:
        """Replace the numbers of one row."""
        self._words[row * self._width + 2 : (row + 1) * self._width] = array("q", numbers)

    def row(self, video: bytes) -> int:
        """The row of a video, or `EMPTY`."""
        return self._slots_one[self._slot(*_halves.unpack(video))]

    def open_row(self, video: bytes) -> int:
        """The row of a video. An unknown one gets a row of zeros."""
        first, second = _halves.unpack(video)
        slot = self._slot(first, second)
        row = self._slots_one[slot]
        if row == EMPTY:
            row = len(self)
            if row >= self._room and self._make_room(row + 1):
                slot = self._slot(first, second)
            self._words.extend((first, second, *([0] * (self._width - 2))))
            self._slots_one[slot] = row
        return row

    def rows_of(self, videos: Int64s, open_new: bool = False) -> Int64s:
        """The row of each video (two words each). An unknown video gets `EMPTY`, or with `open_new` a row of
        zeros.
        """
        if open_new and self._expects_new and len(videos) > FEW:
            known = len(self)
            opened = self._open(videos, self._first_slots(videos))
            self._expects_new = _are_most(len(self) - known, len(videos))
            return opened.astype(np.int64)
        rows, at = self._find(videos)
        if open_new:
            unknown = (rows == EMPTY).nonzero()[0]
            self._expects_new = _are_most(len(unknown), len(videos))
            if len(unknown):
                rows[unknown] = self._open(videos.take(unknown, axis=0), at.take(unknown))
        return rows.astype(np.int64)

    def lengthen(self, end: int) -> None:
        """Add rows of zeros, up to `end` rows. They can be filled, and are found after `reindex`."""
        self._words.frombytes(bytes((end - len(self)) * self._width * self._words.itemsize))

    def reindex(self) -> bool:
        """Build the slots from the present rows. Returns whether all videos are different."""
        return self._index_all(len(self))

    def _index_all(self, rows: int) -> bool:
        """Build slots for `rows` rows, and put the present rows in. Returns whether their videos differ."""
        self._set_slots(np.full(slots_for(rows), EMPTY, np.int32))
        differ = True
        for start in range(0, len(self), self.block_rows):
            found = self._put_block_in(start)
            differ &= bool((found == np.arange(start, start + len(found))).all())
        return differ

    def _put_block_in(self, start: int) -> Int32s:
        return self._put_in(start, self._first_slots(self.cells[start : start + self.block_rows]))

    def _put_all_in(self, start: int) -> int:
        """`_put_block_in`, for videos that are known to differ: none is looked at. Returns how many."""
        slots, at = self._slots, self._first_slots(self.cells[start : start + self.block_rows])
        count = len(at)
        rows = np.arange(start, start + count, dtype=np.int32)
        while len(rows):
            free = (slots.take(at) == EMPTY).nonzero()[0]
            slots[at.take(free)] = rows.take(free)  # if several want one slot, one gets it
            left = (slots.take(at) != rows).nonzero()[0]
            rows, at = rows.take(left), (at.take(left) + 1) & (len(slots) - 1)
        return count

    def _make_room(self, end: int) -> bool:
        """Do what is due before there are `end` rows. Returns whether other slots are used from now on."""
        before = self._slots
        if end > 2 * self._room or len(before) <= 4 * self.block_rows:
            self._index_all(end)  # one call adds as many rows as there are, or there are few
        while end > self._room:
            self._room += self.block_rows // BLOCKS_A_BLOCK
            self._grow()
        return self._slots is not before

    def _grow(self) -> None:
        """Do the next block of work for twice as many slots. Use them after the last block."""
        larger = self._larger
        if larger is None:
            larger = self._larger = self._with_slots(np.empty(2 * len(self._slots), np.int32))
            self._emptied = self._moved = 0
        if self._emptied < len(larger._slots):
            larger._slots[self._emptied : self._emptied + BLOCK_SLOTS] = EMPTY
            self._emptied += BLOCK_SLOTS
            return
        self._moved += larger._put_all_in(self._moved)
        if self._moved == len(self):
            self._set_slots(larger._slots)

    def _open(self, videos: Int64s, at: Int64s) -> Int32s | Int64s:
        """The rows of videos, most of which have none: those get one. Equal videos share one row.

        `at`: their first slots, or the free ones that were found for them.
        """
        start, end = len(self), len(self) + len(videos)
        if end > self._room and self._make_room(end):
            at = self._first_slots(videos)
        self.lengthen(end)
        self.cells[start:, :2] = videos
        rows = self._put_in(start, at)
        firsts = (rows == np.arange(start, end)).nonzero()[0]
        if len(firsts) < len(videos):  # close the gaps that repeated videos leave
            del self._words[(start + len(firsts)) * self._width :]
            self.cells[start:, :2] = videos[firsts]
            self._slots[at[firsts]] = np.arange(start, len(self))
            return np.where(rows < start, rows, start + np.searchsorted(firsts, rows - start))
        return rows

    def _put_in(self, start: int, at: Int64s) -> Int32s:
        """Give the rows from `start` on a slot each, unless an earlier row of the same video has one.

        Returns the row that has the slot. `at`: where each search begins; afterwards, where it ended.
        """
        cells, slots = self.cells, self._slots
        rows = np.arange(start, start + len(at), dtype=np.int32)
        if len(rows) <= FEW:
            found, left = rows.copy(), np.arange(len(rows))
        else:
            found = slots.take(at)
            wanted = (found == EMPTY).nonzero()[0][::-1]
            slots[at.take(wanted)] = rows.take(wanted)  # if several want one slot, the first gets it
            found = slots.take(at)
            left = (found != rows).nonzero()[0]
        while len(left) > FEW:
            left = left[_differ(cells.take(found.take(left), axis=0), cells.take(start + left, axis=0))]
            beyond, own = (at.take(left) + 1) & (len(slots) - 1), rows.take(left)
            free = (slots.take(beyond) == EMPTY).nonzero()[0][::-1]
            slots[beyond.take(free)] = own.take(free)
            at[left], found[left] = beyond, (has := slots.take(beyond))
            left = left[has != own]
        for place in left.tolist():
            at[place] = slot = self._slot(*cells[start + place, :2].tolist())
            if slots[slot] == EMPTY:
                slots[slot] = rows[place]
            found[place] = slots[slot]
        return found

    def _find(self, videos: Int64s) -> tuple[Int32s, Int64s]:
        """The row of each video, or `EMPTY`, and the slot where its search ended."""
        cells, slots = self.cells, self._slots
        at = self._first_slots(videos)
        rows = slots.take(at)
        asking = _others(cells, rows, videos).nonzero()[0]
        while len(asking) > FEW:
            at[asking] = beyond = (at.take(asking) + 1) & (len(slots) - 1)
            rows[asking] = found = slots.take(beyond)
            asking = asking[_others(cells, found, videos.take(asking, axis=0))]
        for place in asking.tolist():
            at[place] = slot = self._slot(*videos[place].tolist())
            rows[place] = slots[slot]
        return rows, at

    def _slot(self, first: int, second: int) -> int:
        """`_find` for one video: numpy's calls would make it five times as slow."""
        slots, words, width = self._slots_one, self._words, self._width
        slot = self._first_slot(first, second)
        while (row := slots[slot]) != EMPTY and (
            words[row * width] != first or words[row * width + 1] != second
        ):
            slot = (slot + 1) & (len(slots) - 1)
        return slot

    def _first_slots(self, videos: Int64s) -> Int64s:
        words = videos.view(np.uint64)
        mixed = words[:, 0] * np.uint64(self._factors[0]) ^ words[:, 1] * np.uint64(self._factors[1])
        mixed ^= mixed >> np.uint64(_SHIFT)
        mixed *= np.uint64(_MIX)
        mixed >>= np.uint64(self._slot_shift)
        return mixed.view(np.int64)

    def _first_slot(self, first: int, second: int) -> int:
        mixed = (first * self._factors[0] ^ second * self._factors[1]) & _WORD
        return ((mixed ^ mixed >> _SHIFT) * _MIX & _WORD) >> self._slot_shift

    def _with_slots(self, slots: Int32s) -> "VideoTable":
        """The same rows, with other slots. (`copy` would make every later access to an attribute slower.)"""
        other = self.__class__.__new__(self.__class__)
        other._factors, other._width, other._words = self._factors, self._width, self._words
        other._set_slots(slots)
        return other

    def _set_slots(self, slots: Int32s) -> None:
        self._slots = slots
        self._slots_one = slots.data
        self._slot_shift = 64 - (len(slots).bit_length() - 1)
        self._room = len(slots) * _ROWS // _OF_SLOTS  # with more rows, the next block of work is due
        self._larger = None


def slots_for(rows: int) -> int:
    """How many slots a table with room for this many rows has."""
    return max(_SLOTS_MIN, 1 << (-(rows * -_OF_SLOTS // _ROWS) - 1).bit_length())


def _others(cells: Int64s, rows: Int32s, videos: Int64s) -> Bools:
    """For each row: whether it exists and belongs to another video than the given one."""
    if not len(cells):
        return np.zeros(len(rows), bool)
    others: Bools = rows != EMPTY
    if others.all():
        return _differ(cells.take(rows, axis=0), videos)
    places = others.nonzero()[0]  # not the others: most of what is new finds an empty slot
    others[places] = _differ(cells.take(rows.take(places), axis=0), videos.take(places, axis=0))
    return others


def _are_most(some: int, of: int) -> bool:
    return 4 * some > 3 * of


def _differ(cells: Int64s, videos: Int64s) -> Bools:
    differ: Bools = (cells[:, 0] != videos[:, 0]) | (cells[:, 1] != videos[:, 1])
    return differ
