"""The HTTP server of the embedded nsqd: collects requests within their limits, answers errors.

Owns the limits on request bodies: a body whose Content-Length is too large is refused before it is read,
and a body that turns out to be too large is not kept. One that does not end is refused after a while, and
`uploads.py` bounds what all hold that are not complete. What a request means is in `http_routes.py`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from tornado import httputil

from ..system.exits import StoreFailure
from ..system.http_server import BoundedHTTPServer
from . import limits
from .edge import Edge
from .http_request import HttpError, Request, error_answer, respond, split_path
from .http_routes import route
from .journal_file import JournalError

log = logging.getLogger(__name__)

_BODY_LIMITS = {
    "/pub": (limits.MESSAGE_SIZE_MAX, "MSG_TOO_BIG"),
    "/mpub": (limits.BODY_SIZE_MAX, "BODY_TOO_BIG"),
}
_DEFAULT_LIMIT = (limits.MESSAGE_SIZE_MAX, "BODY_TOO_BIG")
# tornado's limit on a body is never reached: this module checks the limits above, as nsqd does.
_UPLOAD_SIZE_MAX = 1 << 40
_IDLE_TIMEOUT_S = 600


def http_server(edge: Edge, address: str, allowed_hosts: Sequence[str]) -> BoundedHTTPServer:
    """An HTTP server for the embedded nsqd; the caller adds its socket. See `BoundedHTTPServer`."""
    return BoundedHTTPServer(
        _Exchanges(edge),
        section="embedded_nsqd",
        address=address,
        # nsqadmin asks by the name that GET /info says.
        allowed_hosts=[edge.hostname, edge.broadcast_address, *allowed_hosts],
        error_key="message",
        body_timeout_s=limits.BODY_TIMEOUT_S,
        max_body_size=_UPLOAD_SIZE_MAX,
        idle_connection_timeout=_IDLE_TIMEOUT_S,
    )


class _Exchanges(httputil.HTTPServerConnectionDelegate):
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._turns = _Turns()

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        return _Exchange(self._edge, self._turns, request_conn)


class _Turns:
    """Large requests, one in a turn of the loop: others are served between them."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._call_next()

    def _call_next(self) -> None:
        asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        try:
            self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._call_next()


class _Exchange(httputil.HTTPMessageDelegate):
    """Collects one request, up to its limit."""

    def __init__(self, edge: Edge, turns: _Turns, connection: httputil.HTTPConnection) -> None:
        self._edge = edge
        self._turns = turns
        self._connection = connection
        self._chunks: list[bytes] = []
        self._size = 0

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        assert isinstance(start_line, httputil.RequestStartLine)  # a server receives only requests
        self._start = start_line
        self._size_max, self._too_big = _BODY_LIMITS.get(split_path(start_line.path)[0], _DEFAULT_LIMIT)
        if _is_more(headers.get("Content-Length", ""), self._size_max):
            too_big = error_answer(413, self._too_big)
            respond(self._connection, start_line.method, *too_big, {"Connection": "close"})

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._size_max:
            self._chunks.clear()  # `finish` refuses the body, so its bytes are not kept
            self._edge.uploads.end(self)
        else:
            self._chunks.append(chunk)
            self._edge.uploads.hold(self, self._size)

    def give_way(self) -> None:
        """See `Upload`."""
        self._chunks.clear()
        respond(self._connection, self._start.method, *error_answer(503, "TOO_MANY_UPLOADS"))

    def on_connection_close(self) -> None:
        self._edge.uploads.end(self)

    def finish(self) -> None:
        self._edge.uploads.end(self)
        if self._size > self._size_max:
            respond(self._connection, self._start.method, *error_answer(413, self._too_big))
            return
        if self._size > limits.TURN_BODY_BYTES:
            self._turns.take(self._route)
        else:
            self._route()

    def _route(self) -> None:
        body = b"".join(self._chunks)
        request = Request(self._edge, self._connection, self._start, body)
        try:
            route(request)
        except HttpError as error:
            request.answer(*error_answer(error.status, error.message), error.headers)
        except JournalError as error:
            log.error("%s %s: %s", request.method, request.path, error)
            request.answer(*error_answer(500, "INTERNAL_ERROR"))
        except StoreFailure as error:
            request.answer(*error_answer(500, "INTERNAL_ERROR"))
            self._edge.unusable(error)


def _is_more(length: str, most: int) -> bool:
    """Whether a Content-Length is a number above `most`. tornado refuses what is no number, after this."""
    digits = length.lstrip("0")
    if not (digits.isascii() and digits.isdigit()):
        return False
    return len(digits) > len(str(most)) or int(digits) > most
