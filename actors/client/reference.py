"""The reference client as its HTTP handlers and live streams see it. `server.py` implements it."""

from typing import Any, Protocol

from ..core.client.audit import Audit, Receipt
from ..core.client.promises import Publish


class Reference(Protocol):
    """Takes publishes and audits them.

    `secret`: publishes must be signed with it; None if they need no signature.
    """

    secret: bytes | None

    @property
    def audit(self) -> Audit:
        """The audit of all committed publishes. Raises `StoreFailure` if the store can't be read for it."""

    def receive(self, publish: Publish, held_up_ms: int = 0) -> Receipt:
        """Audit and commit a publish. Raises `StoreFailure`, leaving the state unchanged.

        `held_up_ms`: how long this client failed to take it, as the sender says.
        """

    def report(self) -> dict[str, Any]:
        """The answer to GET /report. Raises `StoreFailure`."""

    def stats(self) -> dict[str, int]:
        """The figures for a status line. Raises `StoreFailure`."""
