"""Which row of a table a video has, for a whole column of videos at once.

Pure. Open addressing with linear probing: a slot holds a row's number and nothing else, 4 bytes, so
whether a row is the right one is told by the table, whose first two columns are the video. All videos of a
column go to their first slots together; those that find another's there go on to the next, together. A
dict would hold two objects a video, and wait for memory a video at a time. Nothing is ever taken out.
"""

import numpy as np

EMPTY = -1
SLOTS_MIN = 256
SLOTS_A_ROW = 4  # at the least: the fuller, the more rounds
_MIX = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64 (Steele, Lea, Flood: Fast splittable generators)
_SHIFT = np.uint64(29)


class VideoIndex:
    """Of one table, which the caller keeps and passes: `cells`, rows of 64-bit words, a video's two first."""

    def __init__(self, salt: bytes = bytes(16)):
        """`salt`: 16 bytes; random ones where people could make up videos that all want one slot."""
        low, high = np.frombuffer(salt, np.uint64)
        self._factors = low | np.uint64(1), (high ^ _MIX) | np.uint64(1)
        self._slots = np.full(SLOTS_MIN, EMPTY, np.int32)

    def find(self, cells: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """The row of each video (two words each), `EMPTY` for one that is not there.

        `cells` needs one row at the least, whatever is in it.
        """
        at = self._first_slots(videos)
        rows = self._slots.take(at)
        asking = _others(cells, rows, videos).nonzero()[0]
        at = at[asking]
        while len(asking):
            at = (at + 1) & (len(self._slots) - 1)
            found = self._slots.take(at)
            rows[asking] = found
            others = _others(cells, found, videos[asking])
            asking, at = asking[others], at[others]
        return rows.astype(np.int64)

    def add(self, cells: np.ndarray, first: int, end: int) -> None:
        """Take in the rows from `first` to before `end`, whose videos are not there and differ."""
        if end * SLOTS_A_ROW > len(self._slots):
            slots = 1 << (end * SLOTS_A_ROW - 1).bit_length()
            self._slots = np.full(slots, EMPTY, np.int32)
            first = 0
        rows = np.arange(first, end, dtype=np.int32)
        at = self._first_slots(cells[first:end, :2])
        while len(rows):
            free = self._slots.take(at) == EMPTY
            self._slots[at[free]] = rows[free]  # of several that want one slot the last has it
            left = self._slots.take(at) != rows
            rows, at = rows[left], (at[left] + 1) & (len(self._slots) - 1)

    def _first_slots(self, videos: np.ndarray) -> np.ndarray:
        words = videos.view(np.uint64)
        mixed = words[:, 0] * self._factors[0] ^ words[:, 1] * self._factors[1]
        mixed ^= mixed >> _SHIFT
        mixed *= _MIX
        mixed >>= np.uint64(64 - (len(self._slots).bit_length() - 1))
        return mixed.astype(np.int64)


def _others(cells: np.ndarray, rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Which of these rows are there, and not of these videos."""
    found = cells.take(rows, axis=0)
    return ((found[:, 0] != videos[:, 0]) | (found[:, 1] != videos[:, 1])) & (rows != EMPTY)
