"""One SQLite file that one process writes: made once, opened where it is, locked while it is open.

Promises that opening never makes a file, and that one that is refused is left as it is: it is looked
at through a connection that can't write before one that can is opened. Owns the words of the refusals.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..system.exits import NotWritten, StoreFailure
from ..system.locks import LOCK_TIMEOUT_S, lock_file

FORMAT = 3
# What may pass by itself; SQLite keeps the rest of the code for details.
PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
WHAT_TO_DO = "It is left as it is: restore it from a backup, or use another supervisor.state_dir"

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"

Facts = dict[str, int | str]


class Database:
    """An open SQLite file that this process alone writes."""

    def __init__(self, path: Path, synchronous: str, lock: int):
        """`lock`: the descriptor that holds the file's lock; `close` gives it back."""
        self.path = path
        self._lock = lock
        try:
            self.connection = sqlite3.connect(_uri(path, "rw"), uri=True, isolation_level=None)
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute(f"PRAGMA synchronous = {synchronous}")
            except sqlite3.Error:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            raise unusable(path, error) from error

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """All rows. Raises `StoreFailure`."""
        try:
            return self.connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is done whole or not at all. Raises `NotWritten`, `StoreFailure`."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING:
                raise NotWritten(f"{self.path}: cannot be written for now ({error})") from error
            raise unusable(self.path, error) from error

    def close(self) -> None:
        """Close it in order."""
        self.connection.close()
        os.close(self._lock)


def make(path: Path, schema: str, facts: Facts) -> None:
    """Make an empty store in place of whatever is there. Raises `StoreFailure`."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in (_META + schema).split(";"):
                connection.execute(statement)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), *facts.items()])
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise unusable(path, error) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """The lock of a store that is about to be opened; given back when that fails."""
    lock = lock_file(path.with_suffix(".lock"))
    try:
        yield lock
    except BaseException:
        os.close(lock)
        raise


@contextlib.contextmanager
def looking_at(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can't write, and leaves no trace. SQLite's errors in it are `StoreFailure`s."""
    try:
        _check_whole(path)
        with contextlib.closing(
            sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None, timeout=LOCK_TIMEOUT_S)
        ) as connection:
            yield connection
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error


def check_facts(path: Path, connection: sqlite3.Connection, expected: Facts) -> Facts:
    """What a store says that it is. Raises `StoreFailure` where that is not what is expected."""
    found = dict(connection.execute("SELECT key, value FROM meta"))
    if found.get("format") != FORMAT:
        raise StoreFailure(
            f"{path}: is of format {found.get('format')}, expected {FORMAT}: it was written by another "
            "version of playtally; use that, or another supervisor.state_dir"
        )
    for key, value in expected.items():
        if key == "state" and key not in found:
            continue  # of an earlier version, which had no such id
        if found.get(key) != value:
            raise StoreFailure(
                f"{path}: was made with {key} = {found.get(key)}, expected {value}: a file of another "
                f"shard or of another state folder was put here. {WHAT_TO_DO}"
            )
    return found


def unusable(path: Path, why: object) -> StoreFailure:
    """The refusal of a store."""
    return StoreFailure(f"{path}: cannot be used ({why}), expected a store of playtally. {WHAT_TO_DO}")


def _check_whole(path: Path) -> None:
    """Raises `StoreFailure` for a copy that ended early: SQLite takes what is missing of the last page for
    zeros. While there is a -wal the file itself need not be whole, for the -wal has what is missing.
    """
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        return
    with open(path, "rb") as file:
        head = file.read(18)
        size = os.fstat(file.fileno()).st_size
    page = int.from_bytes(head[16:], "big")
    if head.startswith(b"SQLite format 3\0") and page > 1 and size % page:  # 1 stands for 65536
        raise unusable(path, f"it ends within a page, after {size} bytes: it was cut short")


def _uri(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"
