"""The formats of ledgers and outbox, and the steps from each to the next.

A store of an earlier format is read through a copy in memory that has gone through the steps, and rewritten
by its first commit, in one transaction. A step is never changed: stores of its format may be anywhere. What a
step reads and writes is therefore spelled out in it.

    3  the first that is still read
    4  seen messages have stamps; a ledger has a clock, and counts message ids that were given again
    5  the dispatcher's store has requests to publish totals again; a ledger knows how many stores the
       dispatcher has made. Some stores of this format lack a part of that
    6  the dispatcher's store has the videos that the client refuses, which some of format 5 have already
    7  a ledger counts duplicates, and may know plays by the ids that their bodies name
"""

import sqlite3
from collections.abc import Callable
from typing import Any

from .checksum import seal

FORMAT = 7
OLDEST_FORMAT = 3


def format_of(connection: sqlite3.Connection) -> Any:
    """The format that a store says it has; None if it says nothing."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    return row and row[0]


def is_earlier(connection: sqlite3.Connection) -> bool:
    """Whether a store has an earlier format, from which `upgrade` leads to the newest."""
    return format_of(connection) in _STEPS


def upgrade(connection: sqlite3.Connection) -> None:
    """Take a store of an earlier format through all steps to the newest, in the caller's transaction.

    Raises `sqlite3.Error`, also if what is stored is damaged.
    """
    number = format_of(connection)
    try:
        for step in range(int(number), FORMAT):
            _STEPS[step](connection)
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"format {number}: {error}") from error
    connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (FORMAT,))


def _from_3(connection: sqlite3.Connection) -> None:
    """Bitmaps of ids become keys without stamps; the clock begins where the last id was received."""
    import numpy as np  # here: only stores of this format need it
    from pyroaring import BitMap64

    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'seen'").fetchone():
        return  # the outbox has not changed
    rows = connection.execute("SELECT source, bucket, received_ms, ids FROM seen").fetchall()
    connection.execute("DROP TABLE seen")
    connection.execute(
        "CREATE TABLE seen (source TEXT, bucket INTEGER, received_ms INTEGER, stamped INTEGER, keys BLOB)"
    )
    connection.execute("CREATE INDEX seen_by_bucket ON seen (bucket, source)")
    for source, bucket, received_ms, ids in rows:
        numbers = np.array(list(BitMap64.deserialize(ids)), np.uint64)
        if not len(numbers) or (numbers >> np.uint64(34) != bucket).any():
            raise ValueError(f"a row of bucket {bucket} has no ids, or ids of another bucket")
        keys = (numbers << np.uint64(30)).astype("<u8").tobytes()  # the high bits of an id are its bucket's
        connection.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?, ?)",
            (source, bucket, received_ms, False, seal(keys, f"{source} {bucket} 0")),
        )
    connection.execute("ALTER TABLE tallies ADD COLUMN reused INTEGER DEFAULT 0")
    connection.execute("ALTER TABLE tallies ADD COLUMN ran_ms INTEGER DEFAULT 0")
    connection.execute("UPDATE tallies SET ran_ms = ?", (max((row[2] for row in rows), default=0),))


def _from_4(connection: sqlite3.Connection) -> None:
    """The dispatcher gets requests to publish totals again, and the videos that the client refuses; a ledger
    gets how many stores the dispatcher has made.
    """
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batches'").fetchone():
        connection.execute(
            "CREATE TABLE republishes (number INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB)"
        )
        connection.execute("CREATE TABLE refused_videos (video BLOB PRIMARY KEY, content BLOB)")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tallies'").fetchone():
        connection.execute("ALTER TABLE tallies ADD COLUMN stores INTEGER DEFAULT 0")


def _from_5(connection: sqlite3.Connection) -> None:
    """What a store of format 5 lacks of what others of this format have."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batches'").fetchone():
        connection.execute(
            "CREATE TABLE IF NOT EXISTS republishes (number INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB)"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS refused_videos (video BLOB PRIMARY KEY, content BLOB)")
    columns = {row[1] for row in connection.execute("PRAGMA table_info(tallies)")}
    if columns and "stores" not in columns:
        connection.execute("ALTER TABLE tallies ADD COLUMN stores INTEGER DEFAULT 0")


def _from_6(connection: sqlite3.Connection) -> None:
    """A ledger gets how many plays came again in another message."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tallies'").fetchone():
        connection.execute("ALTER TABLE tallies ADD COLUMN duplicates INTEGER DEFAULT 0")


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {3: _from_3, 4: _from_4, 5: _from_5, 6: _from_6}
