"""What an actor's rules ask its shell to do: plain facts, carried out in the order given.

The rules (`counting.py`, `dispatching.py`, `deliveries.py`) take a message and the time and return
these; a real shell or a simulated one performs them. Order is the guarantee: what stands after a
`Commit` must not happen before it, nor if it fails.
"""

from msgspec import Struct

from .ledger import Changes
from .messages import Message
from .outbox import Batch, PublishTotals


class Send(Struct, frozen=True):
    """Put a message into a peer's mailbox. With no link to it, it is dropped: links resend."""

    peer: str
    message: Message


class Commit(Struct, frozen=True):
    """Write a ledger's changes durably."""

    changes: Changes


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


class Finish(Struct, frozen=True):
    """FIN messages on the nsqd connection that gave them. `ids`: 16 hexadecimal digits each, in a row."""

    connection: int
    ids: bytes


class DeadLetter(Struct, frozen=True):
    """Put these on the dead-letter topic; the acknowledgement comes back as a call, with `number`.

    `reasons`: how many messages for which reason, for the log.
    """

    number: int
    connection: int
    letters: list[bytes]
    reasons: dict[str, int]
