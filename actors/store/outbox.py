"""The dispatcher's batches on disk: those that not every ledger has recorded, and what was published."""

import uuid

import msgspec

from ..core.dispatcher.outbox import Batch, PublishTotals
from .database import Database, check_facts, locked, looking_at, unusable
from .folder import claim


class SqliteOutboxStore:
    """The dispatcher's batches. Raises `StoreFailure` when they can't be used."""

    def __init__(self, state_dir: str, shards: int, synchronous: str):
        ledgers = claim(state_dir, shards)
        path = ledgers.outbox(state_dir)
        with locked(path) as lock:
            with looking_at(path) as connection:
                check_facts(path, connection, ledgers.facts())
            self._database = Database(path, synchronous, lock)
        # An id for this state, so that a client never takes our keys for those of a former state.
        with self._database.transaction() as connection:
            more = [("service", uuid.uuid4().hex), ("state", ledgers.state)]
            connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", more)
        self.service: str = self._database.query("SELECT value FROM meta WHERE key = 'service'")[0][0]

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that not every ledger has recorded, and the totals of all publishes."""
        rows = self._database.query("SELECT content FROM batches ORDER BY rowid")
        contents = self._database.query("SELECT content FROM totals")
        try:
            batches = [msgspec.msgpack.decode(row[0], type=Batch) for row in rows]
            content = contents[0][0]
            totals = PublishTotals() if content is None else decode_totals(content)
        except (IndexError, TypeError, ValueError) as error:
            raise unusable(self._database.path, error) from error
        return batches, totals

    def store(self, batch: Batch, totals: PublishTotals) -> None:
        """Write a batch at its present stage, with the totals. Raises `NotWritten`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?)",
                (batch.key, msgspec.msgpack.encode(batch)),
            )
            connection.execute("UPDATE totals SET content = ?", (msgspec.msgpack.encode(totals),))

    def forget(self, key: str) -> None:
        """Delete a batch. Raises `NotWritten`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM batches WHERE key = ?", (key,))

    def close(self) -> None:
        """Close it in order."""
        self._database.close()


def decode_totals(content: bytes) -> PublishTotals:
    """The totals as they are stored. Raises `ValueError`."""
    return msgspec.msgpack.decode(content, type=PublishTotals)
