"""One SQLite file, written by one process: made once, and locked while it is open.

Opening never makes a file. A refused file is left as it is, because it is checked through a read-only
connection before a writing one is opened. This module owns the texts of the refusals.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..system.exits import StoreFailure, WriteUnavailable
from ..system.flushing import sync
from ..system.locks import LOCK_TIMEOUT_S, lock_file
from ..system.reasons import reason_of
from ..system.regular import open_regular
from ..system.transactions import WAL_BYTES_MAX, Transaction
from .formats import FORMAT, OLDEST_FORMAT, is_earlier, upgrade

# Errors that may pass by themselves, by the low 8 bits of SQLite's code. The higher bits are details.
NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
PASSING = NO_ROOM | {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
WHAT_TO_DO = "It is left as it is: restore it from a backup, or use another supervisor.state_dir"

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"

Facts = dict[str, int | str]


class Database:
    """An open SQLite file that only this process writes."""

    def __init__(self, path: Path, synchronous: str, lock: int):
        """Open a file that was checked, and rewrite it if it has an earlier format.

        `lock`: the descriptor that holds the file's lock, which `close` releases.
        """
        self.path = path
        self._lock = lock
        try:
            self.connection = sqlite3.connect(uri_of(path, "rw"), uri=True, isolation_level=None)
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute(f"PRAGMA synchronous = {synchronous}")
                self.connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
                # Overwriting with zeros what is deleted, as Debian's SQLite does, is slow.
                self.connection.execute("PRAGMA secure_delete = OFF")
                if is_earlier(self.connection):
                    with self.transaction() as connection:
                        upgrade(connection)
            except BaseException:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            raise refused(path, error) from error

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """All rows that a statement returns. Raises `StoreFailure`."""
        try:
            return self.connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise refused(self.path, error) from error

    def transaction(self) -> "Writing":
        """Commit what the block writes, whole or not at all. Raises `WriteUnavailable`, `StoreFailure`."""
        return Writing(self)

    def close(self) -> None:
        """Close the file, then release its lock."""
        self.connection.close()
        os.close(self._lock)


class Writing(Transaction):
    """A transaction of a store, whose errors are those of stores."""

    __slots__ = ("_path",)

    def __init__(self, database: Database):
        self._connection, self._path = database.connection, database.path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            super().__exit__(kind, error, trace)
        except sqlite3.Error as failed:
            raise self._failure(failed) from failed
        if isinstance(error, sqlite3.Error):
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> WriteUnavailable | StoreFailure:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING:
            return WriteUnavailable(f"{self._path}: cannot be written for now ({error})")
        return refused(self._path, error)


def make(path: Path, schema: str, facts: Facts) -> None:
    """Make an empty store, replacing any file at `path`. Raises `StoreFailure`."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # it is flushed once, as a whole, below
            connection.execute("PRAGMA journal_mode = WAL")
            with Transaction(connection):
                for statement in (_META + schema).split(";"):
                    connection.execute(statement)
                rows = [("format", FORMAT), *facts.items()]
                connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        sync(path)
        sync(path.parent)
    except sqlite3.Error as error:
        raise refused(path, error) from error
    except OSError as error:
        raise refused(path, reason_of(error)) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Lock a store to open it in the block, and release the lock if the block raises."""
    lock = lock_file(path.with_suffix(".lock"))
    try:
        yield lock
    except BaseException:
        os.close(lock)
        raise


@contextlib.contextmanager
def open_read_only(path: Path, upgraded: bool = True) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, and leaves no trace. SQLite errors in the block raise `StoreFailure`.

    It may hold a transaction for as long as the block takes: for who holds the store's lock. Others use
    `snapshot.py`. A store of an earlier format is read as if it had the newest: the connection is to a copy
    in memory. `upgraded`: False to read it as it is.
    """
    try:
        check_whole(path)
        with contextlib.closing(
            sqlite3.connect(uri_of(path, "ro"), uri=True, isolation_level=None, timeout=LOCK_TIMEOUT_S)
        ) as connection:
            if not upgraded or not is_earlier(connection):
                yield connection
                return
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
                connection.backup(copy)
                upgrade(copy)
                yield copy
    except OSError as error:
        raise refused(path, reason_of(error)) from error
    except sqlite3.Error as error:
        raise refused(path, error) from error


def check_facts(path: Path, connection: sqlite3.Connection, expected: Facts) -> Facts:
    """The facts that a store keeps about itself. Raises `StoreFailure` if they differ from `expected`."""
    found = dict(connection.execute("SELECT key, value FROM meta"))
    number = found.get("format")
    if number != FORMAT:
        newer = type(number) is int and number > FORMAT
        raise StoreFailure(
            f"{path}: has format {number}, expected {OLDEST_FORMAT} to {FORMAT}: "
            f"{'a newer' if newer else 'another'} version of playtally wrote it; "
            "use that version, or another supervisor.state_dir"
        )
    for key, value in expected.items():
        if key == "state" and key not in found:
            continue  # a file of an earlier version has no such id
        if found.get(key) != value:
            raise StoreFailure(
                f"{path}: was made with {key} = {found.get(key)}, expected {value}: a file of another "
                f"shard or of another state folder was put here. {WHAT_TO_DO}"
            )
    return found


def refused(path: Path, why: object) -> StoreFailure:
    """The error that refuses a store. `why`: the fault, or SQLite's own error."""
    if getattr(why, "sqlite_errorcode", 0) & 0xFF in NO_ROOM:
        return StoreFailure(
            f"{path}: can't be used for now ({why}): its disk is full, or fails. It is left as it is: "
            "make room; if there is room, `totals --verify` says whether it is whole"
        )
    text = reason_of(why) if isinstance(why, OSError) else why
    return StoreFailure(f"{path}: cannot be used ({text}), expected a store of playtally. {WHAT_TO_DO}")


def check_whole(path: Path) -> None:
    """Raise `StoreFailure` for a file that ends within a page."""
    if cut := cut_within_page(path):
        raise refused(path, cut)


def cut_within_page(path: Path) -> str:
    """Why a file is not whole if it ends within a page, else "". SQLite would fill that page with zeros.

    A file with a -wal may end within a page: the -wal has what is missing.
    """
    wal = Path(f"{path}-wal")
    with open_regular(path) as file:
        if wal.exists() and wal.stat().st_size:
            return ""
        head = file.read(18)
        size = os.fstat(file.fileno()).st_size
    page = int.from_bytes(head[16:], "big")
    if head.startswith(b"SQLite format 3\0") and page > 1 and size % page:  # 1 stands for 65536
        return f"it ends within a page, after {size} bytes: it was cut short"
    return ""


def uri_of(path: Path, mode: str) -> str:
    """SQLite's name for a file. `mode`: "ro" or "rw"."""
    return f"{path.absolute().as_uri()}?mode={mode}"
