"""The embedded nsqd as its users see it: start and stop. Owns the listening sockets and the scan.

The rules of the queue are in `queue.py`, `topic.py` and `channel.py`, those of the protocol in
`connection.py`.
"""

import asyncio
import contextlib
import logging
import pathlib
import socket
from collections.abc import Sequence
from typing import Self

from ..core.words import counted
from ..supervision.loop import until_next
from ..system.addresses import join_address
from . import limits
from .channel import Channel
from .connection import ClientConnection
from .edge import Edge
from .http import http_server
from .journal import QueueJournal
from .listener import LISTEN_BACKLOG, open_listener
from .topic import Topic

log = logging.getLogger(__name__)

# How long stop() waits for clients to read their last answers.
_STOP_GRACE_MS = 1_000
# In one turn of the loop. Those that give way to them are closed one turn later.
ACCEPTED_AT_ONCE = 16


class EmbeddedNsqd(Edge):
    """One nsqd in the current asyncio loop, from `start` to `stop`."""

    def __init__(
        self,
        journal: QueueJournal,
        tcp_server: asyncio.Server,
        http_socket: socket.socket,
        http_address: str,
        allowed_hosts: Sequence[str],
        broadcast_address: str,
    ) -> None:
        """Called by `start`, with what it has opened."""
        tcp_port, http_port = tcp_server.sockets[0].getsockname()[1], http_socket.getsockname()[1]
        super().__init__(journal, tcp_port, http_port, broadcast_address)
        self.about = self.seldom.about = {"nsqd": join_address(*tcp_server.sockets[0].getsockname()[:2])}
        self._journal = journal
        self._tcp_server = tcp_server
        self._http_server = http_server(self, http_address, allowed_hosts)
        self._http_server.add_socket(http_socket)
        self._scanned_ms = self.now_ms()
        self._scan_handle: asyncio.TimerHandle | None = None
        self._scan_after(limits.SCAN_INTERVAL_MS)
        self._is_stopped = False

    @classmethod
    async def start(
        cls,
        path: pathlib.Path,
        tcp_address: str,
        http_address: str,
        marked: pathlib.Path | None = None,
        allowed_hosts: Sequence[str] = (),
        broadcast_address: str = "",
    ) -> Self:
        """Open the journal in the directory `path` and listen on both addresses.

        The addresses are "host:port"; port 0 takes a free one. `marked`: as in `JournalFile`.
        `allowed_hosts`: see `BoundedHTTPServer`. `broadcast_address`: "" is this machine's host name. If it
        raises (`AddressFailure` or `StoreFailure`), it leaves nothing open.
        """
        nsqd: Self
        with contextlib.ExitStack() as opened:
            tcp_socket = opened.enter_context(open_listener("tcp_address", tcp_address))
            http_socket = opened.enter_context(open_listener("http_address", http_address))
            journal = opened.enter_context(contextlib.closing(QueueJournal(path, marked)))
            tcp_server = await asyncio.get_running_loop().create_server(
                lambda: ClientConnection(nsqd), sock=tcp_socket, backlog=ACCEPTED_AT_ONCE, start_serving=False
            )
            nsqd = cls(journal, tcp_server, http_socket, http_address, allowed_hosts, broadcast_address)
            opened.pop_all()  # from now on the nsqd closes them
        await tcp_server.start_serving()
        tcp_socket.listen(LISTEN_BACKLOG)  # asyncio takes the backlog for what to accept in one turn, too
        backlog = sum(
            topic.waiting_count + sum(channel.depth for channel in topic.channels.values())
            for topic in nsqd.queue.topics.values()
        )
        log.info(
            "embedded nsqd: tcp port %d, http port %d, %s, %s, %s",
            nsqd.tcp_port,
            nsqd.http_port,
            path,
            counted(len(nsqd.queue.topics), "topic"),
            counted(backlog, "message"),
        )
        return nsqd

    async def stop(self) -> None:
        """Commit all messages that were read, write down which were finished, and close everything.

        A second call does nothing. Raises `StoreFailure` if the journal cannot be closed.
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
        await asyncio.sleep(0)  # until they have left: what they did not finish has an attempt more
        for handle in (self._commit_handle, self._flush_handle, self._scan_handle):
            if handle is not None:
                handle.cancel()
        self._flush()
        self._journal.close()
        log.info("embedded nsqd: stopped")

    def pump(self, topic: Topic, channel: Channel) -> None:
        """See `Edge`. A delayed message is scanned for from now on."""
        super().pump(topic, channel)
        if channel.deferred_count and self._scan_ms > limits.SCAN_INTERVAL_MS:
            past_ms = self.now_ms() - self._scanned_ms
            self._scan_after(past_ms - past_ms % limits.SCAN_INTERVAL_MS + limits.SCAN_INTERVAL_MS)

    def _scan_after(self, scan_ms: int) -> None:
        """Scan so long after the last scan, and not before."""
        if self._scan_handle is not None:
            self._scan_handle.cancel()
        self._scan_ms = scan_ms
        wait_ms = self._scanned_ms + scan_ms - self.now_ms()
        self._scan_handle = self._loop.call_later(wait_ms / 1000, self._scan)

    def _quiet_scan_ms(self) -> int:
        """How soon to scan while nothing happens. Heartbeats are due all the same."""
        heartbeats_ms = [one.agreement.heartbeat_interval_ms for one in self.connections]
        soonest_ms = min(filter(None, heartbeats_ms), default=limits.HEARTBEAT_MAX_MS)
        scan_ms = min(limits.QUIET_SCAN_INTERVAL_MS, int(limits.HEARTBEAT_LATE_SHARE * soonest_ms))
        return until_next(scan_ms, self._scanned_ms)

    def _scan(self) -> None:
        now_ms = self.now_ms()
        late_ms = now_ms - self._scanned_ms - self._scan_ms
        self._scanned_ms = now_ms
        if late_ms > limits.STALL_MS:
            for connection in self.connections:
                connection.excuse(late_ms)
        for topic in list(self.queue.topics.values()):
            for channel in list(topic.channels.values()):
                channel.expire(now_ms)
                self.pump(topic, channel)
        for connection in list(self.connections):
            connection.scan(now_ms)
        if self.queue.has_changes():
            self.finished()
        self._logged(self._journal.reclaim_space)
        channels = (one for topic in self.queue.topics.values() for one in topic.channels.values())
        is_quiet = not self._journal.is_shrinking and all(channel.is_quiet for channel in channels)
        self._scan_after(self._quiet_scan_ms() if is_quiet else limits.SCAN_INTERVAL_MS)
