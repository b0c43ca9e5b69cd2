"""Videos by number: each gets a row, and keeps it. Many are looked up at once.

Pure. A hash table outside of Python's objects: 16 bytes a video and 12 to 24 for its slot, where a dict
from GUIDs takes 112. What is known of a video is its owner's, in columns with a place for each row.
Refuses to forget a single video: an owner that has done with most of them makes a new table.
"""

from array import array
from hashlib import blake2b
from struct import Struct

import numpy as np

FREE = -1
SLOTS_MIN = 64
SLOTS_A_ROW = 3  # at least; with fewer, a lookup more often meets another video before its own
FEW = 6  # a lone lookup takes two microseconds, a step of all that are left some ten
WORD = (1 << 64) - 1
_halves = Struct("=QQ")


class VideoTable:
    """Rows by GUID: 0, 1, 2 and so on, none of them twice."""

    def __init__(self, salt: str):
        """`salt`: what nobody outside can know, or they could choose GUIDs that all meet in one slot. It
        decides where a row's number stands, never the number."""
        first, second = _halves.unpack(blake2b(salt.encode(), digest_size=_halves.size).digest())
        self._mix = first | 1, second | 1
        self._firsts = array("Q")
        self._seconds = array("Q")
        self._use_slots(SLOTS_MIN)

    def __len__(self) -> int:
        return len(self._firsts)

    def find(self, video: bytes) -> int | None:
        """The row of a video, or None."""
        row = self._slots[self._slot(*_halves.unpack(video))]
        return None if row == FREE else row

    def videos(self, rows: np.ndarray) -> bytes:
        """The GUIDs of these rows, as a column."""
        firsts, seconds = np.frombuffer(self._firsts, np.uint64), np.frombuffer(self._seconds, np.uint64)
        return np.stack((firsts[rows], seconds[rows]), axis=1).tobytes()

    def rows(self, videos: bytes) -> np.ndarray:
        """The rows of a column of videos, new ones for those that have none."""
        halves = np.frombuffer(videos, np.uint64)
        firsts, seconds = halves[0::2], halves[1::2]
        slots = np.frombuffer(self._slots, np.int32)
        places, rows = self._find_all(firsts, seconds, slots)
        new = (rows == FREE).nonzero()[0]
        if len(new):
            # Of several that would take one slot the last has it; the others, few, come one by one.
            slots[places[new]] = new
            won = slots[places[new]] == new
            opened, beaten = new[won], new[~won]
            rows[opened] = np.arange(len(self), len(self) + len(opened))
            slots[places[opened]] = rows[opened]
            self._firsts.frombytes(firsts[opened].tobytes())
            self._seconds.frombytes(seconds[opened].tobytes())
            self._grow()
            for place in beaten.tolist():
                rows[place] = self._row(int(firsts[place]), int(seconds[place]))
        return rows

    def _row(self, first: int, second: int) -> int:
        slot = self._slot(first, second)
        row = self._slots[slot]
        if row == FREE:
            row = self._slots[slot] = len(self)
            self._firsts.append(first)
            self._seconds.append(second)
            self._grow()
        return row

    def _slot(self, first: int, second: int) -> int:
        """Where the row of a video stands, or the free slot where it would."""
        slots, firsts, seconds = self._slots, self._firsts, self._seconds
        slot = (first * self._mix[0] + second * self._mix[1] & WORD) >> self._shift
        while (row := slots[slot]) != FREE and (firsts[row] != first or seconds[row] != second):
            slot = slot + 1 & len(slots) - 1
        return slot

    def _first_slots(self, firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Where the search for each begins."""
        mixed = firsts * np.uint64(self._mix[0])
        mixed += seconds * np.uint64(self._mix[1])
        mixed >>= np.uint64(self._shift)
        return mixed.view(np.int64)

    def _find_all(
        self, firsts: np.ndarray, seconds: np.ndarray, slots: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each one's slot, and what is in it."""
        known_firsts = np.frombuffer(self._firsts, np.uint64)
        known_seconds = np.frombuffer(self._seconds, np.uint64)
        places = self._first_slots(firsts, seconds)
        rows = slots[places]
        left = (rows != FREE).nonzero()[0]
        while len(left) > FEW:
            met = rows[left]
            other = known_firsts[met] != firsts[left]
            other |= known_seconds[met] != seconds[left]
            left = left[other]
            beyond = places[left] + 1 & len(slots) - 1
            places[left] = beyond
            rows[left] = beyond = slots[beyond]
            left = left[beyond != FREE]
        for place in left.tolist():
            places[place] = slot = self._slot(int(firsts[place]), int(seconds[place]))
            rows[place] = slots[slot]
        return places, rows

    def _grow(self) -> None:
        """Twice as many slots, or more, when too many are in use."""
        needed = SLOTS_A_ROW * len(self)
        if needed <= len(self._slots):
            return
        self._use_slots(1 << needed.bit_length())
        slots = np.frombuffer(self._slots, np.int32)
        firsts, seconds = np.frombuffer(self._firsts, np.uint64), np.frombuffer(self._seconds, np.uint64)
        places = self._first_slots(firsts, seconds)
        left = np.arange(len(self))
        while len(left):
            free = left[slots[places[left]] == FREE]
            slots[places[free]] = free
            left = left[slots[places[left]] != left]
            places[left] = places[left] + 1 & len(slots) - 1

    def _use_slots(self, count: int) -> None:
        self._slots = array("i", [FREE]) * count
        self._shift = 64 - (count - 1).bit_length()
