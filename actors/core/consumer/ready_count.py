"""Chooses the RDY of each nsqd connection, by the number of messages in flight after a read and their age.

Pure. `ReadyCounts` shares `max_in_flight` among the connections. It sets every RDY to 0 when more messages
than `max_in_flight` are outstanding. This can happen while a counter is down: its messages time out, and nsqd
delivers them again. `ReadyCount` finds the RDY of one connection within its share.

nsqd flushes its output buffer at once if a client has as many messages in flight as its RDY. Otherwise it
flushes only after `output_buffer_timeout` (nsqd/protocol_v2.go, messagePump). So a small RDY makes a lone
message fast, and a large RDY makes a backlog fast. These rules choose the RDY. A message "waited" if it was
held in nsqd before nsqd sent it. RDY is "reached" if that many messages are in flight after a read.

- RDY doubles if two reads in a row reach it and the newest message of each waited. Reads that do not reach
  RDY do not count. A single such read may only mean that the machine is busy.
- RDY stays the same after a read that reached it and whose newest message did not wait.
- If no read has reached RDY for `FALL_AFTER_MS`, it falls to the highest number of messages lately in flight.
  If a message waited in nsqd's buffer, it falls to that number at once.
- RDY does not fall during a backlog. During a backlog, the newest message of a read is older than nsqd's
  buffer can explain. nsqd writes a backlog in pieces, so a read may reach less than RDY only because the next
  piece is still on its way.

The age of a message is our clock minus nsqd's stamp. It shows whether the message waited. The clocks may
differ, so the lowest age seen lately is subtracted from each age, but at most `CLOCKS_DIFFER_MS_MAX`: a
message older than that has certainly waited.
"""

from typing import ClassVar

from msgspec import Struct

from .effects import SetReadyCount

RESUME_SHARE = 2  # a pause ends when at most max_in_flight / RESUME_SHARE messages are outstanding
FALL_AFTER_MS = 50
WAITED_MS = 1.0
WAITS_IN_A_ROW = 2
BACKLOG_MS = 50.0  # twice the longest wait under our output_buffer_timeout
# a smaller peak is no backlog: its messages may be lone ones that only look old, because a clock is wrong
BACKLOG_MESSAGES = 16
BUFFERED_MS = 10.0  # below nsqd's smallest output_buffer_timeout (25 ms), above our own handling time
CLOCKS_DIFFER_MS_MAX = 1000.0
# added to the least age at each read, so that it can rise again after someone set a clock
LEAST_AGE_RISES_MS = 0.01


class ReadyCount(Struct):
    """The RDY of one connection.

    `ready_count_max`: the connection's share of `max_in_flight`, or nsqd's limit if that is smaller. `peak`:
    the most messages lately in flight. `limited_ms`: the time of the last read that reached the RDY. `waits`:
    how many reads in a row reached it with a newest message that waited.
    """

    ready_count_max: int
    ready_count: int = 1
    peak: int = 0
    limited_ms: int = 0
    waits: int = 0
    least_age_ms: float = CLOCKS_DIFFER_MS_MAX

    def after_read(self, in_flight: int, now_ms: int, newest_age_ms: float, oldest_age_ms: float) -> int:
        """The RDY after a read that left `in_flight` messages in flight. `now_ms` is monotonic."""
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
            # `peak` is not reset, because the next reads may be pieces of a full read
            self.ready_count = max(1, self.peak)
        return self.limit(self.ready_count_max)

    def limit(self, ready_count_max: int) -> int:
        """Set the largest RDY allowed (at least 1). Returns the RDY to use now."""
        self.ready_count_max = max(1, ready_count_max)
        self.ready_count = min(self.ready_count, self.ready_count_max)
        return self.ready_count


class ReadyCounts:
    """The RDY of every connection: its share of `max_in_flight`, or 1 if connections outnumber it."""

    ready_count_type: ClassVar[type[ReadyCount]] = ReadyCount

    def __init__(self, max_in_flight: int):
        """`max_in_flight`: how many messages may be outstanding on all connections together."""
        self.paused = False
        self._max_in_flight = max_in_flight
        self._by_connection: dict[int, ReadyCount] = {}
        self._limits: dict[int, int] = {}
        self._asked: dict[int, int] = {}  # the RDY last sent on each connection
        self._stopped = False

    def connected(self, connection: int, ready_count_max: int) -> list[SetReadyCount]:
        """Give a new connection its share. `ready_count_max` is nsqd's limit for it."""
        self._by_connection[connection] = self.ready_count_type(1)
        self._limits[connection] = ready_count_max
        self._asked[connection] = 0
        return self._share() + self._ask(connection, 0 if self.paused or self._stopped else 1)

    def disconnected(self, connection: int) -> list[SetReadyCount]:
        """Give the share of a lost connection to the others."""
        for kept in (self._by_connection, self._limits, self._asked):
            kept.pop(connection, None)
        return self._share()

    def after_read(
        self, connection: int, outstanding: int, in_flight: int, now_ms: int, ages_ms: tuple[float, float]
    ) -> list[SetReadyCount]:
        """Set the RDY of a connection after a read from it, or pause all connections.

        `outstanding` counts the messages of all connections, `in_flight` those of this one. `ages_ms`: the
        ages of the newest and the oldest message of the read. `now_ms` is monotonic.
        """
        if self._stopped:
            return []
        if outstanding > self._max_in_flight:
            return self.pause()
        if self.paused:
            return []
        return self._ask(connection, self._by_connection[connection].after_read(in_flight, now_ms, *ages_ms))

    def after_finish(self, outstanding: int) -> list[SetReadyCount]:
        """End a pause if at most half of `max_in_flight` is outstanding."""
        if not self.paused or outstanding > self._max_in_flight // RESUME_SHARE:
            return []
        self.paused = False
        return [] if self._stopped else self._ask_all(1)

    def asked(self, connection: int) -> int:
        """The RDY that was last set on a connection."""
        return self._asked[connection]

    def pause(self) -> list[SetReadyCount]:
        """Set every RDY to 0 until `after_finish` ends the pause."""
        self.paused = True
        return self._ask_all(0)

    def stop(self) -> list[SetReadyCount]:
        """Set every RDY to 0 for good."""
        self._stopped = True
        return self._ask_all(0)

    def _share(self) -> list[SetReadyCount]:
        share = max(1, self._max_in_flight // max(1, len(self._by_connection)))
        effects = []
        for connection, one in self._by_connection.items():
            limit = one.limit(min(share, self._limits[connection]))
            effects += self._ask(connection, min(limit, self._asked[connection]))
        return effects

    def _ask_all(self, ready_count: int) -> list[SetReadyCount]:
        return [effect for connection in self._asked for effect in self._ask(connection, ready_count)]

    def _ask(self, connection: int, ready_count: int) -> list[SetReadyCount]:
        if self._asked[connection] == ready_count:
            return []
        self._asked[connection] = ready_count
        return [SetReadyCount(connection, ready_count)]
