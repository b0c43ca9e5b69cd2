"""What an nsqlookupd is asked and what it says, and the nsqds that the settings mean.

The settings mean the nsqds that they name and those that their nsqlookupds know. An nsqd that is tombstoned
for our topic is about to be taken away: it counts only if the settings name it, or another nsqlookupd knows
it without a tombstone.
"""

import http.client
from collections.abc import Collection
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Meta, Struct

from ..config import Settings, without_secrets
from ..system.addresses import join_address, split_address
from ..system.direct_http import open_directly
from ..system.exits import Failure
from ..system.reasons import reason_of

TIMEOUT_S = 5.0
_NO_TOPIC = "TOPIC_NOT_FOUND"


class Found(Struct, frozen=True):
    """An nsqd: its "host:port"s for TCP and for HTTP, the latter "" if it has none."""

    address: str
    http_address: str = ""


class Nodes(Struct, frozen=True):
    """The "host:port"s of the nsqds that one nsqlookupd knows: those to use, and the tombstoned ones."""

    usable: list[str]
    tombstoned: list[str]


class Producer(Struct):
    """An nsqd as an nsqlookupd tells it."""

    broadcast_address: str
    tcp_port: Annotated[int, Meta(ge=1, le=65535)]
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    topics: list[str] | None = None
    tombstones: list[bool] | None = None

    @property
    def found(self) -> Found | None:
        """Where it is; None if its name can't be one."""
        host = self.broadcast_address
        address = join_address(host, self.tcp_port)
        try:
            usable = bool(split_address(address)[0]) and not any(
                byte.isspace() or byte == "/" for byte in host
            )
        except ValueError:
            usable = False
        if not usable:
            return None
        return Found(address, join_address(host, self.http_port) if self.http_port else "")

    def is_tombstoned(self, topics: Collection[str]) -> bool:
        """Whether it has a tombstone for one of these topics."""
        named = zip(self.topics or (), self.tombstones or (), strict=False)
        return any(is_tombstoned for topic, is_tombstoned in named if topic in topics)


class _Answer(Struct):
    producers: list[Producer] | None = None
    message: str = ""


class _Nodes(Struct):
    producers: list[Producer] | None


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
            nsqds = nodes_in(answer.read(), address, topics).usable
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failure(
            f"nsqlookupd {shown(address)} does not answer ({reason_of(error).strip()}), expected GET /nodes"
        ) from error
    if not nsqds:
        raise Failure(f"nsqlookupd {shown(address)} knows no nsqd, expected one at least")
    return nsqds


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


def producers_in(answer: bytes, address: str) -> list[Producer]:
    """Return the nsqds in the body of an answer to GET /nodes, but those whose name can't be one.

    A body of another form raises a `Failure` that names the nsqlookupd by its `address`.
    """
    try:
        told = msgspec.json.decode(answer, type=_Nodes).producers or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(
            f"nsqlookupd {shown(address)}: {error}, expected a list of nsqds from GET /nodes"
        ) from error
    return [one for one in told if one.found is not None]


def nodes_in(answer: bytes, address: str, topics: Collection[str]) -> Nodes:
    """Divide what `producers_in` returns. `topics`: whose tombstones count."""
    nodes = Nodes([], [])
    for one in producers_in(answer, address):
        if one.found is not None:
            (nodes.tombstoned if one.is_tombstoned(topics) else nodes.usable).append(one.found.address)
    return nodes


def nsqds_with_topic(code: int, answer: bytes) -> list[Found]:
    """Return the nsqds in an answer to `topic_url`, with its HTTP code. Raises `OSError` with the reason."""
    expected = "expected the answer of an nsqlookupd's HTTP port"
    try:
        told = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OSError(f"HTTP {code}, {error}; {expected}") from None
    if code == 404 and told.message == _NO_TOPIC:
        return []
    if code != 200:
        raise OSError(f"HTTP {code}; {expected}")
    return [one.found for one in told.producers or () if one.found is not None]
