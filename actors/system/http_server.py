"""What our HTTP servers share: a bound on connections (`connections.py` says why), who may ask (the rules are
in `hosts.py` and `doorkeeper.py`), headers, HEAD, and errors in JSON.
"""

import asyncio
import copy
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from http.client import responses
from socket import socket
from typing import Any, Protocol

import tornado.web
from tornado import httputil
from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from ..core.recurring import Recurring
from .addresses import join_address, split_address
from .connections import connections_max
from .crowd import Crowd, most_of
from .doorkeeper import Caller, Denial, Doorkeeper
from .hosts import Listener, Refusal, host_allowed, plain, refusal, split_target
from .http_stream import JSON, Stream, headers_of
from .refusals import Answer, Refusals
from .this_machine import has_address, own_names
from .whole_requests import Kind, WholeRequest, whole_request

log = logging.getLogger(__name__)

# A program that connects has something to ask. Later requests on its connection may take their time.
FIRST_REQUEST_TIMEOUT_S = 10

# They name no server, and let nobody keep the answer or guess its type.
OWN_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

# On a request's connection: see `OwnHandler`.
_IS_STRANGER, _CALLER, _DOORKEEPER, _HANGS = "is_stranger", "caller", "doorkeeper", "hangs"
_EVERY_ADDRESS = {"0.0.0.0", "::"}


class Express(Protocol):
    """Takes requests of one kind that came in one piece, before tornado reads them.

    The Host is allowed, and so is who asks.
    """

    kind: Kind

    def take(self, stream: Stream, request: WholeRequest) -> bool:
        """Take a request: it is answered in the order of its connection. False: tornado reads it."""


