"""A connection to an HTTP client: one request at a time, and the answer to it. Nothing is ever sent twice.

httptools (Node's llhttp) parses the answer. This module decides how long an answer may take, and how much of
it is read. It does not know what an answer means (`answers.py`).
"""

import asyncio
import select
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ..system.unread import poll_for_unread
from .answers import Answer

ANSWER_HEAD_BYTES_MAX = 64 * 1024  # with all interim answers before it
ANSWER_BODY_BYTES_MAX = 64 * 1024
ANSWER_BODY_PATIENCE_S = 0.5
# What RFC 9112 lets a recipient take, and clients send: folded headers (5.2), a length beside chunks (6.3),
# an interim answer of HTTP/1.0, a later minor version (2.3), lines without CR (2.2).
LENIENT = {
    "lenient_headers": True,
    "lenient_chunked_length": True,
    "lenient_keep_alive": True,
    "lenient_version": True,
    "lenient_optional_cr_before_lf": True,
}


@dataclass(slots=True)
class _Reading:
    """What came of one answer. `head_only`: no body follows its head."""

    head_only: bool
    head_bytes: int = 0
    status: int = 0
    reason: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    has_head: bool = False
    keeps: bool = False
    whole: bool = False
    unasked: bool = False  # something came after it


class ClientConnection(asyncio.Protocol):
    """One connection, for requests one after the other. `tls`: the TLS context that it was made with."""

    def __init__(self, tls: ssl.SSLContext | None = None):
        self.tls = tls
        self._transport: asyncio.Transport
        self._unread: select.poll
        self._parser = _parser_for(self)
        self._lost: Exception | None = None
        self._reading = _Reading(head_only=False)
        self._then: Callable[[Answer | Exception], None] | None = None  # who waits for the answer
        self._ends_s = 0.0  # until when it is waited for
        self._last: tuple[bytes, Answer] | None = None  # an answer that came in one piece, and the piece
        # One timer for many requests, which finds at its end that it is too early: that costs less than two
        # calls of the loop for each request.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0  # when it ends

    @property
    def usable(self) -> bool:
        """Whether it can carry a request: it is open, waits for no answer, and nothing came unasked.

        Ask with no await before `ask`. The loop may not have read yet what would be taken for the answer.
        """
        ended = self._lost or self._transport.is_closing()
        return not (ended or self._then or self._unread.poll(0))

    def close(self) -> None:
        """Close it at once."""
        self._transport.abort()

    async def ask(self, request: bytes, ends_s: float, *, head_only: bool = False) -> Answer:
        """Send a request and return the answer, whose head must have come by `ends_s` (the loop's time).

        The head decides. A body that is long, slow or broken off only costs the connection. `head_only`: no
        body follows, as after a CONNECT; the connection then carries something else.

        Raises `TimeoutError`; `EOFError` or `OSError` if the connection ends before the head is there;
        `ValueError` if the answer is not HTTP. The connection is closed then, and after an answer that does
        not keep it.
        """
        if self._lost is not None:
            raise self._lost
        came: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
        self.send(request, ends_s, came.set_result, head_only=head_only)
        try:
            answer = await came
        finally:
            if not came.done() or came.cancelled():
                self._then = None
                self.close()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(
        self,
        request: bytes,
        ends_s: float,
        then: Callable[[Answer | Exception], None],
        *,
        head_only: bool = False,
    ) -> None:
        """Send a request on a connection that is `usable`, and call `then` later: see `ask`.

        `then` gets the answer, or the exception that `ask` would raise, and may send the next request.
        """
        self._reading = _Reading(head_only)
        self._then = then
        self._wait_until(ends_s)
        self._transport.write(request)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on, as with `host`. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, context, server_hostname=host)
        if transport is None:
            raise ConnectionResetError("the connection closed")
        self._transport, self._parser, self.tls = transport, _parser_for(self), context

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._unread = transport, poll_for_unread(transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came. Bytes that nobody asked for would be taken for the next answer: close."""
        if self._then is None:
            self._lost = ValueError("it spoke before it was asked")
            self.close()
            return
        reading = self._reading
        is_first = not (reading.head_bytes or reading.head_only)
        if is_first and self._last is not None and self._last[0] == data:
            self._end(self._last[1])  # the parser would find the same: it is at the beginning of a message
            return
        had_head = reading.has_head
        try:
            self._feed(data)
        except HttpParserUpgrade:
            self._fail(ValueError("it switches to another protocol"))
        except (HttpParserError, ValueError) as error:
            self._fail(ValueError(str(error)))
        if reading.whole or len(reading.body) > ANSWER_BODY_BYTES_MAX:
            self._give(data if is_first else None)
        elif reading.has_head and not had_head:  # from now on the body is waited for
            self._wait_until(asyncio.get_running_loop().time() + ANSWER_BODY_PATIENCE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait for the answer, if there is one."""
        torn = " in the middle of one" if self._reading.head_bytes else ""
        self._lost = self._lost or exc or EOFError(f"the connection closed{torn}")
        self._fail(self._lost)
        if self._timer is not None:
            self._timer.cancel()

    # What httptools calls

    def on_message_begin(self) -> None:
        """A message: the answer, an interim one before it, or one that nobody asked for after it."""
        reading = self._reading
        if reading.has_head:
            reading.unasked = True
        else:
            reading.reason, reading.headers = b"", {}

    def on_status(self, reason: bytes) -> None:
        """Take a piece of the reason."""
        if not self._reading.has_head:
            self._reading.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. After the head they are trailers, which mean nothing here."""
        if not self._reading.has_head:
            headers = self._reading.headers
            key, text = name.decode("latin1").lower(), value.decode("latin1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Take the head, unless it is that of an interim answer."""
        reading, status = self._reading, self._parser.get_status_code()
        if reading.has_head or status < 200:
            return
        reading.has_head, reading.status = True, status
        if reading.head_only:
            reading.keeps = reading.whole = True
            return
        reading.keeps = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        reading = self._reading
        reading.unasked = reading.unasked or reading.head_only
        if len(reading.body) <= ANSWER_BODY_BYTES_MAX:
            reading.body += piece

    def on_message_complete(self) -> None:
        """Note that the answer is there."""
        self._reading.whole = self._reading.has_head

    def _feed(self, data: bytes) -> None:
        """Give the parser what came. Raises `ValueError` for a head without end."""
        reading, rest = self._reading, b""
        if not reading.has_head:
            room = ANSWER_HEAD_BYTES_MAX - reading.head_bytes
            data, rest = data[:room], data[room:]
            reading.head_bytes += len(data)
        self._parser.feed_data(data)
        if rest:
            if not reading.has_head:
                raise ValueError(f"its headers are longer than {ANSWER_HEAD_BYTES_MAX} bytes")
            self._parser.feed_data(rest)

    def _wait_until(self, ends_s: float) -> None:
        self._ends_s = ends_s
        if self._timer is None or ends_s < self._timer_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_s = ends_s
            self._timer = asyncio.get_running_loop().call_at(ends_s, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._then is None:
            return
        if asyncio.get_running_loop().time() < self._ends_s:
            self._wait_until(self._ends_s)
        else:
            self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        """End the wait. A head that came stands."""
        if self._reading.has_head:
            self._give()
        else:
            self._end(error)

    def _give(self, piece: bytes | None = None) -> None:
        """End the wait with the answer as it is. `piece`: the bytes that it came in, if all came at once."""
        reading = self._reading
        keeps = reading.keeps and reading.whole and not reading.unasked
        reason = reading.reason.decode("latin1")
        answer = Answer(reading.status, reason, reading.headers, keeps, bytes(reading.body))
        if piece is not None and keeps:
            self._last = piece, answer
        self._end(answer)

    def _end(self, answer: Answer | Exception) -> None:
        then, self._then = self._then, None
        if then is None:
            return
        if isinstance(answer, Exception) or not answer.keeps:
            self.close()
        then(answer)


def _parser_for(connection: ClientConnection) -> HttpResponseParser:
    parser = HttpResponseParser(connection)
    parser.set_dangerous_leniencies(**LENIENT)
    return parser
