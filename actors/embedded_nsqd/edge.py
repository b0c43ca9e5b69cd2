"""The interfaces between the parts that face clients: the connections, the HTTP interface, the server.

All are protocols, so that each of these parts can be read, and replaced in a test, without the others.
`server.py` implements `Edge`; `connection.py` implements `ConnectedClient`; `http_request.py` and
`connection.py` implement `CommitWaiter`.
"""

import enum
from collections.abc import Collection
from typing import Protocol

from .channel import Channel
from .identify import Agreement
from .journal_file import JournalError
from .queue import Queue
from .subscriber import Subscriber
from .topic import Subscription, Topic


class ClientState(enum.IntEnum):
    """The state of a client, with nsqd's numbers (nsqd/client_v2.go), which GET /stats shows."""

    INIT = 0
    SUBSCRIBED = 3
    CLOSING = 4


class CommitWaiter(Protocol):
    """A publisher that waits for the commit of its messages."""

    def settle(self, failure: JournalError | None) -> None:
        """Called after the commit. `failure`: the error if it failed, else None."""


class ConnectedClient(CommitWaiter, Protocol):
    """One client's TCP connection.

    `connect_s`: Unix time in seconds. `publish_counts`: messages published, by topic. `subscription` is None
    before SUB.
    """

    state: ClientState
    remote_address: str
    connect_s: int
    agreement: Agreement
    publish_counts: dict[str, int]
    subscription: Subscription | None

    def send(self, message_frames: list[bytes]) -> None:
        """Send the client messages."""

    def scan(self, now_ms: int) -> None:
        """Send a heartbeat if one is due; drop a client that does not answer or read."""

    def close(self) -> None:
        """End the connection after the answers written so far are sent."""

    def abort(self, reason: str) -> None:
        """End the connection at once. The log says "dropped, because it <reason>"."""


class Edge(Protocol):
    """The embedded nsqd as its connections and its HTTP interface see it.

    `health` is what GET /ping answers, `start_s` a Unix time in seconds.
    """

    queue: Queue
    health: str
    hostname: str
    tcp_port: int
    http_port: int
    start_s: int

    @property
    def connections(self) -> Collection[ConnectedClient]:
        """All TCP connections."""

    def now_ms(self) -> int:
        """Monotonic milliseconds, for durations."""

    def now_wall_ns(self) -> int:
        """Nanoseconds since 1970, for stamps and due times."""

    def enter(self, client: ConnectedClient) -> None:
        """Add a client that has connected."""

    def leave(self, client: ConnectedClient) -> None:
        """Remove a client that is gone. Other clients get its messages in flight."""

    def join(
        self, client: ConnectedClient, subscriber: Subscriber, topic_name: str, channel_name: str
    ) -> Subscription:
        """Subscribe a client; topic and channel are made if missing. Raises `JournalError`."""

    def stage(self, waiter: CommitWaiter, topic_name: str, bodies: list[bytes], delay_ms: int) -> None:
        """Add messages to the next commit. After it, `waiter` is settled. Raises `JournalError`."""

    def stage_done(self) -> None:
        """Commit at once if more than STAGED_BYTES_MAX is staged."""

    def finished(self) -> None:
        """Write the finished messages down within FINISH_FLUSH_MS."""

    def pump(self, topic: Topic, channel: Channel) -> None:
        """Give the channel's clients all messages that they are ready for."""

    def create_channel(self, topic: Topic, name: str) -> None:
        """Make a channel if it is missing. Raises `JournalError`."""

    def delete_topic(self, topic: Topic) -> None:
        """Delete a topic and its channels; their clients are disconnected. Raises `JournalError`."""

    def delete_channel(self, topic: Topic, channel: Channel) -> None:
        """Delete a channel; its clients are disconnected. Raises `JournalError`."""

    def pause_topic(self, topic: Topic, is_paused: bool) -> None:
        """Stop or resume the flow from a topic to its channels. Raises `JournalError`."""

    def pause_channel(self, topic: Topic, channel: Channel, is_paused: bool) -> None:
        """Stop or resume deliveries from a channel. Raises `JournalError`."""