class BoundedHTTPServer(HTTPServer):
    """Holds at most `connections_max` connections, and hands on no request that `hosts.refusal` refuses."""

    def initialize(
        self,
        *arguments: Any,
        section: str = "",
        address: str = "",
        allowed_hosts: Iterable[str] = (),
        open_paths: Collection[str] = (),
        doorkeeper: Doorkeeper | None = None,
        error_key: str = "error",
        body_timeout_s: float = 10,
        express: Express | None = None,
        **limits: Any,
    ) -> None:
        """Called by the constructor, with its arguments.

        `section`: the settings' section of this listener; `address`: its "host:port". `allowed_hosts`: the
        names that it answers to besides. `open_paths` answer to any. `doorkeeper`: judges who asks; with
        None, anyone may. `error_key`: the key of the reason in an error. `body_timeout_s`: the time that a
        request's body may take. `express`: see there. The rest: see tornado.
        """
        super().initialize(*arguments, **limits)
        named = [split_address(address)[0] if address else "", *allowed_hosts]
        self._listener = Listener(f"{section}.allowed_hosts", frozenset(map(plain, named)))
        self._open_paths = open_paths
        self._doorkeeper = Doorkeeper(section) if doorkeeper is None else doorkeeper
        self._error_key = error_key
        self._refusals = Refusals(error_key, self._doorkeeper)
        self._express = express
        self.body_timeout_s = body_timeout_s
        self._address = address
        self._long_heads, self._full = Recurring(), Recurring()
        self._crowd: Crowd[HTTP1ServerConnection] = Crowd()

    def add_sockets(self, sockets: Iterable[socket]) -> None:
        """Listen on these sockets, and answer to the addresses that they are bound to."""
        sockets = list(sockets)
        self._address = join_address(*sockets[0].getsockname()[:2])
        self._doorkeeper.listens_on(sockets[0].getsockname()[1])
        bound = {plain(one.getsockname()[0]) for one in sockets}
        if bound & _EVERY_ADDRESS:
            bound |= own_names()
            self._listener = self._listener._replace(is_own=has_address)
        self._listener = self._listener._replace(hosts=self._listener.hosts | bound)
        super().add_sockets(sockets)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection. If it is one too many, the longest idle one is closed; this one if none is."""
        if len(self._connections) < connections_max() or self._has_made_room():
            head_bytes_max = self.conn_params.max_header_size
            on_whole = None if self._express is None else self._take_whole
            Stream.take(
                stream, self._error_key, head_bytes_max, lambda: self._note_long_head(address), on_whole
            )
            super().handle_stream(stream, address)
        else:
            stream.close()

    def _take_whole(self, stream: Stream, came: bytes) -> bool:
        assert self._express is not None
        request = whole_request(came, self._express.kind)
        if request is None or not host_allowed(request.headers["host"], self._listener):
            return False
        is_admitted = self._doorkeeper.admits(request.headers.get("authorization", ""))
        return is_admitted and self._express.take(stream, request)

    def _has_made_room(self) -> bool:
        """Close the connection that has been idle longest. Returns False if none is."""
        if self._full.seen(time.monotonic_ns() // 1_000_000):
            log.warning(
                "%s has %d connections, the most that it takes, %s; each new one takes the place of the one "
                "that has been idle longest (said once a minute)",
                self._address,
                len(self._connections),
                most_of(str(vars(one.context).get("remote_ip")) for one in self._connections),
            )
        longest = self._crowd.longest_idle()
        if longest is None:
            return False
        self.on_close(longest)
        longest.stream.close()
        return True

    def on_close(self, server_conn: object) -> None:
        """Called by tornado when a connection is closed, and before that by the one that closes it."""
        assert isinstance(server_conn, HTTP1ServerConnection)
        self._crowd.gone(server_conn)
        self._connections.discard(server_conn)

    def _note_long_head(self, address: tuple[Any, ...]) -> None:
        if self._long_heads.seen(time.monotonic_ns() // 1_000_000):
            most = self.conn_params.max_header_size
            log.warning(
                "%s: a request from %s has headers of more than %d bytes and is refused; a browser sends "
                "the cookies of all ports of a host (said once a minute)",
                self._address,
                address[0],
                most,
            )

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Called by tornado for each request, when a connection begins to wait for it."""
        assert isinstance(server_conn, HTTP1ServerConnection) and isinstance(request_conn, HTTP1Connection)
        if self._crowd.waits(server_conn):
            request_conn.params = copy.copy(self.conn_params)
            request_conn.params.header_timeout = FIRST_REQUEST_TIMEOUT_S
        handler = super().start_request(server_conn, request_conn)
        hangs = vars(request_conn)[_HANGS] = lambda: self._crowd.hangs(server_conn)
        return _Guard(self, handler, request_conn, hangs, lambda: self._crowd.works(server_conn))

    def refused(
        self,
        start: httputil.RequestStartLine,
        headers: httputil.HTTPHeaders,
        connection: HTTP1Connection,
    ) -> Answer | None:
        """The answer that a request is refused with; None if it is not."""
        found = refusal(start.method, start.path, headers.get_list, self._listener)
        is_stranger = found is not None and self._is_open(start.path) and _may_pass(found, start, headers)
        vars(connection)[_IS_STRANGER] = is_stranger
        if found is not None and not is_stranger:
            return self._refusals.answer(found.status, found.why)
        address, path = str(vars(connection.context).get("remote_ip")), _path_of(start.path)
        caller = self._doorkeeper.judge(start.method, path, headers.get_list, address)
        vars(connection)[_CALLER], vars(connection)[_DOORKEEPER] = caller, self._doorkeeper
        return self._refusals.denied(start.method, path, caller) if isinstance(caller, Denial) else None

    def too_slow(self) -> Answer:
        """The answer to a request whose body takes too long."""
        why = f"the body is not here after {self.body_timeout_s:g} s, expected all of it"
        return self._refusals.answer(408, why)

    def _is_open(self, target: str) -> bool:
        return _path_of(target) in self._open_paths


def _path_of(target: str) -> str:
    return split_target(target)[1].partition("?")[0]


