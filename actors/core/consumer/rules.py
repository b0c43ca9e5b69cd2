"""The consumer's rules: they track the outstanding messages, those received from nsqd and not finished.

Pure. Promises:

- A message is finished on the connection that delivered it, and only after a counter sent `Counted` for it.
- A parcel that a counter has not answered is sent again on the counter's next link, in the same order.
- Plays of a backlog are held for some milliseconds, so that one parcel has many (`held.py`).
- A message that is not a play is moved to the dead-letter topic first, and then counted as a dead letter.
- The connections together ask for at most `max_in_flight` messages. They take turns if they outnumber it.
- A connection on which nsqd may count too many messages in flight is replaced (`stalls.py`).

The rules do not know what a play means.
"""

from binascii import unhexlify
from collections.abc import Iterable
from typing import ClassVar

from msgspec import Struct

from ..columns import HEX_ID_BYTES, Column, count, pack_numbers
from ..effects import Send
from ..identity import rows_by_node
from ..messages import Plays, Rejected
from ..shards import counter_of
from ..stats import ConsumerStats, NsqdStats
from .ages import OldestOfAMinute
from .effects import DeadLetter, Finish, Look, Reconnect, SetReadyCount
from .frames import BadMessage, BadStream, Parsed
from .held import UNIT_MIN, HeldPlays, Unit
from .identities import Identities
from .letters import dead_letter
from .ready_count import TICK_MS, ReadyCounts
from .stalls import Stalls
from .terms import Terms

LOOK_EVERY_MS = 1000
QUIET_TICK_MS = 1000.0
# More than one connection may ever hold. Messages that timed out come again beside those that are held.
OVERSENT, OVERSENT_LEAST = 4, 1000
REJECTS_SHARD = 0  # the ledger that counts dead letters


class Parcel(Struct, frozen=True):
    """Messages of one connection on their way to one counter. `ids`: 16 hex digits each, packed.

    `since_ms`: when nsqd sent the messages, as far as is known.
    """

    connection: int
    ids: bytes
    since_ms: int
    message: Plays | Rejected


