"""One shard's ledger on disk: accounts, seen message ids, tallies.

A commit appends one row of seen ids per bucket. That is cheap to write, but a million rows are slow to read.
So the rows of a bucket are merged into one when the bucket is loaded and when it has `ROWS_A_BUCKET_MAX`
rows. Every `COMMITS_A_COMPACTION` commits, one bucket that gets no more ids is merged too. A commit merges at
most one bucket.
"""

import logging
import sqlite3
from itertools import groupby
from pathlib import Path

from pyroaring import BitMap64

from ..core.counter.accounts import PUBLISHED, TOTAL, Accounts
from ..core.counter.ledger import LedgerChanges, Tallies
from ..core.counter.seen_ids import BUCKET_SHIFT, SeenChunk, union
from ..system.exits import StoreFailure, WriteUnavailable
from .accounts import AccountJournal, read_accounts
from .database import Database, check_facts, locked, open_read_only, refused
from .folder import claim
from .mark import Mark, mark_path, read_mark

log = logging.getLogger(__name__)

ROWS_A_BUCKET_MAX = 64
COMMITS_A_COMPACTION = 16


class SqliteLedgerStore:
    """One shard's ledger. Raises `StoreFailure` if it can't be used."""

    def __init__(self, state_dir: str, shard: int, shards: int, synchronous: str):
        ledgers = claim(state_dir, shards)
        path = ledgers.ledger(state_dir, shard)
        with locked(path) as lock:
            with open_read_only(path) as connection:
                check_facts(path, connection, ledgers.facts(shard))
                self._commits, self._tallies = read_tallies(path, connection)
                check_commits(path, self._commits, synchronous)
                self._accounts = read_accounts(path, connection)
                check_accounts(path, self._accounts, self._tallies)
            self._database = Database(path, synchronous, lock)
        self._mark = Mark(path)
        self._journal = AccountJournal(self._database.connection)
        self._accounts.next_part = self._journal.next_part
        self._rows: dict[tuple[str, int], int] = {}
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('state', ?)", (ledgers.state,))
        self._mark.write(self._commits)

    def load(self) -> tuple[Accounts, list[SeenChunk], Tallies]:
        """Accounts, seen ids and tallies as committed. Call it once: the caller owns them afterwards."""
        return self._accounts, self._load_seen(), self._tallies

    def commit(self, changes: LedgerChanges) -> None:
        """Write the changes in one transaction. Raises `WriteUnavailable`, `StoreFailure`."""
        number = self._commits + 1
        with self._database.transaction() as connection:
            self._journal.write(connection, number, changes.accounts, changes.part)
            connection.executemany(
                "INSERT INTO seen VALUES (?, ?, ?, ?)",
                [(one.source, one.bucket, one.received_ms, one.ids) for one in changes.seen],
            )
            connection.executemany("DELETE FROM seen WHERE source = ? AND bucket = ?", changes.expired)
            rows = self._rows_after(changes)
            touched = {(one.source, one.bucket) for one in changes.seen}
            full = None if changes.expired else self._to_compact(rows, touched)  # one slow step per commit
            if full is not None:
                _compact(connection, full)
                rows[full] = 1
            tallies = changes.tallies
            connection.execute(
                "UPDATE tallies SET commits = ?, counted = ?, redelivered = ?, dead_lettered = ?",
                (number, tallies.counted, tallies.redelivered, tallies.dead_lettered),
            )
        self._commits = number
        self._journal.wrote(number, changes.part)
        # Commit before the mark: if the mark were ahead, a ledger that lost nothing would be refused.
        self._mark.write(number)
        self._rows.update(rows)
        for key in changes.expired:
            self._rows.pop(key, None)

    def close(self) -> None:
        """Close the mark, then the file."""
        self._mark.close()
        self._database.close()

    def _load_seen(self) -> list[SeenChunk]:
        """Load one chunk per bucket, and merge the rows on disk too."""
        rows = self._database.query(
            "SELECT source, bucket, received_ms, ids FROM seen ORDER BY bucket, source"
        )
        chunks: list[SeenChunk] = []
        merged: list[SeenChunk] = []
        try:
            for key, group in groupby(rows, key=lambda row: (row[0], row[1])):
                chunk, count = merge_chunks([SeenChunk(*row) for row in group])
                chunks.append(chunk)
                self._rows[key] = count
                if count > 1:
                    merged.append(chunk)
        except (TypeError, ValueError) as error:
            raise refused(self._database.path, f"seen ids: {error}") from error
        try:
            self._write_merged(merged)
        except WriteUnavailable as failure:
            # A full disk: the rows are merged in memory now, and on disk at a later start.
            log.warning("%s; the rows of seen ids stay as they are", failure)
        return chunks

    def _write_merged(self, merged: list[SeenChunk]) -> None:
        if not merged:
            return
        with self._database.transaction() as connection:
            for one in merged:
                _replace(connection, one)
        for one in merged:
            self._rows[one.source, one.bucket] = 1

    def _rows_after(self, changes: LedgerChanges) -> dict[tuple[str, int], int]:
        """The number of rows after a commit, for each bucket that the commit touches."""
        rows: dict[tuple[str, int], int] = {}
        for one in changes.seen:
            key = (one.source, one.bucket)
            rows[key] = rows.get(key, self._rows.get(key, 0)) + 1
        for key in changes.expired:
            rows.pop(key, None)
        return rows

    def _to_compact(
        self, rows: dict[tuple[str, int], int], touched: set[tuple[str, int]]
    ) -> tuple[str, int] | None:
        """The bucket whose rows this commit merges, or None."""
        for key, count in rows.items():
            if count >= ROWS_A_BUCKET_MAX:
                return key
        if self._commits % COMMITS_A_COMPACTION:
            return None
        closed = ((count, key) for key, count in self._rows.items() if count > 1 and key not in touched)
        return max(closed, default=(0, None))[1]


