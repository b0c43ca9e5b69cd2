"""The dispatcher's store on disk: the batches that some ledger has not recorded yet, and publish totals."""

import uuid

import msgspec

from ..core.dispatcher.outbox import Batch, PublishTotals
from .database import Database, check_facts, locked, open_read_only, refused
from .folder import claim


class SqliteOutboxStore:
    """The dispatcher's batches. Raises `StoreFailure` if they can't be used."""

    def __init__(self, state_dir: str, shards: int, synchronous: str):
        ledgers = claim(state_dir, shards)
        path = ledgers.outbox(state_dir)
        with locked(path) as lock:
            with open_read_only(path) as connection:
                check_facts(path, connection, ledgers.facts())
            self._database = Database(path, synchronous, lock)
        # An id of this state, so that a client never confuses our keys with those of an earlier state.
        with self._database.transaction() as connection:
            more = [("service", uuid.uuid4().hex), ("state", ledgers.state)]
            connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", more)
        self.service: str = self._database.query("SELECT value FROM meta WHERE key = 'service'")[0][0]

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that some ledger has not recorded yet, and the totals of all publishes."""
        rows = self._database.query("SELECT content FROM batches ORDER BY rowid")
        contents = self._database.query("SELECT content FROM totals")
        try:
            batches = [msgspec.msgpack.decode(row[0], type=Batch) for row in rows]
            content = contents[0][0]
            totals = PublishTotals() if content is None else decode_totals(content)
        except (IndexError, TypeError, ValueError) as error:
            raise refused(self._database.path, error) from error
        return batches, totals

    def store(self, batch: Batch, totals: PublishTotals) -> None:
        """Write a batch at its present stage, with the totals. Raises `WriteUnavailable`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?)",
                (batch.key, msgspec.msgpack.encode(batch)),
            )
            connection.execute("UPDATE totals SET content = ?", (msgspec.msgpack.encode(totals),))

    def forget(self, key: str) -> None:
        """Delete a batch. Raises `WriteUnavailable`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM batches WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def decode_totals(content: bytes) -> PublishTotals:
    """Decode the stored totals. Raises `ValueError`."""
    return msgspec.msgpack.decode(content, type=PublishTotals)
