"""Durable state in SQLite: one ledger a shard, and the dispatcher's batches.

Promises: a commit is whole or not at all, and survives a kill -9 of anything (`synchronous = NORMAL`)
or also a power cut (`FULL`). One process a store: a second is refused. A file that is damaged, of
another format or of another shard is refused with its name and what to do; it is never replaced by an
empty one. Refuses to know what the numbers mean.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
import uuid
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .core.ledger import Account, Changes, Tallies
from .core.outbox import Batch, PublishTotals
from .core.seen import SeenChunk
from .exits import StoreFailure

FORMAT = 1
LOCK_TIMEOUT_S = 5.0  # as long as a former process may need to see that its supervisor is gone

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
_LEDGER = """
CREATE TABLE accounts (
    video BLOB PRIMARY KEY, total INTEGER, published INTEGER, taken INTEGER,
    arrived_ns INTEGER, later_ns INTEGER, steps BLOB
) WITHOUT ROWID;
CREATE TABLE seen (source TEXT, bucket INTEGER, received_ms INTEGER, ids BLOB);
CREATE INDEX seen_by_bucket ON seen (bucket, source);
CREATE TABLE tallies (counted INTEGER, redelivered INTEGER, dead_lettered INTEGER);
INSERT INTO tallies VALUES (0, 0, 0);
"""
_OUTBOX = """
CREATE TABLE batches (key TEXT PRIMARY KEY, content BLOB);
CREATE TABLE totals (content BLOB);
INSERT INTO totals VALUES (NULL);
"""


def ledger_path(state_dir: str, shard: int) -> Path:
    """Where a shard's ledger is."""
    return Path(state_dir) / f"counter-{shard}.sqlite"


def outbox_path(state_dir: str) -> Path:
    """Where the dispatcher's batches are."""
    return Path(state_dir) / "dispatcher.sqlite"


class LedgerStore:
    """One shard's ledger on disk. Raises `StoreFailure` when it can't be used."""

    def __init__(self, state_dir: str, shard: int, shards: int, synchronous: str):
        path = ledger_path(state_dir, shard)
        self._database = _open(path, _LEDGER, {"shard": shard, "shards": shards}, synchronous)

    def load(self) -> tuple[list[tuple[bytes, Account]], list[SeenChunk], Tallies]:
        """All that was committed: accounts, seen ids, tallies."""
        rows = self._database.query(
            "SELECT video, total, published, taken, arrived_ns, later_ns, steps FROM accounts"
        )
        accounts = [
            (video, Account(*numbers, steps=tuple(array("q", steps)) if steps else ()))
            for video, *numbers, steps in rows
        ]
        seen = self._database.query("SELECT source, bucket, received_ms, ids FROM seen")
        tallies = self._database.query("SELECT * FROM tallies")
        return accounts, [SeenChunk(*row) for row in seen], Tallies(*tallies[0])

    def commit(self, changes: Changes) -> None:
        """Write the changes in one transaction. Raises `sqlite3.Error`, with nothing written."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        video, one.total, one.published, one.taken, one.arrived_ns, one.later_ns,
                        array("q", one.steps).tobytes() if one.steps else None,
                    )
                    for video, one in changes.accounts
                ],
            )
            connection.executemany(
                "INSERT INTO seen VALUES (?, ?, ?, ?)",
                [(one.source, one.bucket, one.received_ms, one.ids) for one in changes.seen],
            )
            connection.executemany(
                "DELETE FROM seen WHERE source = ? AND bucket = ?", changes.expired
            )
            tallies = changes.tallies
            connection.execute(
                "UPDATE tallies SET counted = ?, redelivered = ?, dead_lettered = ?",
                (tallies.counted, tallies.redelivered, tallies.dead_lettered),
            )

    def close(self) -> None:
        """Close it in order."""
        self._database.close()


class OutboxStore:
    """The dispatcher's batches on disk. Raises `StoreFailure` when it can't be used."""

    def __init__(self, state_dir: str, shards: int, synchronous: str):
        path = outbox_path(state_dir)
        facts = {"shards": shards}
        self._database = _open(path, _OUTBOX, facts, synchronous)
        # An id for this state, so that a client never takes our keys for those of a former state.
        self._database.connection.execute(
            "INSERT OR IGNORE INTO meta VALUES ('service', ?)", (uuid.uuid4().hex,)
        )
        self.service: str = self._database.query("SELECT value FROM meta WHERE key = 'service'")[0][0]

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that not every ledger has recorded, and the totals of all publishes."""
        rows = self._database.query("SELECT content FROM batches ORDER BY rowid")
        batches = [msgspec.msgpack.decode(row[0], type=Batch) for row in rows]
        content = self._database.query("SELECT content FROM totals")[0][0]
        if content is None:
            return batches, PublishTotals()
        return batches, msgspec.msgpack.decode(content, type=PublishTotals)

    def store(self, batch: Batch, totals: PublishTotals) -> None:
        """Write a batch at its present stage, with the totals. Raises `sqlite3.Error`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?)",
                (batch.key, msgspec.msgpack.encode(batch)),
            )
            connection.execute("UPDATE totals SET content = ?", (msgspec.msgpack.encode(totals),))

    def forget(self, key: str) -> None:
        """Delete a batch. Raises `sqlite3.Error`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM batches WHERE key = ?", (key,))

    def close(self) -> None:
        """Close it in order."""
        self._database.close()