def _may_pass(found: Refusal, start: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> bool:
    """Whether a path that is open to any Host answers all the same. It does not if there should be one."""
    return found.status != 400 or (start.version == "HTTP/1.0" and "Host" not in headers)


class _Guard(httputil.HTTPMessageDelegate):
    """Hands one request on, or reads it to its end and refuses it."""

    def __init__(
        self,
        server: BoundedHTTPServer,
        handler: httputil.HTTPMessageDelegate,
        connection: HTTP1Connection,
        came: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """`came`: called when the headers are here. `ended`: when the body is too, if it is not refused."""
        self._server, self._handler, self._connection = server, handler, connection
        self._came, self._ended = came, ended
        self._refused: Answer | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Any:
        assert isinstance(start_line, httputil.RequestStartLine)  # a server receives only requests
        self._came()
        self._method = start_line.method
        self._may_take_its_time()
        self._refused = self._server.refused(start_line, headers, self._connection)
        if self._refused is None:
            start_line = start_line._replace(path=split_target(start_line.path)[1])
            return self._handler.headers_received(start_line, headers)
        return None

    def _may_take_its_time(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._server.body_timeout_s, self._timed_out)

    def _timed_out(self) -> None:
        """Refuse a request whose body does not end. The answer closes the connection."""
        if self._connection.stream.writing() or vars(self._connection)["_response_start_line"] is not None:
            self._connection.close()  # it is being answered already
        else:
            respond(self._connection, self._method, *self._server.too_slow())

    def data_received(self, chunk: bytes) -> Any:
        return self._handler.data_received(chunk) if self._refused is None else None

    def finish(self) -> None:
        self._timer.cancel()
        if self._refused is None:
            self._ended()
            self._handler.finish()
        else:
            respond(self._connection, self._method, *self._refused)

    def on_connection_close(self) -> None:
        self._timer.cancel()
        if self._refused is None:
            self._handler.on_connection_close()


def respond(
    connection: httputil.HTTPConnection,
    method: str,
    status: int,
    body: bytes,
    content_type: str = JSON,
    more: Mapping[str, str] | None = None,
) -> None:
    """Answer a request, and end it. `more`: further headers. The answer to HEAD has no body."""
    start = httputil.ResponseStartLine("HTTP/1.1", status, responses[status])
    headers = httputil.HTTPHeaders(headers_of(body, content_type) | dict(more or {}))
    _ = connection.write_headers(start, headers, None if method == "HEAD" else body)
    connection.finish()


class OwnHandler(tornado.web.RequestHandler):
    """Answers with our headers, HEAD as GET, and errors in JSON."""

    @property
    def caller(self) -> Caller:
        """Who asks."""
        found = vars(self.request.connection).get(_CALLER)
        return found if isinstance(found, Caller) else Caller()

    @property
    def is_admitted(self) -> bool:
        """Whether this request would be taken now too: a stream ends with the session or the token."""
        doorkeeper, request = vars(self.request.connection).get(_DOORKEEPER), self.request
        if not isinstance(doorkeeper, Doorkeeper):
            return True
        headers = request.headers.get_list
        found = doorkeeper.judge(request.method or "", request.path, headers, self.caller.address)
        return isinstance(found, Caller)

    @property
    def is_of_stranger(self) -> bool:
        """Whether only the open path lets this request pass: it may be of a page of another site."""
        return bool(vars(self.request.connection).get(_IS_STRANGER))

    def set_default_headers(self) -> None:
        """Set `OWN_HEADERS`."""
        self.clear_header("Server")
        for name, value in OWN_HEADERS.items():
            self.set_header(name, value)

    def on_finish(self) -> None:
        """Called by tornado when the answer is made. The connection may give way before it is read."""
        vars(self.request.connection).get(_HANGS, bool)()

    async def head(self, *arguments: str) -> None:
        """Answer as `get` does; tornado leaves the body out. `arguments`: of the path."""
        answered = self.get(*arguments)
        if answered is not None:
            await answered

    def methods(self) -> str:
        """The methods that this path takes, for the header Allow."""
        none = tornado.web.RequestHandler.get  # tornado has one function for all methods that are missing
        taken = [name for name in ("get", "post") if getattr(type(self), name) is not none]
        return ", ".join(taken).upper().replace("GET", "GET, HEAD")

    def what_is_wrong(self) -> str:
        """The error for a method that a path does not take, for the end of the process, or for a bug.

        Sets status and headers. At the end of the process all tasks are cancelled, and so is what an answer
        waits for.
        """
        if isinstance(sys.exc_info()[1], asyncio.CancelledError):  # tornado does not always hand it on
            self.set_status(503)
            return "this process ends; ask again once it runs again"
        if self.get_status() != 405:
            return self._reason
        self.set_header("Allow", self.methods())
        return f"{self.request.path[:200]} does not take {self.request.method}"

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong. Called by tornado."""
        _ = self.finish({"error": self.what_is_wrong()})
