"""What a source of plays offers: numbered connections that are read in batches.

`nsqd.py` is the real one. tests/unit/sources/test_contract.py tests every implementation.
"""

from collections.abc import Callable
from typing import Protocol

from ..core.consumer.frames import Parsed


class Listener(Protocol):
    """The owner of a source, which the source calls when something happens on a connection."""

    def connected(self, connection: int, source: str, ready_count_max: int) -> None:
        """A connection is subscribed. Its number is new. nsqd sends no message on it before its RDY is set.

        Message ids are unique within `source`. `ready_count_max` is the greatest RDY allowed.
        """

    def received(self, connection: int, parsed: Parsed) -> None:
        """The messages of one read, at least one.

        May raise `BadStream`, leaving the state unchanged: the source then closes the connection.
        """

    def disconnected(self, connection: int) -> None:
        """A connection was lost. Its messages in flight are delivered again. The source reconnects itself."""


class Source(Protocol):
    """Where plays come from. Every call about a connection that is gone does nothing."""

    @property
    def ready_count(self) -> int:
        """The present RDYs of all connections, added up."""

    def set_ready_count(self, connection: int, ready_count: int) -> None:
        """Allow this many messages in flight on a connection, 0 or more."""

    def finish(self, connection: int, ids: bytes) -> None:
        """Finish messages that this connection gave. `ids`: 16 hexadecimal digits each, in a row."""

    def publish(self, connection: int, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """Publish on this connection. Call `done` when all bodies are acknowledged, which may be never."""

    def close(self) -> None:
        """Close all connections without calling the listener. nsqd delivers what is in flight to others."""
