"""One "host:port" of an nsqd: it is tried for ever, and a connection to it is replaced when it is lost.

Two routes may lead to one nsqd. Then one has the connection. The other closes its own before it subscribes,
and waits until the nsqd is lost.
"""

import asyncio
from random import Random
from typing import Protocol

from ..system.addresses import split_address
from .connection import BatchConnection
from .limits import Limits
from .nsqd_http import Told
from .offers import Offers
from .places import Place, ends_of, is_this_machine, own_end_of, place_of
from .resolver import resolve
from .security import PLAIN, Refused, Security

HANDSHAKE_TIMEOUT_S = 5.0  # from looking the name up until nsqd has agreed; then heartbeats find a dead nsqd
CONNECT_TIMEOUT_S = 2.0  # for one address of several
RETRY_S = 1.0
RETRY_S_MAX = 4.0
JITTER = 0.25  # a wait is longer by up to this part of it, so that not all come back at one moment
NO_ANSWER_RETRY_S = 30.0  # its messages took the place of other nsqds' all the time
STEADY_S = 10.0  # after a connection of this age, the first retry comes soon


class Routes(Protocol):
    """The owner of routes."""

    def found(self, route: "Route", conn: BatchConnection, place: Place) -> asyncio.Event | None:
        """A connection is agreed on. Subscribe it, or return an event if another route has that nsqd.

        The event is set when that route has lost the nsqd.
        """

    async def ask(self, route: "Route") -> None:
        """A connection is agreed on. Ask the nsqd what it tells of itself, `route.told`."""

    def failed(self, route: "Route", reason: str) -> None:
        """There is no connection; the route tries again."""

    def unsecured(self, route: "Route", reason: str) -> None:
        """There is no connection because TLS or AUTH failed; the route tries again."""


class Route:
    """One address. `place`: where it led the last time."""

    def __init__(
        self,
        address: str,
        routes: Routes,
        msg_timeout_s: float,
        security: Security = PLAIN,
        http_address: str = "",
        random: Random | None = None,
    ):
        """`random`: for the waits before a retry."""
        self.address = address
        self.http_address = http_address
        self.http_is_set = False  # by the settings, which may be wrong
        self.http_is_checked = True  # as far as it answers
        self.http_is_ours: bool | None = None  # False: it is another nsqd's. None: it has not said
        self.http_asked_s = float("-inf")  # when it was checked or guessed, by the loop's clock
        self.own_end = ""  # our end of the connection, as nsqd names it
        self.connected_s = 0.0  # when that came, by the loop's clock
        self.offers = Offers(msg_timeout_s)
        self.limits = Limits()
        self.place: Place | None = None
        self.conn: BatchConnection | None = None
        self.held: int | None = None  # messages that its nsqd held for us at the last look
        self.looked_s: float | None = None  # when that was, by the loop's clock
        self.told = Told()  # what its nsqd told of itself when the connection came
        self.wants_at_once = False
        self.was_connected = False
        self._host, self._port = split_address(address)
        self._routes = routes
        self._security = security
        self._retry_s = RETRY_S
        self._random = random or Random()

    def __str__(self) -> str:
        return self.address

    @property
    def cause(self) -> str:
        """What trouble with this nsqd is called: all its routes have the same trouble."""
        return self.place.key if self.place else self.address

    @property
    def about(self) -> dict[str, str]:
        """The field of a log line about this nsqd, or about the connection to it."""
        return {"nsqd": self.address}

    def take(self, conn: BatchConnection) -> None:
        """Have this connection. The HTTP address that the settings give is not checked with it yet."""
        self.conn = conn
        self.own_end = own_end_of(conn.socket)
        self.connected_s = asyncio.get_running_loop().time()
        self.http_is_checked = not self.http_is_set

    def told_http(self, http_address: str) -> None:
        """The nsqd has told an nsqlookupd where its HTTP is. An address that the settings give holds."""
        if not self.http_is_set:
            self.http_address = http_address

    async def run(self) -> None:
        """Connect, and connect again, for ever."""
        while True:
            if not await self._serve():
                await asyncio.sleep(self._retry_s * self._random.uniform(1, 1 + JITTER))
                self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)

    async def _serve(self) -> bool:
        """Be connected as long as it lasts. Returns whether to try again at once."""
        try:
            conn = await self._open()
        except Refused as error:
            self._routes.unsecured(self, str(error))
            return False
        except OSError as error:
            self._routes.failed(self, str(error))
            return False
        if conn is None:
            return True
        try:
            place = await self._place_of(conn)
            await self._routes.ask(self)
        except BaseException:
            conn.close()
            raise
        if conn.ended.done():
            self._routes.failed(self, conn.reason)
            return False
        lost = self._routes.found(self, conn, place)
        if lost is not None:
            conn.close()
            await lost.wait()
            return True
        began_s = asyncio.get_running_loop().time()
        await conn.ended
        if asyncio.get_running_loop().time() - began_s >= STEADY_S:
            self._retry_s = RETRY_S
        if conn.gave_no_answer:
            self._retry_s = NO_ANSWER_RETRY_S
        at_once, self.wants_at_once = self.wants_at_once, False
        return at_once

    async def _open(self) -> BatchConnection | None:
        """Return a connection that is agreed on; None if another IDENTIFY may succeed. Raises `OSError`."""
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                return await self._first_of(await resolve(self._host))
        except TimeoutError:
            raise OSError(f"no answer of an nsqd within {HANDSHAKE_TIMEOUT_S:g} s") from None

    async def _first_of(self, addresses: list[str]) -> BatchConnection | None:
        failed = OSError("no address")
        timeout_s = min(CONNECT_TIMEOUT_S, HANDSHAKE_TIMEOUT_S / len(addresses))
        for address in addresses:
            conn = BatchConnection(address, self._port, self.offers, self.limits, self._security, self._host)
            try:
                async with asyncio.timeout(timeout_s if address != addresses[-1] else None):
                    await conn.open()
                return conn
            except TimeoutError:
                failed = OSError(f"no answer of an nsqd within {timeout_s:g} s")
            except OSError as error:
                if self.offers.learn(conn.error):
                    return None
                failed = error
        raise failed

    async def _place_of(self, conn: BatchConnection) -> Place:
        ends = ends_of(conn.socket)
        if ends is None:
            return Place(self.address, frozenset())
        own, peer, port = ends
        if not is_this_machine(own, peer):
            return place_of(own, peer, port)
        place = await asyncio.to_thread(place_of, own, peer, port)  # reads files
        # An nsqd that ends closes its listener first, so that nobody tells which one it was.
        known = self.place
        return known if known is not None and place.key in known.names else place
