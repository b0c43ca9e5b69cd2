"""The consumer process: plays from nsqd to the counters, and FIN when they are counted.

There may be several. They know nothing of each other: nsqd gives each message to one of them.
It owns the source. The rules are in `core/consumer/rules.py`; this carries out their effects.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from msgspec.structs import replace

from .config import Settings
from .core import calls
from .core.consumer.effects import DeadLetter, Finish, Look, Reconnect, SetReadyCount
from .core.consumer.frames import Parsed
from .core.consumer.identities import Identity, Kind
from .core.consumer.ready_count import ReadyCounts
from .core.consumer.rules import QUIET_TICK_MS, ConsumerRules
from .core.consumer.stalls import Stalls
from .core.consumer.terms import Terms
from .core.consumers import share_of
from .core.effects import Send
from .core.messages import ConsumerInbox
from .core.shards import shard_number
from .core.stats import ConsumerStats, NsqdStats, decode, encode
from .core.words import counted
from .sources import open_source
from .sources.lookup import Found, shown
from .sources.source import Listener, NsqdState, Source
from .supervision.actor import Actor, Host, StartArgs
from .supervision.alarm import Alarm
from .supervision.loop import Timer, until_next
from .supervision.protocol import Ready
from .system.exits import Failure

log = logging.getLogger(__name__)

LOG_INTERVAL_MS = 60_000
SHARING = {
    Kind.ADDRESS: "nsqds %s have node id %d and no host names that differ: they are told apart by address. "
    "If one comes back under another address, what it gives again is counted again. Give each its -node-id, "
    "or name the plays (nsq.play_id)",
    Kind.NODE_AND_HOST: "nsqds %s have node id %d by chance, so they are told apart by host name as well",
}
PAUSED = "consuming is paused: no message is asked for until it is resumed"
Effect = Send | DeadLetter | Finish | SetReadyCount | Reconnect | Look


class Consumer(Actor[ConsumerInbox, Settings]):
    """The actor that reads NSQ. Implements `Listener`."""

    inbox = ConsumerInbox

    def __init__(
        self,
        start_args: StartArgs,
        host: Host,
        opener: Callable[[Settings, Listener, list[Found]], Source] = open_source,
        rules: type[ConsumerRules] = ConsumerRules,
        ready_counts: type[ReadyCounts] = ReadyCounts,
        stalls: type[Stalls] = Stalls,
    ):
        super().__init__(start_args, host)
        self._shards = self.options.counters.shards
        nsq = self.options.nsq
        share = share_of(start_args.id, nsq.consumers, nsq.max_in_flight)
        self.rules = rules(self._shards, share, ready_counts, stalls)
        self._open = opener
        self._source: Source | None = None
        self._before = _told_in(start_args.last_stats)
        self._nsqds_before = _nsqds_in(self._before)
        self.rules.identities.retire(self._before.retired)
        self._draining = self._paused = self._has_resumed = self._has_counters = False
        self._send_held_at = Alarm(host, self._send_held)
        self._flush_at = Alarm(host, self._flush, cancels=True)
        self._last_ages_ms: dict[str, int | None] = {}  # by nsqd
        self._letters_topic = f"{self.options.nsq.topic}.dead"
        self._letters_logged_ms: dict[str, int] = {}
        self._letters = Counter(self._before.dead_letters)  # by reason
        self._refused_logged_ms: int | None = None
        self._refused: Counter[str] = Counter()  # FINs since then, by nsqd
        self._sharing_logged: set[tuple[int, Kind, tuple[str, ...]]] = set()
        self._nsqd_of: dict[int, str] = {}  # the address, by connection
        self._ticker: Timer | None = None
        self._tick_ms = 0.0  # from the tick before to the next one

    async def init(self) -> Ready:
        """Be ready. The source connects at once, and is asked for messages when all counters are linked."""
        nsqds, lookupds = self.options.nsqd_addresses, self.options.nsq.lookupd_http_addresses
        where = [*nsqds, *(f"nsqlookupd {shown(address)}" for address in lookupds)]
        note = f"topic {self.options.nsq.topic} at {', '.join(where)}"
        self._paused = calls.decode_orders(self.start_args.orders).paused
        self._perform(self.rules.suspend(True, self.host.monotonic_ms()))
        self.host.call_later(0.0, self._open_source)
        return Ready(note=f"{note}; {PAUSED}" if self._paused else note)

    def linked(self, peer: str) -> None:
        """Send a counter its unanswered messages again. When all counters are linked, ask for messages."""
        shard = shard_number(peer)
        unanswered = self.rules.unanswered(shard)
        if unanswered:
            again = counted(unanswered, "unanswered message")
            log.info("sending %s again to %s", again, self.host.link_name(peer))
        self._perform(self.rules.linked(shard))
        if not self._has_counters and len(self.host.peers()) == self._shards:
            self._has_counters = True
            self._perform(self.rules.suspend(self._paused, self.host.monotonic_ms()))

    def handle(self, peer: str, messages: list[ConsumerInbox]) -> None:
        """Finish what a counter has committed."""
        shard, now_ms = shard_number(peer), self.host.monotonic_ms()
        for message in messages:
            self._perform(self.rules.counted(shard, message.numbers, now_ms))
        self._flush_at.set(self.rules.flush_at_ms)
        if not self._has_resumed:
            self._has_resumed = True
            self.host.say_resumed()
        if self._draining:
            self._check_drained()

    def lost(self, peer: str) -> None:
        """Keep what a lost counter has not answered for its next incarnation."""
        unanswered = self.rules.unanswered(shard_number(peer))
        log.info("%s is gone; keeping %s for it", peer, counted(unanswered, "unanswered message"))

    def connected(self, connection: int, source: str, terms: Terms) -> None:
        """See `Listener`."""
        nsqds = [] if self._source is None else self._source.nsqds
        for nsqd in nsqds:
            if nsqd.connection == connection:
                self._nsqd_of[connection] = nsqd.stats.address
        self._perform(self.rules.connected(connection, source, terms, self.host.monotonic_ms()))
        self._tick_sooner()
        self.host.say_stats()

    def renamed(self, connection: int, source: str) -> None:
        """See `Listener`."""
        self.rules.renamed(connection, source)

    def received(self, connection: int, parsed: Parsed) -> None:
        """See `Listener`."""
        now_ms, wall_ns = self.host.monotonic_ms(), self.host.wall_ns()
        self._perform(self.rules.received(connection, parsed, now_ms, wall_ns))
        if self._tick_ms >= QUIET_TICK_MS:
            self._tick_sooner()
        self._send_held_at.set(self.rules.held_until_ms)
        self._flush_at.set(self.rules.flush_at_ms)

    def refused(self, connection: int, error: bytes) -> None:
        """See `Listener`."""
        self._refused[self._nsqd_of.get(connection, "")] += 1
        self._perform(self.rules.refused(connection, error, self.host.monotonic_ms()))

    def disconnected(self, connection: int) -> None:
        """See `Listener`."""
        self._nsqd_of.pop(connection, None)
        self._perform(self.rules.disconnected(connection))
        self._check_drained()

    def stats(self) -> bytes:
        """The statistics of the consumer."""
        now_ms, before = self.host.monotonic_ms(), self._before
        if self._source is None:
            stats = self.rules.stats(0, self._nsqds_before, now_ms)
        else:
            nsqds = [self._stats_of(one) for one in self._source.nsqds]
            self._last_ages_ms = {one.address: one.last_age_ms for one in nsqds}
            stats = self.rules.stats(self._source.ready_count, nsqds, now_ms, self._source.unheard)
        reads, by_ticker = before.reads + stats.reads, before.reads_by_ticker + stats.reads_by_ticker
        letters = dict(self._letters)
        return encode(replace(stats, reads=reads, reads_by_ticker=by_ticker, dead_letters=letters))

    def _stats_of(self, nsqd: NsqdState) -> NsqdStats:
        number = nsqd.connection
        last_age_ms = None if number is None else self.rules.last_age_ms(number)
        if last_age_ms is None:
            # A new connection has received nothing, but an earlier one to the same nsqd may have.
            last_age_ms = self._last_ages_ms.get(nsqd.stats.address)
        in_flight = 0 if number is None else self.rules.in_flight(number)
        own = Identity() if number is None else self.rules.identities.of(number)
        known = {"identity": own.kind, "node_id": own.node_id, "host": own.host}
        return replace(nsqd.stats, in_flight=in_flight, last_age_ms=last_age_ms, **known)

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Pause or go on, as the orders say."""
        orders = calls.decode_call(request)
        assert isinstance(orders, calls.Orders), "the consumer takes orders only"
        if orders.paused != self._paused:
            self._paused = orders.paused
            log.info("%s", PAUSED if self._paused else "consuming goes on")
            is_held = self._paused or not self._has_counters
            self._perform(self.rules.suspend(is_held, self.host.monotonic_ms()))
            self._tick_sooner()
            self.host.say_stats()
        reply(calls.encode(calls.Answer("")))

    def drain(self) -> None:
        """Ask for no more messages. The consumer is drained when all received messages are finished."""
        self._draining = True
        self._perform(self.rules.drain())
        self._check_drained()

    def reload(self) -> None:
        """Have the source read its files again."""
        if self._source is None:
            return
        try:
            self._source.reload()
        except Failure as failure:
            log.debug("%s; what was read before holds", failure)  # the supervisor says so, for all

    async def terminate(self) -> None:
        """Close the connections: nsqd gives what is left to the next consumer."""
        if self._source is not None:
            self._source.close()

    def _open_source(self) -> None:
        known = [Found(one.address, one.http_address) for one in self._nsqds_before]
        self._source = self._open(self.options, self, known)
        self._tick()

    def _tick(self) -> None:
        """Look for stalled connections and at each nsqd, and divide what may be in flight, now and again."""
        now_ms = self.host.monotonic_ms()
        self._perform(self.rules.tick(now_ms))
        self._log_refused(now_ms)
        self._log_sharing()
        self._tick_after(self.rules.tick_ms)

    def _tick_after(self, tick_ms: float) -> None:
        self._tick_ms = tick_ms
        is_quiet = tick_ms >= QUIET_TICK_MS
        wait_ms = until_next(tick_ms, self.host.monotonic_ms()) if is_quiet else tick_ms
        self._ticker = self.host.call_later(wait_ms / 1000, self._tick)

    def _tick_sooner(self) -> None:
        """Tick sooner if it was quiet: it is not any more."""
        if self._tick_ms >= QUIET_TICK_MS and self._ticker is not None:
            self._ticker.cancel()
            self._tick_after(self.rules.tick_ms)

    def _send_held(self) -> None:
        self._perform(self.rules.send_held())

    def _flush(self) -> None:
        self._perform(self.rules.flush(self.host.monotonic_ms()))
        self._flush_at.set(self.rules.flush_at_ms)

    def _looked(self, connection: int, waiting: int | None) -> None:
        self._perform(self.rules.looked(connection, waiting, self.host.monotonic_ms()))

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.host.send(effect.peer, effect.message)
                continue
            assert self._source is not None, "without a source nothing came"
            match effect:
                case Finish():
                    self._source.finish(effect.connection, effect.ids, effect.ready_count)
                case SetReadyCount():
                    self._source.set_ready_count(effect.connection, effect.ready_count)
                case DeadLetter():
                    self._dead_letter(self._source, effect)
                case Reconnect():
                    self._source.reconnect(effect.connection)
                case Look():
                    self._source.look(effect.connection, partial(self._looked, effect.connection))

    def _log_sharing(self) -> None:
        """Say once which nsqds have one node id, unless plays are known by their own ids."""
        if self.options.nsq.play_id:
            return
        for one in self.rules.identities.sharing():
            nsqds = tuple(sorted(self._nsqd_of.get(each, "?") for each in one.connections))
            said = (one.node_id, one.kind, nsqds)
            if said not in self._sharing_logged:
                self._sharing_logged.add(said)
                about = {"nsqd": ", ".join(nsqds)}
                log.warning(SHARING[one.kind], about["nsqd"], one.node_id, extra=about)

    def _log_refused(self, now_ms: int) -> None:
        last_ms = self._refused_logged_ms
        if not self._refused or (last_ms is not None and now_ms - last_ms < LOG_INTERVAL_MS):
            return
        for nsqd, refused in self._refused.items():
            log.warning(
                "nsqd %s refused %s. It does so if a message timed out (nsq.msg_timeout_s): the message "
                "comes again, and is counted once. If no timeout explains it, the connection is replaced. "
                "Said once a minute",
                nsqd,
                counted(refused, "FIN"),
                extra={"nsqd": nsqd},
            )
        self._refused_logged_ms = now_ms
        self._refused.clear()

    def _dead_letter(self, source: Source, effect: DeadLetter) -> None:
        # FIN comes only after nsqd has the dead letter and the ledger has counted it, so nothing is lost.
        nsqd = self._nsqd_of.get(effect.connection, "")
        done = partial(self._dead_lettered, effect.number, effect.reasons, nsqd)
        source.publish(effect.connection, self._letters_topic, effect.letters, done)

    def _dead_lettered(self, number: int, reasons: dict[str, int], nsqd: str) -> None:
        now_ms = self.host.monotonic_ms()
        self._letters.update(reasons)
        for why, messages in reasons.items():
            logged_ms = self._letters_logged_ms.get(why)
            if logged_ms is None or now_ms - logged_ms >= LOG_INTERVAL_MS:
                self._letters_logged_ms[why] = now_ms
                log.warning(
                    "%s (%s): moved to the topic %s of nsqd %s, nothing is lost. Said once a minute",
                    counted(messages, "message is not a play", "messages are not plays"),
                    why,
                    self._letters_topic,
                    nsqd,
                    extra={"nsqd": nsqd},
                )
        self._perform(self.rules.dead_lettered(number))

    def _check_drained(self) -> None:
        if self._draining and self.rules.outstanding == 0:
            self.host.say_drained()


def _told_in(stats: bytes) -> ConsumerStats:
    """What an earlier incarnation told last."""
    told = decode(stats) if stats else None
    return told if isinstance(told, ConsumerStats) else ConsumerStats(0, 0, 0)


def _nsqds_in(told: ConsumerStats) -> list[NsqdStats]:
    """The nsqds that an earlier incarnation told of, as nsqds without a connection."""
    return [NsqdStats(one.address, one.http_address, False, 0, 0, one.last_age_ms) for one in told.nsqds]
