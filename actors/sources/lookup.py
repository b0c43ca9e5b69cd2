"""What an nsqlookupd is asked and what it says, and the nsqds that the settings mean.

The settings mean the nsqds that they name and those that their nsqlookupds know. An nsqd that is tombstoned
for our topic is about to be taken away: it counts only if the settings name it, or another nsqlookupd knows
it without a tombstone.
"""

import http.client
import ipaddress
import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Meta, Struct

from ..config import Settings, without_secrets
from ..core.words import counted
from ..system.addresses import join_address
from ..system.direct_http import open_directly
from ..system.exits import Failure
from ..system.reasons import reason_of

TIMEOUT_S = 5.0
NSQDS_MAX = 256  # that are read: each costs a connection, and a question over HTTP every second
HOST_CHARACTERS_MAX = 253  # of a name that a name server can have (RFC 1035)
_NO_TOPIC = "TOPIC_NOT_FOUND"
_HOST = re.compile(r"[\w.-]+|[\da-fA-F.]*:[\da-fA-F:.]*(%[\w.-]+)?")  # a name, or an IP address
_SHOWN_CHARACTERS = 200  # of an nsqd that is left out


class Found(Struct, frozen=True):
    """An nsqd: its "host:port"s for TCP and for HTTP, the latter "" if it has none."""

    address: str
    http_address: str = ""


class Nodes(Struct, frozen=True):
    """The "host:port"s of the nsqds that one nsqlookupd knows: those to use, and the tombstoned ones.

    `left_out`: in words, which ones can't be nsqds; "" if all can.
    """

    usable: list[str]
    tombstoned: list[str]
    left_out: str = ""


class Named(Struct, frozen=True):
    """The nsqds that one nsqlookupd names for a topic. `left_out`: as in `Nodes`."""

    found: list[Found]
    left_out: str = ""


class Producer(Struct):
    """An nsqd as an nsqlookupd tells it."""

    broadcast_address: str
    tcp_port: Annotated[int, Meta(ge=1, le=65535)]
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    topics: list[str] | None = None
    tombstones: list[bool] | None = None

    @property
    def found(self) -> Found:
        """Where it is."""
        host = self.broadcast_address
        http_address = join_address(host, self.http_port) if self.http_port else ""
        return Found(join_address(host, self.tcp_port), http_address)

    def is_tombstoned(self, topics: Collection[str]) -> bool:
        """Whether it has a tombstone for one of these topics."""
        named = zip(self.topics or (), self.tombstones or (), strict=False)
        return any(is_tombstoned for topic, is_tombstoned in named if topic in topics)


class _Answer(Struct):
    producers: list[msgspec.Raw] | None = None
    message: str = ""


class _Nodes(Struct):
    producers: list[msgspec.Raw] | None


_producer = msgspec.json.Decoder(Producer)


def topics_of(settings: Settings) -> set[str]:
    """Return the topics that we use: of the plays, and of the publishes if they go to a topic."""
    return {settings.nsq.topic, settings.publish.nsq_topic} - {""}


def nsqds_of(settings: Settings) -> list[str]:
    """Return the "host:port" of every nsqd that the settings mean, one or more, each once. Raises `Failure`.

    Blocks while it asks nsqlookupds, if the settings name nsqlookupds. One that does not answer is left out.
    """
    found, problems = list(settings.nsqd_addresses), []
    for address in settings.nsq.lookupd_http_addresses:
        try:
            found += ask_lookupd(address, topics_of(settings))
        except Failure as failure:
            problems.append(str(failure))
    if not found:
        raise Failure("; ".join(problems))
    return list(dict.fromkeys(found))


