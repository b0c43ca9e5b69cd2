"""The actors' disks: each holds what was committed, and nothing else. Both classes are stores."""

from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.seen_ids import SeenChunk
from actors.core.dispatcher.outbox import Batch, PublishTotals


class LedgerDisk:
    """What one counter has committed."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self.tallies = Tallies()
        self.commits = 0
        self._chunks: list[SeenChunk] = []

    def commit(self, changes: LedgerChanges) -> None:
        """Write the changes in one step."""
        self.accounts |= dict(changes.accounts.items())
        self._chunks += changes.seen
        if changes.expired:
            expired = set(changes.expired)
            self._chunks = [one for one in self._chunks if (one.source, one.bucket) not in expired]
        self.tallies = changes.tallies
        self.commits += 1

    def load(self) -> tuple[Accounts, list[SeenChunk], Tallies]:
        """What a starting counter reads."""
        return Accounts(self.accounts.items()), list(self._chunks), self.tallies

    def close(self) -> None:
        """Do nothing."""


class OutboxDisk:
    """What the dispatcher has stored."""

    service = "service"

    def __init__(self) -> None:
        self.batches: dict[str, Batch] = {}
        self.totals = PublishTotals()

    def store(self, batch: Batch, totals: PublishTotals) -> None:
        """Write a batch at its stage."""
        self.batches[batch.key] = batch
        self.totals = totals

    def forget(self, key: str) -> None:
        """Delete a batch."""
        self.batches.pop(key, None)

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """What a starting dispatcher reads."""
        return list(self.batches.values()), self.totals

    def close(self) -> None:
        """Do nothing."""
