"""Videos by the millisecond, and in it in the order in which they came.

Pure. A heap of videos could not tell its twentieth, and would keep a line of its own for each.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

import numpy as np

from ..columns import VIDEO_BYTES, Guids, Int64s, unpack_videos

BLOCK_BITS = 8  # a block is a quarter of a second: 240 of them in the usual deadline, of 256 times at most


class Calendar:
    """The videos of each millisecond, a column. `times`: those that have any, in order."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self._columns: dict[int, bytearray] = {}
        self._counts: dict[int, int] = {}  # of each block, by its first time >> BLOCK_BITS
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def count(self, time_ms: int) -> int:
        """How many videos that time has."""
        return len(self._columns[time_ms]) // VIDEO_BYTES

    def blocks(self) -> Iterator[tuple[list[int], int]]:
        """Times that are close to one another, and how many videos they have together, in order."""
        start = 0
        while start < len(self.times):
            block = self.times[start] >> BLOCK_BITS
            end = bisect_left(self.times, block + 1 << BLOCK_BITS, start)
            yield self.times[start:end], self._counts[block]
            start = end

    def first(self, count: int) -> list[tuple[int, bytes]]:
        """The earliest so many, in order: time and video."""
        found: list[tuple[int, bytes]] = []
        for time_ms in self.times:
            column = self._columns[time_ms][: (count - len(found)) * VIDEO_BYTES]
            found += [(time_ms, video) for video in unpack_videos(column)]
            if len(found) == count:
                break
        return found

    def column(self) -> bytes:
        """All, as a column in no order."""
        return b"".join(self._columns.values())

    def add(self, time_ms: int, videos: bytes) -> None:
        """Put in a video, or a column of them, that are not there."""
        column = self._columns.get(time_ms)
        if column is None:
            column = self._columns[time_ms] = bytearray()
            if not self.times or time_ms > self.times[-1]:
                self.times.append(time_ms)  # nearly always: what comes later is due later
            else:
                self.times.insert(bisect_left(self.times, time_ms), time_ms)
        column += videos
        added, block = len(videos) // VIDEO_BYTES, time_ms >> BLOCK_BITS
        self._counts[block] = self._counts.get(block, 0) + added
        self._len += added

    def add_all(self, times_ms: Int64s, guids: Guids) -> None:
        """Put in videos that are not there, each at its time."""
        order = np.argsort(times_ms, kind="stable")
        times_ms, column = times_ms[order], guids[order].tobytes()
        (lasts,) = (times_ms[1:] != times_ms[:-1]).nonzero()
        ends = [*(lasts + 1).tolist(), len(guids)]
        start = 0
        for time_ms, end in zip(times_ms[[*lasts, -1]].tolist(), ends, strict=True):
            self.add(time_ms, column[start * VIDEO_BYTES : end * VIDEO_BYTES])
            start = end

    def remove(self, time_ms: int, video: bytes) -> None:
        """Take out a video that is there."""
        column = self._columns[time_ms]
        at = column.find(video)
        while at % VIDEO_BYTES:  # the end of one and the beginning of the next
            at = column.find(video, at + 1)
        del column[at : at + VIDEO_BYTES]
        self._counts[time_ms >> BLOCK_BITS] -= 1
        self._len -= 1
        if not column:
            del self._columns[time_ms]
            del self.times[bisect_left(self.times, time_ms)]
            if not self._counts[time_ms >> BLOCK_BITS]:
                del self._counts[time_ms >> BLOCK_BITS]

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """Take out those."""
        columns, self._columns = self._columns, {}
        self.times.clear()
        self._counts.clear()
        self._len = 0
        for time_ms in sorted(columns):
            left = b"".join(video for video in unpack_videos(columns[time_ms]) if not gone(video))
            if left:
                self.add(time_ms, left)
