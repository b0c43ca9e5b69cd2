"""The source on nsqd: every nsqd that the settings or nsqlookupds name, each read on one connection.

An nsqd with several names is one nsqd, and one source of message ids (`places.py`). An nsqd that is lost is
tried again, for ever. A discovered nsqd is tried as long as the last answer of some nsqlookupd names it.
While it is connected, it is read, even if no nsqlookupd names it: it may hold plays.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any

from ..core.consumer.frames import FrameParser, Parsed
from ..core.consumer.identified import make_bodies
from ..core.consumer.terms import Terms
from ..core.words import counted
from .connection import BatchConnection
from .discovery import Discovery, nsqds_max
from .lookup import NSQDS_MAX, Found
from .nsqd_looks import NsqdLooks
from .places import Place
from .route import Route
from .same_nsqd import SameNsqds
from .security import PLAIN, Security
from .source import Listener, NsqdState
from .troubles import Troubles, log

TICK_S = 1.0


class NsqdSource:
    """A `Source`. It has to be made inside a running loop."""

    def __init__(
        self,
        *,
        topic: str,
        channel: str,
        msg_timeout_s: float,
        nsqds: list[tuple[str, str]],
        lookupd_http_addresses: list[str],
        listener: Listener,
        known: Collection[Found] = (),
        security: Security = PLAIN,
        name: str = "",
        client_id: str = "",
        play_id: str = "",
    ):
        """Connects to the given nsqds, and to the nsqds that the nsqlookupds name.

        `nsqds`: the TCP and the HTTP address of each; "" if the latter is not known. `name`: the name of an
        nsqd whose address may change. Without it, an nsqd is named by its addresses. `client_id`: see
        `readers.py`. `known`: nsqds of which an earlier source knew; those that were discovered count as
        such until the nsqlookupds answer. `play_id`: see `make_bodies`.
        """
        self._topic, self._channel = topic, channel
        self._msg_timeout_s = msg_timeout_s
        self._listener = listener
        self._security = security
        self._name = name
        self._client_id = client_id
        self._bodies = make_bodies(topic, play_id)
        self._numbered: dict[int, Route] = {}
        self._routes: dict[str, Route] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lost: dict[str, asyncio.Event] = {}  # by place: set when its connection is lost
        self._same = SameNsqds()
        self._configured = {address for address, _ in nsqds}
        self._discovered: set[str] = set()
        self._closed = False
        self._troubles = Troubles(time.monotonic)
        self._looks = NsqdLooks(topic, channel, client_id, security, self._routes, self._same, self._troubles)
        self._others: set[asyncio.Task[None]] = set()
        for address, http_address in nsqds:
            self._add(address, http_address)
            self._routes[address].http_is_set = bool(http_address) and not name  # `name`: it is our own child
        named = [one for one in known if one.address not in self._configured and lookupd_http_addresses]
        self._on_discovered(named)
        self._discovery = Discovery(
            lookupd_http_addresses, topic, self._on_discovered, security.lookupd_tls, named
        )
        _ = self._spawn(self._discovery.run())
        self._loop = asyncio.get_running_loop()
        self._ticker: asyncio.TimerHandle
        self._tick_later()

    # What the consumer asks

    @property
    def ready_count(self) -> int:
        """See `Source`."""
        return sum(conn.last_rdy for conn in self._connections())

    @property
    def nsqds(self) -> list[NsqdState]:
        """See `Source`."""
        chosen: dict[str, Route] = {}
        for route in self._routes.values():
            if route.conn is not None or route.cause not in chosen:
                chosen[route.cause] = route
        return [self._looks.state_of(route) for route in chosen.values()]

    @property
    def unheard(self) -> list[str]:
        """See `Source`."""
        return self._discovery.unheard

    def set_ready_count(self, connection: int, ready_count: int) -> None:
        """See `Source`."""
        if conn := self._conn(connection):
            conn.set_ready_count(ready_count)

    def finish(self, connection: int, ids: bytes, ready_count: int) -> None:
        """See `Source`."""
        if conn := self._conn(connection):
            conn.finish(ids, ready_count)

    def publish(self, connection: int, topic: str, bodies: list[bytes], done: Callable[[], None]) -> None:
        """See `Source`."""
        if conn := self._conn(connection):
            conn.publish(topic, bodies, done)

    def reconnect(self, connection: int) -> None:
        """See `Source`."""
        if conn := self._conn(connection):
            route = self._numbered[connection]
            route.wants_at_once = True
            log.info(
                "replacing the connection to nsqd %s: its count of messages in flight may be wrong",
                route,
                extra=route.about,
            )
            conn.flush()
            conn.refuse("replaced")

    def look(self, connection: int, done: Callable[[int | None], None]) -> None:
        """See `Source`."""
        _ = self._spawn(self._ask(self._numbered.get(connection), done))

    def reload(self) -> None:
        """See `Source`."""
        self._security.reload()

    def close(self) -> None:
        """See `Source`."""
        self._closed = True
        self._ticker.cancel()
        for task in (*self._tasks.values(), *self._others):
            task.cancel()
        for conn in self._connections():
            conn.flush()
            conn.close()

    # What a connection tells

    def received(self, conn: BatchConnection, parsed: Parsed) -> None:
        """See `Owner`."""
        self._listener.received(conn.number, parsed)

    def refused(self, conn: BatchConnection, error: bytes) -> None:
        """See `Owner`."""
        if not self._closed and conn.number in self._numbered:
            self._listener.refused(conn.number, error)

    def closed(self, conn: BatchConnection) -> None:
        """See `Owner`."""
        route = self._numbered.pop(conn.number)
        route.limits.learn(conn.error)
        route.conn = None
        assert route.place is not None, "a route with a connection has a place"
        self._lost.pop(route.place.key).set()
        if self._closed:
            return
        self._listener.disconnected(conn.number)
        if route.wants_at_once:
            return
        if route.address not in self._configured | self._discovered:
            # It is tombstoned, or its topic was deleted. Another SUB would create the topic again.
            log.info(
                "lost nsqd %s (%s); no nsqlookupd names it, so it is not tried",
                route,
                conn.reason,
                extra=route.about,
            )
            self._remove(route)
        else:
            text = f"lost nsqd {route} ({conn.reason}); trying again until it answers"
            self._troubles.wrong(route.cause, text, **route.about)

    # What a route tells

    async def ask(self, route: Route) -> None:
        """See `Routes`."""
        if not self._name:
            await self._looks.ask(route)

    def found(self, route: Route, conn: BatchConnection, place: Place) -> asyncio.Event | None:
        """See `Routes`."""
        is_new = self._same.lead(route, place)
        if place.key in self._lost:
            self._say_found(route)
            if route.http_is_set:
                route.http_is_checked = False
                _ = self._spawn(self._looks.find(route))
            if is_new:
                self._rename(place)
            return self._lost[place.key]
        self._lost[place.key] = asyncio.Event()
        self._subscribe(route, conn, place)
        return None

    def failed(self, route: Route, reason: str) -> None:
        """See `Routes`."""
        self._troubles.wrong(
            route.cause,
            f"no nsqd at {route} ({reason}); expected its TCP address, see [nsq]; trying again",
            **route.about,
        )

    def unsecured(self, route: Route, reason: str) -> None:
        """See `Routes`."""
        text = f"nsqd {route} is not used: {reason}; trying again"
        self._troubles.wrong(route.cause, text, **route.about)

    def _say_found(self, route: Route) -> None:
        if route.was_connected:
            self._troubles.over(route.cause, f"connected to nsqd {route} again", **route.about)
        else:
            route.was_connected = True
            self._troubles.forget(route.cause)
            log.info("connected to nsqd %s", route, extra=route.about)
            if route.offers.refused:
                left_out = ", ".join(route.offers.refused)
                log.info("nsqd %s refuses our %s; its own values hold", route, left_out, extra=route.about)
            if self._security.compression and route.conn is not None and not route.conn.compressed:
                log.info(
                    "nsqd %s has no %s; its connection is not compressed",
                    route,
                    self._security.compression,
                    extra=route.about,
                )

    def _subscribed(self, route: Route) -> None:
        self._say_found(route)
        _ = self._spawn(self._looks.find(route))

    def _subscribe(self, route: Route, conn: BatchConnection, place: Place) -> None:
        self._numbered[conn.number] = route
        route.take(conn)
        subscribed = partial(self._subscribed, route)
        conn.subscribe(self._topic, self._channel, FrameParser(self._bodies), self, subscribed)
        source = self._source_at(place)
        # A message of an MPUB has a count and a size before it.
        letter_bytes_max = max(1, min(route.limits.message_bytes, route.limits.body_bytes - 8))
        terms = Terms(
            conn.max_rdy_count, conn.msg_timeout_ms, letter_bytes_max, route.told.node_id, route.told.host
        )
        self._listener.connected(conn.number, source, terms)

    def _rename(self, place: Place) -> None:
        for number, route in self._numbered.items():
            if route.place is not None and route.place.key == place.key:
                self._listener.renamed(number, self._source_at(place))

    def _source_at(self, place: Place) -> str:
        names = [self._name] if self._name else self._same.names(place)
        return f"{' '.join(names)}/{self._topic}"

    async def _ask(self, route: Route | None, done: Callable[[int | None], None]) -> None:
        done(await self._looks.look(route) if route is not None else None)

    # What nsqlookupds say

    def _on_discovered(self, found: list[Found]) -> None:
        self._discovered = {one.address for one in found}
        for address, route in list(self._routes.items()):
            if address not in self._configured | self._discovered and route.conn is None:
                self._remove(route)
        room = nsqds_max(len(self._configured)) - len(self._routes.keys() - self._configured)
        left_out = 0
        for one in found:
            if one.address in self._routes:
                if one.http_address:
                    self._routes[one.address].told_http(one.http_address)
            elif room > 0:
                room -= 1
                self._add(one.address, one.http_address)
            else:
                left_out += 1
        self._say_left_out(left_out)

    def _say_left_out(self, left_out: int) -> None:
        if left_out:
            text = (
                f"{counted(left_out, 'nsqd')} that nsqlookupds name {'is' if left_out == 1 else 'are'} not "
            )
            text += f"read: at most {NSQDS_MAX} are, and fewer if this process may open few files (ulimit -n)"
            self._troubles.wrong("left out", f"{text}; name in nsq.nsqd_tcp_addresses which ones have to be")
        else:
            self._troubles.over("left out", "all nsqds that nsqlookupds name are read")

    def _add(self, address: str, http_address: str) -> None:
        if address not in self._routes:
            route = self._routes[address] = Route(
                address, self, self._msg_timeout_s, self._security, http_address
            )
            route.offers.client_id = self._client_id
            self._tasks[address] = self._spawn(route.run())

    def _remove(self, route: Route) -> None:
        del self._routes[route.address]
        self._tasks.pop(route.address).cancel()
        text = f"nsqd {route} is named by no nsqlookupd any more"
        self._troubles.over(route.cause, text, **route.about)
        self._same.forget(route)

    # The rest

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._others.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._others.discard(task)
        if not task.cancelled():
            task.result()  # raises what it raised: this process ends

    def _tick_later(self) -> None:
        # At whole seconds, as the consumer ticks while nothing comes: then both wake this process once.
        wait_s = 1.5 * TICK_S - (self._loop.time() + TICK_S / 2) % TICK_S
        self._ticker = self._loop.call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._tick_later()
        self._security.look()
        for conn in self._connections():
            conn.tick()

    def _conn(self, connection: int) -> BatchConnection | None:
        route = self._numbered.get(connection)
        return route.conn if route else None

    def _connections(self) -> list[BatchConnection]:
        return [route.conn for route in self._numbered.values() if route.conn is not None]
