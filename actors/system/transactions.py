"""Write transactions of SQLite, for every store."""

import sqlite3

# For `PRAGMA journal_size_limit`. A -wal grows for as long as a reader is inside a transaction. When SQLite
# begins it again, it is cut to this many bytes. Without readers a -wal of ours has some 4 MB.
WAL_BYTES_MAX = 8 << 20


class Transaction:
    """Commits what the block writes, or nothing of it if the block or the commit raises.

    Needs a connection with `isolation_level=None`. Raises `sqlite3.Error`. It is a class, because a lone play
    has several of them, and a generator costs more.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
