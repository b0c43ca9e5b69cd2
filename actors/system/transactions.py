"""Write transactions of SQLite, for every store."""

import contextlib
import sqlite3
from collections.abc import Iterator

# For `PRAGMA journal_size_limit`. A -wal grows for as long as a reader is inside a transaction. When SQLite
# begins it again, it is cut to this many bytes. Without readers a -wal of ours has some 4 MB.
WAL_BYTES_MAX = 8 << 20


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or nothing of it if the block or the commit raises.

    Needs a connection with `isolation_level=None`. Raises `sqlite3.Error`.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
