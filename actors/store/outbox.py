"""The dispatcher's store on disk: the batches that some ledger has not recorded yet, and publish totals."""

import sqlite3
import uuid
from pathlib import Path

import msgspec

from ..core.dispatcher.outbox import Batch, PublishTotals
from .database import Database, check_facts, locked, open_read_only, refused
from .folder import claim
from .ledger import check_commits
from .mark import Mark
from .older import agreed, check_ages
from .publish_totals import read_totals, write_totals


class SqliteOutboxStore:
    """The dispatcher's batches. Raises `StoreFailure` if they can't be used."""

    def __init__(self, state_dir: str, shards: int, synchronous: str):
        ledgers = claim(state_dir, shards)
        path = ledgers.outbox(state_dir)
        with locked(path) as lock:
            with open_read_only(path) as connection:
                check_facts(path, connection, ledgers.facts())
                totals = _totals(path, connection)
            check_commits(path, totals.stores, synchronous, "publishes that the client may have")
            older = check_ages(state_dir, ledgers, range(shards), synchronous)
            self._database = Database(path, synchronous, lock)
        # An id of this state, so that a client never confuses our keys with those of an earlier state.
        with self._database.transaction() as connection:
            more = [("service", uuid.uuid4().hex), ("state", ledgers.state)]
            connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", more)
            if older:
                write_totals(connection, agreed(totals, older))
        self._mark = Mark(path)
        self._mark.write(agreed(totals, older).stores)
        self.service: str = self._database.query("SELECT value FROM meta WHERE key = 'service'")[0][0]

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that some ledger has not recorded yet, and the totals of all publishes."""
        rows = self._database.query("SELECT content FROM batches ORDER BY rowid")
        try:
            batches = [msgspec.msgpack.decode(row[0], type=Batch) for row in rows]
        except (TypeError, ValueError) as error:
            raise refused(self._database.path, error) from error
        return batches, _totals(self._database.path, self._database.connection)

    def store(self, batch: Batch, totals: PublishTotals) -> None:
        """Write a batch at its present stage, with the totals. Raises `WriteUnavailable`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?)",
                (batch.key, msgspec.msgpack.encode(batch)),
            )
            write_totals(connection, totals)
        # Commit before the mark: if the mark were ahead, a store that lost nothing would be refused.
        self._mark.write(totals.stores)

    def forget(self, key: str) -> None:
        """Delete a batch. Raises `WriteUnavailable`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM batches WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the mark, then the file."""
        self._mark.close()
        self._database.close()


def request_republish_of_all(connection: sqlite3.Connection, why: str) -> int:
    """Request in a dispatcher's store that the next start publishes every total again. `why`: for the log.

    Call it while no dispatcher has the store open, in a transaction of the caller's.
    """
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('republish', ?)", (why,))
    return 1


def _totals(path: Path, connection: sqlite3.Connection) -> PublishTotals:
    try:
        return read_totals(connection)
    except (sqlite3.Error, ValueError) as error:
        raise refused(path, error) from error
