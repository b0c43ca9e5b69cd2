"""The control pipe between the supervisor and one child. It carries messages, and descriptors of new links.

When one process ends, the other process sees the pipe close. Each `Linked` message is sent with one
descriptor. A descriptor arrives with the first byte of its message (unix(7), SCM_RIGHTS), so the nth `Linked`
message has the nth descriptor.
"""

import os
import select
import socket
from collections import deque
from typing import Any, Generic

from msgspec import Struct

from .mailbox import Decoder, Inbox, encode
from .protocol import Linked

READ_BYTES = 65_536
DESCRIPTORS_MAX = 16


class PeerLost(Exception):
    """The other end of the pipe is closed: the other process is gone."""


class PeerStuck(Exception):
    """The pipe is full: the other process has not read from the pipe for too long."""


class ControlPipe(Generic[Inbox]):
    """One end of the pipe. Only `send` blocks, if it may. The owner waits until `fileno()` is readable."""

    def __init__(self, end: socket.socket, inbox: Any):
        end.setblocking(False)
        self._end = end
        self._decoder: Decoder[Inbox] = Decoder(inbox)
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._end.fileno()

    def send(self, message: Struct, descriptor: int | None = None, patience_s: float = 0.0) -> None:
        """Send a message, with a descriptor if it is a `Linked`. Raises `PeerLost`, `PeerStuck`.

        `patience_s`: how long to wait for the other end to read, for a message that the pipe can't hold now.
        """
        data = memoryview(encode(message))
        sent = self._send(data, descriptor)
        while sent < len(data):
            if not patience_s or not _takes_more(self._end, patience_s):
                raise PeerStuck
            sent += self._send(data[sent:], None if sent else descriptor)

    def _send(self, data: memoryview, descriptor: int | None) -> int:
        """Return how many bytes the pipe took."""
        try:
            if descriptor is None:
                return self._end.send(data)
            return socket.send_fds(self._end, [data], [descriptor])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PeerLost from error

    def receive(self) -> list[tuple[Inbox, int | None]]:
        """The messages that have arrived, each `Linked` with its descriptor. Raises `PeerLost`."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, READ_BYTES, DESCRIPTORS_MAX)
        except BlockingIOError:
            return []
        except OSError as error:
            raise PeerLost from error
        self._descriptors.extend(descriptors)
        if not data:
            raise PeerLost
        return [
            (message, self._descriptors.popleft() if isinstance(message, Linked) else None)
            for message in self._decoder.feed(data)
        ]

    def close(self) -> None:
        """Close this end, and each descriptor that arrived but that `receive` has not returned."""
        self._end.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())


def _takes_more(end: socket.socket, patience_s: float) -> bool:
    writable = select.poll()
    writable.register(end, select.POLLOUT)
    return bool(writable.poll(patience_s * 1000))
