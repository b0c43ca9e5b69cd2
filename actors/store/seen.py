"""The seen messages of a ledger on disk.

A commit appends one row per bucket: cheap to write, but a million rows are slow to read. So the rows of a
bucket are merged into one when the bucket is loaded and when it has `ROWS_A_BUCKET_MAX` rows. Every
`COMMITS_A_COMPACTION` commits, one bucket that gets no more messages is merged too. A commit merges at most
one bucket.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from ..core.counter.changes import LedgerChanges
from ..core.counter.seen_ids import SeenChunk, merged
from .checksum import seal, unseal

ROWS_A_BUCKET_MAX = 64
COMMITS_A_COMPACTION = 16
INSERT = "INSERT INTO seen VALUES (?, ?, ?, ?, ?)"
SELECT = "SELECT source, bucket, received_ms, stamped, keys FROM seen"

_Bucket = tuple[str, int]


class SeenRows:
    """Writes the rows of one ledger. Counts those of each bucket that have stamps, to merge them in time."""

    def __init__(self) -> None:
        self._rows: dict[_Bucket, int] = {}
        self._rows_after: dict[_Bucket, int] = {}

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
                self._rows[chunk.source, chunk.bucket] = len(rows)
            if len(rows) > 1:
                several.append(chunk)
        return chunks, several

    def replace(self, connection: sqlite3.Connection, chunk: SeenChunk) -> None:
        """Write one row in place of all rows of its bucket that are stamped alike."""
        where = "DELETE FROM seen WHERE source = ? AND bucket = ? AND stamped = ?"
        connection.execute(where, (chunk.source, chunk.bucket, chunk.stamped))
        connection.execute(INSERT, row_of(chunk))

    def write(self, connection: sqlite3.Connection, changes: LedgerChanges, commits: int) -> None:
        """Write the changes of one commit, in its transaction. Call `wrote` after the commit."""
        connection.executemany(INSERT, map(row_of, changes.seen))
        connection.executemany("DELETE FROM seen WHERE source = ? AND bucket = ?", changes.expired)
        after = {(one.source, one.bucket): 0 for one in changes.seen}
        for key in after:
            after[key] = self._rows.get(key, 0) + 1
        full = None if changes.expired else self._to_merge(after, commits)  # one slow step per commit
        if full is not None:
            where = f"{SELECT} WHERE source = ? AND bucket = ? AND stamped"
            rows = [chunk_of(*row) for row in connection.execute(where, full)]
            if rows:
                self.replace(connection, merged(rows))
            after[full] = 1
        self._rows_after = after

    def wrote(self, changes: LedgerChanges) -> None:
        """Record that the commit is done."""
        self._rows |= self._rows_after
        for key in changes.expired:
            self._rows.pop(key, None)

    def merged(self, chunks: Iterable[SeenChunk]) -> None:
        """Record that each of these is one row now."""
        self._rows |= {(one.source, one.bucket): 1 for one in chunks if one.stamped}

    def _to_merge(self, after: dict[_Bucket, int], commits: int) -> _Bucket | None:
        """The bucket whose rows this commit merges, or None."""
        for key, rows in after.items():
            if rows >= ROWS_A_BUCKET_MAX:
                return key
        if commits % COMMITS_A_COMPACTION:
            return None
        closed = ((rows, key) for key, rows in self._rows.items() if rows > 1 and key not in after)
        return max(closed, default=(0, None))[1]


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
    if not content or len(content) % 8:
        raise ValueError(f"a row of bucket {bucket} has {len(content)} bytes of keys, expected 8 per message")
    return SeenChunk(source, bucket, received_ms, content, bool(stamped))
