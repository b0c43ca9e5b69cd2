"""What the actors have on disk: what was committed, whole, and nothing else."""

from msgspec import structs

from actors.core.ledger import Account, Changes, Tallies
from actors.core.outbox import Batch, PublishTotals
from actors.core.seen import SeenChunk


class LedgerDisk:
    """What one counter has committed."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self.tallies = Tallies()
        self._chunks: list[SeenChunk] = []

    def commit(self, changes: Changes) -> None:
        """Write the changes, whole."""
        # Copies: the accounts are the living ledger's own, and a disk does not change by itself.
        self.accounts |= {video: structs.replace(account) for video, account in changes.accounts}
        self._chunks += changes.seen
        if changes.expired:
            expired = set(changes.expired)
            self._chunks = [one for one in self._chunks if (one.source, one.bucket) not in expired]
        self.tallies = changes.tallies

    def load(self) -> tuple[list[tuple[bytes, Account]], list[SeenChunk], Tallies]:
        """What a counter that starts reads."""
        accounts = [(video, structs.replace(one)) for video, one in self.accounts.items()]
        return accounts, list(self._chunks), self.tallies


class OutboxDisk:
    """What the dispatcher has written down."""

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
