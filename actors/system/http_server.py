"""What our HTTP servers share: a bound on connections (`connections.py` says why), who may ask (the rule is
in `hosts.py`), headers, HEAD, and errors in JSON.
"""

import json
import sys
from asyncio import CancelledError, Future
from collections.abc import Collection, Iterable
from http.client import responses
from socket import socket
from typing import Any

import tornado.web
from tornado import httputil
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from .addresses import split_address
from .connections import connections_max
from .hosts import Listener, Refusal, plain, refusal, split_target
from .this_machine import has_address, own_names

_EVERY_ADDRESS = {"0.0.0.0", "::"}
# What tornado writes by itself, without a word of why, when it can't read a request or finds it too large.
_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_JSON = "application/json; charset=utf-8"
_WHY_UNREADABLE = "the request can't be read, expected HTTP/1.1 with headers and a body within the limits"


class BoundedHTTPServer(HTTPServer):
    """Holds at most `connections_max` connections, and hands on no request that `hosts.refusal` refuses."""

    def initialize(
        self,
        *arguments: Any,
        section: str = "",
        address: str = "",
        allowed_hosts: Iterable[str] = (),
        open_paths: Collection[str] = (),
        error_key: str = "error",
        **limits: Any,
    ) -> None:
        """Called by the constructor, with its arguments.

        `section`: the settings' section of this listener; `address`: its "host:port". `allowed_hosts`: the
        names that it answers to besides. `open_paths` answer to any. `error_key`: the key of the reason in an
        error. The rest: see tornado.
        """
        super().initialize(*arguments, **limits)
        named = [split_address(address)[0] if address else "", *allowed_hosts]
        self._listener = Listener(f"{section}.allowed_hosts", frozenset(map(plain, named)))
        self._open_paths = open_paths
        self._error_key = error_key

    def add_sockets(self, sockets: Iterable[socket]) -> None:
        """Listen on these sockets, and answer to the addresses that they are bound to."""
        sockets = list(sockets)
        bound = {plain(one.getsockname()[0]) for one in sockets}
        if bound & _EVERY_ADDRESS:
            bound |= own_names()
            self._listener = self._listener._replace(is_own=has_address)
        self._listener = self._listener._replace(hosts=self._listener.hosts | bound)
        super().add_sockets(sockets)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection, or close it if there are too many."""
        if len(self._connections) < connections_max():
            stream.__class__ = _Stream
            vars(stream)["unreadable"] = self._error(_WHY_UNREADABLE)
            super().handle_stream(stream, address)
        else:
            stream.close()

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Called by tornado for each request."""
        return _Guard(self, super().start_request(server_conn, request_conn), request_conn)

    def refused(
        self, start: httputil.RequestStartLine, headers: httputil.HTTPHeaders
    ) -> tuple[int, bytes] | None:
        """The status and body that a request is refused with; None if it is not."""
        found = refusal(start.method, start.path, headers.get_list, self._listener)
        if found is None or (self._is_open(start.path) and _may_pass(found, start, headers)):
            return None
        return found.status, self._error(found.why)

    def _is_open(self, target: str) -> bool:
        return split_target(target)[1].partition("?")[0] in self._open_paths

    def _error(self, why: str) -> bytes:
        return json.dumps({self._error_key: why}).encode()


def _may_pass(found: Refusal, start: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> bool:
    """Whether a path that is open to any Host answers all the same. It does not if there should be one."""
    return found.status != 400 or (start.version == "HTTP/1.0" and "Host" not in headers)


class _Guard(httputil.HTTPMessageDelegate):
    """Hands one request on, or reads it to its end and refuses it."""

    def __init__(
        self,
        server: BoundedHTTPServer,
        handler: httputil.HTTPMessageDelegate,
        connection: httputil.HTTPConnection,
    ) -> None:
        self._server, self._handler, self._connection = server, handler, connection
        self._refused: tuple[int, bytes] | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Any:
        assert isinstance(start_line, httputil.RequestStartLine)  # a server receives only requests
        self._method = start_line.method
        self._refused = self._server.refused(start_line, headers)
        if self._refused is None:
            start_line = start_line._replace(path=split_target(start_line.path)[1])
            return self._handler.headers_received(start_line, headers)
        return None

    def data_received(self, chunk: bytes) -> Any:
        return self._handler.data_received(chunk) if self._refused is None else None

    def finish(self) -> None:
        if self._refused is None:
            self._handler.finish()
        else:
            respond(self._connection, self._method, *self._refused)

    def on_connection_close(self) -> None:
        if self._refused is None:
            self._handler.on_connection_close()


def respond(
    connection: httputil.HTTPConnection,
    method: str,
    status: int,
    body: bytes,
    content_type: str = _JSON,
    more: dict[str, str] | None = None,
) -> None:
    """Answer a request, and end it. `more`: further headers. The answer to HEAD has no body."""
    start = httputil.ResponseStartLine("HTTP/1.1", status, responses[status])
    headers = httputil.HTTPHeaders(_headers(body, content_type) | (more or {}))
    _ = connection.write_headers(start, headers, None if method == "HEAD" else body)
    connection.finish()


def _headers(body: bytes, content_type: str) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
    }


class _Stream(IOStream):
    """A connection that says what is wrong, in `unreadable`, where tornado would answer 400 with nothing."""

    unreadable = b""

    def write(self, data: "bytes | memoryview[int]") -> "Future[None]":
        if data != _UNREADABLE:
            return super().write(data)
        head = "".join(f"{name}: {value}\r\n" for name, value in _headers(self.unreadable, _JSON).items())
        return super().write(
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + head.encode() + b"\r\n" + self.unreadable
        )


class OwnHandler(tornado.web.RequestHandler):
    """Answers with our headers, HEAD as GET, and errors in JSON."""

    def set_default_headers(self) -> None:
        """Name no server, and let nobody keep the answer or guess its type."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def head(self) -> None:
        """Answer as `get` does; tornado leaves the body out."""
        answered = self.get()
        if answered is not None:
            await answered

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong. Called by tornado, for a method that a path does not take and for a bug.

        At the end of the process all tasks are cancelled, and so is what an answer waits for.
        """
        wrong = f"{self.request.path[:200]} does not take {self.request.method}"
        if isinstance(sys.exc_info()[1], CancelledError):  # tornado does not always hand it on
            self.set_status(503)
            wrong = "this process ends; ask again once it runs again"
        _ = self.finish({"error": wrong if self.get_status() in (405, 503) else self._reason})
