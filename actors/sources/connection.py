"""One connection to an nsqd: pynsq's, made fast by reading a whole socket buffer at a time.

pynsq does the feature negotiation. Until the connection is subscribed, pynsq reads it frame by frame. From
then on a read takes one future, instead of two per frame, and one write sends many FINs (docs/decisions/0004
has the measurements). The other end may be no nsqd at all, or hang: `reason` says why a connection ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count as numbers_from
from typing import Any, Protocol

import numpy as np
from nsq import event, protocol
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from ..core.columns import HEX_ID_BYTES, Column, count
from ..core.consumer.frames import BadStream, FrameParser, Parsed
from .handshake import SecuredConnection
from .limits import Limits
from .offers import Offers
from .security import PLAIN, Refused, Security

READ_BYTES_MAX = 256 * 1024
FINISH_DELAY_S = 0.002
SILENT_TICKS_MAX = 8  # two heartbeats; a tick is a second
ANSWER_TICKS_MAX = 20  # for SUB and MPUB; nsqd may ask its nsqlookupds first, each for 7 s
UNWRITTEN_BYTES_MAX = 64 * 1024 * 1024  # that wait for nsqd to read
MSG_TIMEOUT_MS = 60_000  # nsqd's own, for an nsqd that does not state it
MSG_TIMEOUT_MS_MAX = (1 << 63) // 1_000_000  # nsqd counts it in 64 bits, in ns
READY_COUNT_MAX = (1 << 63) - 1  # nsqd reads it into 64 bits
_NOT_FATAL = (b"E_FIN_FAILED", b"E_REQ_FAILED", b"E_TOUCH_FAILED")
_serial = numbers_from(1)
_HEX_ID = np.dtype((np.void, HEX_ID_BYTES))
_FIN = np.array([(b"FIN ", bytes(HEX_ID_BYTES), b"\n")], [("word", "S4"), ("id", _HEX_ID), ("end", "S1")])


class Owner(Protocol):
    """What a connection tells."""

    def received(self, conn: "BatchConnection", parsed: Parsed) -> None:
        """The messages of one read. May raise `BadStream`."""

    def refused(self, conn: "BatchConnection", error: bytes) -> None:
        """nsqd refused a FIN, a REQ or a TOUCH."""

    def closed(self, conn: "BatchConnection") -> None:
        """A subscribed connection has ended."""


class BatchConnection(SecuredConnection):
    """One connection to an nsqd. It reads frame by frame until it is subscribed, then buffer by buffer."""

    def __init__(
        self,
        host: str,
        port: int,
        offers: Offers,
        limits: Limits,
        security: Security = PLAIN,
        server_name: str = "",
    ):
        """`host`: an address, because pynsq would look a name up and hold up the loop meanwhile."""
        super().__init__(host, port, security, server_name, user_agent="playtally")
        self.number = next(_serial)
        self.error = b""
        self.gave_no_answer = False
        self.msg_timeout_ms = MSG_TIMEOUT_MS
        self.acknowledgements: deque[Callable[[], None] | None] = deque()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._offers = offers
        self._limits = limits
        self._owner: Owner | None = None
        self._identified: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batches: _Batches | None = None
        self._ready_count = 0
        self._finished = bytearray()
        self._finish_timer: object | None = None
        self._silent_ticks = 0
        self._unanswered_ticks = 0
        self._writes_at_once = False
        self.has_read = False  # since the last tick
        self.on(event.IDENTIFY, lambda data, **_: offers.put_into(data))
        self.on(event.IDENTIFY_RESPONSE, self._on_agreed)
        self.on(event.READY, self._on_ready)
        self.on(event.ERROR, self._on_error)
        self.on(event.CLOSE, self._on_close)

    async def open(self) -> None:
        """Connect and IDENTIFY. Raises `OSError` with the reason if that fails. May be cancelled."""
        try:
            self.connect()
            await self._identified
        except BaseException:
            self.close()
            raise

    def subscribe(
        self, topic: str, channel: str, parser: FrameParser, owner: Owner, done: Callable[[], None]
    ) -> None:
        """Subscribe. From now on, `owner` gets all frames of a read at once. `done`: nsqd has agreed."""
        self._owner = owner
        self._writes_at_once = type(self.stream) is IOStream and not self.compressed
        self.acknowledgements.append(done)
        self._batches = _Batches(self, parser, owner)
        self._write(protocol.subscribe(topic, channel))
        self._batches.read_on()

    def finish(self, ids: bytes, ready_count: int) -> None:
        """FIN these messages, 16 hexadecimal digits each, and allow so many in flight from then on.

        If few messages are allowed in flight, the FINs are written at once, because nsqd waits for them.
        Otherwise they wait for more FINs, because one write costs more time than the thousand FINs in it.
        """
        self._ready_count = ready_count
        self._finished += ids
        if len(self._finished) >= self.last_rdy // 4 * HEX_ID_BYTES:
            self.flush()
        elif self._finish_timer is None:
            self._finish_timer = IOLoop.current().call_later(FINISH_DELAY_S, self.flush)

    def set_ready_count(self, ready_count: int) -> None:
        """Allow so many messages in flight, now."""
        self._ready_count = ready_count
        self.flush()

    def flush(self) -> None:
        """Write RDY if it differs from the last one, and the FINs that wait.

        One write, RDY first: after the FINs, nsqd would have room for more messages than it is to have.
        """
        if self._finish_timer is not None:
            IOLoop.current().remove_timeout(self._finish_timer)
            self._finish_timer = None
        finished, self._finished = self._finished, bytearray()
        commands = _fins(finished) if finished else b""
        if self._ready_count != self.last_rdy and not self.stream.closed():
            self.last_rdy = self._ready_count
            commands = protocol.ready(self.last_rdy) + commands
        if commands:
            self._write(commands)

    def publish(self, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """Publish on this connection. `done` is called once nsqd has answered OK to all of them."""
        groups = _groups(bodies, self._limits.body_bytes)
        for group in groups:
            last = group is groups[-1]
            self.acknowledgements.append(done if last else None)
            self._write(protocol.mpub(topic, group))

    def answered(self, kind: int, data: bytes) -> None:
        """Handle a frame that is not a message."""
        if kind == protocol.FRAME_TYPE_RESPONSE and data == b"_heartbeat_":
            self._write(protocol.nop())
        elif kind == protocol.FRAME_TYPE_RESPONSE:
            self._unanswered_ticks = 0
            if self.acknowledgements:
                done = self.acknowledgements.popleft()
                if done is not None:
                    done()
        elif data.startswith(_NOT_FATAL) and self._owner is not None:
            self._owner.refused(self, data)
        else:
            self._on_error(protocol.Error(data))

    def tick(self) -> None:
        """Close the connection if nothing has come for long, or no answer. Call this every second.

        It counts calls, not seconds: while this process is halted, nobody reads, and nsqd is not silent.
        """
        self._silent_ticks = 0 if self.has_read else self._silent_ticks + 1
        self.has_read = False
        heartbeats = 2 * self._offers.heartbeat_ms // 1000
        if self._silent_ticks >= max(SILENT_TICKS_MAX, heartbeats):
            self.refuse(f"no sign of life for {self._silent_ticks} s")
        self._unanswered_ticks = self._unanswered_ticks + 1 if self.acknowledgements else 0
        if self._unanswered_ticks >= ANSWER_TICKS_MAX:
            self.gave_no_answer = True
            self.refuse(f"no answer to a SUB or an MPUB for {self._unanswered_ticks} s")

    def _on_agreed(self, data: Any, **_: object) -> None:
        timeout_ms = data.get("msg_timeout")
        if type(timeout_ms) is int and 0 < timeout_ms <= MSG_TIMEOUT_MS_MAX:
            self.msg_timeout_ms = timeout_ms

    def _on_ready(self, **_: object) -> None:
        most = self.max_rdy_count
        if type(most) is not int or not 1 <= most <= READY_COUNT_MAX:
            self.refuse(f"max_rdy_count = {str(most)[:40]}, expected a whole number, 1 to {READY_COUNT_MAX}")
        elif not self._identified.done():
            self._identified.set_result(None)

    def _on_error(self, error: Exception, **_: object) -> None:
        told = error.args[0] if error.args else b""
        if isinstance(told, bytes):
            self.error = told
            self.reason = self.reason or self.explain(told)
        elif not self.stream.closed():  # of a closed one, pynsq says what follows from that
            self.reason = self.reason or str(told)
        if not self._identified.done():
            self.close()

    def _on_close(self, **_: object) -> None:
        error = getattr(self.stream, "error", None)
        self.reason = self.lost_because() or str(error or "the other end closed the connection")
        if not self._identified.done():
            self._identified.set_exception((Refused if self.refused else OSError)(self.reason))
            self._identified.exception()  # asyncio need not report it: who waited may be cancelled
        try:
            if self._owner is not None:
                self._owner.closed(self)
        finally:  # whatever went wrong: who waits for the end connects again
            if not self.ended.done():
                self.ended.set_result(None)

    def _start_read(self) -> None:
        # Once it is identified, `subscribe` reads on.
        if not self._identified.done():
            super()._start_read()

    def _read_bytes(self, size: int, callback: Callable[[asyncio.Future[bytes]], None]) -> None:
        self.has_read = True
        super()._read_bytes(size, callback)

    def _write(self, data: bytes) -> None:
        # On a lost connection a FIN is of no use: nsqd delivers the message again.
        stream = self.stream
        if stream.closed():
            return
        if self._writes_at_once and not stream._write_buffer:
            # Without a future, which would cost one more turn of the loop.
            try:
                data = data[stream.write_to_fd(memoryview(data)) :]
            except BlockingIOError:
                pass  # the stream writes it as soon as nsqd reads
            except OSError as error:
                stream.close(error)
                return
        if data:
            _ = self.send(data)  # nobody awaits the write
            if len(stream._write_buffer) > UNWRITTEN_BYTES_MAX:
                self.refuse(f"it does not read: more than {UNWRITTEN_BYTES_MAX // 2**20} MiB wait for it")


class _Batches:
    """Reads a subscribed connection: all frames of a buffer at once."""

    def __init__(
        self,
        conn: BatchConnection,
        parser: FrameParser,
        owner: Owner,
    ):
        self._conn = conn
        self._parser = parser
        self._owner = owner
        self._buffer = bytearray(READ_BYTES_MAX)

    def read_on(self) -> None:
        """Read until the connection is closed.

        Without a future for each read, which would cost a second turn of the loop.
        """
        stream = self._conn.stream
        if stream.closed():
            return
        stream._handle_read = self._read  # type: ignore[method-assign]  # tornado has no other way
        if size := stream._read_buffer_size:  # this came with nsqd's last answer
            self._feed(memoryview(asyncio.ensure_future(stream.read_bytes(size)).result()))
        stream._add_io_state(IOLoop.READ)
        if type(stream) is IOStream:
            # Without tornado's own handling of each event. While something waits to be written, tornado
            # stops reading, and then puts its own reader back, which calls `_handle_read`.
            asyncio.get_running_loop().add_reader(stream.socket.fileno(), self._read)

    def _read(self) -> None:
        stream = self._conn.stream
        if stream.closed():
            return
        try:
            size = stream.read_from_fd(self._buffer)
        except OSError as error:
            stream.close(error)
            return
        if size == 0:
            stream.close()
        elif size:
            self._feed(memoryview(self._buffer)[:size])
            if size == READ_BYTES_MAX:
                IOLoop.current().add_callback(self._read)  # TLS or a decoder may hold more of what came

    def _feed(self, data: memoryview) -> None:
        conn = self._conn
        conn.has_read = True
        try:
            parsed = self._parser.feed(data)
            for kind, frame in parsed.others:
                conn.answered(kind, frame)
            if parsed.messages:
                self._owner.received(conn, parsed)
        except BadStream as error:
            conn.refuse(str(error))


def _fins(ids: Column) -> bytes:
    if len(ids) == HEX_ID_BYTES:
        return b"FIN %b\n" % bytes(ids)  # a tenth of what numpy takes for one
    commands = _FIN.repeat(count(ids, HEX_ID_BYTES))
    commands["id"] = np.frombuffer(ids, _HEX_ID)
    return commands.tobytes()


def _groups(bodies: list[bytes], bytes_max: int) -> list[list[bytes]]:
    """Divide the bodies into MPUBs of a size that nsqd takes: a count, and each body after its size."""
    groups: list[list[bytes]] = [[]]
    size = 4
    for body in bodies:
        if groups[-1] and size + 4 + len(body) > bytes_max:
            groups.append([])
            size = 4
        groups[-1].append(body)
        size += 4 + len(body)
    return groups
