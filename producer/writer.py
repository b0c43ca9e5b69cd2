"""A subclass of pynsq's Writer that sends and connects faster, and reports the outcome of each MPUB.

It keeps pynsq's connections, handshake, heartbeats and callback queue. It differs in five ways:

- The caller passes complete MPUB commands. pynsq's `protocol.mpub` copies the command once for each
  message.
- A connection that fails calls `closed` and logs no traceback. The caller decides when to connect
  again. pynsq's Writer waits for 15 s.
- A connection on which nothing comes, or no answer to an MPUB, is closed. pynsq's Writer waits for ever.
- A host name is looked up without holding up the loop, and all its addresses are tried.
- An MPUB ends in one of four outcomes. pynsq's Writer reports only "an error", which does not tell
  whether the queue has the messages.

The writer knows nothing of plays: the caller passes a `ticket` with each MPUB, and gets it back with
the outcome.
"""

import asyncio
import struct
from asyncio import Future
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

import nsq
from nsq.protocol import Error

from actors.sources.connection import ANSWER_TICKS_MAX
from actors.sources.handshake import SecuredConnection
from actors.sources.resolver import resolve
from actors.sources.security import PLAIN, Security
from actors.system.addresses import split_address

HANDSHAKE_TIMEOUT_S = 5.0  # From connect to ready. pynsq's own connection waits for ever.
NEXT_ADDRESS_S = 1.0  # From connect to ready, for an address of a host that has others.
HEARTBEAT_S = 10  # nsqd sends a heartbeat this often.
SILENCE_TICKS_MAX = 3 * HEARTBEAT_S  # A tick is a second.
ANSWER_BYTES_SHOWN = 40
PARTIAL = b"E_MPUB_FAILED"


class PublishOutcome(Enum):
    """What became of an MPUB."""

    ACKNOWLEDGED = "the queue said OK"
    REFUSED = "the queue said no, and took nothing"
    NOT_SENT = "the connection ended before all of it had left"
    UNKNOWN = "the connection ended before the answer"


Ticket = TypeVar("Ticket")


class Sent(NamedTuple, Generic[Ticket]):
    """An MPUB without an outcome yet. `written` is done when the kernel has the whole command."""

    ticket: Ticket
    written: "Future[None]"


class NsqdConnection(SecuredConnection):
    """A connection to one nsqd.

    `address`: the "host:port" that was asked for. `others`: more addresses of that host, to try after this.
    `silent_ticks`: seconds since something came. `unanswered_ticks`: seconds without an answer to an MPUB.
    """

    sent_count = 0
    silent_ticks = 0
    unanswered_ticks = 0
    leaves = False

    def __init__(self, address: str, hosts: Sequence[str], security: Security, **settings: Any):
        host, port = split_address(address)
        super().__init__(hosts[0], port, security, host, **settings)
        self.address = address
        self.others = hosts[1:]

    def _on_data(self, data: bytes, **kwargs: object) -> None:
        self.silent_ticks = 0
        super()._on_data(data, **kwargs)


