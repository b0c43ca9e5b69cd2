"""Chooses the RDY of each nsqd connection: the messages in flight there, and room for a few more.

Pure. `ReadyCounts` shares `max_in_flight` among the connections, by where the messages are (`shares.py`).
Where there are more connections than that, they take turns (`turns.py`). It sets every RDY to 0 when more
messages than `max_in_flight` are outstanding. This can happen while a counter is down: its messages time out,
and nsqd delivers them again. `ReadyCount` finds the RDY of one connection within its share.

nsqd flushes its output buffer at once if a client has as many messages in flight as its RDY. Otherwise it
flushes only after `output_buffer_timeout` (nsqd/protocol_v2.go, messagePump). So RDY is set at each read and
with each FIN, to the messages in flight and room for more. With room for one, a lone message is flushed at
once. With room for many, one read brings many, and each read costs a commit in each counter. So there is

- room for all that the share allows in a backlog: the newest message of a read is `BACKLOG_MS` old, or `MANY`
  came in `MANY_MS`. nsqd then flushes when its buffer is full, and by its ticker.
- otherwise room for a third of what is likely to wait in nsqd, and at least for one. As many are likely to
  wait as came in the same time before: if the newest message is 5 ms old, those of the 5 ms before it. A
  third, because nsqd keeps them in its buffer if there are fewer than there is room for.
- room for one if nothing has come for `FLUSH_MS`, or for `QUIET_MS` after a backlog. nsqd then flushes what
  it has, and the next message may be a lone one.

RDY costs a write. After a lone message it waits for the FIN, and is written with it, but no longer than
`LONE_MS`. nsqd gives nothing meanwhile, and has nothing in its buffer.

The age of a message is our clock minus nsqd's stamp. The clocks may differ, so the lowest age seen lately is
subtracted from each age, but at most `CLOCKS_DIFFER_MS_MAX`: a message older than that has certainly waited.
"""

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from msgspec import Struct, field

from .effects import SetReadyCount
from .shares import Loads, shares_by_load
from .turns import TICK_PART, Turns

TICK_MS = 250.0
FLUSH_MS = 2  # far below nsqd's smallest output_buffer_timeout (25 ms)
LONE_MS = 5  # a counter answers sooner
QUIET_MS = 1000  # another part of a backlog that comes before needs no small read to begin with
SHARE_MS = 500  # between two changes of the shares

RESUME_SHARE = 2  # a pause ends when at most max_in_flight / RESUME_SHARE messages are outstanding
MANY = 64  # so many that a read of each would cost more than their wait for nsqd's ticker
MANY_MS = 20.0
FEW = 8  # fewer in `MANY_MS` are lone ones
LIKELY_SHARE = 3
BACKLOG_MS = 50.0  # neither nsqd's buffer (25 ms) nor a busy machine makes a lone message that old
CLOCKS_DIFFER_MS_MAX = 1000.0
# added to the least age at each read, so that it can rise again after someone set a clock
LEAST_AGE_RISES_MS = 0.01


class ReadyCount(Struct):
    """The RDY of one connection.

    `ready_count_max`: the connection's share of `max_in_flight`, or nsqd's limit if that is smaller. `room`:
    how many messages more than those in flight nsqd may send. `has_backlog`: whether there was a backlog at
    the last read. `least_age_ms`: the lowest age of late. `came`: the last reads, each with nsqd's stamps of
    the newest message before it and of its own newest one, in ms, and its messages. `is_lone`: the last read
    was a lone message. `flush_at_ms`: when there is to be room for one, if nothing comes before.
    `is_flushed`: that time is over, so there is room for one until the next read.
    """

    ready_count_max: int
    room: int = 1
    has_backlog: bool = False
    least_age_ms: float = 0.0
    came: deque[tuple[float, float, int]] = field(default_factory=partial(deque, maxlen=MANY))
    is_lone: bool = False
    flush_at_ms: int = 0
    is_flushed: bool = False

    def after_read(self, messages: int, now_ms: int, wall_ms: float, newest_age_ms: float) -> None:
        """Choose the room after a read of so many messages. `now_ms` is monotonic."""
        self.least_age_ms = min(newest_age_ms, self.least_age_ms + LEAST_AGE_RISES_MS, CLOCKS_DIFFER_MS_MAX)
        age_ms = newest_age_ms - self.least_age_ms
        newest_ms = wall_ms - newest_age_ms
        self.came.append((self.came[-1][1] if self.came else newest_ms, newest_ms, messages))
        lately = self._came_in(MANY_MS)
        self.has_backlog = age_ms >= BACKLOG_MS or lately >= MANY
        self.room = self.ready_count_max
        if not self.has_backlog:
            self.room = max(1, min(int(self._came_in(age_ms) / LIKELY_SHARE), self.room))
        self.is_lone = self.room == 1 and lately < FEW
        self.is_flushed = False
        wait_ms = QUIET_MS if self.has_backlog else LONE_MS if self.is_lone else FLUSH_MS
        self.flush_at_ms = now_ms + wait_ms

    def flush(self, now_ms: int) -> bool:
        """Have nsqd flush what it has, if it is time to. Returns whether it is."""
        self.is_flushed = now_ms >= self.flush_at_ms
        return self.is_flushed

    def _came_in(self, span_ms: float) -> float:
        """How many messages came in so long a time before the newest one, as if each read was spread evenly
        over the time since the one before.
        """
        since_ms, found = self.came[-1][1] - span_ms, 0.0
        for before_ms, newest_ms, messages in reversed(self.came):
            if newest_ms <= since_ms:
                break
            spread_ms = newest_ms - max(before_ms, since_ms)
            found += messages * (spread_ms / (newest_ms - before_ms) if before_ms < since_ms else 1)
        return found

    def limit(self, ready_count_max: int) -> None:
        """Set the largest RDY allowed (at least 1)."""
        self.ready_count_max = max(1, ready_count_max)
        self.room = min(self.room, self.ready_count_max)

    def ready_count(self, in_flight: int) -> int:
        """The RDY to use while so many messages are in flight on this connection."""
        return min(in_flight + (1 if self.is_flushed else self.room), self.ready_count_max)


