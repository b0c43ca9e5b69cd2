"""Mailboxes: msgpack messages over a multiprocessing pipe, whole and in order.

A link is one pipe between two incarnations of two actors. It is never used again after it broke, because a
killed writer may have left half a message in it. Writes never block, because two actors that both block in a
write deadlock. A message has at most `MESSAGE_BYTES_MAX`, and at most `UNWRITTEN_BYTES_MAX` wait for a slow
reader.
"""

import fcntl
import os
import socket
import termios
from array import array
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import msgpack
import msgspec
from msgpack.exceptions import OutOfData  # type: ignore[import-untyped]  # stubs without it

from .loop import Loop

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
UNWRITTEN_BYTES_MAX = 4 * MESSAGE_BYTES_MAX
READ_BYTES = 256 * 1024  # more than the system keeps for a reader: one read takes all that waits

Inbox = TypeVar("Inbox", bound=msgspec.Struct)  # the union of the messages that a mailbox takes


_buffer = memoryview(bytearray(READ_BYTES))  # one for all links: memory that is touched first costs time


class BadMail(ValueError):
    """Bytes that are not a message of this mailbox: a bug, or a sender that is not one of our actors."""


encode = msgspec.msgpack.encode  # a message as msgpack


class MailboxFull(Exception):
    """More than `UNWRITTEN_BYTES_MAX` wait for a peer that does not read."""


class Decoder(Generic[Inbox]):
    """Decodes the messages of one mailbox from bytes that are cut anywhere.

    msgpack finds where a message ends, and msgspec decodes it: its decoder knows the types of the mailbox,
    while `msgspec.convert` would look at them again for each message.
    """

    def __init__(self, inbox: Any):
        """`inbox`: the type `Inbox`; msgspec checks each message against it."""
        self._decode: Callable[[bytes | memoryview], Inbox] = msgspec.msgpack.Decoder(inbox).decode
        # Any: its stubs lack some methods
        self._unpacker: Any = msgpack.Unpacker(max_buffer_size=MESSAGE_BYTES_MAX, read_size=READ_BYTES)
        self._begun = bytearray()  # the beginning of a message whose end has not come
        self._decoded = 0  # bytes, since the mailbox began

    def feed(self, data: bytes | memoryview) -> list[Inbox]:
        """The messages that these bytes complete. Raises `BadMail`."""
        found: list[Inbox] = []
        start = 0
        try:
            self._unpacker.feed(data)
            if self._begun:
                self._begun += data
                data = memoryview(self._begun)
            while True:
                self._unpacker.unpack()  # not `skip`, which checks no limits
                end = self._unpacker.tell() - self._decoded
                found.append(self._decode(data[start:end]))
                start = end
        except OutOfData:
            pass  # the rest is the beginning of a message
        except (msgpack.UnpackException, msgpack.BufferFull, ValueError) as error:
            why = str(error) or type(error).__name__  # msgpack's own errors say nothing more
            raise BadMail(f"not a message of this mailbox: {why}") from error
        self._decoded += start
        if start or not self._begun:
            self._begun = bytearray(data[start:])
        return found


class Link(Generic[Inbox]):
    """One end of the pipe to a peer's incarnation."""

    def __init__(
        self,
        peer: str,
        incarnation: int,
        end: socket.socket,
        inbox: Any,
        loop: Loop,
        on_messages: Callable[[str, list[Inbox]], None],
        on_lost: Callable[["Link[Inbox]"], None],
    ):
        """Reads until the peer is gone, and then calls `on_lost`; or until `close` is called.

        `on_messages` gets the peer's name and the messages that arrived together. Bytes that are not a
        message of this mailbox raise `BadMail` in the loop.
        """
        end.setblocking(False)
        self.peer = peer
        self.incarnation = incarnation
        self._end = end
        self._fd = end.fileno()
        self._decoder: Decoder[Inbox] = Decoder(inbox)
        self._loop = loop
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._unwritten = bytearray()
        self._is_full = False  # the peer has to read before more can be written
        self._closed = False
        loop.add_reader(self._fd, self._read)

    def __str__(self) -> str:
        return f"{self.peer}#{self.incarnation}"

    def send(self, message: msgspec.Struct, hold: bool = False) -> None:
        """Put a message into the peer's mailbox; dropped if the peer is gone. Raises `MailboxFull`.

        `hold`: it may wait for `flush`.
        """
        if self._closed:
            return
        self._unwritten += encode(message)
        if not hold or len(self._unwritten) > READ_BYTES:
            self.flush()
        if len(self._unwritten) > UNWRITTEN_BYTES_MAX:
            raise MailboxFull(f"{self} does not read: {len(self._unwritten)} bytes wait for it")

    def flush(self) -> None:
        """Write what was held back, as far as the peer has room for it. The rest follows by itself."""
        if self._unwritten and not self._is_full:
            self._write_on()

    def waiting_bytes(self) -> int:
        """The number of bytes that arrived and were not read yet."""
        if self._closed:
            return 0
        waiting = array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, waiting)
        return waiting[0]

    def close(self) -> None:
        """Close our end. `on_lost` is not called."""
        if not self._closed:
            self._closed = True
            self._unwritten.clear()
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._end.close()

    def _read(self) -> None:
        try:
            received = self._end.recv_into(_buffer)
        except BlockingIOError:
            return
        except OSError:  # reset: the peer was killed with something unread
            received = 0
        if not received:
            self.close()
            self._on_lost(self)
            return
        messages = self._decoder.feed(_buffer[:received])
        if messages:
            self._on_messages(self.peer, messages)

    def _write_on(self) -> None:
        try:
            done = self._end.send(self._unwritten)
        except BlockingIOError:
            done = 0
        except OSError:  # dropped: `_read` notices that the peer is gone
            done = len(self._unwritten)
        del self._unwritten[:done]
        if bool(self._unwritten) is self._is_full:
            return
        self._is_full = not self._is_full
        if self._is_full:
            self._loop.add_writer(self._fd, self._write_on)
        else:
            self._loop.remove_writer(self._fd)


def end_of(connection: Connection) -> socket.socket:
    """The socket behind one end of a `multiprocessing.Pipe`; the end itself is closed."""
    end = socket.socket(fileno=os.dup(connection.fileno()))
    connection.close()
    return end
