"""The reference client as its HTTP handlers and live streams see it. `server.py` implements it."""

from typing import Any, Protocol

from ..core.client.audit import Audit, Receipt
from ..core.client.promises import Publish


class Reference(Protocol):
    """Takes publishes, and knows what they add up to.

    `secret`: publishes must be signed with it; None if they need no signature.
    """

    secret: bytes | None

    @property
    def audit(self) -> Audit:
        """The audit of all committed publishes. Raises `StoreFailure` if it had to be read and can't be."""

    def receive(self, publish: Publish, held_up_ms: int = 0) -> Receipt:
        """Audit and commit a publish. Raises `StoreFailure`, and has taken nothing then.

        `held_up_ms`: for how long this client did not answer, as the sender says.
        """

    def report(self) -> dict[str, Any]:
        """The answer to GET /report. Raises `StoreFailure`."""

    def stats(self) -> dict[str, int]:
        """The few figures of a status line. Raises `StoreFailure`."""
