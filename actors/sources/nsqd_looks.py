"""Looks at nsqds over HTTP for the source: where the HTTP is, whether it is that nsqd's, what waits there.

An address that the settings give goes before one that an nsqlookupd tells, whatever the nsqd's name. It is
checked as soon as we are connected, and again now and then: with the HTTP of another nsqd we would look at
the wrong queue. Such an address is not used, and the log says so.
"""

import asyncio
from collections.abc import Mapping

from ..core.stats import NsqdStats
from ..system.addresses import split_address
from . import nsqd_http
from .readers import Reader, is_anothers
from .route import Route
from .same_nsqd import SameNsqds
from .security import Security
from .source import NsqdState
from .troubles import Troubles

AGAIN_S = 10.0  # a wrong guess, or a wrong setting, asks a stranger


class NsqdLooks:
    """The looks of one source. `routes`: all of the source, by their address."""

    def __init__(
        self,
        topic: str,
        channel: str,
        client_id: str,
        security: Security,
        routes: Mapping[str, Route],
        same: SameNsqds,
        troubles: Troubles,
    ):
        self._topic, self._channel, self._client_id = topic, channel, client_id
        self._security = security
        self._routes = routes
        self._same = same
        self._troubles = troubles
        self._loop = asyncio.get_running_loop()

    def state_of(self, route: Route) -> NsqdState:
        """Return what is known of the nsqd of a route: of the one with the connection, if one has it."""
        same, conn = self._same.of(route), route.conn
        looks = [(one.looked_s, one.held) for one in same if one.looked_s is not None]
        looked_s, held = max(looks, default=(None, None), key=lambda look: look[0])
        names = {name for one in same for name in (one.address, *(one.place.names if one.place else ()))}
        wrong = next((one.http_address for one in same if one.http_is_ours is False), "")
        http_address = self.http_of(route)
        stats = NsqdStats(
            route.address,
            http_address,
            conn is not None,
            conn.last_rdy if conn else 0,
            in_flight=0,
            names=sorted(names),
            held=held,
            looked_ms=None if looked_s is None else self._ms_since(looked_s),
            own_ends=[route.own_end] if conn else [],
            connected_ms=self._ms_since(route.connected_s) if conn else 0,
            wrong_http="" if http_address else wrong,
            is_checked=all(one.http_is_checked for one in same),
        )
        return NsqdState(conn.number if conn else None, stats)

    def http_of(self, route: Route) -> str:
        """The HTTP address of a route's nsqd: one that is set, else the route's, else another's; else ""."""
        usable = [one for one in self._same.of(route) if one.http_address and one.http_is_ours is not False]
        return min(usable, key=lambda one: not one.http_is_set).http_address if usable else ""

    async def look(self, route: Route) -> int | None:
        """Return how many messages wait for us in the nsqd of a route; None if that is not known."""
        is_due = self._loop.time() - route.http_asked_s >= AGAIN_S
        if self._is_unsure(route) or (is_due and not self.http_of(route)):
            await self.find(route)
        if self._is_unsure(route):
            return None
        http_address = self.http_of(route)
        tls = self._security.nsqd_tls()
        stats = http_address and await nsqd_http.stats(http_address, self._topic, self._channel, tls)
        if not stats:
            return None
        route.held, route.looked_s = stats.held, self._loop.time()
        return stats.waiting

    async def ask(self, route: Route) -> None:
        """Ask the nsqd of a route what it tells of itself, before it is read. Sets `route.told`.

        A connection that looks alive may lead to where the same nsqd was before: nobody tells us if its host
        has gone. So an nsqd with the same node id has to answer, or its connection is closed.
        """
        if not self.http_of(route):
            await self.find(route)
        route.told = await self._told_by(route)
        if route.told.node_id is not None:
            others = [one for one in self._routes.values() if one is not route and one.conn is not None]
            alike = [one for one in others if one.told.node_id == route.told.node_id]
            await asyncio.gather(*map(self._confirm, alike))

    async def _told_by(self, route: Route) -> nsqd_http.Told:
        address = self.http_of(route)
        return await nsqd_http.told_by(address, self._security.nsqd_tls()) if address else nsqd_http.Told()

    async def _confirm(self, route: Route) -> None:
        conn = route.conn
        if await self._told_by(route) != route.told and conn is not None and conn is route.conn:
            conn.refuse("an nsqd with its node id is there, and its own HTTP does not answer")
            await conn.ended

    async def find(self, route: Route) -> None:
        """Check the HTTP address that the settings give for a route, or guess where the HTTP is."""
        route.http_asked_s = self._loop.time()
        if any(one.http_is_set for one in self._same.of(route)):
            # A new connection may show that an address is another nsqd's.
            connected = [one for one in self._routes.values() if one.http_is_set and self._reader_of(one)]
            await asyncio.gather(*map(self._check, connected))
        elif not route.http_address:
            found = await nsqd_http.next_port(route.address, self._security.nsqd_tls())
            route.http_address = found or route.http_address

    def _is_unsure(self, route: Route) -> bool:
        """Whether it is not known yet if an HTTP address that the settings give is that nsqd's."""
        return any(one.http_is_set and one.http_is_ours is None for one in self._same.of(route))

    def _reader_of(self, route: Route) -> Route | None:
        """The route that has the connection to a route's nsqd."""
        return next((one for one in self._same.of(route) if one.conn is not None), None)

    async def _check(self, route: Route) -> None:
        address, tls = route.http_address, self._security.nsqd_tls()
        tcp_port = await nsqd_http.tcp_port(address, tls)
        readers = await nsqd_http.readers(address, self._topic, self._channel, tls)
        reader = self._reader_of(route)
        if reader is None:
            return
        route.http_is_checked = True
        if tcp_port is None:
            return  # it does not answer, so nothing can be taken for what this nsqd says
        what = f"the HTTP of {route.address}"
        route.http_is_ours = not self._is_wrong(
            reader, {route.address, reader.address}, tcp_port, readers or []
        )
        if not route.http_is_ours:
            self._troubles.wrong(
                what,
                f"nsqd {route.address}: the HTTP at {address} is that of another nsqd (its TCP port is "
                f"{tcp_port}): see nsq.nsqd_http_addresses. What waits on this nsqd is not known",
                nsqd=route.address,
            )
            if reader.told.node_id is not None and reader.conn is not None:
                reader.conn.refuse("the HTTP that told its node id is another nsqd's")
        else:
            text = f"nsqd {route.address}: the HTTP at {address} is this nsqd's"
            self._troubles.over(what, text, nsqd=route.address)

    def _is_wrong(self, reader: Route, addresses: set[str], tcp_port: int, readers: list[Reader]) -> bool:
        """Whether an HTTP address is another nsqd's than the one that `reader` is connected to.

        `addresses`: of that nsqd. `tcp_port` and `readers`: what was told at the HTTP address.
        """
        others = {
            one.own_end
            for one in self._routes.values()
            if one.conn and one.own_end and one.cause != reader.cause
        }
        is_our_port = tcp_port in {split_address(one)[1] for one in addresses}
        return is_anothers(readers, self._client_id, reader.own_end, others, is_our_port)

    def _ms_since(self, at_s: float) -> int:
        return round((self._loop.time() - at_s) * 1000)
