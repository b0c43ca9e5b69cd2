"""Stores what the reference client received. The store is one SQLite file, and only one process uses it.

Once `commit` has returned, its publishes survive a kill of this process (WAL, synchronous=NORMAL). They must
survive, because the service never sends a confirmed total again. A commit adds each publish to a journal, as
it came: the audit of the same publishes is the same again. After `JOURNAL_MAX` publishes one transaction
writes what the audit changed for all of them, and empties the journal:

    journal      the last publishes, with all that the audit judges them by, as msgpack
    parts        all videos, some thousand in a row: the last total received; `video_rows.py`
    changes      what of them has changed since
    batches      the keys of the last publishes, to tell a retry from a new publish
    broken       the first broken promises
    statistics   one row: all other statistics, as msgpack

The store judges nothing: it writes what came and loads the audit. Before it is opened for writing, SQLite
checks each of its pages, and what the videos are in has checksums: a damaged store is refused, and left as it
was. If the store is lost, the service
tells the client every total again.
"""

import contextlib
import logging
import os
import pathlib
import sqlite3
from collections.abc import Sequence

import msgspec

from ..core.client.audit import Audit, Receipt, Taken
from ..core.client.promises import Broken, Promise, Promises
from ..core.client.statistics import Statistics
from ..store.database import uri_of
from ..store.untouched import left_if_refused
from ..system.exits import StoreFailure
from ..system.locks import try_lock
from ..system.transactions import WAL_BYTES_MAX, Transaction
from .video_rows import SCHEMA as VIDEO_SCHEMA
from .video_rows import VideoRows

log = logging.getLogger(__name__)

FILE_NAME = "client.sqlite"
LOCK_NAME = "client.lock"
SCHEMA_VERSION = 3
JOURNAL_MAX = 256  # publishes; with twenty videos each, what they changed is written in some milliseconds
PAGE_BYTES = 4096  # of a new store
WAL_PAGES_BYTES = 4_000_000  # are written back into the file together

_SCHEMA = """
CREATE TABLE batches (number INTEGER PRIMARY KEY, batch TEXT NOT NULL, fingerprint BLOB NOT NULL);
CREATE TABLE journal (number INTEGER PRIMARY KEY, content BLOB NOT NULL);
"""
_SCHEMA_ALWAYS = """
CREATE TABLE broken (
    number INTEGER PRIMARY KEY, promise TEXT NOT NULL, batch TEXT NOT NULL, video_id TEXT,
    expected TEXT NOT NULL, found TEXT NOT NULL
);
CREATE TABLE statistics (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), packed BLOB NOT NULL);
"""
# Versions 1 and 2 had a row for each video. Those of version 1 had no numbers, and it had no journal.
_FROM_1 = f"""
ALTER TABLE batches RENAME TO batches_1;
{_SCHEMA}
INSERT INTO batches SELECT * FROM batches_1;
DROP TABLE batches_1;
"""
_IN_ORDER = "SELECT video_id, plays, received_at_ns, timer_window FROM videos ORDER BY "
_ORDERS = {1: "video_id", 2: "number"}
_APPEND = "INSERT INTO journal (content) VALUES (?)"


