"""The source on nsqd: pynsq's Reader, made fast by reading a whole socket buffer at a time.

pynsq does connections, discovery, feature negotiation and heartbeats. Some of its habits are replaced
(docs/decisions/0004 has the measurements). A read takes one future, instead of two per frame. One write sends
many FINs. RDY follows the traffic (`core/consumer/ready_count.py`) and is not fixed. A lost nsqd is tried
again after a quarter of a second instead of fifteen seconds. No message is given up after a number of
attempts, and the reader never goes into back-off. If the other end does not speak NSQ's protocol, the
connection is closed with one line in the log and tried again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import count as numbers_from
from typing import Any

import nsq
import numpy as np
from nsq import event, protocol
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError

from ..core.columns import HEX_ID_BYTES, Column, count
from ..core.consumer.bodies import Bodies
from ..core.consumer.frames import FRAME_BYTES_MAX, BadStream, FrameParser, Parsed
from .source import Listener

log = logging.getLogger(__name__)

READ_BYTES_MAX = 256 * 1024
RECONNECT_S = 0.25
FINISH_DELAY_S = 0.002
LOOKUP_INTERVAL_S = 5
HANDSHAKE_TIMEOUT_S = 5  # from connecting until subscribed; after that, heartbeats find a dead nsqd
# How long a message may wait in nsqd's buffer if fewer than RDY are in flight. This is the least that nsqd
# allows by default (min-output-buffer-timeout).
OUTPUT_BUFFER_TIMEOUT_MS = 25
OUTPUT_BUFFER_BYTES = 64 * 1024
LETTER_BYTES_MAX = 4 * 1024 * 1024  # an MPUB of dead letters; nsqd's max-body-size is 5 MiB
_serial = numbers_from(1)
_HEX_ID = np.dtype((np.void, HEX_ID_BYTES))
_FIN = np.array([(b"FIN ", bytes(HEX_ID_BYTES), b"\n")], [("word", "S4"), ("id", _HEX_ID), ("end", "S1")])


class BatchConnection(nsq.AsyncConn):
    """One connection to an nsqd. It reads frame by frame until it is subscribed, then buffer by buffer."""

    def __init__(self, host: str, port: int, **options: Any):
        super().__init__(host, port, **options)
        self.number = next(_serial)
        self.acknowledgements: deque[Callable[[], None] | None] = deque()
        self._batches: _Batches | None = None
        self._finished = bytearray()
        self._finish_timer: object | None = None

    def read_in_batches(
        self, parser: FrameParser, on_read: Callable[["BatchConnection", Parsed], None]
    ) -> None:
        """From the next read on, give all frames of a read to `on_read` at once."""
        self._batches = _Batches(self, parser, on_read)

    def finish(self, ids: bytes) -> None:
        """FIN these messages, 16 hexadecimal digits each.

        If few messages are allowed in flight, the FINs are written at once, because nsqd waits for them.
        Otherwise they wait for more FINs, because one write costs more time than the thousand FINs in it.
        """
        self._finished += ids
        if count(self._finished, HEX_ID_BYTES) >= self.last_rdy // 4:
            self.flush()
        elif self._finish_timer is None:
            self._finish_timer = IOLoop.current().call_later(FINISH_DELAY_S, self.flush)

    def flush(self) -> None:
        """Write the waiting FINs."""
        if self._finish_timer is not None:
            IOLoop.current().remove_timeout(self._finish_timer)
            self._finish_timer = None
        finished, self._finished = self._finished, bytearray()
        if finished:
            self._write(_fins(finished))

    def publish(self, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """Publish on this connection. `done` is called once nsqd has answered OK to all of them."""
        groups = _groups(bodies)
        for group in groups:
            last = group is groups[-1]
            self.acknowledgements.append(done if last else None)
            self._write(protocol.mpub(topic, group))

    def set_ready_count(self, ready_count: int) -> None:
        """Send RDY if it differs from the last one."""
        if ready_count != self.last_rdy and not self.stream.closed():
            self.send_rdy(ready_count)

    def answered(self, kind: int, data: bytes) -> None:
        """Handle a frame that is not a message."""
        if kind == protocol.FRAME_TYPE_RESPONSE and data == b"_heartbeat_":
            self._write(protocol.nop())
        elif kind == protocol.FRAME_TYPE_RESPONSE:
            if self.acknowledgements:
                done = self.acknowledgements.popleft()
                if done is not None:
                    done()
        else:
            self.trigger(event.ERROR, conn=self, error=protocol.Error(data))

    def _connect_callback(self, fut: asyncio.Future[IOStream]) -> None:
        # If the connection failed, or ended meanwhile, the close callback handles it; pynsq would raise.
        if fut.exception() is None and not self.stream.closed():
            super()._connect_callback(fut)

    def refuse(self, why: object) -> None:
        """Close a connection whose other end does not speak NSQ's protocol."""
        log.error("%s: %s; closing the connection", self, why)
        self.close()

    def _start_read(self) -> None:
        if self._batches is not None:
            self._batches.read_on()
        elif not self.stream.closed():
            super()._start_read()

    def _read_bytes(self, size: int, callback: Callable[[asyncio.Future[bytes]], None]) -> None:
        if 4 <= size <= FRAME_BYTES_MAX:
            super()._read_bytes(size, callback)
        else:
            self.refuse(f"a frame of {size} bytes, expected 4 to {FRAME_BYTES_MAX}")

    def _on_data(self, data: bytes, **kwargs: object) -> None:
        try:
            super()._on_data(data, **kwargs)
        except Exception as error:  # noqa: BLE001 - pynsq would swallow it, and wait for ever
            self.refuse(f"not understood before it was subscribed ({error!r})")

    def _write(self, data: bytes) -> None:
        # On a lost connection a FIN is of no use: nsqd delivers the message again.
        if not self.stream.closed():
            _ = self.send(data)  # nobody awaits the write


