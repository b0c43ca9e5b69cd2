"""Videos by due time: a calendar queue (Brown 1988) with one column of videos per millisecond.

Pure. Videos of one millisecond stay in the order in which they were added. A heap could not name its
twentieth video without taking out nineteen, and would keep one Python object per video.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterator

import numpy as np

from ..columns import GUID, VIDEO_BYTES, Bools, Column, Guids, Int64s, unpack_videos

BLOCK_BITS = 8  # a block has 256 ms, a quarter of a second: the usual deadline has 240 blocks


class Calendar:
    """One packed column of videos (16 bytes each) per millisecond. `times`: the milliseconds that have
    videos, sorted.
    """

    def __init__(self) -> None:
        self.times: list[int] = []
        self._columns: dict[int, bytearray] = {}
        self._counts: dict[int, int] = {}  # videos per block; the key is a time >> BLOCK_BITS
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def count(self, time_ms: int) -> int:
        """The number of videos at this millisecond. Raises `KeyError` if there are none."""
        return len(self._columns[time_ms]) // VIDEO_BYTES

    def before_block_of(self, time_ms: int | None) -> int:
        """How many videos are in the blocks before the one of this time; 0 for None."""
        return 0 if time_ms is None else self._len - sum(videos for _, videos in self.blocks(time_ms))

    def blocks(self, since_ms: int | None = None) -> Iterator[tuple[list[int], int]]:
        """Yield each block in order: its times, and the number of videos that they have together.

        `since_ms`: begin with the block of this time.
        """
        start = 0 if since_ms is None else bisect_left(self.times, since_ms >> BLOCK_BITS << BLOCK_BITS)
        while start < len(self.times):
            block = self.times[start] >> BLOCK_BITS
            end = bisect_left(self.times, block + 1 << BLOCK_BITS, start)
            yield self.times[start:end], self._counts[block]
            start = end

    def within(self, bounds_ms: list[int]) -> list[int]:
        """How many videos are at each bound or before it, and after the bound before.

        `bounds_ms`: sorted. What is after the last one is counted with it.
        """
        counts, place, last = [0] * len(bounds_ms), 0, len(bounds_ms) - 1
        for times_ms, videos in self.blocks():
            while place < last and bounds_ms[place] < times_ms[0]:
                place += 1
            if place == last or times_ms[-1] <= bounds_ms[place]:
                counts[place] += videos
                continue
            for time_ms in times_ms:
                while place < last and bounds_ms[place] < time_ms:
                    place += 1
                counts[place] += self.count(time_ms)
        return counts

    def first(self, count: int, without: Container[bytes] = ()) -> list[tuple[int, bytes]]:
        """The earliest `count` videos, or all if there are fewer: (time in ms, video).

        `without`: the videos that are passed over.
        """
        found: list[tuple[int, bytes]] = []
        for time_ms in self.times:
            column = self._columns[time_ms]
            if not without:
                column = column[: (count - len(found)) * VIDEO_BYTES]
            found += [(time_ms, video) for video in unpack_videos(column) if video not in without]
            if len(found) >= count:
                break
        return found[:count]

    def newest(self, until_ms: int, without: Container[bytes]) -> bytes | None:
        """The video that was added last to the latest time up to `until_ms`; None if all are passed over."""
        for time_ms in reversed(self.times[: bisect_right(self.times, until_ms)]):
            for video in reversed(unpack_videos(self._columns[time_ms])):
                if video not in without:
                    return video
        return None

    def column(self) -> bytes:
        """All videos as one packed column, in no particular order."""
        return b"".join(self._columns.values())

    def add(self, time_ms: int, videos: bytes) -> None:
        """Add one video, or a packed column of videos, at `time_ms`. None of them may be in the calendar."""
        column = self._columns.get(time_ms)
        if column is None:
            column = self._columns[time_ms] = bytearray()
            if not self.times or time_ms > self.times[-1]:
                self.times.append(time_ms)  # the usual case: what is added later is due later
            else:
                self.times.insert(bisect_left(self.times, time_ms), time_ms)
        column += videos
        added, block = len(videos) // VIDEO_BYTES, time_ms >> BLOCK_BITS
        self._counts[block] = self._counts.get(block, 0) + added
        self._len += added

    def add_all(self, times_ms: Int64s, guids: Guids) -> None:
        """Add many videos, each at its time. None of them may be in the calendar."""
        order = times_ms.argsort(kind="stable")
        times_ms, column = times_ms.take(order), guids.take(order).tobytes()
        lasts = (times_ms[1:] != times_ms[:-1]).nonzero()[0]
        ends = [*(lasts + 1).tolist(), len(guids)]
        start = 0
        for time_ms, end in zip([*times_ms.take(lasts).tolist(), int(times_ms[-1])], ends, strict=True):
            self.add(time_ms, column[start * VIDEO_BYTES : end * VIDEO_BYTES])
            start = end

    def remove(self, time_ms: int, video: bytes) -> None:
        """Remove a video that is at `time_ms`."""
        column = self._columns[time_ms]
        at = column.find(video)
        while at % VIDEO_BYTES:  # found across the border of two videos
            at = column.find(video, at + 1)
        del column[at : at + VIDEO_BYTES]
        self._counts[time_ms >> BLOCK_BITS] -= 1
        self._len -= 1
        if not column:
            del self._columns[time_ms]
            del self.times[bisect_left(self.times, time_ms)]
            if not self._counts[time_ms >> BLOCK_BITS]:
                del self._counts[time_ms >> BLOCK_BITS]

    def forget(self, gone: Callable[[Column], Bools]) -> None:
        """Remove every video that is gone. `gone`: says which of a column of videos are."""
        times, columns = list(self.times), self._columns
        self._columns, self._len = {}, 0
        self.times.clear()
        self._counts.clear()
        joined = b"".join(map(columns.__getitem__, times))
        stay = ~gone(joined)
        kept = np.frombuffer(joined, GUID)[stay].tobytes()
        ends = np.cumsum([len(columns[time_ms]) // VIDEO_BYTES for time_ms in times], dtype=np.int64)
        start = 0
        for time_ms, end in zip(times, np.append(0, stay.cumsum())[ends].tolist(), strict=True):
            if end > start:
                self.add(time_ms, kept[start * VIDEO_BYTES : end * VIDEO_BYTES])
            start = end
