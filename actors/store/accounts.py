"""The accounts in a ledger's file: a journal of what each commit changed, and parts of the whole table.

A commit adds one row to `journal`, however many videos it changes: one row per video would rewrite one page
of the file per video. Some commits also write a part of the table (core/counter/accounts.py) to `parts`, in
place of its older version: the one that was changed longest ago (core/stale_parts.py). Journal rows that are
older than every change that no part has are deleted, a few per commit. To load the accounts, read journal and
parts in the order in which they were written: the later value is right. A start takes time for each row of
the journal. Parts come often enough (`COMMITS_A_PART`, `CHANGES_A_PART`) that the number of videos bounds the
rows, whatever the commits were.

Each value has a checksum.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from ..core.columns import VIDEO_BYTES, Int64s, narrow_all, numbers_of, unpack_numbers, widen_all
from ..core.counter.accounts import PART_ROWS, AccountColumns, Accounts, Part, last_of
from ..core.stale_parts import StaleParts
from .checksum import seal, unseal
from .database import refused
from .loading import SayLoading, in_silence, told

DELETED_A_COMMIT_MAX = 16
# Accounts that are joined before they are loaded: a dozen calls of numpy for each row of the journal would
# take ten times as long as the row.
JOINED_ROWS = 1 << 12
_decoder = msgspec.msgpack.Decoder(AccountColumns)
_IN_ORDER = """
SELECT number, 0 AS kind, accounts FROM journal UNION ALL SELECT number, 1, accounts FROM parts
ORDER BY number, kind
"""
_ROWS = "SELECT (SELECT count(*) FROM journal) + (SELECT count(*) FROM parts)"


class AccountJournal:
    """Writes journal and parts, and deletes the journal rows that the parts cover."""

    def __init__(self, connection: sqlite3.Connection, stale: StaleParts):
        """`stale`: the parts that lack changes of the journal, as `read_accounts` has found."""
        self._stale = stale
        self._oldest = connection.execute("SELECT min(number) FROM journal").fetchone()[0] or 1
        self._covered = self._stale.needed_from(0) - 1

    def write(
        self, connection: sqlite3.Connection, number: int, changed: AccountColumns, part: Part | None
    ) -> None:
        """Write the changes of the `number`th commit, in its transaction. Call `wrote` after the commit."""
        connection.execute("INSERT INTO journal VALUES (?, ?)", (number, _encode(changed)))
        if part is not None:
            row = (part.number, number, _encode(part.accounts))
            connection.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", row)
        if self._oldest <= self._covered:
            connection.execute("DELETE FROM journal WHERE number <= ?", (self._deleted_until(),))

    def wrote(self, number: int, changed: AccountColumns, part: Part | None) -> None:
        """Record that the `number`th commit is done."""
        if self._oldest <= self._covered:
            self._oldest = self._deleted_until() + 1
        self._stale.changed(unpack_numbers(changed.rows), number)
        if part is not None:
            self._stale.written(part.number)
            self._covered = self._stale.needed_from(number + 1) - 1

    def _deleted_until(self) -> int:
        return min(self._covered, self._oldest + DELETED_A_COMMIT_MAX - 1)


def read_accounts(
    path: Path,
    connection: sqlite3.Connection,
    say_loading: SayLoading = in_silence,
    *,
    to_look_up: bool = True,
) -> Accounts:
    """Load all accounts of a ledger. Raises `StoreFailure` if they are damaged.

    `to_look_up`: False leaves out `Accounts.loaded`, which the caller may call later: until then no video can
    be looked up.
    """
    (total,) = connection.execute(_ROWS).fetchone()
    rows = told(connection.execute(_IN_ORDER), total, "rows of accounts", say_loading)
    accounts = Accounts(salt=os.urandom(16))
    lacking = _Lacking(connection)
    try:
        for numbers, several in _in_batches(rows):
            joined, lengths = _joined(several)
            accounts.load(joined)
            lacking.note(numbers_of(joined.rows), np.repeat(numbers, lengths))
        if to_look_up:
            accounts.loaded()
    except (IndexError, TypeError, ValueError) as error:
        raise refused(path, f"its accounts: {error}") from error
    accounts.stale = lacking.parts()
    return accounts


def write_whole(connection: sqlite3.Connection, accounts: Accounts) -> None:
    """Write all accounts of a new ledger, as its first commit."""
    for _ in range(0, len(accounts), PART_ROWS):
        part = accounts.take_part()
        connection.execute("INSERT INTO parts VALUES (?, 1, ?)", (part.number, _encode(part.accounts)))


def _encode(one: AccountColumns) -> bytes:
    columns = one.rows, one.totals, one.published, one.arrived_ns
    rows, totals, published, arrived_ns = narrow_all(columns)
    narrowed = AccountColumns(rows, one.videos, totals, published, arrived_ns, one.taken, one.steps)
    return seal(msgspec.msgpack.encode(narrowed))


class _Lacking:
    """Which parts lack changes of the journal: those that are newer than the part."""

    def __init__(self, connection: sqlite3.Connection):
        self._written = np.zeros(0, np.int64)
        for part, number in connection.execute("SELECT part, number FROM parts ORDER BY part DESC"):
            if not len(self._written):
                self._written = np.zeros(part + 1, np.int64)
            self._written[part] = number
        self._since = np.zeros(0, np.int64)  # by part: the first change that it lacks; 0: none

    def note(self, rows: Int64s, numbers: Int64s) -> None:
        """Note rows, and the commits that wrote them, in their order."""
        parts = rows // PART_ROWS
        beyond = int(parts.max(initial=-1)) + 1
        if beyond > len(self._since):
            self._since = np.concatenate([self._since, np.zeros(beyond - len(self._since), np.int64)])
            more = max(0, beyond - len(self._written))
            self._written = np.concatenate([self._written, np.zeros(more, np.int64)])
        lacking = (numbers > self._written[parts]) & (self._since[parts] == 0)
        # from the last to the first, so that the first is kept
        self._since[parts[lacking][::-1]] = numbers[lacking][::-1]

    def parts(self) -> StaleParts:
        """Those parts."""
        parts = np.flatnonzero(self._since)
        parts = parts[np.argsort(self._since[parts], kind="stable")]
        return StaleParts(PART_ROWS, zip(parts.tolist(), self._since[parts].tolist(), strict=True))


def _in_batches(rows: Iterable[tuple[int, int, bytes]]) -> Iterator[tuple[list[int], list[AccountColumns]]]:
    """Decode the values of rows (number, kind, value), in batches of about `JOINED_ROWS` accounts.

    Yields numbers and accounts. Raises `ValueError` if a value is damaged.
    """
    numbers, batch, accounts = [], [], 0
    for number, _, content in rows:
        one = _decoder.decode(unseal(content))
        numbers.append(number)
        batch.append(one)
        accounts += len(one)
        if accounts >= JOINED_ROWS:
            yield numbers, batch
            numbers, batch, accounts = [], [], 0
    if batch:
        yield numbers, batch


def _joined(several: list[AccountColumns]) -> tuple[AccountColumns, Int64s]:
    """The narrowed columns of several commits as one, in their order, not narrowed; and their lengths.

    Raises `ValueError`.
    """
    rows, lengths = widen_all([one.rows for one in several])
    numbers = [
        widen_all(columns)
        for columns in (
            [one.totals for one in several],
            [one.published for one in several],
            [one.arrived_ns for one in several],
        )
    ]
    videos = np.array([len(one.videos) for one in several])
    if any((others != lengths).any() for _, others in numbers) or (videos != VIDEO_BYTES * lengths).any():
        raise ValueError("columns of different lengths")
    totals, published, arrived_ns = (column.tobytes() for column, _ in numbers)
    joined = AccountColumns(
        rows.tobytes(),
        b"".join([one.videos for one in several]),
        totals,
        published,
        arrived_ns,
        last_of(rows, lengths, [one.taken for one in several]),
        last_of(rows, lengths, [one.steps for one in several]),
    )
    return joined, lengths
