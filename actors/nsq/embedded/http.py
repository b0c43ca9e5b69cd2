"""nsqd's HTTP interface: routes, arguments, status codes and error bodies as in nsqd/http.go.

Owns the limits on request bodies, which are checked before they are read where the request says
how large it is. A publish is answered after its commit.
"""

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tornado import httputil
from tornado.httpserver import HTTPServer

from actors.nsq.embedded import limits
from actors.nsq.embedded.commands import MultiRefused, split_multi
from actors.nsq.embedded.identify import VERSION
from actors.nsq.embedded.journal import JournalError
from actors.nsq.embedded.names import is_valid_name
from actors.nsq.embedded.stats import stats_of, stats_text
from actors.nsq.embedded.topic import Topic

if TYPE_CHECKING:
    from actors.nsq.embedded.server import EmbeddedNsqd

logger = logging.getLogger(__name__)

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_BODY_LIMITS = {
    "/pub": (limits.MESSAGE_SIZE_MAX, "MSG_TOO_BIG"),
    "/mpub": (limits.BODY_SIZE_MAX, "BODY_TOO_BIG"),
}
_DEFAULT_LIMIT = (limits.MESSAGE_SIZE_MAX, "BODY_TOO_BIG")
# An upload is at most this large to tornado; the limits above are checked here, as nsqd does.
_UPLOAD_SIZE_MAX = 1 << 40
_IDLE_TIMEOUT_S = 600


