"""The connections of our HTTP servers: they say what is wrong where tornado would say nothing."""

import contextlib
import json
import socket
from asyncio import Future
from collections.abc import Awaitable, Callable
from http.client import responses
from typing import Any

from tornado.iostream import IOStream, UnsatisfiableReadError

# What tornado writes by itself, without a word of why, when it can't read a request or finds it too large.
_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_WHY_UNREADABLE = "the request can't be read, expected HTTP/1.1 with headers and a body within the limits"
_DROPPED_BYTES_MAX = 1 << 20
JSON = "application/json; charset=utf-8"


def headers_of(body: bytes, content_type: str) -> dict[str, str]:
    """Return the headers that every answer of ours has."""
    return {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
    }


class Stream(IOStream):
    """A connection. `take` makes one of tornado's, which it has accepted itself."""

    _error_key: str
    _head_bytes_max: int
    _note_long_head: Callable[[], None]
    _reads_head = True

    @classmethod
    def take(
        cls, stream: IOStream, error_key: str, head_bytes_max: int, note_long_head: Callable[[], None]
    ) -> None:
        """Make this stream one of ours.

        `error_key`: the key of the reason in an error. `head_bytes_max`: the limit of a request's headers.
        `note_long_head`: called when a request has longer ones.
        """
        stream.__class__ = cls
        vars(stream).update(
            _error_key=error_key, _head_bytes_max=head_bytes_max, _note_long_head=note_long_head
        )

    def write(self, data: "bytes | memoryview[int]") -> "Future[None]":
        return super().write(self._refusal(400, _WHY_UNREADABLE) if data == _UNREADABLE else data)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head = True  # tornado reads nothing else so
        return super().read_until_regex(regex, max_bytes)

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
