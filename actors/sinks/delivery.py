"""What a sink is, and what became of one attempt to send a batch."""

from typing import NamedTuple, Protocol

from ..core.dispatching import Outcome
from ..core.outbox import Batch


class Delivery(NamedTuple):
    """What became of one attempt: the outcome, why, and the pause that the client asked for."""

    outcome: Outcome
    why: str = ""
    retry_after_ms: int | None = None


class Sink(Protocol):
    """Sends batches."""

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once. Never raises for what a client or a network does."""
