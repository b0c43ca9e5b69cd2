"""What a source of plays offers: numbered connections that are read in batches.

`nsqd.py` is the real one. tests/unit/sources/test_contract.py tests every implementation.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from ..core.consumer.frames import Parsed
from ..core.consumer.terms import Terms
from ..core.stats import NsqdStats


class NsqdState(Struct, frozen=True):
    """An nsqd that a source reads, or tries to. `connection`: its number; None without a connection.

    `stats`: what the source knows of it. What was received from it is the rules' to know.
    """

    connection: int | None
    stats: NsqdStats


class Listener(Protocol):
    """The owner of a source, which the source calls when something happens on a connection."""

    def connected(self, connection: int, source: str, terms: Terms) -> None:
        """A connection is subscribed. Its number is new. nsqd sends no message on it before its RDY is set.

        `source`: every name of the nsqd, sorted, separated by single spaces; then "/" and the topic. Message
        ids are unique within one nsqd, and two sources with a common name are one nsqd.
        """

    def renamed(self, connection: int, source: str) -> None:
        """A new name of the nsqd of this connection is known. `source`: as in `connected`, with all names."""

    def received(self, connection: int, parsed: Parsed) -> None:
        """The messages of one read, at least one.

        May raise `BadStream`, leaving the state unchanged: the source then closes the connection.
        """

    def refused(self, connection: int, error: bytes) -> None:
        """nsqd refused a FIN, a REQ or a TOUCH. `error`: its words, such as b"E_FIN_FAILED FIN <id> …"."""

    def disconnected(self, connection: int) -> None:
        """A connection was lost. Its messages in flight are delivered again. The source reconnects itself."""


class Source(Protocol):
    """Where plays come from. Every call about a connection that is gone does nothing."""

    @property
    def ready_count(self) -> int:
        """The present RDYs of all connections, added up."""

    @property
    def nsqds(self) -> list[NsqdState]:
        """Every nsqd that the source knows of, once each."""

    @property
    def unheard(self) -> list[str]:
        """The nsqlookupds, if none of them has ever said which nsqds there are; else none."""

    def set_ready_count(self, connection: int, ready_count: int) -> None:
        """Allow this many messages in flight on a connection, 0 or more."""

    def finish(self, connection: int, ids: bytes, ready_count: int) -> None:
        """Finish messages that this connection gave. `ids`: 16 hexadecimal digits each, in a row.

        From then on, so many messages are allowed in flight on it. nsqd hears of that first.
        """

    def publish(self, connection: int, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """Publish on this connection. Call `done` when all bodies are acknowledged, which may be never."""

    def reconnect(self, connection: int) -> None:
        """Close this connection and open another to the same nsqd at once. Calls `disconnected`."""

    def look(self, connection: int, done: Callable[[int | None], None]) -> None:
        """Ask how many messages wait that nsqd could send on this connection, and call `done` with that.

        `done` gets None if that is not known. It is called once, after this call has returned.
        """

    def reload(self) -> None:
        """Read secrets and certificates again; open connections stay. Raises `Failure`: the old ones hold."""

    def close(self) -> None:
        """Close all connections without calling the listener. nsqd delivers what is in flight to others."""