def ask_lookupd(address: str, topics: Collection[str] = ()) -> list[str]:
    """Return the "host:port" of every nsqd, one or more, that the nsqlookupd at `address` knows.

    Nsqds that are tombstoned for one of `topics` are left out. `address`: "host:port" or a URL. Blocks; waits
    at most `TIMEOUT_S` for the next bytes. Raises `Failure`.
    """
    try:
        with open_directly(nodes_url(address), TIMEOUT_S) as answer:
            nodes = nodes_in(answer.read(), address, topics)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failure(
            f"nsqlookupd {shown(address)} does not answer ({reason_of(error).strip()}), expected GET /nodes"
        ) from error
    if not nodes.usable:
        left_out = f" ({nodes.left_out})" if nodes.left_out else ""
        raise Failure(f"nsqlookupd {shown(address)} knows no nsqd{left_out}, expected one at least")
    return nodes.usable


def shown(address: str) -> str:
    """An nsqlookupd's address for people: without a password, and without the query, which may be secret."""
    return without_secrets(address)


def nodes_url(address: str) -> str:
    """Return the URL that an nsqlookupd lists its nsqds under. `address`: "host:port" or a URL."""
    return _url(address, "/nodes")


def topic_url(address: str, topic: str) -> str:
    """Return the URL under which an nsqlookupd lists the nsqds that have a topic. `address`: as above."""
    return _url(address, "/lookup", urlencode({"topic": topic}))


def _url(address: str, path: str, query: str = "") -> str:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    queries = "&".join(one for one in (parts.query, query) if one)
    return parts._replace(path=parts.path.rstrip("/") + path, query=queries).geturl()


def producers_in(answer: bytes, address: str) -> tuple[list[Producer], str]:
    """Return the nsqds in the body of an answer to GET /nodes, and which were left out (see `Nodes`).

    A body of another form raises a `Failure` that names the nsqlookupd by its `address`.
    """
    try:
        told = msgspec.json.decode(answer, type=_Nodes).producers or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(
            f"nsqlookupd {shown(address)}: {error}, expected a list of nsqds from GET /nodes"
        ) from error
    return _producers(told)


def nodes_in(answer: bytes, address: str, topics: Collection[str]) -> Nodes:
    """Divide what `producers_in` returns. `topics`: whose tombstones count."""
    producers, left_out = producers_in(answer, address)
    nodes = Nodes([], [], left_out)
    for one in producers:
        (nodes.tombstoned if one.is_tombstoned(topics) else nodes.usable).append(one.found.address)
    return nodes


def _producers(told: list[msgspec.Raw]) -> tuple[list[Producer], str]:
    """Read each by itself: anybody can register anything at an nsqlookupd, and the others still count."""
    producers: list[Producer] = []
    odd, first = 0, ""
    for one in told:
        try:
            producers.append(_usable(_producer.decode(one)))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            odd += 1
            first = first or f"{bytes(one)[:_SHOWN_CHARACTERS].decode(errors='replace')!r} ({error})"
    return producers, f"{counted(odd, 'nsqd')} that can't be one, the first {first}" if odd else ""


def _usable(producer: Producer) -> Producer:
    """Return the producer. Raises `ValueError` if its name can't be a host's."""
    host = producer.broadcast_address
    if len(host) > HOST_CHARACTERS_MAX:
        raise ValueError(f"a host name has {HOST_CHARACTERS_MAX} characters at most")
    if not _HOST.fullmatch(host):
        raise ValueError("broadcast_address is no name of a host")
    if ":" in host:
        ipaddress.ip_address(host)
    return producer


def nsqds_with_topic(code: int, answer: bytes) -> Named:
    """Return the nsqds in an answer to `topic_url`, with its HTTP code. Raises `OSError` with the reason."""
    expected = "expected the answer of an nsqlookupd's HTTP port"
    try:
        told = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OSError(f"HTTP {code}, {error}; {expected}") from None
    if code == 404 and told.message == _NO_TOPIC:
        return Named([])
    if code != 200:
        raise OSError(f"HTTP {code}; {expected}")
    producers, left_out = _producers(told.producers or [])
    return Named([one.found for one in producers], left_out)
