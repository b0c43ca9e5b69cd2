"""What the connections and the HTTP interface share: the queue, its commits, and who is sent what.

Group commit: everything that all sockets brought in one turn of the loop is committed in one
transaction, and only then answered. `server.py` starts and stops it. `connection.py` implements
`ConnectedClient`; `http_request.py` and `connection.py` implement `CommitWaiter`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from ..core.recurring import Recurring
from ..system.exits import StoreFailure
from ..system.host_name import host_name
from . import limits
from .channel import Channel
from .identify import Agreement
from .ids import node_id_of
from .journal import QueueJournal
from .journal_file import JournalError
from .queue import Queue
from .room import Room
from .seldom import Seldom
from .states import ClientState
from .subscriber import Subscriber
from .topic import Subscription, Topic
from .uploads import Upload, Uploads

log = logging.getLogger(__name__)


class CommitWaiter(Protocol):
    """A publisher that waits for the commit of its messages."""

    def settle(self, failure: JournalError | None) -> None:
        """Called after the commit. `failure`: the error if it failed, else None."""


class ConnectedClient(CommitWaiter, Upload, Protocol):
    """One client's TCP connection, and an `Upload`.

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
        """Send a heartbeat if one is due; drop a client that does not answer, read or finish a command."""

    def excuse(self, stall_ms: int) -> None:
        """Give the client that much longer to answer and to read: this nsqd stood still for so long."""

    def close(self) -> None:
        """End the connection after the answers written so far are sent."""

    def make_room(self) -> None:
        """End the connection at once, because there is a new one and no room for both."""

    def abort(self, reason: str) -> None:
        """End the connection at once. The log says "dropped, because it <reason>"."""


