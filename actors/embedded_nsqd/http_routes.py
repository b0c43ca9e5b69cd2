"""nsqd's HTTP routes, with the arguments, status codes and messages of nsqd/http.go.

A publish is answered after its commit, every other request at once. Where a path or a method is wrong, the
answers are those of nsqd's router (httprouter): a path that differs in case, slashes or dots is redirected.
"""

import html
import posixpath
import re
from collections.abc import Callable

from . import limits
from .channel import Channel
from .http_request import TEXT_TYPE, HttpError, Request
from .identify import VERSION
from .journal_file import JournalError
from .multi import Refused, split_multi
from .names import is_valid_name
from .stats import stats_of, stats_text
from .topic import Topic

_DIGITS_MAX = 1_000  # Python takes long to read more
_DELAY = re.compile(r"[+-]?[0-9]+", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def route(request: Request) -> None:
    """Carry out a request and answer it. Raises `HttpError` or `JournalError` before any answer."""
    if request.path not in _ROUTES:
        _answer_elsewhere(request)
        return
    method, handle = _ROUTES[request.path]
    allowed = {"Allow": ", ".join(sorted([method, "OPTIONS"]))}
    if request.method == method:
        handle(request)
    elif request.method == "OPTIONS":
        request.answer_plainly(200, more=allowed)
    else:
        raise HttpError(405, "METHOD_NOT_ALLOWED", allowed)


def _answer_elsewhere(request: Request) -> None:
    """Answer a request to a path that no route has."""
    if (request.method, request.path) == ("OPTIONS", "*"):
        request.answer_plainly(200)
        return
    meant = "/" + posixpath.normpath(request.path).lower().lstrip("/")
    if not request.path.startswith("/") or _ROUTES.get(meant, ("",))[0] != request.method:
        raise HttpError(404, "NOT_FOUND")
    location = f"{meant}?{request.query}" if request.query else meant
    more = {"Location": location}
    if request.method == "GET":
        link = f'<a href="{html.escape(location)}">Moved Permanently</a>.\n\n'
        request.answer_plainly(301, link.encode(), "text/html; charset=utf-8", more)
    else:
        request.answer_plainly(307, more=more)  # with the same method and body


def _ping(request: Request) -> None:
    healthy = request.edge.health == "OK"
    request.answer_plainly(200 if healthy else 500, request.edge.health.encode(), TEXT_TYPE)


def _info(request: Request) -> None:
    edge = request.edge
    request.answer_json(
        {
            "version": VERSION,
            "broadcast_address": edge.broadcast_address,
            "hostname": edge.hostname,
            "http_port": edge.http_port,
            "tcp_port": edge.tcp_port,
            "start_time": edge.start_s,
            "max_heartbeat_interval": limits.HEARTBEAT_MAX_MS * 1_000_000,
            "max_output_buffer_size": limits.OUTPUT_BUFFER_SIZE_MAX,
            "max_output_buffer_timeout": limits.OUTPUT_BUFFER_TIMEOUT_MAX_MS * 1_000_000,
            "max_deflate_level": limits.DEFLATE_LEVEL_MAX,
        }
    )


def _stats(request: Request) -> None:
    arguments = request.arguments()
    stats = stats_of(
        request.edge,
        arguments.get("topic", ""),
        arguments.get("channel", ""),
        _BOOLEANS.get(arguments.get("include_clients", ""), True),
        _BOOLEANS.get(arguments.get("include_mem", ""), True),
    )
    if arguments.get("format") == "json":
        request.answer_json(stats)
    else:
        request.answer(200, stats_text(stats).encode())


def _pub(request: Request) -> None:
    if not request.body:
        raise HttpError(400, "MSG_EMPTY")
    arguments = request.arguments()
    topic_name = _topic_argument(arguments, "INVALID_TOPIC")
    delay_ms = _defer_argument(arguments.get("defer", "0"))
    _publish(request, topic_name, [request.body], delay_ms)


def _mpub(request: Request) -> None:
    arguments = request.arguments()
    topic_name = _topic_argument(arguments, "INVALID_TOPIC")
    # A value that is not a boolean counts as true, as in nsqd.
    if "binary" in arguments and _BOOLEANS.get(arguments["binary"], True):
        try:
            bodies = split_multi(request.body)
        except Refused as refused:
            raise HttpError(413, refused.code.removeprefix("E_")) from None
    else:
        bodies = [line for line in request.body.split(b"\n") if line]
        if len(bodies) > limits.MPUB_MESSAGES_MAX:  # as of binary ones; nsqd takes any number of lines
            raise HttpError(413, "BAD_BODY")
        if max(map(len, bodies), default=0) > limits.MESSAGE_SIZE_MAX:
            raise HttpError(413, "MSG_TOO_BIG")
    _publish(request, topic_name, bodies, 0)


def _publish(request: Request, topic_name: str, bodies: list[bytes], delay_ms: int) -> None:
    try:
        request.edge.stage(request, topic_name, bodies, delay_ms)
    except JournalError as error:
        request.edge.failed(error)
        request.settle(error)
        return
    request.edge.stage_done()


def _create_topic(request: Request) -> None:
    request.edge.queue.topic(_topic_argument(request.arguments(), "INVALID_TOPIC"))
    request.answer(200, b"", "")


def _delete_topic(request: Request) -> None:
    request.edge.delete_topic(_existing_topic(request, None))
    request.answer(200, b"", "")


def _empty_topic(request: Request) -> None:
    request.edge.queue.empty_topic(_existing_topic(request, "INVALID_TOPIC"))
    request.answer(200, b"", "")


def _pause_topic(request: Request) -> None:
    topic = _existing_topic(request, None)
    request.edge.pause_topic(topic, is_paused=request.path == "/topic/pause")
    request.answer(200, b"", "")


def _create_channel(request: Request) -> None:
    topic, channel_name = _topic_and_channel(request)
    request.edge.create_channel(topic, channel_name)
    request.answer(200, b"", "")


def _delete_channel(request: Request) -> None:
    topic, channel = _existing_channel(request)
    request.edge.delete_channel(topic, channel)
    request.answer(200, b"", "")


def _empty_channel(request: Request) -> None:
    topic, channel = _existing_channel(request)
    request.edge.queue.empty_channel(topic, channel)
    request.edge.pump(topic, channel)
    request.answer(200, b"", "")


def _pause_channel(request: Request) -> None:
    topic, channel = _existing_channel(request)
    request.edge.pause_channel(topic, channel, is_paused=request.path == "/channel/pause")
    request.answer(200, b"", "")


_ROUTES: dict[str, tuple[str, Callable[[Request], None]]] = {
    "/ping": ("GET", _ping),
    "/info": ("GET", _info),
    "/stats": ("GET", _stats),
    "/pub": ("POST", _pub),
    "/mpub": ("POST", _mpub),
    "/topic/create": ("POST", _create_topic),
    "/topic/delete": ("POST", _delete_topic),
    "/topic/empty": ("POST", _empty_topic),
    "/topic/pause": ("POST", _pause_topic),
    "/topic/unpause": ("POST", _pause_topic),
    "/channel/create": ("POST", _create_channel),
    "/channel/delete": ("POST", _delete_channel),
    "/channel/empty": ("POST", _empty_channel),
    "/channel/pause": ("POST", _pause_channel),
    "/channel/unpause": ("POST", _pause_channel),
}


def _topic_argument(arguments: dict[str, str], invalid: str | None) -> str:
    """The topic's name. `invalid`: the error for an invalid name; None does not check it, as in nsqd."""
    if "topic" not in arguments:
        raise HttpError(400, "MISSING_ARG_TOPIC")
    name = arguments["topic"]
    if invalid is not None and not _is_valid(name):
        raise HttpError(400, invalid)
    return name


def _existing_topic(request: Request, invalid: str | None) -> Topic:
    name = _topic_argument(request.arguments(), invalid)
    if name not in request.edge.queue.topics:
        raise HttpError(404, "TOPIC_NOT_FOUND")
    return request.edge.queue.topics[name]


def _topic_and_channel(request: Request) -> tuple[Topic, str]:
    arguments = request.arguments()
    topic_name = _topic_argument(arguments, "INVALID_ARG_TOPIC")
    if "channel" not in arguments:
        raise HttpError(400, "MISSING_ARG_CHANNEL")
    if not _is_valid(arguments["channel"]):
        raise HttpError(400, "INVALID_ARG_CHANNEL")
    if topic_name not in request.edge.queue.topics:
        raise HttpError(404, "TOPIC_NOT_FOUND")
    return request.edge.queue.topics[topic_name], arguments["channel"]


def _existing_channel(request: Request) -> tuple[Topic, Channel]:
    topic, channel_name = _topic_and_channel(request)
    if channel_name not in topic.channels:
        raise HttpError(404, "CHANNEL_NOT_FOUND")
    return topic, topic.channels[channel_name]


def _is_valid(name: str) -> bool:
    return is_valid_name(name.encode())


def _defer_argument(text: str) -> int:
    if _DELAY.fullmatch(text) is None or len(text) > _DIGITS_MAX:
        raise HttpError(400, "INVALID_DEFER")
    delay_ms = int(text)
    if not 0 <= delay_ms <= limits.REQUEUE_DELAY_MAX_MS:
        raise HttpError(400, "INVALID_DEFER")
    return delay_ms
