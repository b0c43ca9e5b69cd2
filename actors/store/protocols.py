"""The interfaces of the stores: one shard's ledger, and the dispatcher's batches.

`ledger.py` and `outbox.py` implement them in SQLite; tests/unit/store/test_contract.py tests every
implementation. A write is done whole or not at all, and survives a kill -9 of the process at any moment.

Every method raises `StoreFailure` if the store can't be used at all, which ends the process. A method that
writes raises `WriteUnavailable` if it can't write for now (a full disk): nothing was written, and the caller
tries again.
"""

from collections.abc import Iterable
from typing import Protocol

from ..core.counter.accounts import Accounts
from ..core.counter.changes import LedgerChanges, Tallies
from ..core.counter.seen_chunks import SeenChunk
from ..core.dispatcher.outbox import Batch, PublishTotals
from ..core.dispatcher.refused_videos import RefusedVideo
from ..core.dispatcher.republish import Republish


class LedgerStore(Protocol):
    """One shard's ledger, which one process at a time has open."""

    @property
    def commits(self) -> int:
        """How many commits the ledger has."""

    def load(self) -> tuple[Accounts, list[SeenChunk], Tallies]:
        """Accounts, seen ids and tallies as committed. Call it once: the caller owns them afterwards."""

    def commit(self, changes: LedgerChanges) -> None:
        """Write the changes in one transaction."""

    def close(self) -> None:
        """Close the store."""


class OutboxStore(Protocol):
    """The dispatcher's batches, which one process at a time has open."""

    @property
    def service(self) -> str:
        """An id of this state, so that a client never confuses our keys with those of an earlier state."""

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that some ledger has not recorded yet, in the order in which they were first stored,
        and the totals of all publishes.
        """

    def store(
        self,
        batches: Iterable[Batch],
        totals: PublishTotals,
        taken: Iterable[bytes] = (),
        over: Iterable[str] = (),
    ) -> None:
        """Write batches, each at its present stage, replacing its earlier stage, and the totals.

        `taken`: videos that are refused no more. `over`: the keys of batches to delete.
        """

    def forget(self, key: str) -> None:
        """Delete a batch."""

    def load_refused(self) -> list[RefusedVideo]:
        """The videos that the client refuses, in the order in which they were first refused."""

    def store_refused(
        self,
        videos: Iterable[RefusedVideo],
        totals: PublishTotals,
        gone: Iterable[bytes] = (),
        forget: str = "",
    ) -> None:
        """Write refused videos, replacing what was known of them, and the totals. Delete the videos `gone`,
        which are refused no more, and the batch with the key `forget`.
        """

    def load_republishes(self) -> tuple[list[Republish], int]:
        """The requests to publish totals again, in their order, and the greatest number that one ever had."""

    def store_republish(
        self, request: Republish | None, totals: PublishTotals, over: tuple[int, ...] = (), forget: str = ""
    ) -> None:
        """Write a request, replacing its earlier version, and the totals. Delete the requests with the
        numbers `over`, and the batch with the key `forget`.
        """

    def close(self) -> None:
        """Close the store."""