class Edge:
    """The embedded nsqd as its connections and its HTTP interface see it.

    A journal that fails for now is a `JournalError`, which is answered, logged and got over. A journal that
    can't be used any more is another `StoreFailure`: nobody catches it, so the process ends.

    `connections`: all TCP connections; `subscribed`: those after SUB; `room`: which one gives way. `uploads`:
    what has come by TCP and HTTP of commands that are not complete. `tcp_port` and `http_port` are the
    ports that were taken, `health` is what GET /ping answers, `start_s` a Unix time in seconds.
    `broadcast_address`: where GET /info tells other programs to come to.
    `seldom` logs what strangers cause. `about`: the fields of a log line about a connection: this nsqd.
    """

    def __init__(self, journal: QueueJournal, tcp_port: int, http_port: int, broadcast_address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.tcp_port = tcp_port
        self.http_port = http_port
        self.about: dict[str, str] = {}
        self.hostname = host_name()
        self.broadcast_address = broadcast_address or self.hostname
        self.start_s = self.now_wall_ns() // 1_000_000_000
        self.health = "OK"
        self._trouble = Recurring()
        self.seldom = Seldom()
        self.connections: set[ConnectedClient] = set()
        self.room: Room[ConnectedClient] = Room()
        self.uploads = Uploads()
        self.subscribed: dict[Subscriber, ConnectedClient] = {}
        self.queue = Queue(journal, node_id_of(self.hostname), random.Random())
        self._awaiting: dict[CommitWaiter, None] = {}
        self._commit_handle: asyncio.Handle | None = None
        self._flush_handle: asyncio.TimerHandle | None = None

    def now_ms(self) -> int:
        """Monotonic milliseconds, for durations."""
        return time.monotonic_ns() // 1_000_000

    def now_wall_ns(self) -> int:
        """Nanoseconds since 1970, for stamps and due times."""
        return time.time_ns()

    # Messages.

    def stage(self, waiter: CommitWaiter, topic_name: str, bodies: list[bytes], delay_ms: int) -> None:
        """Add messages to the next commit. After it, `waiter` is settled. Raises `JournalError`."""
        topic = self.queue.topic(topic_name)
        if bodies:
            self.queue.stage(topic, bodies, self.now_wall_ns(), delay_ms)
        self._awaiting[waiter] = None
        if self._commit_handle is None:
            self._commit_handle = self._loop.call_soon(self._commit)

    def stage_done(self) -> None:
        """Commit at once if more than STAGED_BYTES_MAX is staged."""
        if self.queue.staged_bytes > limits.STAGED_BYTES_MAX:
            self._commit()

    def finished(self) -> None:
        """Write the finished messages down within FINISH_FLUSH_MS."""
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_later(limits.FINISH_FLUSH_MS / 1000, self._flush)

    def pump(self, topic: Topic, channel: Channel) -> None:
        """Give the channel's clients all messages that they are ready for, from the journal too."""
        now_ms = self.now_ms()
        while True:
            if channel.wants_more():
                self._logged(lambda: self.queue.refill(topic, channel, now_ms, self._now_wall_ms()))
            gifts = channel.deliver(now_ms)
            if not gifts:
                break
            for subscriber, frames in gifts:
                self.subscribed[subscriber].send(frames)
        if channel.changed:  # messages that a sampling client did not get
            self.finished()

    # Topics and channels.

    def join(
        self, client: ConnectedClient, subscriber: Subscriber, topic_name: str, channel_name: str
    ) -> Subscription:
        """Subscribe a client; topic and channel are made if missing. Raises `JournalError`."""
        topic = self.queue.topic(topic_name)
        channel = self.create_channel(topic, channel_name)
        channel.add_subscriber(subscriber)
        self.subscribed[subscriber] = client
        return Subscription(topic, channel, subscriber)

    def enter(self, client: ConnectedClient) -> None:
        """Add a client that has connected. If it is closed already, its end follows."""
        self.connections.add(client)
        self.room.enter(client)

    def leave(self, client: ConnectedClient) -> None:
        """Remove a client that is gone. Other clients get its messages in flight.

        An ephemeral channel is deleted after its last client left.
        """
        self.connections.discard(client)
        self.room.leave(client)
        self.uploads.end(client)
        if client.subscription is None:
            return
        topic, channel, subscriber = client.subscription
        if self.subscribed.pop(subscriber, None) is None:
            return
        channel.remove_subscriber(subscriber)
        if channel.is_ephemeral and not channel.subscribers:
            self._logged(lambda: self.queue.delete_channel(topic, channel))
        else:
            self.pump(topic, channel)

    def create_channel(self, topic: Topic, name: str) -> Channel:
        """The channel, which is made if it is missing. Raises `JournalError`."""
        return self.queue.channel(topic, name, self.now_ms(), self._now_wall_ms())

    def delete_topic(self, topic: Topic) -> None:
        """Delete a topic and its channels; their clients are disconnected. Raises `JournalError`."""
        self.queue.delete_topic(topic)
        for channel in topic.channels.values():
            self._evict(channel)

    def delete_channel(self, topic: Topic, channel: Channel) -> None:
        """Delete a channel; its clients are disconnected. Raises `JournalError`."""
        self.queue.delete_channel(topic, channel)
        self._evict(channel)

    def pause_topic(self, topic: Topic, is_paused: bool) -> None:
        """Stop or resume the flow from a topic to its channels. Raises `JournalError`."""
        self.queue.pause_topic(topic, is_paused, self.now_ms(), self._now_wall_ms())
        self._pump_all(topic)

    def pause_channel(self, topic: Topic, channel: Channel, is_paused: bool) -> None:
        """Stop or resume deliveries from a channel. Raises `JournalError`."""
        self.queue.pause_channel(topic, channel, is_paused)
        self.pump(topic, channel)

    # Helpers.

    def _now_wall_ms(self) -> int:
        return self.now_wall_ns() // 1_000_000

    def _evict(self, channel: Channel) -> None:
        """Disconnect the clients of a deleted channel, as nsqd does."""
        for subscriber in channel.subscribers:
            self.subscribed.pop(subscriber).close()

    def _pump_all(self, topic: Topic) -> None:
        for channel in list(topic.channels.values()):
            self.pump(topic, channel)

    def _commit(self) -> None:
        if self._commit_handle is not None:
            self._commit_handle.cancel()
            self._commit_handle = None
        awaiting, self._awaiting = self._awaiting, {}
        topics: list[Topic] = []
        failure = None
        try:
            topics = self.queue.commit(self.now_ms(), self.now_wall_ns())
            if topics:
                self._worked()
        except JournalError as error:
            failure = error
            self.failed(error)
        # Commit before OK: a publisher that gets the OK forgets the message.
        for waiter in awaiting:
            waiter.settle(failure)
        for topic in topics:
            self._pump_all(topic)

    def _flush(self) -> None:
        self._flush_handle = None
        # If it fails, the changes are kept, and the next scan starts another flush.
        if self._logged(self.queue.flush):
            self._worked()

    def _logged(self, write: Callable[[], object]) -> bool:
        """Call `write`, for which no client waits. Returns whether it succeeded."""
        try:
            write()
            return True
        except JournalError as error:
            self.failed(error)
            return False

    def unusable(self, error: StoreFailure) -> None:
        """The journal can't be used any more: the process ends, by the loop's exception handler."""
        self._loop.call_exception_handler({"message": str(error), "exception": error})

    def failed(self, error: JournalError) -> None:
        """Log that the journal fails: at once, and once a minute. GET /ping shows it until a write works."""
        self.health = f"NOK - {error}"
        if self._trouble.seen(self.now_ms()):
            log.error("%s", error)

    def _worked(self) -> None:
        self.health = "OK"
        lasted_ms = self._trouble.over(self.now_ms())
        if lasted_ms is not None:
            log.info("the journal can be written again, after %.1f s", lasted_ms / 1000)
