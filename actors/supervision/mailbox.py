"""Mailboxes: messages as msgpack over a multiprocessing pipe, in order, never half.

A link is one pipe between two incarnations of two actors, and is never used again once it broke: a
writer that was killed may have left half a message in it. Writes never block, because two actors that
both block in a write deadlock. The actors bound what waits to be written; a message is bounded by
`MESSAGE_BYTES_MAX`.
"""

import asyncio
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
from tornado.iostream import IOStream, StreamClosedError

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
READ_BYTES = 64 * 1024

Inbox = TypeVar("Inbox", bound=msgspec.Struct)  # the union of the messages that a mailbox takes


class BadMail(ValueError):
    """Bytes that are no message of this mailbox: a bug, or not one of our actors."""


def encode(message: msgspec.Struct) -> bytes:
    """The bytes of a message."""
    return msgpack.packb(msgspec.to_builtins(message, builtin_types=(bytes,)))


class Decoder(Generic[Inbox]):
    """Bytes to messages of one mailbox, however the bytes are cut."""

    def __init__(self, inbox: Any):
        """`inbox`: what `Inbox` is, for msgspec, which checks each message against it."""
        self._inbox = inbox
        self._unpacker = msgpack.Unpacker(max_buffer_size=MESSAGE_BYTES_MAX, read_size=READ_BYTES)

    def feed(self, data: bytes | memoryview) -> list[Inbox]:
        """The messages that these bytes complete. Raises `BadMail`."""
        try:
            self._unpacker.feed(data)
            return [msgspec.convert(item, self._inbox, builtin_types=(bytes,)) for item in self._unpacker]
        except (msgpack.UnpackException, msgpack.BufferFull, ValueError) as error:
            raise BadMail(f"not a message of this mailbox: {error}") from error


class Link(Generic[Inbox]):
    """One end of the pipe to a peer's incarnation."""

    def __init__(
        self,
        peer: str,
        incarnation: int,
        end: socket.socket,
        inbox: Any,
        on_messages: Callable[["Link[Inbox]", list[Inbox]], None],
        on_lost: Callable[["Link[Inbox]"], None],
    ):
        """Reads until the peer is gone or `close` is called; then `on_lost`, unless closed by us."""
        self.peer = peer
        self.incarnation = incarnation
        self._decoder: Decoder[Inbox] = Decoder(inbox)
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._stream = IOStream(end, max_buffer_size=4 * MESSAGE_BYTES_MAX, read_chunk_size=READ_BYTES)
        self._closed = False
        self.reading = asyncio.ensure_future(self._read())

    def __str__(self) -> str:
        return f"{self.peer}#{self.incarnation}"

    def send(self, message: msgspec.Struct) -> None:
        """Put a message into the peer's mailbox. To one that is gone, it is dropped."""
        if not self._closed and not self._stream.closed():
            _ = self._stream.write(encode(message))  # nobody waits: that the peer is gone shows in `_read`

    def waiting_bytes(self) -> int:
        """What has arrived in the pipe and was not read yet."""
        if self._closed or self._stream.closed():
            return 0
        waiting = array("i", [0])
        fcntl.ioctl(self._stream.fileno(), termios.FIONREAD, waiting)
        return waiting[0]

    def close(self) -> None:
        """Close our end; nobody is told."""
        self._closed = True
        self._stream.close()

    async def _read(self) -> None:
        buffer = bytearray(READ_BYTES)
        try:
            while not self._closed:
                size = await self._stream.read_into(buffer, partial=True)
                messages = self._decoder.feed(memoryview(buffer)[:size])
                if messages and not self._closed:
                    self._on_messages(self, messages)
        except StreamClosedError:
            pass
        if not self._closed:
            self.close()
            self._on_lost(self)


def end_of(connection: Connection) -> socket.socket:
    """The socket behind one end of a `multiprocessing.Pipe`; the end itself is closed."""
    end = socket.socket(fileno=os.dup(connection.fileno()))
    connection.close()
    return end