class ReadyCounts:
    """The RDY of every connection. Together they ask for at most `max_in_flight` messages.

    `reads`: how many reads there were with messages. `reads_by_ticker`: how many of them left fewer in
    flight than RDY. nsqd's ticker flushed their messages, or they are a piece of a larger write.
    """

    ready_count_type: ClassVar[type[ReadyCount]] = ReadyCount

    def __init__(self, max_in_flight: int, in_flight: Mapping[int, int]):
        """`max_in_flight`: how many messages may be outstanding on all connections together.

        `in_flight`: how many each connection holds. The caller keeps it up to date.
        """
        self.paused = False
        self.reads = self.reads_by_ticker = 0
        self._max_in_flight = max_in_flight
        self._in_flight = in_flight
        self._by_connection: dict[int, ReadyCount] = {}
        self._limits: dict[int, int] = {}
        self._asked: dict[int, int] = {}  # the RDY last sent on each connection
        self._loads = Loads()
        self._turns = Turns(max_in_flight)
        # those with room for several messages, or whose RDY waits for a FIN
        self._unflushed: set[int] = set()
        self._full: set[int] = set()  # those that used all of their share in the last half second
        self._full_before: set[int] = set()  # and in the one before
        self._halved_ms = 0
        self._stopped = self._suspended = False

    @property
    def tick_ms(self) -> float:
        """How soon to call `tick` again."""
        return min(TICK_MS, TICK_PART * self._turns.round_ms) if self._turns.are_needed else TICK_MS

    def connected(self, connection: int, ready_count_max: int) -> list[SetReadyCount]:
        """Add a connection. `ready_count_max` is nsqd's limit for it. Its share grows as others finish."""
        self._by_connection[connection] = self.ready_count_type(1)
        self._limits[connection] = max(1, ready_count_max)
        self._asked[connection] = 0
        self._loads.connected(connection)
        self._turns.connected(connection)
        if self._turns.are_needed:
            return []  # its turn comes
        return self._share()

    def disconnected(self, connection: int) -> list[SetReadyCount]:
        """Forget a lost connection. The others get its share."""
        if connection in self._asked:
            for kept in (self._by_connection, self._limits, self._asked):
                kept.pop(connection, None)
            self._loads.disconnected(connection)
            self._turns.disconnected(connection)
            for several in (self._unflushed, self._full, self._full_before):
                several.discard(connection)
        return [] if self._turns.are_needed else self._share()

    def looked(self, connection: int, waiting: int | None) -> None:
        """Note how many messages wait in the nsqd of a connection; None: nobody can say."""
        self._loads.looked(connection, waiting)

    def after_read(
        self, connection: int, messages: int, outstanding: int, now_ms: int, wall_ms: float, age_ms: float
    ) -> list[SetReadyCount]:
        """Set the RDY of a connection after a read from it, or pause all connections.

        `messages`: those of the read; they are in flight now. `outstanding`: those of all connections.
        `age_ms`: the age of the newest one, with our clock at `wall_ms`. `now_ms` is monotonic.
        """
        self.reads += 1
        self.reads_by_ticker += self._in_flight[connection] < self._asked[connection]
        self._loads.received(connection, messages)
        one = self._by_connection[connection]
        one.after_read(messages, now_ms, wall_ms, age_ms)
        # The FIN is likely to be sent before the next message comes, and RDY goes with it.
        waits = one.is_lone and self._asked[connection] == self._in_flight[connection]
        if one.room > 1 or waits:
            self._unflushed.add(connection)
        if one.has_backlog and self._in_flight[connection] >= one.ready_count_max:
            self._full.add(connection)
        if outstanding > self._max_in_flight:
            return self.pause()
        return [] if waits else self._ask(connection)

    def after_finish(self, connection: int) -> int:
        """The RDY of a connection after some of its messages are finished. Send it with the FINs."""
        if self._by_connection[connection].room == 1:
            self._unflushed.discard(connection)
        self._asked[connection] = self._wanted(connection)
        return self._asked[connection]

    def resume(self, outstanding: int) -> list[SetReadyCount]:
        """End a pause if at most half of `max_in_flight` is outstanding."""
        if not self.paused or outstanding > self._max_in_flight // RESUME_SHARE:
            return []
        self.paused = False
        return self._ask_all()

    @property
    def flush_at_ms(self) -> int | None:
        """When to call `flush`; None: only after another read."""
        if not self._unflushed:
            return None
        return min([self._by_connection[one].flush_at_ms for one in self._unflushed])

    def flush(self, now_ms: int) -> list[SetReadyCount]:
        """Have nsqd flush its buffer where it has room for several messages and nothing came for a while.

        Send the RDY that waited for a FIN.
        """
        flushed = {one for one in self._unflushed if self._by_connection[one].flush(now_ms)}
        self._unflushed -= flushed
        return [effect for connection in sorted(flushed) for effect in self._ask(connection)]

    def tick(self, now_ms: int) -> list[SetReadyCount]:
        """Divide what may be in flight again, or give the next nsqds their turn.

        Call this every `tick_ms`. `now_ms` is monotonic.
        """
        if now_ms - self._halved_ms >= SHARE_MS:
            self._halved_ms = now_ms
            self._loads.half_a_second_later()
            self._full_before, self._full = self._full, set()
        if not self._turns.are_needed:
            return self._share()
        if not self._stopped:
            self._turns.tick(now_ms, self._in_flight)
        for one in self._by_connection.values():
            one.limit(1)
        return self._ask_all()

    def asked(self, connection: int) -> int:
        """The RDY that was last set on a connection."""
        return self._asked[connection]

    def share(self, connection: int) -> int:
        """The largest RDY of a connection for now."""
        return self._by_connection[connection].ready_count_max

    def pause(self) -> list[SetReadyCount]:
        """Set every RDY to 0 until `resume` ends the pause."""
        self.paused = True
        return self._ask_all()

    def suspend(self, suspended: bool) -> list[SetReadyCount]:
        """Set every RDY to 0, those of new connections too, until this is called with False."""
        self._suspended = suspended
        return self._ask_all()

    def stop(self) -> list[SetReadyCount]:
        """Set every RDY to 0 for good."""
        self._stopped = True
        return self._ask_all()

    def _fair_shares(self) -> dict[int, int]:
        full = self._full | self._full_before
        return shares_by_load(self._max_in_flight, self._loads.of_all(full), self._limits)

    def _share(self) -> list[SetReadyCount]:
        """Lower shares at once, and raise others by what is free: neither shared nor in flight."""
        fair = self._fair_shares()
        # nsqd may still send what it was asked for before it sees a smaller RDY.
        held = {
            connection: max(asked, self._in_flight[connection]) for connection, asked in self._asked.items()
        }
        for connection, one in self._by_connection.items():
            one.limit(min(one.ready_count_max, fair[connection]))
        free = self._max_in_flight - sum(
            max(held[connection], one.ready_count_max) for connection, one in self._by_connection.items()
        )
        for connection, one in self._by_connection.items():
            more = min(fair[connection] - one.ready_count_max, free)
            if more > 0:
                free -= more
                one.limit(one.ready_count_max + more)
        return self._ask_all()

    def _wanted(self, connection: int) -> int:
        """The RDY that a connection is to have now."""
        if self.paused or self._stopped or self._suspended:
            return 0
        if self._turns.are_needed:
            return self._turns.ready_count(connection)
        return self._by_connection[connection].ready_count(self._in_flight[connection])

    def _ask_all(self) -> list[SetReadyCount]:
        return [effect for connection in self._asked for effect in self._ask(connection)]

    def _ask(self, connection: int) -> list[SetReadyCount]:
        ready_count = self._wanted(connection)
        if self._asked[connection] == ready_count:
            return []
        self._asked[connection] = ready_count
        return [SetReadyCount(connection, ready_count)]
