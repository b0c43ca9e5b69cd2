"""Finds the connections on which nsqd may count more messages in flight than it has sent.

Pure. nsqd sends nothing while it counts as many messages in flight on a connection as the RDY there. That
count can be wrong for ever: after a crash, nsqd may have a message twice under one id. When both copies are
in flight on one connection, the first FIN ends both, and nsqd takes only one off its count. A new connection
begins at 0. So these rules ask for a new connection

- if nsqd refuses a FIN (or REQ, or TOUCH) and no timeout explains that. nsqd refuses a FIN of a message that
  timed out, which is no fault;
- if messages wait in nsqd, nsqd may send some, and sends none. Two looks in a row have to find this, because
  a message that nsqd is about to send waits too;
- if nsqd refused a FIN, a timeout explains that, nsqd has been silent since, and nobody can say what waits.
"""

import re
from collections import OrderedDict

from msgspec import Struct, field

from ..columns import HEX_ID_BYTES
from .effects import Look, Reconnect

RECONNECT_MS = 5000  # a connection is at least this old before it is closed
SILENT_MS = 5000
LOOK_MS = 2000  # between two looks, if the first one found nothing, where nsqd has refused a FIN
QUIET_LOOK_MS = 5000  # and where it has refused none: then its count can hardly be wrong
LATE_KEPT_MS = 60_000  # much longer than nsqd takes to refuse a FIN
LATE_MAX = 100_000  # messages of a connection
# A message that was held for this share of nsqd's timeout may have timed out: its time in the buffers of nsqd
# and of the network counts for nsqd, and is not seen here.
LATE_SHARE = 0.5
HALTED_MS = 1500  # without a tick for this long, this process was halted; ticks come every second or sooner
_ID = re.compile(rb"\b[0-9a-f]{%d}\b" % HEX_ID_BYTES)


class _Watched(Struct):
    """One connection. `late`: the messages that were finished late, and when; the first one first.

    `is_empty`: nothing came since a look found that nothing waits.
    """

    msg_timeout_ms: int
    connected_ms: int
    received_ms: int
    late: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    was_refused: bool = False
    doubted: bool = False
    looked_ms: int = 0
    is_looking: bool = False
    waited: bool = False
    is_empty: bool = False
    leaves: bool = False


