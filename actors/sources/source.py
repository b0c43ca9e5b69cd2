"""What a source of plays offers: numbered connections that are read in batches.

`nsqd.py` is the real one. tests/unit/sources/test_contract.py puts an implementation through all of this.
"""

from collections.abc import Callable
from typing import Protocol

from ..core.consumer.frames import Parsed


class Listener(Protocol):
    """Who is told what happens on the connections of a source."""

    def connected(self, connection: int, source: str, ready_count_max: int) -> None:
        """A connection is there; its number was never used before. It gets no message before its RDY is set.

        `source` names where its message ids are unique. `ready_count_max` is the greatest RDY allowed.
        """

    def received(self, connection: int, parsed: Parsed) -> None:
        """The messages of one read, at least one.

        May raise `BadStream`, with nothing taken in: the source then closes the connection.
        """

    def disconnected(self, connection: int) -> None:
        """A connection was lost. Its messages in flight come again. The source reconnects by itself."""


class Source(Protocol):
    """Where plays come from. Every call about a connection that is gone does nothing."""

    @property
    def ready_count(self) -> int:
        """The RDY of all connections together, as the source has it now."""

    def set_ready_count(self, connection: int, ready_count: int) -> None:
        """Allow this many messages in flight on a connection, 0 or more."""

    def finish(self, connection: int, ids: bytes) -> None:
        """Finish messages that this connection gave. `ids`: 16 hexadecimal digits each, in a row."""

    def publish(self, connection: int, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """Publish on this connection; `done` is called once all of them are acknowledged, or never."""

    def close(self) -> None:
        """Close all connections, without a word to the listener. What is in flight goes to others."""
