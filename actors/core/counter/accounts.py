"""The accounts of one shard's videos: one row of numbers per video, in the order of their first plays.

Pure. One object per video would cost five times the memory, and a loop over the objects ten times the time.
So changes are passed on as columns too (`AccountColumns`). A part of the table is `PART_ROWS` consecutive
rows. It is passed on in the same form; the store keeps the newest version of each (store/accounts.py).
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from msgspec import Struct

from ..columns import VIDEO_BYTES, Bools, Int64s, numbers_of, video_words
from ..stale_parts import StaleParts
from ..table import EMPTY, VideoTable

PART_ROWS = 4096
# The columns of `Accounts.cells`. Columns 0 and 1 hold the video, as two words.
TOTAL, PUBLISHED, ARRIVED_NS = 2, 3, 4
CELLS = 5
_Kept = TypeVar("_Kept")  # a value that few rows have


class Account(Struct):
    """One video's row in the ledger. Times are nanoseconds of the wall clock; 0 means "no time"."""

    total: int = 0
    published: int = 0
    taken: int = 0
    arrived_ns: int = 0
    later_ns: int = 0
    steps: tuple[int, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether some plays are unpublished."""
        return self.total > self.published


class AccountColumns(Struct, frozen=True, array_like=True):
    """Some accounts at one moment: packed columns in one order. A number has 8 bytes, a video 16.

    `taken` (`Account.taken` and `later_ns`) and `steps` are by row, for the few rows that have them.
    """

    rows: bytes
    videos: bytes
    totals: bytes
    published: bytes
    arrived_ns: bytes
    taken: dict[int, tuple[int, int]] = {}
    steps: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.videos) // VIDEO_BYTES

    def rows_and_cells(self) -> tuple[Int64s, Int64s]:
        """The rows, and their cells as in `Accounts`. Raises `ValueError` if the columns differ in length."""
        rows, videos = numbers_of(self.rows), video_words(self.videos)
        numbers = [numbers_of(one) for one in (self.totals, self.published, self.arrived_ns)]
        if any(len(one) != len(rows) for one in (videos, *numbers)):
            raise ValueError("columns of different lengths")
        return rows, np.column_stack([videos, *numbers])

    def items(self) -> Iterator[tuple[bytes, Account]]:
        """Each video and its account. Raises `ValueError` if the columns differ in length."""
        rows, cells = self.rows_and_cells()
        return _items(rows.tolist(), cells, self.taken, self.steps)


class Part(Struct, frozen=True):
    """One part of the table: number `number` of `parts`. `accounts` has every row of the part."""

    number: int
    parts: int
    accounts: AccountColumns


class Accounts(VideoTable):
    """The table of accounts. Only the ledger changes its cells (`TOTAL`, `PUBLISHED`, `ARRIVED_NS`)."""

    def __init__(self, accounts: Iterable[tuple[bytes, Account]] = (), salt: bytes = bytes(16)):
        """`accounts`: one per video. `salt`: 16 bytes for the table's hashes."""
        super().__init__(CELLS - TOTAL, salt)
        self.taken: dict[int, tuple[int, int]] = {}
        self.steps: dict[int, tuple[int, ...]] = {}
        self.stale = StaleParts(PART_ROWS)
        self._next_part = 0
        pairs = list(accounts)
        self.rows_of(video_words(b"".join(video for video, _ in pairs)), open_new=True)
        for row, (_, account) in enumerate(pairs):
            self.put(row, account)

    def __getitem__(self, video: bytes) -> Account:
        """The account of a video. Raises `KeyError` if the video has no account."""
        row = self.row(video)
        if row == EMPTY:
            raise KeyError(video)
        return self.get(row)

    def items(self) -> Iterator[tuple[bytes, Account]]:
        """Each video and its account."""
        return _items(range(len(self)), self.cells, self.taken, self.steps)

    def get(self, row: int) -> Account:
        """A copy of the account in a row."""
        at = row * CELLS
        total, published, arrived_ns = self._words[at + TOTAL : at + CELLS]
        taken, later_ns = self.taken.get(row, (0, 0))
        return Account(total, published, taken, arrived_ns, later_ns, self.steps.get(row, ()))

    def put(self, row: int, account: Account) -> None:
        """Replace the account in a row."""
        at = row * CELLS
        numbers = account.total, account.published, account.arrived_ns
        self._words[at + TOTAL : at + CELLS] = array("q", numbers)
        if account.taken or account.later_ns:
            self.taken[row] = account.taken, account.later_ns
        elif row in self.taken:
            del self.taken[row]
        if account.steps:
            self.steps[row] = account.steps
        elif row in self.steps:
            del self.steps[row]

    def taken_in(self, rows: Int64s) -> Iterator[tuple[int, int]]:
        """Where in `rows`, which ascend, there are rows with plays in a batch, and the `later_ns` of each."""
        if self.taken and len(rows):
            taken = np.fromiter(self.taken, np.int64, len(self.taken))
            places = rows.searchsorted(taken)
            found = rows.take(places, mode="clip") == taken
            for row, place in zip(taken[found].tolist(), places[found].tolist(), strict=True):
                yield place, self.taken[row][1]

    def columns(self, rows: Int64s) -> AccountColumns:
        """The accounts of these rows."""
        return self._columns(rows, self.cells.take(rows, axis=0))

    def columns_of_few(self, rows: Collection[int]) -> AccountColumns:
        """The accounts of a few rows, without numpy's calls."""
        words, videos, numbers = self._words, array("q"), array("q")
        taken, steps = {}, {}
        for row in rows:
            at = row * CELLS
            videos += words[at : at + TOTAL]
            numbers += words[at + TOTAL : at + CELLS]
            if row in self.taken:
                taken[row] = self.taken[row]
            if row in self.steps:
                steps[row] = self.steps[row]
        return AccountColumns(
            array("q", rows).tobytes(),
            videos.tobytes(),
            numbers[0::3].tobytes(),
            numbers[1::3].tobytes(),
            numbers[2::3].tobytes(),
            taken,
            steps,
        )

    def take_part(self) -> Part:
        """The part that was changed longest ago, by `stale`. If none was, the next one in turn."""
        parts = max(1, -(-len(self) // PART_ROWS))
        number = self.stale.take()
        if number is None:
            number = self._next_part if self._next_part < parts else 0
            self._next_part = number + 1
        start, end = number * PART_ROWS, min((number + 1) * PART_ROWS, len(self))
        return Part(number, parts, self._columns(np.arange(start, end), self.cells[start:end]))

    def load(self, columns: AccountColumns) -> None:
        """Replace accounts by a later version of them. Call `loaded` after the last ones.

        Raises `ValueError` if the columns differ in length, or if a row is negative.
        """
        rows, cells = columns.rows_and_cells()
        if not len(rows):
            return
        if rows.min() < 0:
            raise ValueError(f"an account has the negative row {rows.min()}")
        end = int(rows.max()) + 1
        if end > len(self):  # this may leave gaps, which a part that is loaded later fills
            self.lengthen(end)
        self.cells[rows] = cells
        for kept in (self.taken, self.steps):
            if kept:
                for row in rows[_marked(kept, end=len(self))[rows]].tolist():
                    kept.pop(row, None)
        self.taken |= columns.taken
        self.steps |= columns.steps

    def loaded(self) -> None:
        """Complete the loading. Raises `ValueError` if an account has no plays or a video has two rows."""
        if (self.cells[:, TOTAL] < 1).any():
            raise ValueError("an account has no plays")
        if not self.reindex():
            raise ValueError("one video has several rows")

    def _columns(self, rows: Int64s, cells: Int64s) -> AccountColumns:
        return AccountColumns(
            rows.tobytes(),
            cells[:, :TOTAL].tobytes(),
            cells[:, TOTAL].tobytes(),
            cells[:, PUBLISHED].tobytes(),
            cells[:, ARRIVED_NS].tobytes(),
            _of_rows(self.taken, rows.tolist()) if self.taken else {},
            _of_rows(self.steps, rows.tolist()) if self.steps else {},
        )


def last_of(rows: Int64s, lengths: Int64s, kept: Sequence[dict[int, _Kept]]) -> dict[int, _Kept]:
    """The values that `rows` have at last: those of the last column with the row, if that column has one.

    `rows`: several columns, joined, of these `lengths`. `kept`: each column's values by row.
    """
    named = [row for one in kept for row in one]
    if not named:
        return {}
    places = np.flatnonzero(_marked(named, end=int(rows.max()) + 1)[rows])
    columns = np.repeat(np.arange(len(lengths)), lengths)[places]
    last = dict(zip(rows[places].tolist(), columns.tolist(), strict=True))
    return {
        row: value for column, one in enumerate(kept) for row, value in one.items() if last.get(row) == column
    }


def _marked(rows: Collection[int], end: int) -> Bools:
    """For each row below `end`, whether it is one of these."""
    marked = np.zeros(end, np.bool_)
    marked[np.fromiter(rows, np.int64, len(rows))] = True
    return marked


def _items(
    rows: Iterable[int],
    cells: Int64s,
    taken_of: dict[int, tuple[int, int]],
    steps_of: dict[int, tuple[int, ...]],
) -> Iterator[tuple[bytes, Account]]:
    for row, one in zip(rows, cells, strict=True):
        total, published, arrived_ns = one[TOTAL:].tolist()
        taken, later_ns = taken_of.get(row, (0, 0))
        account = Account(total, published, taken, arrived_ns, later_ns, steps_of.get(row, ()))
        yield one[:TOTAL].tobytes(), account


def _of_rows(kept: dict[int, _Kept], rows: Iterable[int]) -> dict[int, _Kept]:
    return {row: kept[row] for row in rows if row in kept}