class TotalsReader:
    """The totals of all shards as committed, read beside a running service or without one."""

    def __init__(self, state_dir: str):
        self._paths = sorted(Path(state_dir).glob("counter-*.sqlite"))

    @property
    def found(self) -> bool:
        """Whether there is any ledger."""
        return bool(self._paths)

    def read(self) -> list[tuple[bytes, int, int]]:
        """Video, total, published; every video once. Raises `StoreFailure`."""
        rows: list[tuple[bytes, int, int]] = []
        for path in self._paths:
            try:
                connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S)
                with contextlib.closing(connection):
                    rows += connection.execute("SELECT video, total, published FROM accounts")
            except sqlite3.Error as error:
                raise _unusable(path, error) from error
        return rows


class _Database:
    """An open SQLite file that this process alone writes."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int):
        self.connection = connection
        self._path = path
        self._lock = lock

    def query(self, statement: str) -> list[tuple]:
        try:
            return self.connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self.connection.close()
        os.close(self._lock)


def _open(path: Path, schema: str, facts: dict[str, int], synchronous: str) -> _Database:
    """Open or make a store. `facts` must be what the file was made with."""
    lock = lock_file(path.with_suffix(".lock"))
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        database = _Database(path, connection, lock)
        if not database.query("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
            with database.transaction():
                for statement in (_META + schema).split(";"):
                    connection.execute(statement)
                connection.executemany(
                    "INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), *facts.items()]
                )
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    found = dict(database.query("SELECT key, value FROM meta"))
    if found.get("format") != FORMAT:
        raise StoreFailure(
            f"{path}: is of format {found.get('format')}, expected {FORMAT}: it was written by another "
            "version of playtally; use that, or another supervisor.state_dir"
        )
    for key, expected in facts.items():
        if found.get(key) != expected:
            raise StoreFailure(
                f"{path}: was made with {key} = {found.get(key)}, and now it is {expected}: set "
                f"counters.shards back to {found.get('shards')}, or use another supervisor.state_dir"
            )
    return database


def lock_file(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> int:
    """Hold a lock until the process ends; its descriptor. Raises `StoreFailure` if another has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreFailure(
            f"{path}: cannot be written ({error.strerror}); expected a folder of ours, see "
            "supervisor.state_dir"
        ) from error
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                os.close(descriptor)
                raise StoreFailure(
                    f"{path}: is held by another process, expected it free: another service runs on "
                    "this supervisor.state_dir; stop it, or use another folder"
                ) from None
            time.sleep(0.02)


def _unusable(path: Path, error: sqlite3.Error) -> StoreFailure:
    return StoreFailure(
        f"{path}: cannot be used ({error}), expected a store of playtally. It is left as it is: "
        "restore it from a backup, or use another supervisor.state_dir"
    )
