"""Asks an nsqd over HTTP: what waits on a channel, and which TCP port the nsqd has.

It only reads. It asks no proxy, because an nsqd is an inner address. Every question ends within `TIMEOUT_S`.
"""

import asyncio
import re
import ssl
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Meta, Struct
from tornado.httpclient import HTTPRequest
from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPStreamClosedError, SimpleAsyncHTTPClient

from ..system.addresses import join_address, split_address
from .dialing import LivingResolver
from .lookup import HOST_CHARACTERS_MAX
from .readers import NUMBER_MAX, Reader
from .security import https_trouble

TIMEOUT_S = 1.0
BODY_BYTES_MAX = 1024 * 1024
NODE_ID_MAX = 1023  # an id has 10 bits for it
CLIENTS_BYTES_MAX = 16 * 1024 * 1024  # some 25,000 clients, producers among them

_Count = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
_Answer = TypeVar("_Answer")


class QueueStats(Struct, frozen=True):
    """What an nsqd says of a topic and one channel of it. Without the topic or the channel: nothing waits.

    `depth`, `topic_depth`: messages that wait. `in_flight`, `deferred`: messages of the channel that nsqd has
    sent and that are not finished, and messages that nsqd will send later. `clients`: the consumers of the
    channel. `messages`: all that the channel has had since the nsqd started, at `started_s` (Unix seconds).
    `readers`: the consumers, and `others`: those of them that are not ours; None if nobody asked.
    """

    topic_depth: int = 0
    topic_paused: bool = False
    depth: int = 0
    in_flight: int = 0
    deferred: int = 0
    paused: bool = False
    clients: int = 0
    messages: int = 0
    started_s: int = 0
    readers: tuple[Reader, ...] | None = None
    others: tuple[Reader, ...] | None = None
    has_topic: bool = False
    has_channel: bool = False

    @property
    def unfinished(self) -> int:
        """The messages of the channel that are not finished, wherever they are."""
        return self.depth + self.in_flight + self.deferred

    @property
    def held(self) -> int:
        """The messages that a consumer of the channel has not finished, or has not got yet."""
        return self.unfinished + self.topic_depth

    @property
    def waiting(self) -> int:
        """The messages that wait for a consumer of the channel, and that a consumer may have now."""
        if self.paused:
            return 0
        return self.depth + (0 if self.topic_paused else self.topic_depth)


class _Channel(Struct):
    channel_name: str
    depth: _Count
    in_flight_count: _Count
    deferred_count: _Count
    paused: bool
    client_count: _Count = 0
    message_count: _Count = 0
    clients: list[Reader] | None = None


class _Topic(Struct):
    topic_name: str
    depth: _Count
    paused: bool
    channels: list[_Channel] | None = None


class _Stats(Struct):
    topics: list[_Topic] | None = None
    start_time: _Count = 0


class _Info(Struct):
    tcp_port: int
    hostname: str = ""


class Told(Struct, frozen=True):
    """What an nsqd tells of itself: the node id in the ids that it makes, and its host's name, if it does."""

    node_id: int | None = None
    host: str = ""


class _TlsRequired(Struct):
    """What nsqd's HTTP answers to everything with --tls-required=true, with 403."""

    https_port: Annotated[int, Meta(ge=1, le=65535)]


async def stats(
    address: str, topic: str, channel: str, tls: ssl.SSLContext | None = None
) -> QueueStats | None:
    """Return what the nsqd at `address` says of a channel; None without an answer that can be understood.

    `address`: "host:port", or a URL with "http://" or "https://". `tls`: for https, `Security.nsqd_tls`. An
    nsqd whose HTTP says that it wants TLS is asked over https. Takes `TIMEOUT_S` at most.
    """
    asked = {"format": "json", "topic": topic, "channel": channel}
    asked |= {"include_clients": "false", "include_mem": "false"}
    return _of(await _get(address, f"/stats?{urlencode(asked)}", _Stats, tls), topic, channel)


async def readers(
    address: str, topic: str, channel: str, tls: ssl.SSLContext | None = None
) -> list[Reader] | None:
    """Return the consumers of a channel; None without an answer that can be understood.

    `address`, `tls`: as in `stats`. Takes `TIMEOUT_S` at most.
    """
    asked = {"format": "json", "topic": topic, "channel": channel, "include_mem": "false"}
    found = await _get(address, f"/stats?{urlencode(asked)}", _Stats, tls, CLIENTS_BYTES_MAX)
    channels = [one for each in (found.topics or () if found else ()) for one in each.channels or ()]
    of_channel = [one for one in channels if one.channel_name == channel]
    return None if found is None else [each for one in of_channel for each in one.clients or ()]


async def tcp_port(address: str, tls: ssl.SSLContext | None = None) -> int | None:
    """Return the TCP port of the nsqd whose HTTP is at `address`; None without an answer of an nsqd.

    `address`, `tls`: as in `stats`. Takes `TIMEOUT_S` at most.
    """
    info = await _get(address, "/info", _Info, tls)
    return info.tcp_port if info else None


async def told_by(address: str, tls: ssl.SSLContext | None = None) -> Told:
    """Return what the nsqd whose HTTP is at `address` tells of itself.

    `address`, `tls`: as in `stats`. Takes `TIMEOUT_S` at most.
    """
    info, node_id = await asyncio.gather(
        _get(address, "/info", _Info, tls), _get(address, "/config/id", int, tls)
    )
    if node_id is not None and not 0 <= node_id <= NODE_ID_MAX:
        node_id = None
    if info is None:
        return Told()
    return Told(node_id, info.hostname if len(info.hostname) <= HOST_CHARACTERS_MAX else "")


