"""The publishes that the reference client received, on disk: one SQLite file, one process.

Promises that a publish survives a kill of this process once `commit` has returned (WAL,
synchronous=NORMAL), because the service never sends a confirmed total again. A publish and all
that the audit made of it are one transaction:

    videos       one row per video: the last total received
    batches      the keys of the last publishes, to tell a retry from a new publish
    broken       the first broken promises
    statistics   one row: every other figure, as msgpack

Refuses to judge anything: it writes down receipts and reads the audit.
"""

import fcntl
import os
import pathlib
import sqlite3

import msgspec

from ..core.client.audit import Audit, Receipt, Video
from ..core.client.promises import Broken, Promise, Promises, Publish
from ..core.client.statistics import Statistics
from ..system.exits import StoreFailure
from ..system.transactions import transaction

FILE_NAME = "client.sqlite"
LOCK_NAME = "client.lock"
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE videos (
    video_id TEXT PRIMARY KEY, plays INTEGER NOT NULL,
    received_at_ns INTEGER NOT NULL, timer_window INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, batch TEXT NOT NULL UNIQUE, fingerprint BLOB NOT NULL
);
CREATE TABLE broken (
    number INTEGER PRIMARY KEY, promise TEXT NOT NULL, batch TEXT NOT NULL, video_id TEXT,
    expected TEXT NOT NULL, found TEXT NOT NULL
);
CREATE TABLE statistics (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), packed BLOB NOT NULL);
"""


class ClientStore:
    """The open store. Every method but `close` may raise `StoreFailure`."""

    def __init__(self, path: pathlib.Path) -> None:
        """Open the store in this directory, or make one, and lock it until `close`."""
        self._file = path / FILE_NAME
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailure(
                f"{path}: {error.strerror}; expected a directory to write to; name another"
            ) from error
        self._lock = _locked(path / LOCK_NAME)
        try:
            self._database = self._opened()
        except StoreFailure:
            os.close(self._lock)
            raise

    def load(self, promises: Promises) -> Audit:
        """The audit of all committed publishes, which judges by these promises from now on."""
        try:
            rows = self._database.execute("SELECT video_id, plays, received_at_ns, timer_window FROM videos")
            videos = {video_id: Video(*values) for video_id, *values in rows}
            fingerprints = self._database.execute("SELECT batch, fingerprint FROM batches ORDER BY number")
            broken = self._database.execute(
                "SELECT promise, batch, video_id, expected, found FROM broken ORDER BY number"
            )
            packed = self._database.execute("SELECT packed FROM statistics").fetchone()
            return Audit(
                promises,
                statistics=msgspec.msgpack.decode(packed[0], type=Statistics) if packed else None,
                videos=videos,
                fingerprints=dict(fingerprints.fetchall()),
                broken=[Broken(Promise(name), *values) for name, *values in broken],
            )
        except (sqlite3.Error, msgspec.DecodeError, ValueError) as error:
            raise self._failed("read", error) from error

    def commit(self, publish: Publish, receipt: Receipt, audit: Audit) -> None:
        """Write down what this publish changed. If it raises, nothing is written."""
        try:
            with transaction(self._database):
                self._write(publish, receipt, audit)
        except sqlite3.Error as error:
            raise self._failed("written", error) from error

    def close(self) -> None:
        """Close the file and let go of the lock. A second call does nothing."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write(self, publish: Publish, receipt: Receipt, audit: Audit) -> None:
        execute, executemany = self._database.execute, self._database.executemany
        executemany(
            "INSERT OR REPLACE INTO videos VALUES (?, ?, ?, ?)",
            [
                (video_id, video.plays, video.received_at_ns, video.timer_window)
                for video_id, video in receipt.videos.items()
            ],
        )
        if receipt.fingerprint is not None:
            # Publishes are numbered without gaps, so the oldest key kept is known without looking.
            number = audit.statistics.publishes_total()
            execute("DELETE FROM batches WHERE number <= ?", (number - audit.keys_max,))
            execute(
                "INSERT INTO batches VALUES (?, ?, ?)",
                (number, publish.batch, receipt.fingerprint),
            )
        executemany(
            "INSERT INTO broken (promise, batch, video_id, expected, found) VALUES (?, ?, ?, ?, ?)",
            [(one.promise.value, one.batch, one.video_id, one.expected, one.found) for one in receipt.broken],
        )
        packed = msgspec.msgpack.encode(audit.statistics)
        execute("INSERT OR REPLACE INTO statistics VALUES (1, ?)", (packed,))

    def _opened(self) -> sqlite3.Connection:
        database = None
        try:
            database = sqlite3.connect(self._file, isolation_level=None)
            # A publish touches up to twenty rows all over the file, and each one costs its page:
            # small pages make wide publishes a quarter faster. Four times as many between
            # checkpoints, because SQLite counts that in pages.
            database.execute("PRAGMA page_size = 1024")
            database.execute("PRAGMA wal_autocheckpoint = 4000")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
                version = SCHEMA_VERSION
            if version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"is of version {version}, not {SCHEMA_VERSION}")
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            raise self._failed("opened", error) from error
        return database

    def _failed(self, done: str, error: Exception) -> StoreFailure:
        return StoreFailure(
            f"{self._file} cannot be {done}: {error}; expected the reference client's store, with "
            f"room to write; free the disk, or move the file away to start from nothing"
        )


def _locked(path: pathlib.Path) -> int:
    """A descriptor that holds the lock. The kernel lets go of it when the process ends, even by a kill."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreFailure(
            f"{path}: {error.strerror}; expected a file to write to; name another directory"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreFailure(
            f"{path} is locked; expected one reference client a store; stop the other, or name "
            f"another directory"
        ) from error
    return descriptor
