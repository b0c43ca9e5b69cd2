"""The journal's file: its lock, its mark, its transactions, and its refusals.

Promises that only one process has it open, that a commit survives a kill of the process (WAL, synchronous
NORMAL), and that a journal that lacks anything is refused by name and left as it is. What is checked before
it is opened is in `journal_check.py`.
"""

import contextlib
import logging
import os
import pathlib
import sqlite3
from collections.abc import Iterator

from ..store.database import PASSING
from ..store.mark import Mark, mark_path
from ..store.untouched import left_if_refused
from ..system.exits import StoreFailure
from ..system.flushing import sync
from ..system.locks import try_lock
from ..system.reasons import reason_of
from ..system.transactions import Transaction
from .journal_check import POWER_CUT_COMMITS_MAX, Damage, check, state_of
from .journal_schema import COUNT_COMMIT, FROM_1, FROM_2, MAKE, TRIGGERS, checksum

log = logging.getLogger(__name__)

FILE_NAME = "journal.sqlite"
LOCK_NAME = "journal.lock"

# Large pages, because rows are large. A checkpoint then has fewer of them.
_PAGE_SIZE = 8 * 1024
_CHECKPOINT_PAGES = POWER_CUT_COMMITS_MAX
_WAL_SIZE_MAX = 64 * 1024 * 1024


class JournalError(StoreFailure):
    """The journal can't be read or written for now: a full disk, an I/O error. Nothing was written."""


class JournalFile:
    """The open file. Raises `JournalError` if it can't be used for now, else `StoreFailure`.

    `commits` and `digest`: of what is committed; within a transaction, `digest` is that of what is written.
    """

    def __init__(self, directory: pathlib.Path, marked: pathlib.Path | None = None) -> None:
        """Open the journal in `directory`. Directory and journal are made if there was never one.

        `marked`: the mark is beside this path, and has its name. By default it is in the directory. A mark
        outside tells that there was a journal when the directory is gone.
        """
        self.path = directory / FILE_NAME
        self._marked = marked or self.path
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock()
        except OSError as error:
            raise StoreFailure(
                f"{directory}: cannot keep the queue's journal here ({error.strerror}); give the "
                "embedded nsqd a directory that it may write to"
            ) from error
        self.commits = self.digest = 0
        try:
            self.connection, self._mark = self._opened()
        except BaseException:
            os.close(self._lock)
            raise

    @contextlib.contextmanager
    def append(self) -> Iterator[sqlite3.Connection]:
        """Commit segments, all or none. Each has the number of this commit and the digest before it."""
        number, digest = self.commits + 1, self.digest
        try:
            with Transaction(self.connection):
                yield self.connection
        except BaseException as error:
            self.digest = digest
            if isinstance(error, sqlite3.Error):
                raise self.failure("write", error) from error
            raise
        self.commits = number
        # Commit before the mark: if the mark were ahead, a journal that lost nothing would be refused. The
        # mark before the OK: once a message is acknowledged, its journal can't lose it unnoticed.
        self._mark.write(number)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block writes, all or nothing. It adds no segment."""
        with self.append() as connection:
            yield connection
            connection.execute(COUNT_COMMIT, (self.commits + 1, self.digest) * 2)

    def close(self) -> None:
        """Copy the write-ahead log into the file, and release the lock."""
        is_synced = False
        try:
            is_synced = self._checkpoint()
            self.connection.close()
        except sqlite3.Error as error:
            raise self.failure("close", error) from error
        finally:
            if is_synced:
                self._mark.write(self.commits, is_synced=True)
            self._mark.close()
            os.close(self._lock)

    def failure(self, verb: str, error: Exception) -> StoreFailure:
        """The error to raise when SQLite can't do what `verb` says."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING:
            return JournalError(f"{self.path}: cannot {verb} the queue's journal for now: {error}")
        return self.refused(reason_of(error) if isinstance(error, OSError) else error)

    def refused(self, why: object) -> StoreFailure:
        """The error that refuses the journal."""
        mark = mark_path(self._marked)
        return StoreFailure(
            f"{self.path}: cannot be used ({why}), expected the whole journal of the embedded nsqd. "
            "Nothing was changed: restore the journal from a backup; or, to begin with an empty queue, move "
            f"{self.path.parent} and {mark} away; or use another directory, see supervisor.state_dir"
        )

    def _take_lock(self) -> int:
        """The descriptor that holds the lock until it is closed. Raises `StoreFailure` or `OSError`."""
        path = self.path.with_name(LOCK_NAME)
        lock = try_lock(path)
        if lock is None:
            holder = path.read_text("ascii", "replace").strip() or "unknown"
            raise StoreFailure(
                f"{self.path}: another embedded nsqd (process {holder}) has this journal open; stop it, "
                "or give this one another directory"
            )
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock

    def _opened(self) -> tuple[sqlite3.Connection, Mark]:
        try:
            with left_if_refused([self.path], held=self.path):
                number = check(self.path, self._marked)
            connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=32)
            try:
                self._prepare(connection, number)
                self.commits, self.digest = state_of(connection)
                mark = Mark(self._marked)
            except BaseException:
                connection.close()
                raise
        except Damage as damage:
            raise self.refused(damage) from damage
        except (OSError, sqlite3.Error) as error:
            raise self.failure("open", error) from error
        mark.write(self.commits)
        return connection, mark

    def _prepare(self, connection: sqlite3.Connection, number: int) -> None:
        """`number`: the format that was found; 0 if the journal is new."""
        # The page size and the vacuum mode can only be set while the file is empty.
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = OFF")  # overwriting with zeros is slow
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_SIZE_MAX}")
        connection.create_function("checksum", -1, checksum, deterministic=True)
        if number == 0:
            log.info("%s: a new queue, without messages", self.path)
            connection.executescript(MAKE)
            # Before the mark promises anything, so that no power cut leaves a mark without a journal.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            sync(self.path.parent)
            sync(self.path.parent.parent)
        elif number == 1:
            connection.executescript(FROM_1)
        elif number == 2:
            connection.executescript(FROM_2)
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.create_function("moved", 1, self._moved)
        connection.executescript(TRIGGERS)

    def _moved(self, by: int) -> None:
        self.digest += by

    def _checkpoint(self) -> bool:
        """Copy the write-ahead log into the file. Returns whether all of it is on the disk now."""
        ((is_busy, _, _),) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not is_busy