async def why_silent(address: str, tls: ssl.SSLContext | None = None) -> str:
    """Return in words why `tcp_port` returns None.

    `address`, `tls`: as in `stats`. Takes `TIMEOUT_S` at most.
    """
    try:
        code, _ = await _ask(address, "/info", tls)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return "what answers there is no nsqd" if code == HTTPStatus.OK else f"it answers HTTP {code}"


async def next_port(tcp_address: str, tls: ssl.SSLContext | None = None) -> str:
    """Return the address with the port after an nsqd's TCP port, where its HTTP usually is.

    Returns "" if no nsqd answers there that says that its TCP port is this one. `tls`: as in `stats`. Takes
    `TIMEOUT_S` at most.
    """
    host, port = split_address(tcp_address)
    guess = join_address(host, port + 1)
    return guess if 0 < port < 65535 and await tcp_port(guess, tls) == port else ""


def _of(found: _Stats | None, topic: str, channel: str) -> QueueStats | None:
    if found is None:
        return None
    of_topic = next((one for one in found.topics or () if one.topic_name == topic), None)
    if of_topic is None:
        return QueueStats(started_s=found.start_time)
    of_channel = next((one for one in of_topic.channels or () if one.channel_name == channel), None)
    if of_channel is None:
        return QueueStats(
            topic_depth=of_topic.depth,
            topic_paused=of_topic.paused,
            started_s=found.start_time,
            has_topic=True,
        )
    return QueueStats(
        topic_depth=of_topic.depth,
        topic_paused=of_topic.paused,
        depth=of_channel.depth,
        in_flight=of_channel.in_flight_count,
        deferred=of_channel.deferred_count,
        paused=of_channel.paused,
        clients=of_channel.client_count,
        messages=of_channel.message_count,
        started_s=found.start_time,
        has_topic=True,
        has_channel=True,
    )


async def _get(
    address: str,
    path: str,
    kind: type[_Answer],
    tls: ssl.SSLContext | None,
    bytes_max: int = BODY_BYTES_MAX,
) -> _Answer | None:
    try:
        code, body = await _ask(address, path, tls, bytes_max)
        return msgspec.json.decode(body, type=kind) if code == HTTPStatus.OK else None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # TimeoutError is an OSError
        return None


async def _ask(
    address: str, path: str, tls: ssl.SSLContext | None, bytes_max: int = BODY_BYTES_MAX
) -> tuple[int, bytes]:
    """Return the code and the body of an answer. Raises as `fetch`, and `msgspec.MsgspecError`."""
    url = (address if re.match("https?://", address) else f"http://{address}").rstrip("/")
    async with asyncio.timeout(TIMEOUT_S):
        code, body = await fetch(url + path, TIMEOUT_S, bytes_max, tls)
        if code == HTTPStatus.FORBIDDEN and tls is not None:
            port = msgspec.json.decode(body, type=_TlsRequired).https_port
            https = f"https://{join_address(urlsplit(url).hostname or '', port)}"
            code, body = await fetch(https + path, TIMEOUT_S, bytes_max, tls)
        return code, body


async def fetch(
    url: str, timeout_s: float, body_bytes_max: int, tls: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """Return the code and the body of the answer to a GET. Raises `OSError` with the reason.

    `tls`: for https; None for one that trusts the system's authorities. No proxy is asked and no redirect is
    followed. Of a name with several addresses, one that takes connections is asked. Takes `timeout_s` at
    most.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _fetch(url, timeout_s, body_bytes_max, tls)
    except TimeoutError:
        raise OSError(f"no answer within {timeout_s:g} s") from None


async def _fetch(
    url: str, timeout_s: float, body_bytes_max: int, tls: ssl.SSLContext | None
) -> tuple[int, bytes]:
    client = SimpleAsyncHTTPClient(
        force_instance=True, resolver=LivingResolver(), max_buffer_size=body_bytes_max
    )
    request = HTTPRequest(
        url,
        headers={"Accept": "application/vnd.nsq; version=1.0"},
        connect_timeout=timeout_s,
        request_timeout=timeout_s,
        follow_redirects=False,
        decompress_response=False,
        ssl_options=tls,
    )
    try:
        fetching = client.fetch(request, raise_error=False)
        fetching.add_done_callback(lambda done: done.cancelled() or done.exception())  # then it is not logged
        await asyncio.wait({fetching})  # tornado logs what happens after a cancel
        answer = fetching.result()
    except ssl.SSLError as error:
        raise OSError(https_trouble(error)) from None
    except HTTPStreamClosedError:
        raise OSError("it gave no answer of HTTP, or a longer one than is read") from None
    except UnsatisfiableReadError:
        raise OSError("the head of its answer is longer than 64 KiB") from None
    except OSError as error:
        raise OSError(error.strerror or str(error)) from None
    except Exception as error:  # noqa: BLE001 - tornado has many, for odd answers and for odd host names
        raise OSError(str(error) or f"it can't be asked ({type(error).__name__})") from None
    finally:
        client.close()
    if answer.code == HTTPStatus.BAD_REQUEST and b"HTTPS" in answer.body and url.startswith("http:"):
        raise OSError("it wants https there: write https:// before the address")
    return answer.code, answer.body
