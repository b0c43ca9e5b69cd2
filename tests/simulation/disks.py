"""The actors' disks: each holds what was committed, and nothing else. Both classes are stores."""

from collections.abc import Iterable

from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.seen_chunks import SeenChunk
from actors.core.dispatcher.outbox import Batch, PublishTotals
from actors.core.dispatcher.refused_videos import RefusedVideo
from actors.core.dispatcher.republish import Republish


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

    def pending(self) -> list[bytes]:
        """The videos with unpublished plays."""
        return [video for video, account in self.accounts.items() if account.pending]

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
        self.republishes: dict[int, Republish] = {}
        self.refused: dict[bytes, RefusedVideo] = {}
        self._last_republish = 0

    def store(
        self,
        batches: Iterable[Batch],
        totals: PublishTotals,
        taken: Iterable[bytes] = (),
        over: Iterable[str] = (),
    ) -> None:
        """Write batches at their stages; delete others."""
        for key in over:
            self.batches.pop(key, None)
        for one in batches:
            self.batches[one.key] = one
        self._drop(taken)
        self.totals = totals

    def load_refused(self) -> list[RefusedVideo]:
        """The videos that the client refuses."""
        return list(self.refused.values())

    def store_refused(
        self,
        videos: Iterable[RefusedVideo],
        totals: PublishTotals,
        gone: Iterable[bytes] = (),
        forget: str = "",
    ) -> None:
        """Write refused videos and the totals; delete others, and a batch."""
        self.refused |= {one.video: one for one in videos}
        self._drop(gone)
        self.batches.pop(forget, None)
        self.totals = totals

    def _drop(self, videos: Iterable[bytes]) -> None:
        for video in videos:
            self.refused.pop(video, None)

    def forget(self, key: str) -> None:
        """Delete a batch."""
        self.batches.pop(key, None)

    def load_republishes(self) -> tuple[list[Republish], int]:
        """The requests to publish totals again, and the greatest number that one ever had."""
        return list(self.republishes.values()), self._last_republish

    def store_republish(
        self, request: Republish | None, totals: PublishTotals, over: tuple[int, ...] = (), forget: str = ""
    ) -> None:
        """Write a request and the totals; delete others."""
        if request is not None:
            self.republishes[request.number] = request
            self._last_republish = max(self._last_republish, request.number)
        for number in over:
            self.republishes.pop(number, None)
        self.batches.pop(forget, None)
        self.totals = totals

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """What a starting dispatcher reads."""
        return list(self.batches.values()), self.totals

    def close(self) -> None:
        """Do nothing."""
