"""The accounts in a ledger's file: a journal of what each commit changed, and parts of the whole table.

A commit adds one row to `journal`, however many videos it changes: one row per video would rewrite one page
of the file per video. Some commits also write the next part of the table (core/counter/accounts.py) to
`parts`, in place of its older version. All journal rows up to the oldest part are then in the parts too, and
are deleted, a few per commit. To load the accounts, read journal and parts in the order in which they were
written: the later value is right. A start takes time for each row of the journal. Parts come often enough
(`COMMITS_A_PART`, `CHANGES_A_PART`) that the number of videos bounds the rows, whatever the commits were.

Each value has a checksum.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from ..core.columns import VIDEO_BYTES, narrow, widen_all
from ..core.counter.accounts import PART_ROWS, AccountColumns, Accounts, Part, last_of
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

    def __init__(self, connection: sqlite3.Connection):
        self._parts: dict[int, int] = dict(connection.execute("SELECT part, number FROM parts"))
        self._oldest = connection.execute("SELECT min(number) FROM journal").fetchone()[0] or 1
        self._covered = 0

    @property
    def next_part(self) -> int:
        """The part to write next: the first that was never written, else the one written longest ago."""
        missing = next(part for part in range(len(self._parts) + 1) if part not in self._parts)
        return missing or min(self._parts, key=self._parts.__getitem__, default=0)

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

    def wrote(self, number: int, part: Part | None) -> None:
        """Record that the `number`th commit is done."""
        if self._oldest <= self._covered:
            self._oldest = self._deleted_until() + 1
        if part is not None:
            self._parts[part.number] = number
            if len(self._parts) == part.parts:
                self._covered = min(self._parts.values())

    def _deleted_until(self) -> int:
        return min(self._covered, self._oldest + DELETED_A_COMMIT_MAX - 1)


def read_accounts(
    path: Path, connection: sqlite3.Connection, say_loading: SayLoading = in_silence
) -> Accounts:
    """Load all accounts of a ledger. Raises `StoreFailure` if they are damaged."""
    (total,) = connection.execute(_ROWS).fetchone()
    rows = told(connection.execute(_IN_ORDER), total, "rows of accounts", say_loading)
    accounts = Accounts(salt=os.urandom(16))
    try:
        for several in _in_batches(content for _, _, content in rows):
            accounts.load(_joined(several))
        accounts.loaded()
    except (IndexError, TypeError, ValueError) as error:
        raise refused(path, f"its accounts: {error}") from error
    return accounts


def write_whole(connection: sqlite3.Connection, accounts: Accounts) -> None:
    """Write all accounts of a new ledger, as its first commit."""
    for _ in range(0, len(accounts), PART_ROWS):
        part = accounts.take_part()
        connection.execute("INSERT INTO parts VALUES (?, 1, ?)", (part.number, _encode(part.accounts)))


def _encode(one: AccountColumns) -> bytes:
    rows, totals, published, arrived_ns = map(narrow, (one.rows, one.totals, one.published, one.arrived_ns))
    narrowed = AccountColumns(rows, one.videos, totals, published, arrived_ns, one.taken, one.steps)
    return seal(msgspec.msgpack.encode(narrowed))


def _in_batches(contents: Iterable[bytes]) -> Iterator[list[AccountColumns]]:
    """Decode the values, and divide them into batches of about `JOINED_ROWS` accounts.

    Raises `ValueError` if a value is damaged.
    """
    batch, accounts = [], 0
    for content in contents:
        one = _decoder.decode(unseal(content))
        batch.append(one)
        accounts += len(one)
        if accounts >= JOINED_ROWS:
            yield batch
            batch, accounts = [], 0
    if batch:
        yield batch


def _joined(several: list[AccountColumns]) -> AccountColumns:
    """The narrowed columns of several commits as one, in their order, not narrowed. Raises `ValueError`."""
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
    return AccountColumns(
        rows.tobytes(),
        b"".join([one.videos for one in several]),
        totals,
        published,
        arrived_ns,
        last_of(rows, lengths, [one.taken for one in several]),
        last_of(rows, lengths, [one.steps for one in several]),
    )
