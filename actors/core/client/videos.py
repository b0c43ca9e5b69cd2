"""The videos of one client, as rows of numbers: an object a video would take five times the memory. Pure.

Row by row, in the order in which they were first published. No video is ever removed, so a row stays where
it is. `Videos` has what a mapping from GUIDs (canonical text) to `Video` has. Take its columns (`cells`)
if you need many videos.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from .. import guids
from ..columns import Int64s, Numbers, video_words
from ..table import EMPTY, VideoTable

# The columns of `cells`. Columns 0 and 1 hold the video, as two words.
PLAYS, RECEIVED_NS, WINDOW = 2, 3, 4
CELLS = 5
FEW = 12  # up to this many are looked up one by one: two microseconds each; numpy takes thirty for any number
SUMMED_BITS = 32  # of a total: so that the sum of two thousand million halves fits into 64


class Video(msgspec.Struct, frozen=True):
    """A video's last published total, when it was received, and the timer window in which it last changed.

    `number`: how many videos had been published when it was first published, itself included.
    """

    plays: int
    received_at_ns: int
    timer_window: int
    number: int


class Videos(Mapping[str, Video]):
    """All videos of one client. A row is below `len(self)`, and the `number` of its video less one."""

    def __init__(self, salt: bytes = bytes(16)) -> None:
        """`salt`: see `VideoTable`."""
        self._table = VideoTable(CELLS - PLAYS, salt)

    @property
    def cells(self) -> Int64s:
        """All rows. Drop the array before videos are added."""
        return self._table.cells

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[str]:
        return (guids.text(self._table.video(row)) for row in range(len(self)))

    def __getitem__(self, video_id: str) -> Video:
        """Raises `KeyError` for a video that was never published, or no GUID."""
        row = self.row_of(video_id)
        if row == EMPTY:
            raise KeyError(video_id)
        return self.video(row)

    def row_of(self, video_id: str) -> int:
        """The row of a video, or `EMPTY`."""
        try:
            return self._table.row(guids.parse(video_id))
        except ValueError:
            return EMPTY

    def rows_of(self, video_ids: Sequence[str]) -> list[int]:
        """The rows of these videos (canonical GUIDs). New ones get rows in their order.

        Raises `ValueError` if one is no GUID; no row is opened then.
        """
        packed = bytes.fromhex("".join(video_ids).replace("-", ""))
        if len(packed) != 16 * len(video_ids):
            raise ValueError(f"{len(packed)} bytes for {len(video_ids)} videos, expected 16 for each")
        if len(video_ids) <= FEW:
            return [self._table.open_row(packed[at : at + 16]) for at in range(0, len(packed), 16)]
        found: list[int] = self._table.rows_of(video_words(packed), open_new=True).tolist()
        return found

    def video(self, row: int) -> Video:
        """The video in a row."""
        plays, received_at_ns, timer_window = self.numbers(row)
        return Video(plays, received_at_ns, timer_window, row + 1)

    def numbers(self, row: int) -> Numbers:
        """The plays, the time and the window in a row."""
        return self._table.numbers(row)

    def put(self, row: int, plays: int, received_at_ns: int, timer_window: int) -> None:
        """Replace the numbers of a row."""
        self._table.set_numbers(row, plays, received_at_ns, timer_window)

    def update(self, videos: Mapping[str, Video]) -> None:
        """Add these, in this order, or replace what is known of them. Their `number` is not looked at."""
        for row, video in zip(self.rows_of(list(videos)), videos.values(), strict=True):
            self.put(row, video.plays, video.received_at_ns, video.timer_window)

    def load(self, rows: Int64s, videos: Int64s, numbers: Sequence[Int64s]) -> None:
        """Replace rows by a later version. Call `loaded` after the last ones. Raises `ValueError`.

        `videos`: two words each. `numbers`: the columns from `PLAYS` on.
        """
        if not len(rows):
            return
        if rows.min() < 0:
            raise ValueError(f"a video has the negative row {rows.min()}")
        end = int(rows.max()) + 1
        if end > len(self):  # this may leave gaps, which a part that is loaded later fills
            self._table.lengthen(end)
        start, cells = int(rows[0]), self._table.cells
        are_consecutive = (rows == np.arange(start, start + len(rows))).all()
        where = slice(start, end) if are_consecutive else rows  # numpy is several times as fast with a slice
        cells[where, :PLAYS] = videos
        for place, column in enumerate(numbers, start=PLAYS):
            cells[where, place] = column

    def loaded(self) -> None:
        """Complete the loading. Raises `ValueError` if a row is missing, or a video has two rows."""
        if (self.cells[:, RECEIVED_NS] == 0).any():
            raise ValueError("a video is missing")
        if not self._table.reindex():
            raise ValueError("one video has several rows")

    def plays(self) -> int:
        """The sum of all totals, exactly, also where it has more than 63 bits."""
        totals = self.cells[:, PLAYS]
        low = int((totals & ((1 << SUMMED_BITS) - 1)).sum())
        return (int((totals >> SUMMED_BITS).sum()) << SUMMED_BITS) + low
