"""The journal's file: its format, its lock, and which files are refused.

Promises that a file which is not a journal, or is of a newer version, is refused and left as it is,
that only one process has it open, and that a commit survives a kill of the process (WAL, synchronous
NORMAL).

    meta      the highest tick of the id clock in deleted segments, so that ids rise after a restart too
    topics    name, pause; `distributed`: the last segment that the channels have, kept only during a pause
    channels  name, pause; `cursor`: the channel does not get the segments up to this one
    segments  one row per segment; deleted when every channel has finished all of it
    progress  one row per channel and segment: one byte per message, 1 if finished; NULL if all are finished
"""

import os
import pathlib
import sqlite3

from ..system.exits import StoreFailure
from ..system.locks import try_lock
from .ids import TICK_SHIFT
from .names import EPHEMERAL_SUFFIX

FORMAT = 1
APPLICATION_ID = 0x706C6179  # "play": marks the file as a journal of this program
FILE_NAME = "journal.sqlite"
LOCK_NAME = "journal.lock"

# Large pages, because rows are large. A checkpoint then has fewer of them.
_PAGE_SIZE = 8 * 1024
_CHECKPOINT_PAGES = 2048
_WAL_SIZE_MAX = 64 * 1024 * 1024

_SCHEMA = f"""
CREATE TABLE meta (last_tick INTEGER NOT NULL);
INSERT INTO meta VALUES (0);
CREATE TABLE topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL DEFAULT 0,
    distributed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE channels (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0, cursor INTEGER NOT NULL, UNIQUE (topic, name));
CREATE TABLE segments (
    sequence INTEGER PRIMARY KEY, topic INTEGER NOT NULL, count INTEGER NOT NULL,
    due_ms INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX segments_by_topic ON segments (topic, sequence, count);
CREATE TABLE progress (
    sequence INTEGER NOT NULL, channel INTEGER NOT NULL, finished_count INTEGER NOT NULL,
    finished BLOB, PRIMARY KEY (sequence, channel)) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""

# Runs before segments are deleted, because the highest may be the only trace of the last id.
REMEMBER_TICK = f"""
UPDATE meta SET last_tick = MAX(
    last_tick, (SELECT COALESCE(MAX(sequence), 0) FROM segments) >> {TICK_SHIFT})
"""
# Deletes the segments that no channel needs: every channel has finished them or does not get them.
RECLAIM = """
DELETE FROM segments WHERE topic = :topic AND sequence <= :through AND NOT EXISTS (
    SELECT 1 FROM channels WHERE channels.topic = :topic AND segments.sequence > channels.cursor
    AND NOT EXISTS (SELECT 1 FROM progress WHERE progress.sequence = segments.sequence
                    AND progress.channel = channels.id AND progress.finished IS NULL))
"""
FORGET_PROGRESS = """
DELETE FROM progress WHERE NOT EXISTS (
    SELECT 1 FROM segments WHERE segments.sequence = progress.sequence)
"""


class JournalError(StoreFailure):
    """The journal could not be read or written."""


def take_lock(lock_path: pathlib.Path, path: pathlib.Path) -> int:
    """Lock the journal at `path`. Returns the descriptor that holds the lock until it is closed.

    Raises `JournalError` if another process holds the lock, or `OSError`.
    """
    lock = try_lock(lock_path)
    if lock is None:
        holder = lock_path.read_text("ascii", "replace").strip() or "unknown"
        raise JournalError(
            f"{path}: another embedded nsqd (process {holder}) has this journal open; stop it, "
            "or give this one another directory"
        )
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def open_database(path: pathlib.Path) -> sqlite3.Connection:
    """Open the journal's file, or make it. Raises `JournalError`."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=32)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        if "not a database" in str(error):
            raise _not_a_journal(path) from error
        raise JournalError(f"{path}: cannot open the queue's journal: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    _check_format(connection, path)
    # The page size and the vacuum mode can only be set while the file is empty.
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = OFF")  # overwriting with zeros is slow
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_SIZE_MAX}")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    _forget_ephemeral(connection)


def _check_format(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    """Raise if the file must be refused. Only reads, so a refused file stays as it is."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    ((tables,),) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
    if not application and not version and not tables:
        return  # new, or its process was killed before the schema was committed
    if application != APPLICATION_ID:
        raise _not_a_journal(path)
    if version > FORMAT:
        raise JournalError(
            f"{path}: the journal's format is {version}, expected at most {FORMAT}: a newer "
            "version of this program wrote it. Run that version, or use another directory"
        )


def _forget_ephemeral(connection: sqlite3.Connection) -> None:
    """Delete ephemeral channels, which end with their process, and messages that only they needed."""
    pattern = f"%{EPHEMERAL_SUFFIX}"
    connection.execute("BEGIN IMMEDIATE")
    gone = connection.execute("DELETE FROM channels WHERE name LIKE ?", (pattern,)).rowcount
    if gone:
        connection.execute(REMEMBER_TICK)
        connection.execute("DELETE FROM progress WHERE channel NOT IN (SELECT id FROM channels)")
        topics = connection.execute(
            "SELECT DISTINCT t.id, t.paused, t.distributed FROM topics t JOIN channels c ON c.topic = t.id"
        ).fetchall()
        for row, paused, distributed in topics:
            through = distributed if paused else (1 << 63) - 1
            connection.execute(RECLAIM, {"topic": row, "through": through})
        connection.execute(FORGET_PROGRESS)
    connection.execute("COMMIT")


def _not_a_journal(path: pathlib.Path) -> JournalError:
    return JournalError(
        f"{path}: this file is not a journal of the embedded nsqd, and is left as it is; "
        "move it away, or use another directory"
    )
