"""The connections of our HTTP servers: they say what is wrong where tornado would say nothing."""

import contextlib
import json
import socket
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from http.client import responses
from typing import Any

from tornado.iostream import IOStream, UnsatisfiableReadError

# What tornado writes by itself, without a word of why, when it can't read a request or finds it too large.
_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_WHY_UNREADABLE = "the request can't be read, expected HTTP/1.1 with headers and a body within the limits"
_DROPPED_BYTES_MAX = 1 << 20
_WHOLE_S = 60.0  # the server closes a connection on which it reads nothing for longer
JSON = "application/json; charset=utf-8"


def headers_of(body: bytes, content_type: str) -> dict[str, str]:
    """Return the headers that every answer of ours has. `content_type`: "" leaves it out."""
    return ({"Content-Type": content_type} if content_type else {}) | {
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
    }


class Stream(IOStream):
    """A connection. `take` makes one of tornado's, which it has accepted itself.

    A request that came in one piece may go to `on_whole`; then tornado goes on to wait for one. It has timers
    for those that it waits for. So the first request of a connection goes to tornado, and one a minute.
    """

    _error_key: str
    _head_bytes_max: int
    _note_long_head: Callable[[], None]
    _on_whole: "Callable[[Stream, bytes], bool] | None"
    _reads_head = True
    _begins = False  # to read a head
    _heads = 0  # for which tornado has waited
    _whole_until_s = 0.0

    @classmethod
    def take(
        cls,
        stream: IOStream,
        error_key: str,
        head_bytes_max: int,
        note_long_head: Callable[[], None],
        on_whole: "Callable[[Stream, bytes], bool] | None" = None,
    ) -> None:
        """Make this stream one of ours.

        `error_key`: the key of the reason in an error. `head_bytes_max`: the limit of a request's headers.
        `note_long_head`: called when a request has longer ones. `on_whole`: called with what came at once
        where a request begins; returns whether it takes it, and answers it then.
        """
        stream.__class__ = cls
        vars(stream).update(
            _error_key=error_key,
            _head_bytes_max=head_bytes_max,
            _note_long_head=note_long_head,
            _on_whole=on_whole,
        )

    def read_from_fd(self, buf: "bytearray | memoryview[int]") -> int | None:
        if self._begins:
            # The loop reads it in turn with all other connections, so what came together is read so.
            return None
        count = super().read_from_fd(buf)
        if count and self._waits_for_head() and self._takes(buf[:count]):
            return None  # as if nothing had come
        return count

    def _waits_for_head(self) -> bool:
        """Whether a request begins with what comes next. While one is answered, tornado reads nothing."""
        return self.reading() and self._reads_head and not self._read_buffer_size

    def _takes(self, came: "bytearray | memoryview[int]") -> bool:
        """Whether `on_whole` takes what came where a request begins.

        Tornado reads what may be longer than its limits. It also reads for a sender that does not read its
        answers: it then waits until they are written.
        """
        if self._on_whole is None or self._heads < 2 or time.monotonic() >= self._whole_until_s:
            return False
        if len(came) > self._head_bytes_max or self.writing():
            return False
        return self._on_whole(self, bytes(came))

    def answer(self, data: bytes) -> None:
        """Write this, at once if possible. A `write` would cost a future and a turn of the loop besides."""
        if self.closed():
            return
        sent = 0
        if not self.writing():
            with contextlib.suppress(OSError):  # `write` meets it again
                sent = self.socket.send(data)
        if sent < len(data):
            _ = self.write(data[sent:])

    def write(self, data: "bytes | memoryview[int]") -> "Future[None]":
        if data != _UNREADABLE:
            return super().write(data)
        written = super().write(self._refusal(400, _WHY_UNREADABLE))
        if not self.writing():
            self._drop_the_rest()  # such as a body that is longer than its limit
        return written

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head = True  # tornado reads nothing else so
        self._heads += 1
        self._whole_until_s = time.monotonic() + _WHOLE_S
        if self._read_buffer_size and self._takes(self._read_buffer):  # it came before tornado was ready
            self._consume(self._read_buffer_size)
        self._begins = self._on_whole is not None
        try:
            return super().read_until_regex(regex, max_bytes)
        finally:
            self._begins = False

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        self._reads_head = False
        return super().read_bytes(num_bytes, partial)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head = False
        return super().read_until(delimiter, max_bytes)

    def close(self, exc_info: Any = False) -> None:
        """Close the connection. One whose request is longer than its limit is told so before."""
        if isinstance(exc_info, UnsatisfiableReadError) and not self.closed():
            if self._reads_head:
                self._note_long_head()
                why = f"the headers are longer than {self._head_bytes_max} bytes, expected fewer"
                last_words = self._refusal(431, f"{why}; in a browser, delete the cookies of this host")
            else:
                last_words = self._refusal(400, _WHY_UNREADABLE)
            _ = super().write(last_words)
            self._drop_the_rest()
        super().close(exc_info)

    def _drop_the_rest(self) -> None:
        """Read what has come: the system would take back our last words if there were unread bytes."""
        dropped = 0
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            while dropped < _DROPPED_BYTES_MAX and (rest := self.socket.recv(1 << 16)):
                dropped += len(rest)

    def _refusal(self, status: int, why: str) -> bytes:
        body = json.dumps({self._error_key: why}).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in headers_of(body, JSON).items())
        first = f"HTTP/1.1 {status} {responses[status]}\r\nConnection: close\r\n"
        return first.encode() + head.encode() + b"\r\n" + body