class HttpError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class Request:
    """A request that is complete, its arguments, and the way back to its client."""

    def __init__(
        self, server: "EmbeddedNsqd", connection: httputil.HTTPConnection,
        start: httputil.RequestStartLine, body: bytes,
    ) -> None:
        self.server = server
        self.method = start.method
        self.path, _, self._query = start.path.partition("?")
        self.body = body
        self._connection = connection

    def arguments(self) -> dict[str, str]:
        try:
            given = parse_qs(self._query, keep_blank_values=True, errors="surrogateescape")
        except ValueError:
            raise HttpError(400, "INVALID_REQUEST") from None
        return {name: values[0] for name, values in given.items()}

    def answer(
        self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        _respond(self._connection, status, body, content_type)

    def settle(self, failure: JournalError | None) -> None:
        """A publish has been committed, or failed to be."""
        if failure is None:
            self.answer(200, b"OK")
        else:
            # nsqd has one text for whatever keeps a publish from its queue.
            self.answer(*_error_answer(503, "EXITING"))


def http_server(server: "EmbeddedNsqd") -> HTTPServer:
    """An HTTP server for the embedded nsqd; the caller adds its socket."""
    return HTTPServer(
        _Exchanges(server), max_body_size=_UPLOAD_SIZE_MAX, idle_connection_timeout=_IDLE_TIMEOUT_S
    )


class _Exchanges(httputil.HTTPServerConnectionDelegate):
    def __init__(self, server: "EmbeddedNsqd") -> None:
        self._server = server

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        return _Exchange(self._server, request_conn)


class _Exchange(httputil.HTTPMessageDelegate):
    """Collects one request, up to its limit."""

    def __init__(self, server: "EmbeddedNsqd", connection: httputil.HTTPConnection) -> None:
        self._server = server
        self._connection = connection
        self._chunks: list[bytes] = []
        self._size = 0

    def headers_received(
        self, start_line: httputil.RequestStartLine, headers: httputil.HTTPHeaders
    ) -> None:
        self._start = start_line
        path = start_line.path.partition("?")[0]
        self._size_max, self._too_big = _BODY_LIMITS.get(path, _DEFAULT_LIMIT)
        declared = headers.get("Content-Length", "0")
        if declared.isdigit() and int(declared) > self._size_max:
            _respond(self._connection, *_error_answer(413, self._too_big))

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._size_max:
            self._chunks.clear()  # refused in finish(); nothing of it is kept until then
        else:
            self._chunks.append(chunk)

    def finish(self) -> None:
        if self._size > self._size_max:
            _respond(self._connection, *_error_answer(413, self._too_big))
            return
        body = b"".join(self._chunks)
        request = Request(self._server, self._connection, self._start, body)
        try:
            _route(request)
        except HttpError as error:
            request.answer(*_error_answer(error.status, error.message))
        except JournalError as error:
            logger.error("%s %s: %s", request.method, request.path, error)
            request.answer(*_error_answer(500, "INTERNAL_ERROR"))


def _route(request: Request) -> None:
    methods = _ROUTES.get(request.path)
    if methods is None:
        raise HttpError(404, "NOT_FOUND")
    handle = methods.get(request.method)
    if handle is None:
        raise HttpError(405, "METHOD_NOT_ALLOWED")
    handle(request)


def _ping(request: Request) -> None:
    healthy = request.server.health == "OK"
    request.answer(200 if healthy else 500, request.server.health.encode())


def _info(request: Request) -> None:
    server = request.server
    _answer_json(request, {
        "version": VERSION,
        "broadcast_address": server.hostname,
        "hostname": server.hostname,
        "http_port": server.http_port,
        "tcp_port": server.tcp_port,
        "start_time": server.start_s,
        "max_heartbeat_interval": limits.HEARTBEAT_MAX_MS * 1_000_000,
        "max_output_buffer_size": limits.OUTPUT_BUFFER_SIZE_MAX,
        "max_output_buffer_timeout": limits.OUTPUT_BUFFER_TIMEOUT_MAX_MS * 1_000_000,
        "max_deflate_level": limits.DEFLATE_LEVEL_MAX,
    })


def _stats(request: Request) -> None:
    arguments = request.arguments()
    stats = stats_of(
        request.server,
        arguments.get("topic", ""),
        arguments.get("channel", ""),
        _BOOLEANS.get(arguments.get("include_clients", ""), True),
        _BOOLEANS.get(arguments.get("include_mem", ""), True),
    )
    if arguments.get("format") == "json":
        _answer_json(request, stats)
    else:
        request.answer(200, stats_text(stats).encode())


def _pub(request: Request) -> None:
    if not request.body:
        raise HttpError(400, "MSG_EMPTY")
    arguments = request.arguments()
    topic_name = _topic_argument(arguments, "INVALID_TOPIC")
    delay_ms = _defer_argument(arguments.get("defer"))
    _publish(request, topic_name, [request.body], delay_ms)


def _mpub(request: Request) -> None:
    arguments = request.arguments()
    topic_name = _topic_argument(arguments, "INVALID_TOPIC")
    # Whatever is no boolean counts as true, as in nsqd.
    if "binary" in arguments and _BOOLEANS.get(arguments["binary"], True):
        try:
            bodies = split_multi(request.body)
        except MultiRefused as refused:
            raise HttpError(413, refused.args[0].removeprefix("E_")) from None
    else:
        bodies = [line for line in request.body.split(b"\n") if line]
        if any(len(body) > limits.MESSAGE_SIZE_MAX for body in bodies):
            raise HttpError(413, "MSG_TOO_BIG")
    _publish(request, topic_name, bodies, 0)


def _publish(request: Request, topic_name: str, bodies: list[bytes], delay_ms: int) -> None:
    try:
        request.server.stage(request, topic_name, bodies, delay_ms)
    except JournalError as error:
        logger.error("%s", error)
        request.settle(error)
        return
    request.server.stage_done()


def _create_topic(request: Request) -> None:
    request.server.queue.topic(_topic_argument(request.arguments(), "INVALID_TOPIC"))
    request.answer(200, b"")


def _delete_topic(request: Request) -> None:
    request.server.delete_topic(_existing_topic(request, None))
    request.answer(200, b"")


def _empty_topic(request: Request) -> None:
    request.server.queue.empty_topic(_existing_topic(request, "INVALID_TOPIC"))
    request.answer(200, b"")


def _pause_topic(request: Request) -> None:
    is_paused = request.path == "/topic/pause"
    request.server.pause_topic(_existing_topic(request, None), is_paused)
    request.answer(200, b"")


def _create_channel(request: Request) -> None:
    topic, channel_name = _topic_and_channel(request)
    request.server.create_channel(topic, channel_name)
    request.answer(200, b"")


def _delete_channel(request: Request) -> None:
    topic, channel_name = _topic_with_channel(request)
    request.server.delete_channel(topic, topic.channels[channel_name])
    request.answer(200, b"")


def _empty_channel(request: Request) -> None:
    topic, channel_name = _topic_with_channel(request)
    request.server.queue.empty_channel(topic, topic.channels[channel_name])
    request.server.pump(topic, topic.channels[channel_name])
    request.answer(200, b"")


def _pause_channel(request: Request) -> None:
    topic, channel_name = _topic_with_channel(request)
    is_paused = request.path == "/channel/pause"
    request.server.pause_channel(topic, topic.channels[channel_name], is_paused)
    request.answer(200, b"")


_ROUTES: dict[str, dict[str, Callable[[Request], None]]] = {
    "/ping": {"GET": _ping},
    "/info": {"GET": _info},
    "/stats": {"GET": _stats},
    "/pub": {"POST": _pub},
    "/mpub": {"POST": _mpub},
    "/topic/create": {"POST": _create_topic},
    "/topic/delete": {"POST": _delete_topic},
    "/topic/empty": {"POST": _empty_topic},
    "/topic/pause": {"POST": _pause_topic},
    "/topic/unpause": {"POST": _pause_topic},
    "/channel/create": {"POST": _create_channel},
    "/channel/delete": {"POST": _delete_channel},
    "/channel/empty": {"POST": _empty_channel},
    "/channel/pause": {"POST": _pause_channel},
    "/channel/unpause": {"POST": _pause_channel},
}


def _topic_argument(arguments: dict[str, str], invalid: str | None) -> str:
    """`invalid`: the message for a name that is not valid; None where nsqd does not look."""
    if "topic" not in arguments:
        raise HttpError(400, "MISSING_ARG_TOPIC")
    name = arguments["topic"]
    if invalid is not None and not _is_valid(name):
        raise HttpError(400, invalid)
    return name


def _existing_topic(request: Request, invalid: str | None) -> Topic:
    name = _topic_argument(request.arguments(), invalid)
    if name not in request.server.queue.topics:
        raise HttpError(404, "TOPIC_NOT_FOUND")
    return request.server.queue.topics[name]


def _topic_and_channel(request: Request) -> tuple[Topic, str]:
    arguments = request.arguments()
    topic_name = _topic_argument(arguments, "INVALID_ARG_TOPIC")
    if "channel" not in arguments:
        raise HttpError(400, "MISSING_ARG_CHANNEL")
    if not _is_valid(arguments["channel"]):
        raise HttpError(400, "INVALID_ARG_CHANNEL")
    if topic_name not in request.server.queue.topics:
        raise HttpError(404, "TOPIC_NOT_FOUND")
    return request.server.queue.topics[topic_name], arguments["channel"]


def _topic_with_channel(request: Request) -> tuple[Topic, str]:
    topic, channel_name = _topic_and_channel(request)
    if channel_name not in topic.channels:
        raise HttpError(404, "CHANNEL_NOT_FOUND")
    return topic, channel_name


def _is_valid(name: str) -> bool:
    return is_valid_name(name.encode("utf-8", "surrogateescape"))


def _defer_argument(text: str | None) -> int:
    if text is None:
        return 0
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise HttpError(400, "INVALID_DEFER")
    if int(digits) > limits.REQUEUE_DELAY_MAX_MS:
        raise HttpError(400, "INVALID_DEFER")
    return int(digits)


def _answer_json(request: Request, value: dict) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    request.answer(200, body, "application/json; charset=utf-8")


def _error_answer(status: int, message: str) -> tuple[int, bytes, str]:
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return status, body, "application/json; charset=utf-8"


def _respond(
    connection: httputil.HTTPConnection, status: int, body: bytes, content_type: str
) -> None:
    headers = httputil.HTTPHeaders({
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "X-NSQ-Content-Type": "nsq; version=1.0",
    })
    reason = httputil.responses.get(status, "Unknown")
    start = httputil.ResponseStartLine("HTTP/1.1", status, reason)
    connection.write_headers(start, headers, body)
    connection.finish()
