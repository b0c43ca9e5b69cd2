"""How many messages to ask nsqd for: RDY, from how full the reads are and how old their messages.

Pure. `ReadyCounts` shares `max_in_flight` among the connections, and asks for nothing while more than that is
outstanding: messages that time out while a counter is away come again. `Pace` finds the RDY of one connection
within its share.

nsqd flushes its output buffer at once when a client has as many messages in flight as its RDY,
and else only after `output_buffer_timeout` (nsqd/protocol_v2.go, messagePump). So a small RDY is what
makes a lone message fast, and a large one what makes a backlog fast; this finds which is wanted. RDY
doubles when it was the limit and even the newest message had waited, twice in a row, as one may be a
busy machine's doing; while that does not wait it is just right; and RDY falls to what was really in
flight when it was not the limit for a while, or at once when messages lay in the buffer. Where even the
newest message is older than the buffer can have made it, there is a backlog, and nothing makes RDY fall:
reads of a backlog come in the pieces in which nsqd writes, and what FIN makes room for is on its way.

Whether messages waited is told by their age, nsqd's stamp against our clock. The clocks may differ, so
the least age of late counts as none, up to `CLOCKS_DIFFER_MS_MAX`: what is older has waited for certain.
"""

from typing import ClassVar

from msgspec import Struct

from .effects import SetReadyCount

RESUME_SHARE = 2  # asked for again when at most this part of max_in_flight is outstanding: a half
FALL_AFTER_MS = 50
WAITED_MS = 1.0
WAITS_IN_A_ROW = 2
BACKLOG_MS = 50.0  # twice the longest that our output_buffer_timeout lets a message wait
BACKLOG_MESSAGES = 16  # fewer in flight, in many reads, may be lone ones of an nsqd whose clock is wrong
BUFFERED_MS = 10.0  # less than the least output_buffer_timeout of nsqd, 25 ms, and more than we take
CLOCKS_DIFFER_MS_MAX = 1000.0
LEAST_AGE_RISES_MS = 0.01  # with each read, so that a clock that was set is followed


class Pace(Struct):
    """The RDY of one connection. `ready_count_max`: its share of max_in_flight, and nsqd's limit."""

    ready_count_max: int
    ready_count: int = 1
    peak: int = 0
    limited_ms: int = 0
    waits: int = 0
    least_age_ms: float = CLOCKS_DIFFER_MS_MAX

    def after_read(self, in_flight: int, now_ms: int, newest_age_ms: float, oldest_age_ms: float) -> int:
        """The RDY to have after a read that left so many messages in flight, of those ages."""
        least_ms = min(newest_age_ms, self.least_age_ms + LEAST_AGE_RISES_MS, CLOCKS_DIFFER_MS_MAX)
        self.least_age_ms = least_ms
        self.peak = max(self.peak, in_flight)
        if in_flight >= self.ready_count:
            self.peak, self.limited_ms = in_flight, now_ms
            self.waits = self.waits + 1 if newest_age_ms - least_ms >= WAITED_MS else 0
            if self.waits >= WAITS_IN_A_ROW:
                self.ready_count *= 2
        elif newest_age_ms - least_ms >= BACKLOG_MS and self.peak >= BACKLOG_MESSAGES:
            if now_ms - self.limited_ms >= FALL_AFTER_MS:
                self.peak, self.limited_ms = max(in_flight, self.peak // 2), now_ms
        elif now_ms - self.limited_ms >= FALL_AFTER_MS:
            self.ready_count, self.peak, self.limited_ms = max(1, self.peak), 0, now_ms
        elif oldest_age_ms - least_ms >= BUFFERED_MS:
            self.ready_count = max(1, self.peak)  # which goes on: what follows may be a piece of a full read
        return self.limit(self.ready_count_max)

    def limit(self, ready_count_max: int) -> int:
        """The RDY to have now that so many are allowed."""
        self.ready_count_max = max(1, ready_count_max)
        self.ready_count = min(self.ready_count, self.ready_count_max)
        return self.ready_count


class ReadyCounts:
    """The RDY of every connection."""

    pace: ClassVar[type[Pace]] = Pace

    def __init__(self, max_in_flight: int):
        """`max_in_flight`: messages that may be outstanding, over all connections."""
        self.paused = False
        self._max_in_flight = max_in_flight
        self._paces: dict[int, Pace] = {}
        self._limits: dict[int, int] = {}
        self._asked: dict[int, int] = {}  # the RDY that each connection was set to last
        self._stopped = False

    def connected(self, connection: int, ready_count_max: int) -> list[SetReadyCount]:
        """A new connection gets its share; `ready_count_max` is nsqd's limit for it."""
        self._paces[connection] = self.pace(1)
        self._limits[connection] = ready_count_max
        self._asked[connection] = 0
        return self._share() + self._ask(connection, 0 if self.paused or self._stopped else 1)

    def disconnected(self, connection: int) -> list[SetReadyCount]:
        """The share of a lost connection goes to the others."""
        for by_connection in (self._paces, self._limits, self._asked):
            by_connection.pop(connection, None)
        return self._share()

    def after_read(
        self, connection: int, outstanding: int, in_flight: int, now_ms: int, ages_ms: tuple[float, float]
    ) -> list[SetReadyCount]:
        """The RDY of a connection after a read from it, or 0 for all: a pause.

        `outstanding` counts the messages of all connections, `in_flight` those of this one. `ages_ms` are
        the ages of the newest and the oldest message of the read. `now_ms` is monotonic.
        """
        if self._stopped:
            return []
        if outstanding > self._max_in_flight:
            return self.pause()
        if self.paused:
            return []
        return self._ask(connection, self._paces[connection].after_read(in_flight, now_ms, *ages_ms))

    def after_finish(self, outstanding: int) -> list[SetReadyCount]:
        """End a pause when at most half of `max_in_flight` is outstanding."""
        if not self.paused or outstanding > self._max_in_flight // RESUME_SHARE:
            return []
        self.paused = False
        return [] if self._stopped else self._ask_all(1)

    def pause(self) -> list[SetReadyCount]:
        """Ask for nothing until `after_finish` ends it."""
        self.paused = True
        return self._ask_all(0)

    def stop(self) -> list[SetReadyCount]:
        """Ask for nothing any more."""
        self._stopped = True
        return self._ask_all(0)

    def _share(self) -> list[SetReadyCount]:
        share = max(1, self._max_in_flight // max(1, len(self._paces)))
        effects = []
        for connection, pace in self._paces.items():
            limit = pace.limit(min(share, self._limits[connection]))
            effects += self._ask(connection, min(limit, self._asked[connection]))
        return effects

    def _ask_all(self, ready_count: int) -> list[SetReadyCount]:
        return [effect for connection in self._asked for effect in self._ask(connection, ready_count)]

    def _ask(self, connection: int, ready_count: int) -> list[SetReadyCount]:
        if self._asked[connection] == ready_count:
            return []
        self._asked[connection] = ready_count
        return [SetReadyCount(connection, ready_count)]
