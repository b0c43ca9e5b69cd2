"""Asks every nsqlookupd once a second, each by itself: one that hangs holds up no other.

One that does not answer has said what it said before.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from ..system.connections import descriptors_max
from ..system.exits import Failure
from .lookup import NSQDS_MAX, Found, Named, Nodes, nodes_in, nodes_url, nsqds_with_topic, shown, topic_url
from .nsqd_http import fetch
from .troubles import Troubles

INTERVAL_S = 1.0
TIMEOUT_S = 2.0
FIRST_ANSWER_S = 0.5  # how long the first publish may wait for an nsqlookupd, if an nsqd is configured
ANSWER_BYTES_MAX = 8 * 1024 * 1024
_OTHER_FILES = 64  # that the consumer opens
_Said = TypeVar("_Said")


def nsqds_max(configured: int) -> int:
    """How many nsqds are read of those that nsqlookupds name, beside the `configured` ones."""
    files = descriptors_max()
    return NSQDS_MAX if files is None else max(1, min(NSQDS_MAX, (files - _OTHER_FILES) // 2 - configured))


class Discovery:
    """Which nsqds have the topic, for a reader."""

    def __init__(
        self,
        addresses: list[str],
        topic: str,
        found: Callable[[list[Found]], None],
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        known: Collection[Found] = (),
    ):
        """`found` gets all nsqds after every answer. `tls`: the newest context for https.

        `known`: what the nsqlookupds said to an earlier discovery, which counts until they answer.
        """
        self._topic = topic
        self._found = found
        self._tls = tls
        self._said = {address: list(known) for address in addresses if known}
        self._troubles = Troubles(time.monotonic)
        self._addresses = addresses

    @property
    def unheard(self) -> list[str]:
        """The nsqlookupds, for people, if none has ever answered; else none.

        An nsqd tells every nsqlookupd that it is there, so one that has answered is enough.
        """
        return [] if self._said else [*map(shown, self._addresses)]

    async def run(self) -> None:
        """Ask for ever."""
        await _ask_for_ever(self._addresses, self._ask, self._answered, self._failed)

    def _answered(self, address: str, said: list[Found]) -> None:
        self._said[address] = said
        self._troubles.over(address, f"nsqlookupd {shown(address)} answers again", nsqlookupd=shown(address))
        self._tell()

    def _failed(self, address: str, error: OSError) -> None:
        self._troubles.wrong(
            address,
            f"nsqlookupd {shown(address)} names no nsqds of the topic {self._topic} ({error}): see "
            "nsq.lookupd_http_addresses. Known nsqds are still read; asking again every second",
            nsqlookupd=shown(address),
        )

    def _tell(self) -> None:
        found = {one.address: one for said in self._said.values() for one in said}
        topic = f"topic {self._topic}"
        if found:
            self._troubles.over(topic, f"an nsqd has the {topic}")
        else:
            self._troubles.wrong(
                topic,
                f"no nsqd has the {topic}, as {', '.join(sorted(map(shown, self._said)))} know: see "
                "nsq.topic. The first message of a topic creates it; asking again every second",
            )
        self._found([found[address] for address in sorted(found)])

    async def _ask(self, address: str) -> list[Found]:
        named = await ask_for_topic(address, self._topic, TIMEOUT_S, self._tls())
        odd = f"odd nsqds at {address}"
        if named.left_out:
            text = f"nsqlookupd {shown(address)} names {named.left_out}; the others are used"
            self._troubles.wrong(odd, text, nsqlookupd=shown(address))
        else:
            text = f"nsqlookupd {shown(address)} names nothing that can't be an nsqd"
            self._troubles.over(odd, text, nsqlookupd=shown(address))
        return named.found


class Publishable:
    """The nsqds to publish on: those configured, then those that the nsqlookupds know.

    An nsqd need not have the topic: the first message makes it. `run` asks; without nsqlookupds it ends at
    once.
    """

    def __init__(
        self,
        configured: list[str],
        lookupds: list[str],
        topics: Collection[str],
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ):
        """`topics`: an nsqd that is tombstoned for one of them is not used. `tls`: the newest context."""
        self._configured = configured
        self._lookupds = lookupds
        self._topics = topics
        self._tls = tls
        self._said: dict[str, Nodes] = {}
        self._wrong: dict[str, str] = {}
        self._heard = asyncio.Event()

    @property
    def tombstoned(self) -> set[str]:
        """The "host:port"s that are not to be used any more, even if there is a connection."""
        told = {address for nodes in self._said.values() for address in nodes.tombstoned}
        return told.difference(self._usable)

    async def run(self) -> None:
        """Ask for ever."""
        await _ask_for_ever(self._lookupds, self._ask, self._answered, self._failed)

    async def known(self) -> list[str]:
        """Return the "host:port" of every nsqd, one or more, each once. Raises `OSError` with the reasons.

        Waits for the first answer of an nsqlookupd, but not for long if an nsqd is configured. Then it waits
        for nobody.
        """
        try:
            async with asyncio.timeout(FIRST_ANSWER_S if self._configured else None):
                while not self._said and len(self._wrong) < len(self._lookupds):
                    self._heard.clear()
                    await self._heard.wait()
                while not self._usable and not self._all_heard:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            pass
        if not self._usable:
            raise OSError("; ".join(self._reasons()))
        return self._usable

    @property
    def _all_heard(self) -> bool:
        return len(self._said.keys() | self._wrong.keys()) == len(self._lookupds)

    @property
    def _usable(self) -> list[str]:
        discovered = {address: None for nodes in self._said.values() for address in nodes.usable}
        if len(discovered) > NSQDS_MAX:
            discovered = dict.fromkeys(sorted(discovered)[:NSQDS_MAX])  # always the same ones
        return list(dict.fromkeys((*self._configured, *discovered)))

    def _reasons(self) -> list[str]:
        return [
            f"nsqlookupd {shown(address)}: {self._wrong.get(address, 'knows no nsqd that may be used')}"
            for address in self._lookupds
        ]

    def _answered(self, address: str, said: Nodes) -> None:
        self._said[address] = said
        self._wrong.pop(address, None)
        self._heard.set()

    def _failed(self, address: str, error: OSError) -> None:
        self._wrong[address] = str(error)
        self._heard.set()

    async def _ask(self, address: str) -> Nodes:
        code, body = await fetch(nodes_url(address), TIMEOUT_S, ANSWER_BYTES_MAX, self._tls())
        if code != 200:
            raise OSError(f"HTTP {code}; expected the answer of an nsqlookupd's HTTP port")
        try:
            return nodes_in(body, address, self._topics)
        except Failure as failure:
            raise OSError(str(failure)) from None


async def ask_for_topic(
    address: str, topic: str, timeout_s: float, tls: ssl.SSLContext | None = None
) -> Named:
    """Return the nsqds that have the topic, as an nsqlookupd says. Raises `OSError` with the reason.

    `address`: "host:port" or a URL. `tls`: for https. Takes `timeout_s` at most.
    """
    code, body = await fetch(topic_url(address, topic), timeout_s, ANSWER_BYTES_MAX, tls)
    return nsqds_with_topic(code, body)


async def _ask_for_ever(
    addresses: list[str],
    ask: Callable[[str], Awaitable[_Said]],
    answered: Callable[[str, _Said], None],
    failed: Callable[[str, OSError], None],
) -> None:
    async def ask_on(address: str) -> None:
        while True:
            try:
                said = await ask(address)
            except OSError as error:
                failed(address, error)
            else:
                answered(address, said)
            await asyncio.sleep(INTERVAL_S)

    await asyncio.gather(*map(ask_on, addresses))
