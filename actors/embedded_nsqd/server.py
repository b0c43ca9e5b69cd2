"""The embedded nsqd as its users see it: start, stop, stats. Owns timers, listening sockets and shutdown.

Group commit: everything that all sockets brought in one turn of the loop is committed in one
transaction, and only then answered. The rules of the queue are in `queue.py`, `topic.py` and `channel.py`,
those of the protocol in `connection.py`.
"""

import asyncio
import contextlib
import logging
import pathlib
import random
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from . import limits
from .channel import Channel
from .connection import ClientConnection
from .edge import CommitWaiter, ConnectedClient
from .http import http_server
from .ids import node_id_of
from .journal import QueueJournal
from .journal_file import JournalError
from .listener import LISTEN_BACKLOG, open_listener
from .queue import Queue
from .stats import stats_of
from .subscriber import Subscriber
from .topic import Subscription, Topic

log = logging.getLogger(__name__)

# How long stop() waits for clients to read their last answers.
_STOP_GRACE_MS = 1_000


class EmbeddedNsqd:
    """One nsqd in the current asyncio loop, from `start` to `stop`. Implements `Edge`.

    `tcp_port` and `http_port` are the ports that were taken.
    """

    def __init__(
        self,
        journal: QueueJournal,
        tcp_server: asyncio.Server,
        tcp_socket: socket.socket,
        http_socket: socket.socket,
    ) -> None:
        """Called by `start`, with what it has opened."""
        self._loop = asyncio.get_running_loop()
        self.tcp_port: int = tcp_socket.getsockname()[1]
        self.http_port: int = http_socket.getsockname()[1]
        self.hostname = socket.gethostname()
        self.start_s = self.now_wall_ns() // 1_000_000_000
        self.health = "OK"
        self.connections: set[ConnectedClient] = set()
        sampler = random.Random()
        self.queue = Queue(journal, node_id_of(self.hostname), sampler)
        self._journal = journal
        self._subscribed: dict[Subscriber, ConnectedClient] = {}
        self._awaiting: dict[CommitWaiter, None] = {}
        self._commit_handle: asyncio.Handle | None = None
        self._flush_handle: asyncio.TimerHandle | None = None
        self._scan_handle = self._loop.call_later(limits.SCAN_INTERVAL_MS / 1000, self._scan)
        self._tcp_server = tcp_server
        self._http_server = http_server(self)
        self._http_server.add_socket(http_socket)
        self._is_stopped = False

    @classmethod
    async def start(cls, path: pathlib.Path, tcp_address: str, http_address: str) -> Self:
        """Open the journal in the directory `path` and listen on both addresses.

        The addresses are "host:port"; port 0 takes a free one. If it raises (`AddressFailure` or
        `JournalError`), it leaves nothing open.
        """
        nsqd: Self
        with contextlib.ExitStack() as opened:
            tcp_socket = opened.enter_context(open_listener("tcp_address", tcp_address))
            http_socket = opened.enter_context(open_listener("http_address", http_address))
            journal = opened.enter_context(contextlib.closing(QueueJournal(path)))
            tcp_server = await asyncio.get_running_loop().create_server(
                lambda: ClientConnection(nsqd), sock=tcp_socket, backlog=LISTEN_BACKLOG, start_serving=False
            )
            nsqd = cls(journal, tcp_server, tcp_socket, http_socket)
            opened.pop_all()  # from now on the nsqd closes them
        await tcp_server.start_serving()
        backlog = sum(
            topic.waiting_count + sum(channel.depth for channel in topic.channels.values())
            for topic in nsqd.queue.topics.values()
        )
        log.info(
            "embedded nsqd: tcp port %d, http port %d, %s, %d topics, %d messages",
            nsqd.tcp_port,
            nsqd.http_port,
            path,
            len(nsqd.queue.topics),
            backlog,
        )
        return nsqd

    async def stop(self) -> None:
        """Commit all messages that were read, write down which were finished, and close everything.

        A second call does nothing. Raises `JournalError` if the journal cannot be closed.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        self._tcp_server.close()
        self._http_server.stop()
        self._commit()
        for connection in list(self.connections):
            connection.close()
        await self._http_server.close_all_connections()
        # The transports report their end in the next turns of the loop, or when a slow client
        # has read its last answers.
        deadline_ms = self.now_ms() + _STOP_GRACE_MS
        while self.connections and self.now_ms() < deadline_ms:
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort("does not read its last answers")
        for handle in (self._commit_handle, self._flush_handle, self._scan_handle):
            if handle is not None:
                handle.cancel()
        self._flush()
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self._journal.close()
        log.info("embedded nsqd: stopped")

    def stats(self) -> dict[str, Any]:
        """The answer to GET /stats?format=json."""
        return stats_of(self)

    def now_ms(self) -> int:
        """See `Edge`."""
        return time.monotonic_ns() // 1_000_000

    def now_wall_ns(self) -> int:
        """See `Edge`."""
        return time.time_ns()

    # What connections and the HTTP interface ask for: `Edge`.

    def stage(self, waiter: CommitWaiter, topic_name: str, bodies: list[bytes], delay_ms: int) -> None:
        """See `Edge`."""
        topic = self.queue.topic(topic_name)
        if bodies:
            self.queue.stage(topic, bodies, self.now_wall_ns(), delay_ms)
        self._awaiting[waiter] = None
        if self._commit_handle is None:
            self._commit_handle = self._loop.call_soon(self._commit)

    def stage_done(self) -> None:
        """See `Edge`."""
        if self.queue.staged_bytes > limits.STAGED_BYTES_MAX:
            self._commit()

    def enter(self, client: ConnectedClient) -> None:
        """See `Edge`."""
        self.connections.add(client)

    def join(
        self, client: ConnectedClient, subscriber: Subscriber, topic_name: str, channel_name: str
    ) -> Subscription:
        """See `Edge`."""
        topic = self.queue.topic(topic_name)
        channel = self._channel(topic, channel_name)
        channel.add_subscriber(subscriber)
        self._subscribed[subscriber] = client
        return Subscription(topic, channel, subscriber)

    def leave(self, client: ConnectedClient) -> None:
        """See `Edge`. An ephemeral channel is deleted after its last client left."""
        self.connections.discard(client)
        if client.subscription is None:
            return
        topic, channel, subscriber = client.subscription
        if self._subscribed.pop(subscriber, None) is None:
            return
        channel.remove_subscriber(subscriber)
        if channel.is_ephemeral and not channel.subscribers:
            self._logged(lambda: self.queue.delete_channel(topic, channel))
        else:
            self.pump(topic, channel)

    def create_channel(self, topic: Topic, name: str) -> None:
        """See `Edge`."""
        self.pump(topic, self._channel(topic, name))

    def delete_topic(self, topic: Topic) -> None:
        """See `Edge`."""
        self.queue.delete_topic(topic)
        for channel in topic.channels.values():
            self._evict(channel)

    def delete_channel(self, topic: Topic, channel: Channel) -> None:
        """See `Edge`."""
        self.queue.delete_channel(topic, channel)
        self._evict(channel)

    def pause_topic(self, topic: Topic, is_paused: bool) -> None:
        """See `Edge`."""
        self.queue.pause_topic(topic, is_paused, self.now_ms(), self._now_wall_ms())
        self._pump_all(topic)

    def pause_channel(self, topic: Topic, channel: Channel, is_paused: bool) -> None:
        """See `Edge`."""
        self.queue.pause_channel(topic, channel, is_paused)
        self.pump(topic, channel)

    def finished(self) -> None:
        """See `Edge`."""
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_later(limits.FINISH_FLUSH_MS / 1000, self._flush)

    def pump(self, topic: Topic, channel: Channel) -> None:
        """See `Edge`. Reads more of the journal while the clients are ready for more."""
        now_ms = self.now_ms()
        while True:
            if channel.wants_more():
                self._logged(lambda: self.queue.refill(topic, channel, now_ms, self._now_wall_ms()))
            gifts = channel.deliver(now_ms)
            if not gifts:
                break
            for subscriber, frames in gifts:
                self._subscribed[subscriber].send(frames)
        if channel.changed:  # messages that a sampling client did not get
            self.finished()

    # Helpers.

    def _now_wall_ms(self) -> int:
        return self.now_wall_ns() // 1_000_000

    def _channel(self, topic: Topic, name: str) -> Channel:
        return self.queue.channel(topic, name, self.now_ms(), self._now_wall_ms())

    def _evict(self, channel: Channel) -> None:
        """Disconnect the clients of a deleted channel, as nsqd does."""
        for subscriber in channel.subscribers:
            self._subscribed.pop(subscriber).close()

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
                self.health = "OK"
        except JournalError as error:
            log.error("%s", error)
            failure = error
            self.health = f"NOK - {error}"
        # Commit before OK: a publisher that gets the OK forgets the message.
        for waiter in awaiting:
            waiter.settle(failure)
        for topic in topics:
            self._pump_all(topic)

    def _flush(self) -> None:
        self._flush_handle = None
        # If it fails, the changes are kept, and the next scan starts another flush.
        if self._logged(self.queue.flush):
            self.health = "OK"

    def _scan(self) -> None:
        self._scan_handle = self._loop.call_later(limits.SCAN_INTERVAL_MS / 1000, self._scan)
        now_ms = self.now_ms()
        for topic in list(self.queue.topics.values()):
            for channel in list(topic.channels.values()):
                channel.expire(now_ms)
                self.pump(topic, channel)
        for connection in list(self.connections):
            connection.scan(now_ms)
        if self.queue.has_changes():
            self.finished()
        self._logged(self.queue.reclaim_space)

    def _logged(self, write: Callable[[], object]) -> bool:
        """Call `write`, for which no client waits. Returns whether it succeeded.

        A failure is logged once, and GET /ping shows it until messages are written again.
        """
        try:
            write()
            return True
        except JournalError as error:
            health = f"NOK - {error}"
            if health != self.health:
                log.error("%s", error)
            self.health = health
            return False