class Stalls:
    """Watches every connection. Times are monotonic."""

    def __init__(self) -> None:
        self.failed_finishes = 0
        self.reconnects = 0
        self._watched: dict[int, _Watched] = {}
        self._ticked_ms: int | None = None
        self._halted_from_ms = self._halted_until_ms = -1
        self._stopped = False

    def stop(self) -> None:
        """Ask for no new connection any more: the messages in flight are the last ones."""
        self._stopped = True

    def suspend(self, now_ms: int) -> None:
        """Begin to watch again: no message was asked for until now, or none is from now on."""
        for watched in self._watched.values():
            watched.received_ms, watched.waited, watched.is_looking = now_ms, False, False

    def is_empty(self, connection: int) -> bool:
        """Whether the last look found that nothing waits in a connection's nsqd, and nothing came since."""
        return self._watched[connection].is_empty

    @property
    def are_empty(self) -> bool:
        """Whether that is so of all connections."""
        return all(watched.is_empty for watched in self._watched.values())

    def connected(self, connection: int, msg_timeout_ms: int, now_ms: int) -> None:
        """Watch a new connection, where nsqd gives a message again after `msg_timeout_ms`."""
        self._watched[connection] = _Watched(msg_timeout_ms, now_ms, now_ms)

    def disconnected(self, connection: int) -> None:
        """Forget a lost connection."""
        self._watched.pop(connection, None)

    def received(self, connection: int, now_ms: int) -> int:
        """Note a read with messages. Returns since when, at the earliest, nsqd's timeout of them runs."""
        watched = self._watched[connection]
        watched.received_ms, watched.waited, watched.is_empty = now_ms, False, False
        self._notice_halt(now_ms)
        return self._halted_from_ms if now_ms <= self._halted_until_ms else now_ms

    def finished(self, connection: int, ids: bytes, since_ms: int, now_ms: int) -> None:
        """Note that messages are finished which nsqd sent at `since_ms`. `ids`: 16 hex digits each."""
        watched = self._watched[connection]
        if now_ms - since_ms >= LATE_SHARE * watched.msg_timeout_ms:
            for at in range(0, len(ids), HEX_ID_BYTES):
                late = bytes(ids[at : at + HEX_ID_BYTES])
                watched.late[late] = now_ms
                watched.late.move_to_end(late)
            while len(watched.late) > LATE_MAX:
                watched.late.popitem(last=False)

    def refused(self, connection: int, error: bytes, now_ms: int) -> list[Reconnect]:
        """nsqd refused a FIN, a REQ or a TOUCH with this error, which names the message."""
        self.failed_finishes += 1
        watched = self._watched[connection]
        watched.was_refused = True
        found = _ID.search(error)
        if found is None or found[0] not in watched.late:
            watched.doubted = True
        return self._reconnect_if_old(connection, watched, now_ms)

    def looked(self, connection: int, waiting: int | None, now_ms: int) -> list[Reconnect]:
        """A look has found that so many messages wait in nsqd; None if nobody can say.

        Looks that these rules did not ask for say nothing: nsqd may have had no room to send.
        """
        watched = self._watched.get(connection)
        if watched is None:
            return []
        watched.is_empty = waiting == 0
        if not watched.is_looking:
            return []
        watched.is_looking, watched.looked_ms = False, now_ms
        is_silent = now_ms - watched.received_ms >= SILENT_MS
        if waiting is None:
            watched.doubted = watched.doubted or (is_silent and watched.was_refused)
        stalls = is_silent and bool(waiting)
        watched.doubted = watched.doubted or (stalls and watched.waited)
        watched.waited = stalls
        return self._reconnect_if_old(connection, watched, now_ms)

    def tick(self, now_ms: int, room: dict[int, int]) -> list[Reconnect | Look]:
        """Call this every second or sooner. `room`: how many messages nsqd may send now, by connection."""
        self._notice_halt(now_ms)
        self._ticked_ms = now_ms
        effects: list[Reconnect | Look] = []
        for connection, watched in self._watched.items():
            while watched.late and now_ms - next(iter(watched.late.values())) > LATE_KEPT_MS:
                watched.late.popitem(last=False)
            effects += self._reconnect_if_old(connection, watched, now_ms)
            if room[connection] <= 0:
                watched.waited = False  # nsqd does right to send nothing
            elif self._is_due(watched, now_ms):
                watched.is_looking = True
                effects.append(Look(connection))
        return effects

    def _is_due(self, watched: _Watched, now_ms: int) -> bool:
        if watched.is_looking or watched.leaves or now_ms - watched.received_ms < SILENT_MS:
            return False
        pause_ms = LOOK_MS if watched.was_refused else QUIET_LOOK_MS
        return now_ms - watched.looked_ms >= (LOOK_MS // 2 if watched.waited else pause_ms)

    def _reconnect_if_old(self, connection: int, watched: _Watched, now_ms: int) -> list[Reconnect]:
        if self._stopped or watched.leaves or not watched.doubted:
            return []
        if now_ms - watched.connected_ms < RECONNECT_MS:
            return []
        watched.leaves = True
        self.reconnects += 1
        return [Reconnect(connection)]

    def _notice_halt(self, now_ms: int) -> None:
        """Messages that came while this process was halted may be as old as the halt."""
        if self._ticked_ms is not None and now_ms - self._ticked_ms >= HALTED_MS:
            self._halted_from_ms, self._halted_until_ms = self._ticked_ms, now_ms + HALTED_MS
            self._ticked_ms = now_ms
