"""The effects of the dispatcher's rules, beside `Send`."""

from msgspec import Struct

from .outbox import Batch, PublishTotals


class Store(Struct, frozen=True):
    """Store a batch durably at its present stage, with the totals of all publishes."""

    batch: Batch
    totals: PublishTotals


class Forget(Struct, frozen=True):
    """Delete a stored batch: every ledger has recorded it, or the client has none of it."""

    key: str


class Deliver(Struct, frozen=True):
    """Send a batch to the client. The outcome comes back as a call of `delivered`."""

    batch: Batch