def merge_chunks(chunks: list[SeenChunk]) -> tuple[SeenChunk, int]:
    """Merge the rows of one bucket. Returns the new row, and how many there were. Raises `ValueError`."""
    first, maps = chunks[0], [ids_of(one) for one in chunks]
    if len(chunks) == 1:
        return first, 1
    received_ms = max(one.received_ms for one in chunks)
    return SeenChunk(first.source, first.bucket, received_ms, union(maps).serialize()), len(chunks)


def ids_of(chunk: SeenChunk) -> BitMap64:
    """The ids in a row. Raises `ValueError` if they are damaged."""
    ids = BitMap64.deserialize(chunk.ids)
    if not ids or ids.min() >> BUCKET_SHIFT != chunk.bucket or ids.max() >> BUCKET_SHIFT != chunk.bucket:
        raise ValueError(f"a row of bucket {chunk.bucket} has no ids, or ids of another bucket")
    return ids


def read_tallies(path: Path, connection: sqlite3.Connection) -> tuple[int, Tallies]:
    """How many commits a ledger has, and what it counted in them. Raises `StoreFailure`."""
    rows = connection.execute("SELECT commits, counted, redelivered, dead_lettered FROM tallies").fetchall()
    if len(rows) != 1 or any(type(one) is not int or one < 0 for one in rows[0]):
        raise refused(path, f"its tallies are {rows}")
    commits, *tallies = rows[0]
    return commits, Tallies(*tallies)


def _compact(connection: sqlite3.Connection, key: tuple[str, int]) -> None:
    """Merge the rows of a bucket on disk. Raises `sqlite3.DatabaseError` if a row is damaged."""
    rows = connection.execute(
        "SELECT source, bucket, received_ms, ids FROM seen WHERE source = ? AND bucket = ?", key
    ).fetchall()
    if len(rows) > 1:
        try:
            _replace(connection, merge_chunks([SeenChunk(*row) for row in rows])[0])
        except (TypeError, ValueError) as error:
            raise sqlite3.DatabaseError(f"seen ids: {error}") from error


def _replace(connection: sqlite3.Connection, chunk: SeenChunk) -> None:
    """Replace the rows of a bucket with this one."""
    connection.execute("DELETE FROM seen WHERE source = ? AND bucket = ?", (chunk.source, chunk.bucket))
    connection.execute(
        "INSERT INTO seen VALUES (?, ?, ?, ?)", (chunk.source, chunk.bucket, chunk.received_ms, chunk.ids)
    )


def check_commits(path: Path, commits: int, synchronous: str) -> None:
    """Raise `StoreFailure` if a ledger has lost commits that were promised."""
    promised, same_boot = read_mark(path)
    if commits >= promised:
        return
    lost = f"ends at commit {commits}, and {mark_path(path).name} says that {promised} were made"
    if not same_boot and synchronous == "NORMAL":
        log.error(
            "%s: %s, before the last start of the machine: a power cut took them, which synchronous = "
            '"NORMAL" allows and "FULL" does not. The service goes on without them',
            path,
            lost,
        )
        return
    raise StoreFailure(
        f"{path}: {lost}: its -wal is missing or damaged, or it is from an older backup. It lacks plays that "
        f"were finished on the queue. It is left as it is: restore what is missing; or delete "
        f"{mark_path(path).name} to go on without those plays; or use another supervisor.state_dir"
    )


def check_accounts(path: Path, accounts: Accounts, tallies: Tallies) -> None:
    """Raise `StoreFailure` if the columns contradict one another or the tallies."""
    totals, published = accounts.cells[:, TOTAL], accounts.cells[:, PUBLISHED]
    if (accounts.cells[:, TOTAL:] < 0).any():
        raise refused(path, "one of its accounts has a negative number")
    plays = int(totals.sum())
    if plays != tallies.counted:
        raise refused(path, f"its accounts have {plays} plays, but its tallies {tallies.counted}")
    ahead = int((published > totals).sum())
    if ahead:
        log.warning(
            "%s: the client was told more plays of %d videos than this ledger has: the ledger is from an "
            "older backup, or the client's state is of another service. These videos are published again "
            "once the ledger has more plays of them",
            path,
            ahead,
        )
