"""The consumer process: plays from nsqd to the counters, and FIN when they are counted.

Owns the connections to nsqd. The rules are `core/consumer/rules.py`'s; this performs what they say.
"""

import logging
import time
from collections.abc import Iterable

from .config import Settings
from .core.consumer.bodies import Bodies
from .core.consumer.effects import DeadLetter, Finish
from .core.consumer.frames import FrameParser, Parsed
from .core.consumer.rules import Deliveries
from .core.effects import Send
from .core.messages import ConsumerInbox
from .core.shards import shard_number
from .core.stats import encode
from .sources.nsqd import BatchConnection, BatchReader
from .supervision.actor import Actor, StartArgs
from .supervision.protocol import Ready

log = logging.getLogger(__name__)

LETTER_LOG_INTERVAL_S = 60.0


class Consumer(Actor[ConsumerInbox, Settings]):
    """The actor that reads NSQ."""

    inbox = ConsumerInbox

    def __init__(self, start_args: StartArgs):
        super().__init__(start_args)
        self._shards = self.options.counters.shards
        self._deliveries = Deliveries(self._shards)
        self._bodies = Bodies()
        self._connections: dict[int, BatchConnection] = {}
        self._reader: BatchReader
        self._reading = False
        self._draining = False
        self._paused = False
        self._letters_logged_s: dict[str, float] = {}

    async def init(self) -> Ready:
        """Nothing to take: nsqd is connected to once the counters are there to count."""
        where = self._nsqds() or self.options.nsq.lookupd_http_addresses
        return Ready(note=f"topic {self.options.nsq.topic} at {', '.join(where)}")

    def linked(self, peer: str) -> None:
        """A counter is there: send it what it has not answered; start with the last of them."""
        shard = shard_number(peer)
        unanswered = self._deliveries.unanswered(shard)
        if unanswered:
            log.info("sending %d unanswered messages again to %s", unanswered, self.link_name(peer))
        self._perform(self._deliveries.linked(shard))
        if not self._reading and len(list(self.peers())) == self._shards:
            self._reading = True
            self._open_reader()

    def handle(self, peer: str, messages: list[ConsumerInbox]) -> None:
        """A counter has committed: finish."""
        shard = shard_number(peer)
        for message in messages:
            self._perform(self._deliveries.counted(shard, message.numbers))
        self.say_resumed()
        if self._paused and self._deliveries.outstanding <= self.options.nsq.max_in_flight // 2:
            self._paused = False
            for connection in self._connections.values():
                connection.set_ready_count(1)
        self._check_drained()

    def lost(self, peer: str) -> None:
        """A counter is gone; what it has not answered is kept for the next."""
        log.info(
            "%s is gone; keeping %d unanswered messages for it",
            peer,
            self._deliveries.unanswered(shard_number(peer)),
        )

    def stats(self) -> bytes:
        """What is outstanding."""
        ready_count = sum(connection.last_rdy for connection in self._connections.values())
        return encode(self._deliveries.stats(ready_count))

    def drain(self) -> None:
        """Take nothing new; drained when all that was taken is finished."""
        self._draining = True
        if self._reading:
            self._reader.pause()
        self._check_drained()

    async def terminate(self) -> None:
        """Close the connections: nsqd gives what is left to whoever comes next."""
        if self._reading:
            self._reader.close()

    def _nsqds(self) -> list[str]:
        settings = self.options
        return (
            [settings.embedded_nsqd.tcp_address]
            if settings.embedded
            else list(settings.nsq.nsqd_tcp_addresses)
        )

    def _open_reader(self) -> None:
        settings = self.options.nsq
        self._reader = BatchReader(
            settings.topic,
            settings.channel,
            settings.max_in_flight,
            settings.msg_timeout_s,
            lambda: FrameParser(self._bodies),
            self._connected,
            self._received,
            self._disconnected,
            self._nsqds(),
            list(settings.lookupd_http_addresses),
        )

    def _connected(self, connection: BatchConnection) -> None:
        self._connections[connection.number] = connection
        self._deliveries.connected(connection.number)

    def _disconnected(self, connection: BatchConnection) -> None:
        self._connections.pop(connection.number, None)
        self._deliveries.disconnected(connection.number)
        self._check_drained()

    def _received(self, connection: BatchConnection, parsed: Parsed) -> None:
        # The embedded queue keeps its messages and their ids, whatever port it has next time.
        nsqd = "embedded" if self.options.embedded else connection.id
        source = f"{nsqd}/{self.options.nsq.topic}"
        self._perform(self._deliveries.received(connection.number, source, parsed))
        if self._draining:
            return
        if self._deliveries.outstanding > self.options.nsq.max_in_flight:
            # Messages timed out and came again while a counter was away: no more until it is back.
            self._paused = True
            self._reader.pause()
        if not self._paused:
            in_flight = self._deliveries.in_flight(connection.number)
            now_ms = int(time.monotonic() * 1000)
            ages_ms = parsed.ages_ms(time.time_ns())
            connection.set_ready_count(connection.pace.after_read(in_flight, now_ms, *ages_ms))

    def _perform(self, effects: Iterable[Send | DeadLetter | Finish]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.send(effect.peer, effect.message)
                case Finish():
                    self._connections[effect.connection].finish(effect.ids)
                case DeadLetter():
                    self._dead_letter(effect)

    def _dead_letter(self, effect: DeadLetter) -> None:
        topic = f"{self.options.nsq.topic}.dead"
        now_s = time.monotonic()
        for why, messages in effect.reasons.items():
            if now_s - self._letters_logged_s.get(why, -LETTER_LOG_INTERVAL_S) >= LETTER_LOG_INTERVAL_S:
                self._letters_logged_s[why] = now_s
                log.warning(
                    "%d messages are no plays (%s); they go to topic %s. Said once a minute",
                    messages,
                    why,
                    topic,
                )
        # FIN only after nsqd has the letter, and the ledger its count: nothing is lost in between.
        self._connections[effect.connection].publish(
            topic, effect.letters, lambda: self._perform(self._deliveries.dead_lettered(effect.number))
        )

    def _check_drained(self) -> None:
        if self._draining and self._deliveries.outstanding == 0:
            self.say_drained()
