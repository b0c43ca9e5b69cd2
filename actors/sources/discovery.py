"""Asks every nsqlookupd, each by itself, which nsqds have the topic: one that hangs holds up no other."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from ..system.addresses import join_address, split_address
from .nsqd_http import fetch
from .troubles import Troubles

INTERVAL_S = 1.0
TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024
_NO_TOPIC = "TOPIC_NOT_FOUND"


class Found(Struct, frozen=True):
    """An nsqd that has the topic: its "host:port"s for TCP and for HTTP."""

    address: str
    http_address: str


class _Producer(Struct):
    broadcast_address: str
    tcp_port: Annotated[int, Meta(ge=1, le=65535)]
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 0


class _Answer(Struct):
    producers: list[_Producer] | None = None
    message: str = ""


class Discovery:
    """What the nsqlookupds said last. One that does not answer has said what it said before."""

    def __init__(
        self,
        addresses: list[str],
        topic: str,
        found: Callable[[list[Found]], None],
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ):
        """`found` gets all nsqds after every answer. `tls`: the newest context for https."""
        self._topic = topic
        self._found = found
        self._tls = tls
        self._said: dict[str, list[Found]] = {}
        self._troubles = Troubles(time.monotonic)
        self._addresses = addresses

    async def run(self) -> None:
        """Ask for ever."""
        await asyncio.gather(*(self._ask_on(address) for address in self._addresses))

    async def _ask_on(self, address: str) -> None:
        while True:
            try:
                self._said[address] = await self._ask(address)
            except OSError as error:
                self._troubles.wrong(
                    address,
                    f"nsqlookupd {address} names no nsqds of the topic {self._topic} ({error}): see "
                    "nsq.lookupd_http_addresses. Known nsqds are still read; asking again every second",
                )
            else:
                self._troubles.over(address, f"nsqlookupd {address} answers again")
                self._tell()
            await asyncio.sleep(INTERVAL_S)

    def _tell(self) -> None:
        found = {one.address: one for said in self._said.values() for one in said}
        topic = f"topic {self._topic}"
        if found:
            self._troubles.over(topic, f"an nsqd has the {topic}")
        else:
            self._troubles.wrong(
                topic,
                f"no nsqd has the {topic}, as {', '.join(sorted(self._said))} know: see nsq.topic. The first "
                "message of a topic creates it; asking again every second",
            )
        self._found([found[address] for address in sorted(found)])

    async def _ask(self, address: str) -> list[Found]:
        base = (address if "://" in address else f"http://{address}").rstrip("/")
        url = f"{base}/lookup?{urlencode({'topic': self._topic})}"
        code, body = await fetch(url, TIMEOUT_S, ANSWER_BYTES_MAX, self._tls())
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise OSError(f"HTTP {code}, {error}; expected the answer of an nsqlookupd's HTTP port") from None
        if code == 404 and answer.message == _NO_TOPIC:
            return []
        if code != 200:
            raise OSError(f"HTTP {code}; expected the answer of an nsqlookupd's HTTP port")
        return [found for one in answer.producers or () if (found := _found(one)) is not None]


def _found(producer: _Producer) -> Found | None:
    host = producer.broadcast_address
    address = join_address(host, producer.tcp_port)
    try:
        usable = bool(split_address(address)[0]) and not any(byte.isspace() or byte == "/" for byte in host)
    except ValueError:
        usable = False
    if not usable:
        return None
    return Found(address, join_address(host, producer.http_port) if producer.http_port else "")