class ClientStore:
    """The open store. Every method but `close` may raise `StoreFailure`."""

    def __init__(self, path: pathlib.Path) -> None:
        """Open or make the store in the directory `path`, and lock it until `close`."""
        self._file = path / FILE_NAME
        self._journal = 0  # publishes in it
        self._changed: set[int] = set()  # rows of the videos that have, since it began
        self._publishes = self._broken = 0  # publishes and broken promises that are in the other tables
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = try_lock(path / LOCK_NAME)
        except OSError as error:
            raise StoreFailure(
                f"{path}: {error.strerror}; expected a writable directory; name another"
            ) from error
        if lock is None:
            raise StoreFailure(
                f"{path / LOCK_NAME} is locked; expected only one reference client to use this store; stop "
                "the other one, or name another directory"
            )
        self._lock = lock  # the kernel releases it when the process ends, even by a kill
        try:
            with left_if_refused([self._file], held=self._file):
                self._check()
            self._database = self._opened()
            self._rows = VideoRows()
        except StoreFailure:
            os.close(self._lock)
            raise

    def load(self, promises: Promises) -> Audit:
        """The audit of all committed publishes. From now on it judges by `promises`."""
        try:
            videos = self._rows.load(self._database)
            fingerprints = self._database.execute("SELECT batch, fingerprint FROM batches ORDER BY number")
            broken = self._database.execute(
                "SELECT promise, batch, video_id, expected, found FROM broken ORDER BY number"
            )
            packed = self._database.execute("SELECT packed FROM statistics").fetchone()
            audit = Audit(
                promises,
                statistics=msgspec.msgpack.decode(packed[0], type=Statistics) if packed else None,
                videos=videos,
                fingerprints=dict(fingerprints.fetchall()),
                broken=[Broken(Promise(name), *values) for name, *values in broken],
            )
            journal = self._database.execute("SELECT content FROM journal ORDER BY number").fetchall()
            taken = [msgspec.msgpack.decode(content, type=Taken) for (content,) in journal]
            self._publishes, self._broken = audit.statistics.publishes_total(), len(audit.broken)
            receipts = audit.receive_again(taken)
        except (sqlite3.Error, msgspec.DecodeError, TypeError, ValueError) as error:
            raise self._failed("read", error) from error
        self._note(receipts, begun=True)
        return audit

    def commit(self, taken: Sequence[Taken], receipts: Sequence[Receipt], audit: Audit) -> None:
        """Write publishes that the audit, which `load` has returned, has just received, in their order.

        If this raises, nothing is written; load the audit again.
        """
        self._note(receipts)
        try:
            if self._journal > JOURNAL_MAX:
                with Transaction(self._database):
                    self._write(audit)
                self._publishes, self._broken = audit.statistics.publishes_total(), len(audit.broken)
                self._note([], begun=True)
                return
            rows = [(msgspec.msgpack.encode(one),) for one in taken]
            if len(rows) == 1:
                self._database.execute(_APPEND, rows[0])  # a transaction of its own
                return
            with Transaction(self._database):
                self._database.executemany(_APPEND, rows)
        except sqlite3.Error as error:
            raise self._failed("written", error) from error

    def close(self) -> None:
        """Close the file and release the lock. A second call does nothing."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _note(self, receipts: Sequence[Receipt], *, begun: bool = False) -> None:
        """Note what publishes have changed. `begun`: they are the first in the journal."""
        if begun:
            self._journal, self._changed = 0, set()
        self._journal += len(receipts)
        for one in receipts:
            self._changed.update(video.number - 1 for video in one.videos.values())

    def _write(self, audit: Audit) -> None:
        """Write what has changed since the journal began, and empty it."""
        execute, executemany = self._database.execute, self._database.executemany
        self._rows.write(self._database, audit.videos, self._changed)
        # Publishes are numbered without gaps, so no query is needed to find the keys to delete.
        last = audit.statistics.publishes_total()
        execute("DELETE FROM batches WHERE number <= ?", (last - audit.keys_max,))
        keys = audit.newest_keys(last - self._publishes)
        executemany(
            "INSERT INTO batches VALUES (?, ?, ?)",
            [(last - at, *key) for at, key in enumerate(keys)],
        )
        executemany(
            "INSERT INTO broken (promise, batch, video_id, expected, found) VALUES (?, ?, ?, ?, ?)",
            [
                (one.promise.value, one.batch, one.video_id, one.expected, one.found)
                for one in audit.broken[self._broken :]
            ],
        )
        packed = msgspec.msgpack.encode(audit.statistics)
        execute("INSERT OR REPLACE INTO statistics VALUES (1, ?)", (packed,))
        execute("DELETE FROM journal")

    def _check(self) -> None:
        """Raise `StoreFailure` if SQLite finds a damaged page. Only reads. Log if it is empty."""
        size = self._file.stat().st_size if self._file.exists() else 0
        if not size:
            wal = self._beside("-wal")
            if wal.exists() and wal.stat().st_size:  # SQLite would delete it
                raise self._failed("opened", "it is missing or empty, and its -wal is there")
            if self._file.exists():
                log.warning("%s: is empty. It is a new store now, without totals", self._file)
            return
        if self._beside("-journal").exists():
            return  # its process was killed before anything was committed: SQLite rolls that back
        try:
            with contextlib.closing(sqlite3.connect(uri_of(self._file, "ro"), uri=True)) as connection:
                ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.Error as error:
            raise self._failed("opened", error) from error
        if found != "ok":
            raise self._failed("opened", " ".join(found.split()))

    def _beside(self, suffix: str) -> pathlib.Path:
        return self._file.with_name(self._file.name + suffix)

    def _opened(self) -> sqlite3.Connection:
        database = None
        try:
            database = sqlite3.connect(self._file, isolation_level=None)
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            (page_bytes,) = database.execute("PRAGMA page_size").fetchone()  # an older store keeps its own
            database.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_BYTES // page_bytes}")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
            database.execute("PRAGMA synchronous = NORMAL")
            _bring_up_to_date(database)
        except (sqlite3.Error, ValueError) as error:
            if database is not None:
                database.close()
            raise self._failed("opened", error) from error
        return database

    def _failed(self, done: str, error: object) -> StoreFailure:
        return StoreFailure(
            f"{self._file} cannot be {done}: {error}; expected the reference client's store on a disk with "
            f"free space; make room, or restore a backup, or move the file away to start with an empty store"
        )


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Make the tables of an empty store, or bring an earlier version up to date. It takes one transaction.

    Raises `ValueError` for a video that is no GUID.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    if version not in (0, *_ORDERS):
        raise sqlite3.DatabaseError(f"its schema version is {version}, expected 1 to {SCHEMA_VERSION}")
    with Transaction(database):
        scripts = {0: _SCHEMA + _SCHEMA_ALWAYS, 1: _FROM_1}.get(version, "") + VIDEO_SCHEMA
        for statement in scripts.split(";"):  # `executescript` would end the transaction
            database.execute(statement)
        if version:
            VideoRows().write_all(database, database.execute(_IN_ORDER + _ORDERS[version]))
            database.execute("DROP TABLE videos")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
