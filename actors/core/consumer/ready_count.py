"""Chooses the RDY of each nsqd connection, by the number of messages in flight after a read and their age.

Pure. `ReadyCounts` shares `max_in_flight` among the connections, by where the messages are (`shares.py`).
Where there are more connections than that, they take turns (`turns.py`). It sets every RDY to 0 when more
messages than `max_in_flight` are outstanding. This can happen while a counter is down: its messages time out,
and nsqd delivers them again. `ReadyCount` finds the RDY of one connection within its share.

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

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from .effects import SetReadyCount
from .shares import QUIET, Loads, shares_by_load
from .turns import TICK_PART, Turns

TICK_MS = 250.0
SHARE_MS = 500  # between two changes of the shares

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
    """The RDY of every connection. Together they ask for at most `max_in_flight` messages."""

    ready_count_type: ClassVar[type[ReadyCount]] = ReadyCount

    def __init__(self, max_in_flight: int):
        """`max_in_flight`: how many messages may be outstanding on all connections together."""
        self.paused = False
        self._max_in_flight = max_in_flight
        self._by_connection: dict[int, ReadyCount] = {}
        self._limits: dict[int, int] = {}
        self._asked: dict[int, int] = {}  # the RDY last sent on each connection
        self._loads = Loads()
        self._busiest: int | None = None
        self._turns = Turns(max_in_flight)
        self._halved_ms = 0
        self._stopped = False

    @property
    def tick_ms(self) -> float:
        """How soon to call `tick` again."""
        return min(TICK_MS, TICK_PART * self._turns.round_ms) if self._turns.are_needed else TICK_MS

    def connected(
        self, connection: int, ready_count_max: int, in_flight: Mapping[int, int]
    ) -> list[SetReadyCount]:
        """Add a connection. `ready_count_max` is nsqd's limit for it. Its share grows as others finish.

        `in_flight`: the messages that each connection holds, here and below.
        """
        self._by_connection[connection] = self.ready_count_type(1)
        self._limits[connection] = max(1, ready_count_max)
        self._asked[connection] = 0
        self._loads.connected(connection)
        self._turns.connected(connection)
        if self._turns.are_needed:
            return []  # its turn comes
        return self._share(in_flight)

    def disconnected(self, connection: int, in_flight: Mapping[int, int]) -> list[SetReadyCount]:
        """Forget a lost connection. The others get its share."""
        if connection in self._asked:
            for kept in (self._by_connection, self._limits, self._asked):
                kept.pop(connection, None)
            self._loads.disconnected(connection)
            self._turns.disconnected(connection)
            self._busiest = None if connection == self._busiest else self._busiest
        return [] if self._turns.are_needed else self._share(in_flight)

    def received(self, connection: int, messages: int) -> None:
        """Note how many messages came on a connection."""
        self._loads.received(connection, messages)

    def looked(self, connection: int, waiting: int | None) -> None:
        """Note how many messages wait in the nsqd of a connection; None: nobody can say."""
        self._loads.looked(connection, waiting)

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
        if self.paused or self._turns.are_needed:
            return []
        before = self._asked[connection]
        self._by_connection[connection].after_read(in_flight, now_ms, *ages_ms)
        effects = self._ask_beside_busiest(connection)
        if connection == self._busiest and self._asked[connection] < before:
            others = (one for one in self._asked if one != connection and self._asked[one])
            effects += [effect for one in others for effect in self._ask_beside_busiest(one)]
        return effects

    def after_finish(self, outstanding: int) -> list[SetReadyCount]:
        """End a pause if at most half of `max_in_flight` is outstanding."""
        if not self.paused or outstanding > self._max_in_flight // RESUME_SHARE:
            return []
        self.paused = False
        return [] if self._stopped else self._ask_least()

    def tick(self, now_ms: int, in_flight: Mapping[int, int]) -> list[SetReadyCount]:
        """Divide what may be in flight again, or give the next nsqds their turn.

        Call this every `tick_ms`. `now_ms` is monotonic.
        """
        if now_ms - self._halved_ms >= SHARE_MS:
            self._halved_ms = now_ms
            self._loads.half_a_second_later()
        self._busiest = self._loads.busiest()
        if self._stopped:
            return []
        if self._turns.are_needed:
            self._turns.tick(now_ms, in_flight)
            return [] if self.paused else self._ask_least()
        return self._share(in_flight)

    def asked(self, connection: int) -> int:
        """The RDY that was last set on a connection."""
        return self._asked[connection]

    def pause(self) -> list[SetReadyCount]:
        """Set every RDY to 0 until `after_finish` ends the pause."""
        self.paused = True
        return self._ask_none()

    def stop(self) -> list[SetReadyCount]:
        """Set every RDY to 0 for good."""
        self._stopped = True
        return self._ask_none()

    def _ask_beside_busiest(self, connection: int) -> list[SetReadyCount]:
        """Ask for the RDY of a connection, but not for too much beside the busiest one."""
        one, busiest = self._by_connection[connection], self._busiest
        if busiest is not None and connection != busiest:
            most, part = self._asked[busiest], self._loads.part(connection, busiest)
            if part < 1 and most * QUIET >= 1:
                one.ready_count = max(1, min(one.ready_count, int(most * part)))
        return self._ask(connection, one.ready_count)

    def _fair_shares(self) -> dict[int, int]:
        full = [
            connection
            for connection, one in self._by_connection.items()
            if one.ready_count >= one.ready_count_max and one.waits >= WAITS_IN_A_ROW
        ]
        return shares_by_load(self._max_in_flight, self._loads.of_all(full), self._limits)

    def _share(self, in_flight: Mapping[int, int]) -> list[SetReadyCount]:
        """Lower shares at once, and raise others by what is free: neither shared nor in flight."""
        if self._stopped:
            return []
        fair = self._fair_shares()
        # nsqd may still send what it was asked for before it sees a smaller RDY.
        held = {connection: max(asked, in_flight[connection]) for connection, asked in self._asked.items()}
        effects = self._shrink(fair)
        free = self._max_in_flight - sum(
            max(held[connection], one.ready_count_max) for connection, one in self._by_connection.items()
        )
        for connection, one in self._by_connection.items():
            more = min(fair[connection] - one.ready_count_max, free)
            if more > 0:
                free -= more
                one.limit(one.ready_count_max + more)
            if not self._asked[connection] and not self.paused:
                effects += self._ask(connection, 1)  # it is new, or its turn did not come before
        return effects

    def _shrink(self, fair: Mapping[int, int]) -> list[SetReadyCount]:
        effects = []
        for connection, one in self._by_connection.items():
            limit = one.limit(min(one.ready_count_max, fair[connection]))
            effects += self._ask(connection, min(limit, self._asked[connection]))
        return effects

    def _ask_least(self) -> list[SetReadyCount]:
        """Ask each for one message; if they take turns, those whose turn it is."""
        take_turns = self._turns.are_needed
        effects = []
        for connection, one in self._by_connection.items():
            ready_count = self._turns.ready_count(connection) if take_turns else 1
            if take_turns:
                one.limit(1)
            effects += self._ask(connection, ready_count)
        return effects

    def _ask_none(self) -> list[SetReadyCount]:
        return [effect for connection in self._asked for effect in self._ask(connection, 0)]

    def _ask(self, connection: int, ready_count: int) -> list[SetReadyCount]:
        if self._asked[connection] == ready_count:
            return []
        self._asked[connection] = ready_count
        return [SetReadyCount(connection, ready_count)]
