"""The consumer's rules: they track the outstanding messages, those received from nsqd and not finished.

Pure. Promises:

- A message is finished on the connection that delivered it, and only after a counter sent `Counted` for it.
- A parcel that a counter has not answered is sent again on the counter's next link, in the same order.
- A message that is not a play is moved to the dead-letter topic first, and then counted as a dead letter.
- The connections together ask for at most `max_in_flight` messages, or one each if they outnumber it.

The rules do not know what a play means.
"""

from binascii import unhexlify
from collections.abc import Iterable

from msgspec import Struct

from ..columns import HEX_ID_BYTES, count, pack_numbers
from ..effects import Send
from ..messages import Plays, Rejected
from ..shards import counter_of
from ..stats import ConsumerStats
from . import bodies
from .ages import OldestOfAMinute
from .effects import DeadLetter, Finish, SetReadyCount
from .frames import BadMessage, BadStream, Parsed
from .ready_count import ReadyCounts

REJECTS_SHARD = 0  # the ledger that counts dead letters


class Parcel(Struct, frozen=True):
    """Messages of one connection on their way to one counter. `ids`: 16 hex digits each, packed."""

    connection: int
    ids: bytes
    message: Plays | Rejected


class ConsumerRules:
    """The outstanding messages of one consumer, by shard and by connection."""

    def __init__(self, shards: int, max_in_flight: int, ready_counts: type[ReadyCounts] = ReadyCounts):
        """`max_in_flight`: the most messages to ask for, over all connections."""
        self._shards = shards
        self._ready_counts = ready_counts(max_in_flight)
        self._sources: dict[int, str] = {}
        self._parcels: list[dict[int, Parcel]] = [{} for _ in range(shards)]
        self._letters: dict[int, tuple[int, bytes, Rejected]] = {}
        self._in_flight: dict[int, int] = {}
        self._oldest = OldestOfAMinute()
        self._numbers = 0
        self._outstanding = 0

    @property
    def outstanding(self) -> int:
        """Messages received that no counter has answered, including those of lost connections."""
        return self._outstanding

    def in_flight(self, connection: int) -> int:
        """Messages received on a connection and not finished."""
        return self._in_flight.get(connection, 0)

    def connected(self, connection: int, source: str, ready_count_max: int) -> list[SetReadyCount]:
        """Add a connection. Its number is never used again. Message ids are unique within `source`."""
        self._in_flight[connection] = 0
        self._sources[connection] = source
        return self._ready_counts.connected(connection, ready_count_max)

    def disconnected(self, connection: int) -> list[SetReadyCount]:
        """Forget a lost connection. nsqd delivers its messages again, so they are not finished here.

        The counters still count the messages that they were sent. They know a redelivery by its id.
        """
        self._in_flight.pop(connection, None)
        self._sources.pop(connection, None)
        for number in [n for n, letter in self._letters.items() if letter[0] == connection]:
            self._outstanding -= count(self._letters.pop(number)[1], HEX_ID_BYTES)
        effects = self._ready_counts.disconnected(connection)
        return effects + self._ready_counts.after_finish(self._outstanding)

    def received(
        self, connection: int, parsed: Parsed, now_ms: int, wall_ns: int
    ) -> list[Send | DeadLetter | SetReadyCount]:
        """Pass on the messages of one read from a connection, and set its RDY. `now_ms` is monotonic.

        Raises `BadStream`, leaving the state unchanged, if a message id is not 16 hex digits.
        """
        source = self._sources[connection]
        plays = [
            (shard, ids, Plays(self._next_number(), source, _binary(ids), videos, arrived_ns))
            for shard, ids, videos, arrived_ns in parsed.plays.by_shard(self._shards)
        ]
        bad_ids = b"".join(one.id for one in parsed.bad)
        stamps = pack_numbers(one.arrived_ns for one in parsed.bad)
        rejected = Rejected(self._next_number(), source, _binary(bad_ids), stamps)
        self._in_flight[connection] += parsed.messages
        self._outstanding += parsed.messages
        if len(parsed.plays):
            self._oldest.add(parsed.oldest_age_ms(wall_ns), now_ms)
        effects: list[Send | DeadLetter | SetReadyCount] = [
            self._send(shard, connection, ids, message) for shard, ids, message in plays
        ]
        if parsed.bad:
            self._letters[rejected.number] = (connection, bad_ids, rejected)
            effects.append(_dead_letter(rejected, connection, parsed.bad))
        in_flight, ages_ms = self._in_flight[connection], parsed.ages_ms(wall_ns)
        return effects + self._ready_counts.after_read(
            connection, self._outstanding, in_flight, now_ms, ages_ms
        )

    def dead_lettered(self, number: int) -> list[Send]:
        """Count dead letters that nsqd has acknowledged."""
        if number not in self._letters:
            return []
        connection, ids, rejected = self._letters.pop(number)
        return [self._send(REJECTS_SHARD, connection, ids, rejected)]

    def drain(self) -> list[SetReadyCount]:
        """Ask for no more messages."""
        return self._ready_counts.stop()

    def counted(self, shard: int, numbers: Iterable[int]) -> list[Finish | SetReadyCount]:
        """Finish the messages of parcels that a counter has committed."""
        effects: list[Finish | SetReadyCount] = []
        for number in numbers:
            parcel = self._parcels[shard].pop(number, None)
            if parcel is None:
                continue  # answered twice, by two incarnations of the counter
            messages = count(parcel.ids, HEX_ID_BYTES)
            self._outstanding -= messages
            if parcel.connection in self._in_flight:
                self._in_flight[parcel.connection] -= messages
                effects.append(Finish(parcel.connection, parcel.ids))
        return effects + self._ready_counts.after_finish(self._outstanding)

    def linked(self, shard: int) -> list[Send]:
        """Send a newly linked counter the parcels that it, or its earlier incarnation, has not answered."""
        return [Send(counter_of(shard), parcel.message) for parcel in self._parcels[shard].values()]

    def unanswered(self, shard: int) -> int:
        """Messages that a counter has not answered."""
        return sum(count(parcel.ids, HEX_ID_BYTES) for parcel in self._parcels[shard].values())

    def stats(self, ready_count: int, now_ms: int) -> ConsumerStats:
        """The statistics of this consumer. `ready_count`: the RDY of all connections."""
        oldest_ms = self._oldest.at(now_ms)
        return ConsumerStats(self._outstanding, len(self._in_flight), ready_count, oldest_age_ms=oldest_ms)

    def _send(self, shard: int, connection: int, ids: bytes, message: Plays | Rejected) -> Send:
        self._parcels[shard][message.number] = Parcel(connection, ids, message)
        return Send(counter_of(shard), message)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


def _dead_letter(rejected: Rejected, connection: int, bad: list[BadMessage]) -> DeadLetter:
    reasons: dict[str, int] = {}
    letters: list[bytes] = []
    for one in bad:
        why = bodies.reason(one.body)
        reasons[why] = reasons.get(why, 0) + 1
        letters += bodies.dead_letters(one.body, rejected.source, one.id.decode(), one.arrived_ns, why)
    return DeadLetter(rejected.number, connection, letters, reasons)


def _binary(ids: bytes) -> bytes:
    try:
        return unhexlify(ids)
    except ValueError:
        raise BadStream("a message whose id is not 16 hexadecimal digits") from None
