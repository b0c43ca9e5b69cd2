"""What a sink is, and what became of one attempt to send a batch."""

from typing import NamedTuple, Protocol

from ..core.dispatcher.attempts import Outcome
from ..core.dispatcher.outbox import Batch


class Delivery(NamedTuple):
    """What became of one attempt: the outcome, why, and the pause that the client asked for.

    `rejected`: the client said that the request itself is wrong, so that trying again may not help.
    `notice`: what somebody should look at though the batch was accepted.
    """

    outcome: Outcome
    why: str = ""
    retry_after_ms: int | None = None
    rejected: bool = False
    notice: str = ""


class Sink(Protocol):
    """Sends batches. `name`: where to, for people; without passwords."""

    name: str

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once. Never raises for what a client or a network does."""

    async def reach(self) -> None:
        """Connect and publish nothing. Raises `OSError` (its text is the reason) or `TimeoutError`."""

    async def flush(self, timeout_s: float) -> None:
        """Wait, so long at most, for what was taken over and is not written yet."""

    def close(self) -> None:
        """Let go of a connection that is kept for the next batch."""
