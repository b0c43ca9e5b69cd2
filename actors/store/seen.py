"""The seen messages of a ledger on disk.

A commit appends one row per bucket: cheap to write, but a million rows are slow to read. So the latest rows
of a bucket are merged into one when they are `LATEST_ROWS_MAX`. All its rows are merged into one when the
bucket is loaded, or gets no more messages: one such bucket every `COMMITS_A_COMPACTION` commits. A commit
merges at most one bucket. So each message is written three times.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from msgspec import Struct

from ..core.counter.changes import LedgerChanges
from ..core.counter.seen_chunks import SeenChunk, bytes_an_id
from ..core.counter.seen_ids import merged
from .checksum import seal, unseal

LATEST_ROWS_MAX = 64
COMMITS_A_COMPACTION = 16
INSERT = "INSERT INTO seen VALUES (?, ?, ?, ?, ?)"
SELECT = "SELECT source, bucket, received_ms, stamped, keys FROM seen"

_Bucket = tuple[str, int]


class _Rows(Struct, frozen=True):
    """The rows of one bucket: how many were merged, the last rowid of those, how many came later."""

    merged: int = 0
    merged_to: int = 0
    latest: int = 0

    def __len__(self) -> int:
        return self.merged + self.latest


_NO_ROWS = _Rows()


class SeenRows:
    """Writes the rows of one ledger. Counts those of each bucket that have stamps, to merge them in time."""

    def __init__(self) -> None:
        self._rows: dict[_Bucket, _Rows] = {}
        self._rows_after: dict[_Bucket, _Rows] = {}

    def load(self, connection: sqlite3.Connection) -> tuple[list[SeenChunk], list[SeenChunk]]:
        """One chunk per bucket, and those of them that were merged from several rows.

        Raises `ValueError` or `TypeError` if a row is damaged.
        """
        chunks: list[SeenChunk] = []
        several: list[SeenChunk] = []
        for rows in in_buckets(connection):
            chunk = merged(rows) if len(rows) > 1 else rows[0]
            chunks.append(chunk)
            if chunk.stamped:
                self._rows[chunk.source, chunk.bucket] = _Rows(latest=len(rows))
            if len(rows) > 1:
                several.append(chunk)
        return chunks, several

    def replace(self, connection: sqlite3.Connection, chunk: SeenChunk, after: int = 0) -> int:
        """Write one row in place of the rows of its bucket that are stamped alike. Returns the new rowid.

        `after`: only rows with a higher rowid are replaced.
        """
        where = "DELETE FROM seen WHERE source = ? AND bucket = ? AND stamped = ? AND rowid > ?"
        connection.execute(where, (chunk.source, chunk.bucket, chunk.stamped, after))
        # the highest rowid of the table, plus 1: later rows of the bucket have higher ones
        return connection.execute(INSERT, row_of(chunk)).lastrowid or 0

    def write(self, connection: sqlite3.Connection, changes: LedgerChanges, commits: int) -> None:
        """Write the changes of one commit, in its transaction. Call `wrote` after the commit."""
        after: dict[_Bucket, _Rows] = {}
        for one in changes.seen:
            connection.execute(INSERT, row_of(one))
            rows = self._rows.get((one.source, one.bucket), _NO_ROWS)
            after[one.source, one.bucket] = _Rows(rows.merged, rows.merged_to, rows.latest + 1)
        if changes.expired:
            connection.executemany("DELETE FROM seen WHERE source = ? AND bucket = ?", changes.expired)
        else:  # one slow step per commit
            after |= self._merge(connection, after, commits)
        self._rows_after = after

    def wrote(self, changes: LedgerChanges) -> None:
        """Record that the commit is done."""
        self._rows |= self._rows_after
        for key in changes.expired:
            self._rows.pop(key, None)

    def merged(self, chunks: Iterable[SeenChunk]) -> None:
        """Record that each of these is one row now."""
        self._rows |= {(one.source, one.bucket): _Rows(latest=1) for one in chunks if one.stamped}

    def _merge(
        self, connection: sqlite3.Connection, after: dict[_Bucket, _Rows], commits: int
    ) -> dict[_Bucket, _Rows]:
        """Merge the latest rows of a bucket that has many, or all rows of one that gets no more messages."""
        for key, rows in after.items():
            if rows.latest >= LATEST_ROWS_MAX:
                return {key: _Rows(rows.merged + 1, self._merge_rows(connection, key, rows.merged_to))}
        if commits % COMMITS_A_COMPACTION:
            return {}
        closed = ((len(rows), key) for key, rows in self._rows.items() if len(rows) > 1 and key not in after)
        most, key = max(closed, default=(0, ("", 0)))
        return {key: _Rows(1, self._merge_rows(connection, key))} if most else {}

    def _merge_rows(self, connection: sqlite3.Connection, key: _Bucket, after: int = 0) -> int:
        where = f"{SELECT} WHERE source = ? AND bucket = ? AND stamped AND rowid > ?"
        rows = [chunk_of(*row) for row in connection.execute(where, (*key, after))]
        return self.replace(connection, merged(rows), after) if rows else after


def in_buckets(connection: sqlite3.Connection) -> Iterator[list[SeenChunk]]:
    """The rows of each bucket that are stamped alike. Raises `ValueError` or `TypeError` for damage."""
    rows = connection.execute(f"{SELECT} ORDER BY bucket, source, stamped")
    for _, group in groupby(rows, key=lambda row: (row[0], row[1], row[3])):
        yield [chunk_of(*row) for row in group]


def row_of(chunk: SeenChunk) -> tuple[str, int, int, bool, bytes]:
    """A chunk as a row of the table."""
    keys = seal(chunk.keys, about(chunk.source, chunk.bucket, chunk.stamped))
    return chunk.source, chunk.bucket, chunk.received_ms, chunk.stamped, keys


def about(source: str, bucket: int, stamped: bool) -> str:
    """What the checksum of a row covers beside its keys."""
    return f"{source} {bucket} {stamped:d}"


def chunk_of(source: Any, bucket: Any, received_ms: Any, stamped: Any, keys: bytes) -> SeenChunk:
    """A row of the table as a chunk. Raises `ValueError` or `TypeError` if it is damaged."""
    if not isinstance(source, str) or type(bucket) is not int or type(received_ms) is not int:
        raise ValueError(f"a row holds {(source, bucket, received_ms)}")
    content = unseal(keys, about(source, bucket, stamped))
    size = bytes_an_id(source)
    if not content or len(content) % size:
        found = f"a row of bucket {bucket} has {len(content)} bytes of keys"
        raise ValueError(f"{found}, expected {size} per message")
    return SeenChunk(source, bucket, received_ms, content, bool(stamped))