class Writer(nsq.Writer, Generic[Ticket]):
    """Publishes ready-made MPUBs to the nsqds that `connect_to` names.

    `settled(ticket, outcome)` is called once for each MPUB. `opened(address)` is called when a
    connection is ready. `closed(address, reason, was_open)` is called when a connection ended or
    could not be made. `refused(address, error)` is called when an nsqd answers an MPUB with an error.
    Needs a running asyncio loop.
    """

    conns: dict[str, NsqdConnection]

    def __init__(
        self,
        settled: Callable[[Ticket, PublishOutcome], None],
        opened: Callable[[str], None],
        closed: Callable[[str, str, bool], None],
        refused: Callable[[str, str], None],
        security: Security = PLAIN,
    ):
        # pynsq requires an address here. `connect_to` gives the real ones later.
        super().__init__(["not known yet"], heartbeat_interval=HEARTBEAT_S)
        self._settled, self._opened = settled, opened
        self._closed, self._refused = closed, refused
        self._security = security
        self._connecting: dict[str, NsqdConnection] = {}
        self._resolving: dict[str, asyncio.Task[None]] = {}

    @property
    def open(self) -> list[NsqdConnection]:
        """The connections that can send now."""
        return [
            conn
            for conn in self.conns.values()
            if conn.connected() and not conn.stream.closed() and not conn.leaves
        ]

    @property
    def connecting(self) -> bool:
        """Whether a connection is being made: it is not ready yet and has not failed."""
        return bool(self._connecting or self._resolving)

    @property
    def in_flight(self) -> int:
        """The number of MPUBs that have no outcome yet."""
        return sum(len(conn.callback_queue) for conn in self.conns.values())

    def connect(self) -> None:
        """Do nothing. pynsq calls this at its start, but only `connect_to` makes connections."""

    def connect_to(self, addresses: Iterable[str]) -> None:
        """Start connecting to each "host:port" that has neither a ready connection nor one being made."""
        for address in addresses:
            if not (address in self.conns or address in self._connecting or address in self._resolving):
                self._resolving[address] = asyncio.ensure_future(self._resolve(address))

    def leave(self, addresses: Collection[str]) -> None:
        """Send nothing more to these, and close each connection when all on it is answered."""
        for conn in list(self.conns.values()):
            if conn.address in addresses:
                conn.leaves = True
                if not conn.callback_queue:
                    conn.refuse("nsqlookupd has a tombstone for it")

    async def _resolve(self, address: str) -> None:
        """Look the host up, because pynsq would hold up the loop meanwhile, and try one address only."""
        try:
            hosts = await resolve(split_address(address)[0])
        except OSError as error:
            del self._resolving[address]
            self._closed(address, str(error), False)
        else:
            del self._resolving[address]
            self._connect(address, hosts)

    def _connect(self, address: str, hosts: Sequence[str]) -> None:
        conn = NsqdConnection(address, hosts, self._security, **self.conn_kwargs)
        conn.on("ready", self._on_connection_ready)
        conn.on("response", self._on_connection_response)
        conn.on("error", self._on_connection_error)
        conn.on("close", self._on_connection_close)
        conn.on("heartbeat", self.heartbeat)
        self._connecting[address] = conn
        timeout_s = NEXT_ADDRESS_S if conn.others else HANDSHAKE_TIMEOUT_S
        self.io_loop.call_later(timeout_s, self._give_up_unless_ready, conn, timeout_s)
        conn.connect()

    def publish(self, command: bytes, ticket: Ticket) -> None:
        """Send an MPUB on the open connection that has the fewest in flight. At least one must be open."""
        conn = min(self.open, key=lambda conn: (len(conn.callback_queue), conn.sent_count))
        try:
            written = conn.send(command)
        except OSError:  # tornado's StreamClosedError is an OSError. The close callback follows.
            self._settled(ticket, PublishOutcome.NOT_SENT)
            return
        conn.sent_count += 1
        conn.callback_queue.append(Sent(ticket, written))

    def tick(self) -> None:
        """Close each connection on which nothing has come for long, or no answer. Call this every second.

        It counts calls, not seconds: while this process is halted, it reads nothing, and nsqd is not silent.
        """
        for conn in list(self.conns.values()):
            conn.silent_ticks += 1
            conn.unanswered_ticks = conn.unanswered_ticks + 1 if conn.callback_queue else 0
            if conn.silent_ticks >= SILENCE_TICKS_MAX:
                conn.refuse(f"no sign of life for {conn.silent_ticks} s")
            elif conn.unanswered_ticks >= ANSWER_TICKS_MAX:
                conn.refuse(f"no answer to an MPUB for {conn.unanswered_ticks} s")

    def close(self) -> None:
        """Close all connections. Every MPUB without an answer is settled before this returns."""
        for task in self._resolving.values():
            task.cancel()
        for conn in [*self.conns.values(), *self._connecting.values()]:
            conn.others = ()
            self._settle_unanswered(conn)
            conn.refuse("closed by the producer")

    def _on_connection_ready(self, conn: NsqdConnection, **_: object) -> None:
        self._connecting.pop(conn.address, None)
        self.conns[conn.address] = conn
        self._opened(conn.address)

    def _check_last_recv_timestamps(self) -> None:
        """Do nothing. pynsq calls this every minute and closes connections by the wall clock: see `tick`."""

    def _on_connection_response(self, conn: NsqdConnection, data: bytes, **_: object) -> None:
        if self.conns.get(conn.address) is not conn:
            return  # The answers of the handshake arrive here too.
        conn.unanswered_ticks = 0
        if data == b"OK" and conn.callback_queue:
            self._settled(conn.callback_queue.pop(0).ticket, PublishOutcome.ACKNOWLEDGED)
        else:
            expected = "OK" if conn.callback_queue else "nothing before the next MPUB"
            conn.refuse(f"it answers {data[:ANSWER_BYTES_SHOWN]!r}, expected {expected}")

    def _on_connection_error(self, conn: NsqdConnection, error: Error, **_: object) -> None:
        if type(error) is not Error:  # The connection broke: its close callback settles the MPUBs.
            return
        if self._connecting.get(conn.address) is conn:
            conn.refuse(conn.explain(error.args[0]))
            return
        text = conn.explain(error.args[0])
        # nsqd answers in order, and stops reading the connection after it refused an MPUB. So the
        # first MPUB in flight is the refused one, and nsqd never read those behind it.
        unanswered, conn.callback_queue = conn.callback_queue, []
        for position, sent in enumerate(unanswered):
            partly_taken = position == 0 and error.args[0].startswith(PARTIAL)
            self._settled(sent.ticket, PublishOutcome.UNKNOWN if partly_taken else PublishOutcome.REFUSED)
        if unanswered:
            self._refused(conn.address, text)
        conn.refuse(text)

    def _on_connection_close(self, conn: NsqdConnection, **_: object) -> None:
        was_open = self.conns.get(conn.address) is conn
        if was_open:
            del self.conns[conn.address]
        elif self._connecting.get(conn.address) is conn:
            del self._connecting[conn.address]
            if conn.others:
                self._connect(conn.address, conn.others)
                return
        self._settle_unanswered(conn)
        self._closed(conn.address, conn.lost_because() or _reason(conn.stream.error), was_open)

    def _settle_unanswered(self, conn: NsqdConnection) -> None:
        unanswered, conn.callback_queue = conn.callback_queue, []
        for sent in unanswered:
            # nsqd acts on whole commands only. If the kernel did not get the whole command, nsqd can't have
            # it.
            whole = sent.written.done() and sent.written.exception() is None
            self._settled(sent.ticket, PublishOutcome.UNKNOWN if whole else PublishOutcome.NOT_SENT)

    def _give_up_unless_ready(self, conn: NsqdConnection, timeout_s: float) -> None:
        if self._connecting.get(conn.address) is conn:
            conn.refuse(f"no answer within {timeout_s:g} s")


def _reason(broken: BaseException | None) -> str:
    """Why a stream that we did not close has ended. `broken`: its error, None if nsqd closed it."""
    if broken is None:
        return "closed by nsqd"
    return (isinstance(broken, OSError) and broken.strerror) or str(broken)


def frame(body: bytes) -> bytes:
    """One message of an MPUB: the size of the body in 4 bytes, then the body."""
    return struct.pack(">l", len(body)) + body


def mpub(topic: str, frames: Iterable[bytes], count: int) -> bytes:
    """The MPUB command: a line with the topic, then the size of the rest and `count` in 4 bytes each."""
    messages = b"".join(frames)
    head = struct.pack(">ll", 4 + len(messages), count)
    return b"".join((b"MPUB ", topic.encode("ascii"), b"\n", head, messages))
