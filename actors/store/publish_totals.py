"""The one row of the dispatcher's store that has the totals of all publishes."""

import sqlite3

import msgspec

from ..core.dispatcher.outbox import PublishTotals


def read_totals(connection: sqlite3.Connection) -> PublishTotals:
    """The stored totals. Raises `ValueError` if they are damaged."""
    rows = connection.execute("SELECT content FROM totals").fetchall()
    if len(rows) != 1:
        raise ValueError(f"it has {len(rows)} rows of totals, expected one")
    [(content,)] = rows
    if content is None:
        return PublishTotals()
    if not isinstance(content, bytes):
        raise ValueError(f"its totals are {content!r}")
    return msgspec.msgpack.decode(content, type=PublishTotals)


def write_totals(connection: sqlite3.Connection, totals: PublishTotals) -> None:
    """Replace the stored totals, in the caller's transaction."""
    connection.execute("UPDATE totals SET content = ?", (msgspec.msgpack.encode(totals),))
