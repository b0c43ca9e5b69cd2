"""What the dispatcher's rules ask for beside `Send`."""

from msgspec import Struct

from .outbox import Batch, PublishTotals


class Store(Struct, frozen=True):
    """Write a batch down durably, at its present stage, with the totals of all publishes."""

    batch: Batch
    totals: PublishTotals


class Forget(Struct, frozen=True):
    """Delete a batch that was written down: every ledger has it."""

    key: str


class Deliver(Struct, frozen=True):
    """Send a batch to the client; the outcome comes back as a call."""

    batch: Batch