class ConsumerRules:
    """The outstanding messages of one consumer, by shard and by connection."""

    unit_min: ClassVar[int] = UNIT_MIN
    identities_type: ClassVar[type[Identities]] = Identities

    def __init__(
        self,
        shards: int,
        max_in_flight: int,
        ready_counts: type[ReadyCounts] = ReadyCounts,
        stalls: type[Stalls] = Stalls,
    ):
        """`max_in_flight`: the most messages to ask for, over all connections."""
        self._shards = shards
        self._held_max = OVERSENT * max_in_flight + OVERSENT_LEAST
        self._stalls = stalls()
        self.identities = self.identities_type()
        self._letter_bytes_max: dict[int, int] = {}
        self._parcels: list[dict[int, Parcel]] = [{} for _ in range(shards)]
        self._letters: dict[int, Parcel] = {}
        self._held = HeldPlays(self.unit_min)
        self._in_flight: dict[int, int] = {}
        self._ready_counts = ready_counts(max_in_flight, self._in_flight)
        self._looked_ms: dict[int, int] = {}  # when a connection was looked at, or came
        self._last_ages_ms: dict[int, int] = {}
        self._oldest = OldestOfAMinute()
        self._numbers = 0
        self._outstanding = 0

    @property
    def outstanding(self) -> int:
        """Messages received that no counter has answered, including those of lost connections."""
        return self._outstanding

    @property
    def failed_finishes(self) -> int:
        """How many FINs (or REQs, or TOUCHes) the nsqds have refused."""
        return self._stalls.failed_finishes

    def in_flight(self, connection: int) -> int:
        """Messages received on a connection and not finished."""
        return self._in_flight.get(connection, 0)

    def share(self, connection: int) -> int:
        """How many messages may be in flight on a connection at most."""
        return self._ready_counts.share(connection)

    def last_age_ms(self, connection: int) -> int | None:
        """How old the message last received on a connection was when it came; None before the first."""
        return self._last_ages_ms.get(connection)

    def connected(self, connection: int, source: str, terms: Terms, now_ms: int) -> list[SetReadyCount]:
        """Add a connection. Its number is never used again. `source`: see `Listener`.

        `now_ms` is monotonic.
        """
        self._in_flight[connection] = 0
        self._looked_ms[connection] = now_ms - LOOK_EVERY_MS  # at the next tick
        self.identities.connected(connection, source, terms.node_id, terms.host)
        self._letter_bytes_max[connection] = terms.letter_bytes_max
        self._stalls.connected(connection, terms.msg_timeout_ms, now_ms)
        return self._ready_counts.connected(connection, terms.ready_count_max)

    def renamed(self, connection: int, source: str) -> None:
        """The nsqd of a connection has one more name."""
        self.identities.renamed(connection, source)

    def disconnected(self, connection: int) -> list[SetReadyCount]:
        """Forget a lost connection. nsqd delivers its messages again, so they are not finished here.

        The counters still count the messages that they were sent. They know a redelivery by its id.
        """
        self._in_flight.pop(connection, None)
        self.identities.disconnected(connection)
        self._letter_bytes_max.pop(connection, None)
        self._looked_ms.pop(connection, None)
        self._last_ages_ms.pop(connection, None)
        self._stalls.disconnected(connection)
        for number in [n for n, letter in self._letters.items() if letter.connection == connection]:
            self._outstanding -= count(self._letters.pop(number).ids, HEX_ID_BYTES)
        self._outstanding -= self._held.drop(connection)
        return self._ready_counts.disconnected(connection) + self._ready_counts.resume(self._outstanding)

    def received(
        self, connection: int, parsed: Parsed, now_ms: int, wall_ns: int
    ) -> list[Send | DeadLetter | SetReadyCount]:
        """Pass on the messages of one read from a connection, and set its RDY. `now_ms` is monotonic.

        Raises `BadStream`, leaving the state unchanged, if a message id is not 16 hex digits, or if nsqd
        sends far more than it was asked for.
        """
        messages = parsed.messages
        held = self._in_flight[connection] + messages
        if held > self._held_max:
            raise BadStream(f"{held:,} messages in flight, far more than nsq.max_in_flight")
        bad_ids = _binary(b"".join([one.id for one in parsed.bad])) if parsed.bad else b""
        _binary(parsed.plays.ids)  # it raises now, before the state changes
        self._in_flight[connection] = held
        self._outstanding += messages
        since_ms = self._stalls.received(connection, now_ms)
        age_ms = parsed.newest_age_ms(wall_ns)
        effects: list[Send | DeadLetter | SetReadyCount] = []
        if parsed.plays.arrived_ns:
            self._oldest.add(parsed.oldest_age_ms(wall_ns), now_ms)
            self._held.add(connection, Unit(parsed.plays, now_ms, since_ms))
            if self._held.is_due(connection, self._ready_counts.asked(connection), age_ms, now_ms):
                effects += self.send_held()
        for node_id, rows in rows_by_node(bad_ids) if bad_ids else ():
            bad = parsed.bad if rows is None else [parsed.bad[row] for row in rows.tolist()]
            effects.append(self._reject(connection, node_id, bad, since_ms))
        self._last_ages_ms[connection] = max(0, round(age_ms))
        return effects + self._ready_counts.after_read(
            connection, messages, self._outstanding, now_ms, wall_ns / 1e6, age_ms
        )

    @property
    def held_until_ms(self) -> int | None:
        """When to call `send_held` at the latest, or None if no plays are held."""
        return self._held.due_ms

    def send_held(self) -> list[Send]:
        """Pass on the plays that are held."""
        sends = []
        for connection, unit in self._held.take().items():
            for part in unit.plays.parts(self._shards):
                number, source = self._next_number(), self.identities.source(connection, part.node_id)
                columns = part.ids, part.videos, part.arrived_ns, unit.received_ms, part.play_ids
                plays = Plays(number, source, *columns)
                parcel = Parcel(connection, part.hex_ids, unit.since_ms, plays)
                sends.append(self._send(part.shard, parcel))
        return sends

    def dead_lettered(self, number: int) -> list[Send]:
        """Count dead letters that nsqd has acknowledged."""
        if number not in self._letters:
            return []
        return [self._send(REJECTS_SHARD, self._letters.pop(number))]

    def suspend(self, suspended: bool, now_ms: int) -> list[SetReadyCount]:
        """Ask for no more messages, on new connections neither, until this is called with False.

        What is in flight is counted and finished. `now_ms` is monotonic.
        """
        self._stalls.suspend(now_ms)
        return self._ready_counts.suspend(suspended)

    def drain(self) -> list[Send | SetReadyCount]:
        """Ask for no more messages."""
        self._stalls.stop()
        return [*self.send_held(), *self._ready_counts.stop()]

    def counted(self, shard: int, numbers: Iterable[int], now_ms: int) -> list[Finish | SetReadyCount]:
        """Finish the messages of parcels that a counter has committed. `now_ms` is monotonic."""
        finished: dict[int, bytearray] = {}  # ids, by connection
        for number in numbers:
            parcel = self._parcels[shard].pop(number, None)
            if parcel is None:
                continue  # answered twice, by two incarnations of the counter
            messages = len(parcel.ids) // HEX_ID_BYTES
            self._outstanding -= messages
            if parcel.connection in self._in_flight:
                self._in_flight[parcel.connection] -= messages
                self._stalls.finished(parcel.connection, parcel.ids, parcel.since_ms, now_ms)
                finished.setdefault(parcel.connection, bytearray()).extend(parcel.ids)
        effects: list[Finish | SetReadyCount] = [*self._ready_counts.resume(self._outstanding)]
        for connection, ids in finished.items():
            effects.append(Finish(connection, bytes(ids), self._ready_counts.after_finish(connection)))
        return effects

    def linked(self, shard: int) -> list[Send]:
        """Send a newly linked counter the parcels that it, or its earlier incarnation, has not answered."""
        return [Send(counter_of(shard), parcel.message) for parcel in self._parcels[shard].values()]

    def unanswered(self, shard: int) -> int:
        """Messages that a counter has not answered."""
        return sum(count(parcel.ids, HEX_ID_BYTES) for parcel in self._parcels[shard].values())

    def refused(self, connection: int, error: bytes, now_ms: int) -> list[Reconnect]:
        """nsqd refused a FIN on this connection, and says why. `now_ms` is monotonic."""
        if connection not in self._in_flight:
            return []
        return self._stalls.refused(connection, error, now_ms)

    @property
    def flush_at_ms(self) -> int | None:
        """When to call `flush`; None: only after another read."""
        return self._ready_counts.flush_at_ms

    def flush(self, now_ms: int) -> list[SetReadyCount]:
        """Have nsqds flush their buffers where messages may lie in them. `now_ms` is monotonic."""
        return self._ready_counts.flush(now_ms)

    @property
    def tick_ms(self) -> float:
        """How soon to call `tick` again: in a second while nothing comes and nothing waits, else sooner."""
        tick_ms = self._ready_counts.tick_ms
        take_turns = tick_ms < TICK_MS
        is_quiet = not self._outstanding and self._stalls.are_empty and not take_turns
        return QUIET_TICK_MS if is_quiet else tick_ms

    def tick(self, now_ms: int) -> list[Reconnect | Look | SetReadyCount]:
        """Find connections that may be stalled. Look at each nsqd once a second. Divide the RDY again.

        An nsqd where nothing waits, and from which nothing came since, is left to the looks of `Stalls` if it
        may send something. Call this every `tick_ms`. `now_ms` is monotonic.
        """
        room = {
            connection: self._ready_counts.asked(connection) - in_flight
            for connection, in_flight in self._in_flight.items()
        }
        stalls = self._stalls.tick(now_ms, room)
        effects: list[Reconnect | Look | SetReadyCount] = [*self._ready_counts.tick(now_ms)]
        for connection, looked_ms in self._looked_ms.items():
            is_left = self._stalls.is_empty(connection) and room[connection] > 0
            if now_ms - looked_ms >= LOOK_EVERY_MS and not is_left:
                self._looked_ms[connection] = now_ms
                if Look(connection) not in stalls:
                    effects.append(Look(connection))
        # Reconnect last: a connection that is replaced can't be asked for anything any more.
        return [*effects, *stalls]

    def looked(self, connection: int, waiting: int | None, now_ms: int) -> list[Reconnect]:
        """A look has found how many messages wait in the nsqd of this connection; None: nobody can say."""
        self._ready_counts.looked(connection, waiting)
        return self._stalls.looked(connection, waiting, now_ms)

    def stats(
        self, ready_count: int, nsqds: list[NsqdStats], now_ms: int, unheard: Iterable[str] = ()
    ) -> ConsumerStats:
        """The statistics of this consumer. `ready_count`: the sum of all RDYs. `now_ms` is monotonic."""
        return ConsumerStats(
            self._outstanding,
            len(self._in_flight),
            ready_count,
            nsqds,
            self._stalls.failed_finishes,
            self._stalls.reconnects,
            self._oldest.at(now_ms),
            list(unheard),
            self._ready_counts.reads,
            self._ready_counts.reads_by_ticker,
            retired=self.identities.retired,
        )

    def _reject(self, connection: int, node_id: int, bad: list[BadMessage], since_ms: int) -> DeadLetter:
        ids = b"".join(one.id for one in bad)
        stamps = pack_numbers(one.arrived_ns for one in bad)
        source = self.identities.source(connection, node_id)
        rejected = Rejected(self._next_number(), source, _binary(ids), stamps)
        self._letters[rejected.number] = Parcel(connection, ids, since_ms, rejected)
        names = self.identities.names(connection)
        return dead_letter(rejected.number, connection, names, bad, self._letter_bytes_max[connection])

    def _send(self, shard: int, parcel: Parcel) -> Send:
        self._parcels[shard][parcel.message.number] = parcel
        return Send(counter_of(shard), parcel.message)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


def _binary(ids: Column) -> bytes:
    try:
        return unhexlify(ids)
    except ValueError:
        raise BadStream("a message whose id is not 16 hexadecimal digits") from None
