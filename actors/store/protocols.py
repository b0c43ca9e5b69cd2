"""What a store offers: one shard's ledger, and the dispatcher's batches.

`ledger.py` and `outbox.py` are the real ones, in SQLite. tests/unit/store/test_contract.py puts an
implementation through all of this. What was written survives a kill -9 of the process at any moment, and is
there whole or not at all.

Every method raises `StoreFailure` when the store can't be used at all, which ends the process. Those that
write raise `NotWritten` when they can't for now (a full disk), with nothing written: the caller tries again.
"""

from typing import Protocol

from ..core.counter.accounts import Accounts
from ..core.counter.ledger import Changes, Tallies
from ..core.counter.seen_ids import SeenChunk
from ..core.dispatcher.outbox import Batch, PublishTotals


class LedgerStore(Protocol):
    """One shard's ledger, which one process at a time has open."""

    def load(self) -> tuple[Accounts, list[SeenChunk], Tallies]:
        """All that was committed: accounts, seen ids, tallies. Once, for they are the caller's then."""

    def commit(self, changes: Changes) -> None:
        """Write the changes in one transaction."""

    def close(self) -> None:
        """Close it in order."""


class OutboxStore(Protocol):
    """The dispatcher's batches, which one process at a time has open."""

    @property
    def service(self) -> str:
        """An id for this state, so that a client never takes our keys for those of a former state."""

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that not every ledger has recorded, in the order in which they were first stored, and
        the totals of all publishes.
        """

    def store(self, batch: Batch, totals: PublishTotals) -> None:
        """Write a batch at its present stage in place of its former one, with the totals."""

    def forget(self, key: str) -> None:
        """Delete a batch."""

    def close(self) -> None:
        """Close it in order."""
