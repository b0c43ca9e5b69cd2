"""The accounts of one shard's videos, in columns: a row a video, numbered in the order in which they came.

Pure. An object a video would cost four times the memory, and a statement a video in each commit more
than counting its plays. So what changed travels as columns too (`AccountColumns`), and so does a part of
the table, `PART_ROWS` rows that stand together, of which the store keeps the newest (store/ledger.py).
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from .columns import NUMBER_BYTES, VIDEO_BYTES, pack_numbers, unpack_numbers, unpack_videos

PART_ROWS = 4096


class Account(Struct):
    """One video's line in the ledger. Times are nanoseconds on the wall clock, 0 for none."""

    total: int = 0
    published: int = 0
    taken: int = 0
    arrived_ns: int = 0
    later_ns: int = 0
    steps: tuple[int, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether the client has not been told of all plays."""
        return self.total > self.published


class AccountColumns(Struct, frozen=True, array_like=True):
    """Some accounts as they were at one moment: numbers of 8 bytes, videos of 16, in the same order.

    `taken` (`Account.taken` and `later_ns`) and `steps` are by row, for the few that have them.
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

    def items(self) -> Iterator[tuple[bytes, Account]]:
        """Each video and its account. Raises `ValueError` when the columns do not match."""
        columns = (self.rows, self.totals, self.published, self.arrived_ns)
        numbers = zip(*map(unpack_numbers, columns), strict=True)
        for video, (row, total, published, arrived_ns) in zip(
            unpack_videos(self.videos), numbers, strict=True
        ):
            taken, later_ns = self.taken.get(row, (0, 0))
            yield video, Account(total, published, taken, arrived_ns, later_ns, self.steps.get(row, ()))


class Part(Struct, frozen=True):
    """The `number`th of so many `parts` of all accounts, whole."""

    number: int
    parts: int
    accounts: AccountColumns


class Accounts:
    """The table. Its columns are open to the ledger, which alone changes them.

    `rows` is in no order: a table that was loaded has got its rows as they were last written.
    """

    def __init__(self, accounts: Iterable[tuple[bytes, Account]] = ()):
        self.rows: dict[bytes, int] = {}
        self.videos = bytearray()
        self.totals = array("q")
        self.published = array("q")
        self.arrived_ns = array("q")
        self.taken: dict[int, tuple[int, int]] = {}
        self.steps: dict[int, tuple[int, ...]] = {}
        self.next_part = 0
        self._columns = (self.totals, self.published, self.arrived_ns)
        self._known = 0  # while it is loaded: of so many rows from the first on the videos are there
        for video, account in accounts:
            self.put(self.open(video), account)

    def __len__(self) -> int:
        return len(self.totals)

    def __getitem__(self, video: bytes) -> Account:
        return self.get(self.rows[video])

    def items(self) -> Iterator[tuple[bytes, Account]]:
        """Each video and its account."""
        return ((video, self.get(row)) for video, row in self.rows.items())

    def open(self, video: bytes) -> int:
        """Begin the account of a video that has none. Its row."""
        row = self.rows[video] = len(self.totals)
        self.videos += video
        for column in self._columns:
            column.append(0)
        return row

    def get(self, row: int) -> Account:
        """An account, as it is now."""
        taken, later_ns = self.taken.get(row, (0, 0))
        return Account(
            self.totals[row], self.published[row], taken, self.arrived_ns[row], later_ns,
            self.steps.get(row, ()),
        )  # fmt: skip

    def put(self, row: int, account: Account) -> None:
        """Replace an account."""
        self.totals[row], self.published[row] = account.total, account.published
        self.arrived_ns[row] = account.arrived_ns
        _set(self.taken, row, (account.taken, account.later_ns), account.taken or account.later_ns)
        _set(self.steps, row, account.steps, account.steps)

    def columns(self, rows: Sequence[int], videos: bytes) -> AccountColumns:
        """The accounts of these rows, whose videos these are."""
        totals, published, arrived_ns = (
            pack_numbers(map(column.__getitem__, rows))
            for column in self._columns
        )
        taken, steps = (
            {row: kept[row] for row in rows if row in kept} if kept else {}
            for kept in (self.taken, self.steps)
        )
        return AccountColumns(pack_numbers(rows), videos, totals, published, arrived_ns, taken, steps)

    def take_part(self) -> Part:
        """The next part in turn, whole."""
        parts = max(1, -(-len(self) // PART_ROWS))
        number = self.next_part if self.next_part < parts else 0
        self.next_part = number + 1
        start, end = number * PART_ROWS, min((number + 1) * PART_ROWS, len(self))
        return Part(number, parts, AccountColumns(
            pack_numbers(range(start, end)),
            bytes(self.videos[start * VIDEO_BYTES : end * VIDEO_BYTES]),
            *(column[start:end].tobytes() for column in self._columns),
            *({row: kept[row] for row in kept if start <= row < end} for kept in (self.taken, self.steps)),
        ))  # fmt: skip

    def load(self, columns: AccountColumns) -> None:
        """Take in accounts as they were at a later moment; then call `loaded`. Raises `ValueError` when
        the columns do not match.
        """
        rows = unpack_numbers(columns.rows)
        numbers = [unpack_numbers(one) for one in (columns.totals, columns.published, columns.arrived_ns)]
        if any(len(one) != len(rows) for one in numbers) or len(columns.videos) != VIDEO_BYTES * len(rows):
            raise ValueError("columns of different lengths")
        if not rows:
            return
        if min(rows) < 0:
            raise ValueError(f"an account in row {min(rows)}")
        known = len(self)
        if rows[0] == known and rows == array("q", range(known, known + len(rows))):
            self.videos += columns.videos
            self._known = known + len(rows) if self._known == known else self._known
            for column, more in zip(self._columns, numbers, strict=True):
                column += more
        else:
            self._overwrite(rows, columns.videos, numbers)
        for kept in (self.taken, self.steps):
            if kept:
                for row in rows:
                    kept.pop(row, None)
        self.taken |= columns.taken
        self.steps |= columns.steps

    def loaded(self) -> None:
        """All is there. Raises `ValueError` when that can't be."""
        if min(self.totals, default=1) < 1:
            raise ValueError("an account without plays")
        self.rows = dict(zip(unpack_videos(bytes(self.videos)), range(len(self)), strict=True))
        if len(self.rows) != len(self):
            raise ValueError(f"{len(self.rows)} videos in {len(self)} rows")

    def _overwrite(self, rows: array, videos: bytes, numbers: list[array]) -> None:
        more = max(rows) + 1 - len(self)
        if more > 0:  # with gaps, maybe, that a later one fills: what filled them first is in a part by now
            self.videos += bytes(VIDEO_BYTES * more)
            for column in self._columns:
                column.frombytes(bytes(NUMBER_BYTES * more))
        for column, changed in zip(self._columns, numbers, strict=True):
            for row, number in zip(rows, changed, strict=True):
                column[row] = number
        if max(rows) >= self._known:
            for place, row in enumerate(rows):
                video = videos[place * VIDEO_BYTES : (place + 1) * VIDEO_BYTES]
                self.videos[row * VIDEO_BYTES : (row + 1) * VIDEO_BYTES] = video


def _set(kept: dict, row: int, value: tuple, worth_it: object) -> None:
    if worth_it:
        kept[row] = value
    else:
        kept.pop(row, None)
