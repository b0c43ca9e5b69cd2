"""The client and the disks of the simulated protocol: what must be true of them at every step.

Pure and in memory. The client honours idempotency keys and objects to every broken promise at the
moment at which it is broken. A disk holds what was committed and nothing else.
"""

from collections.abc import Callable

from msgspec import structs

from actors.core.ledger import Account, Changes, Tallies
from actors.core.outbox import Batch, PublishTotals
from actors.core.seen import SeenChunk


class SimulatedClient:
    """Takes batches; knows the total of each video, and the content of each key."""

    def __init__(self, oldest_untold_ns: Callable[[bytes, int, int], int], steps_below: int):
        """`oldest_untold_ns(video, known, total)`: the oldest arrival of the plays in between."""
        self.totals: dict[bytes, int] = {}
        self.publishes = 0
        self._oldest_untold_ns = oldest_untold_ns
        self._steps_below = steps_below
        self._contents: dict[str, dict[bytes, int]] = {}

    def take(self, batch: Batch) -> None:
        """A batch arrives, for the first time or again under its key."""
        content = {entry.video: entry.plays for entry in batch.entries}
        assert 1 <= len(batch.entries) <= 20, f"{len(batch.entries)} videos in a batch"
        assert len(content) == len(batch.entries), "a video twice in a batch"
        if batch.key in self._contents:
            assert self._contents[batch.key] == content, "other content under a key that was used"
            return
        self._contents[batch.key] = content
        self.publishes += 1
        for entry in batch.entries:
            known = self.totals.get(entry.video, 0)
            assert entry.plays != known, f"an unchanged total, {known}, under a new key"
            assert entry.plays > known, f"a total fell from {known} to {entry.plays}"
            if known + 1 < self._steps_below:
                assert entry.plays == known + 1, f"the step {known + 1} was left out"
            oldest_ns = self._oldest_untold_ns(entry.video, known, entry.plays)
            assert entry.arrived_ns == oldest_ns, (
                f"arrived_ns {entry.arrived_ns}, and the oldest untold play arrived {oldest_ns}"
            )
            self.totals[entry.video] = entry.plays


class LedgerDisk:
    """What one counter has committed."""

    def __init__(self) -> None:
        self._accounts: dict[bytes, Account] = {}
        self._chunks: list[SeenChunk] = []
        self._tallies = Tallies()

    def commit(self, changes: Changes) -> None:
        """Write the changes, whole."""
        # Copies: the accounts are the living ledger's own, and a disk does not change by itself.
        self._accounts |= {video: structs.replace(account) for video, account in changes.accounts}
        self._chunks += changes.seen
        expired = set(changes.expired)
        self._chunks = [one for one in self._chunks if (one.source, one.bucket) not in expired]
        self._tallies = changes.tallies

    def load(self) -> tuple[list[tuple[bytes, Account]], list[SeenChunk], Tallies]:
        """What a counter that starts reads."""
        accounts = [(video, structs.replace(one)) for video, one in self._accounts.items()]
        return accounts, list(self._chunks), self._tallies

    def totals(self) -> dict[bytes, int]:
        """The total of each video as committed."""
        return {video: account.total for video, account in self._accounts.items()}

    def published(self) -> dict[bytes, int]:
        """What the client knows of each video, as committed."""
        return {video: account.published for video, account in self._accounts.items()}

    @property
    def tallies(self) -> Tallies:
        """What was counted, as committed."""
        return self._tallies


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