class _Batches:
    """Reads a subscribed connection: all frames of a buffer at once."""

    def __init__(
        self,
        conn: BatchConnection,
        parser: FrameParser,
        on_read: Callable[[BatchConnection, Parsed], None],
    ):
        self._conn = conn
        self._parser = parser
        self._on_read = on_read
        self._buffer = bytearray(READ_BYTES_MAX)

    def read_on(self) -> None:
        """Read on until the connection is closed."""
        try:
            read = asyncio.ensure_future(self._conn.stream.read_into(self._buffer, partial=True))
        except StreamClosedError:
            return
        IOLoop.current().add_future(read, self._on_chunk)

    def _on_chunk(self, read: asyncio.Future[int]) -> None:
        if read.exception() is not None:
            return  # closed; the close callback handles it
        conn = self._conn
        conn.last_recv_timestamp = conn.last_msg_timestamp = time.time()
        try:
            parsed = self._parser.feed(memoryview(self._buffer)[: read.result()])
            for kind, data in parsed.others:
                conn.answered(kind, data)
            if parsed.messages:
                self._on_read(conn, parsed)
        except BadStream as error:
            conn.refuse(error)
        else:
            self.read_on()


class BatchReader(nsq.Reader):
    """A `Source`: a pynsq Reader that hands over whole reads."""

    conns: dict[str, BatchConnection]

    def __init__(
        self,
        *,
        topic: str,
        channel: str,
        max_in_flight: int,
        msg_timeout_s: float,
        nsqd_tcp_addresses: list[str],
        lookupd_http_addresses: list[str],
        listener: Listener,
        name: str = "",
    ):
        """Connects to the given nsqds, or to the nsqds that the nsqlookupds name.

        `name`: the name of an nsqd whose address may change. Without it, an nsqd is named by its address.
        """
        self._listener = listener
        self._name = name
        self._bodies = Bodies()
        self._numbered: dict[int, BatchConnection] = {}
        self._connecting: dict[str, BatchConnection] = {}
        self._waited_for: set[str] = set()
        self._closed = False
        # If nsqlookupds name the nsqds, a lost nsqd is tried again after the next lookup.
        self._retry_s = LOOKUP_INTERVAL_S if lookupd_http_addresses else RECONNECT_S
        super().__init__(
            topic,
            channel,
            message_handler=_unused,
            nsqd_tcp_addresses=nsqd_tcp_addresses,
            lookupd_http_addresses=lookupd_http_addresses,
            max_tries=0,
            max_in_flight=max_in_flight,
            lookupd_poll_interval=LOOKUP_INTERVAL_S,
            output_buffer_timeout=OUTPUT_BUFFER_TIMEOUT_MS,
            output_buffer_size=OUTPUT_BUFFER_BYTES,
            msg_timeout=msg_timeout_s,
            user_agent="playtally",
        )

    def connect_to_nsqd(self, host: str, port: int) -> BatchConnection | None:
        """Connect, unless there is a connection or one is being made."""
        conn = BatchConnection(host, port, **self.conn_kwargs)
        if self._closed or conn.id in self.conns or conn.id in self._connecting:
            return None
        conn.on(event.IDENTIFY_RESPONSE, self._on_connection_identify_response)
        conn.on(event.ERROR, self._on_connection_error)
        conn.on(event.CLOSE, self._on_connection_close)
        conn.on(event.READY, self._on_connection_ready)
        self._connecting[conn.id] = conn
        conn.connect()
        self.io_loop.call_later(HANDSHAKE_TIMEOUT_S, self._end_handshake, conn)
        return conn

    @property
    def ready_count(self) -> int:
        """See `Source`."""
        return sum(conn.last_rdy for conn in self._numbered.values())

    def set_ready_count(self, connection: int, ready_count: int) -> None:
        """See `Source`."""
        if connection in self._numbered:
            self._numbered[connection].set_ready_count(ready_count)

    def finish(self, connection: int, ids: bytes) -> None:
        """See `Source`."""
        if connection in self._numbered:
            self._numbered[connection].finish(ids)

    def publish(self, connection: int, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """See `Source`."""
        if connection in self._numbered:
            self._numbered[connection].publish(topic, bodies, done)

    def close(self) -> None:
        """See `Source`."""
        self._closed = True
        for conn in self.conns.values():
            conn.flush()
        super().close()

    def _end_handshake(self, conn: BatchConnection) -> None:
        if self._connecting.get(conn.id) is conn and not self._closed:
            conn.refuse(f"not subscribed within {HANDSHAKE_TIMEOUT_S} s")

    def _on_connection_ready(self, conn: BatchConnection, **kwargs: object) -> None:
        if type(conn.max_rdy_count) is not int or conn.max_rdy_count < 1:
            raise ValueError(f"max_rdy_count = {conn.max_rdy_count!r}, expected a whole number from 1")
        self._connecting.pop(conn.id, None)
        self._waited_for.discard(conn.id)
        self.conns[conn.id] = conn
        conn.acknowledgements.append(None)  # SUB's OK
        self._numbered[conn.number] = conn
        conn.read_in_batches(FrameParser(self._bodies), self._read)
        _ = conn.send(protocol.subscribe(self.topic, self.channel))
        log.info("connected to nsqd %s", conn)
        self._listener.connected(conn.number, f"{self._name or conn.id}/{self.topic}", conn.max_rdy_count)

    def _read(self, conn: BatchConnection, parsed: Parsed) -> None:
        self._listener.received(conn.number, parsed)

    def _on_connection_close(self, conn: BatchConnection, **kwargs: object) -> None:
        if self.conns.get(conn.id) is conn:
            del self.conns[conn.id], self._numbered[conn.number]
            if not self._closed:
                self._listener.disconnected(conn.number)
                log.warning("lost nsqd %s; trying again every %g s", conn, self._retry_s)
        elif conn.id not in self._waited_for:
            self._waited_for.add(conn.id)
            log.warning("no nsqd at %s; trying again every %g s", conn, self._retry_s)
        if self._connecting.get(conn.id) is conn:
            del self._connecting[conn.id]
        if not self._closed and not self.lookupd_http_addresses:
            self.io_loop.call_later(self._retry_s, self.connect_to_nsqd, conn.host, conn.port)

    def _on_connection_error(self, conn: BatchConnection, error: protocol.Error, **kwargs: object) -> None:
        if b"E_FIN_FAILED" in (error.args[0] if error.args and isinstance(error.args[0], bytes) else b""):
            return  # the message timed out and comes again; the ledger knows its id
        log.error("nsqd %s: %s", conn, error)

    def _redistribute_rdy_state(self) -> None:
        """Do nothing: only the listener sets RDY. pynsq would take RDY away from an idle nsqd."""


def _unused(message: nsq.Message) -> None:
    raise AssertionError("messages are handed over by the read, not one by one")


def _fins(ids: Column) -> bytes:
    commands = _FIN.repeat(count(ids, HEX_ID_BYTES))
    commands["id"] = np.frombuffer(ids, _HEX_ID)
    return commands.tobytes()


def _groups(bodies: list[bytes]) -> list[list[bytes]]:
    """Divide the bodies into MPUBs of a size that nsqd takes."""
    groups: list[list[bytes]] = [[]]
    size = 0
    for body in bodies:
        if groups[-1] and size + len(body) > LETTER_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(body)
        size += len(body) + 4
    return groups
