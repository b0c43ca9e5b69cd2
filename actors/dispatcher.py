"""The dispatcher process: the deadline heap, the batches of twenty, the client.

It owns the outbox, the sink and one timer. The rules are in `core/dispatcher/rules.py`; this carries out
their effects in order.
"""

import logging
import random
from collections.abc import Callable
from functools import partial
from time import perf_counter

from msgspec import structs

from . import config
from .config import Settings, SinkKind, without_secrets
from .core import calls
from .core.dispatcher.attempts import Outcome
from .core.dispatcher.changing import Controls
from .core.dispatcher.effects import (
    Deliver,
    Effect,
    Forget,
    Store,
    StoreRefused,
    StoreRepublish,
    stored_together,
)
from .core.dispatcher.figures import PublishFigures
from .core.dispatcher.outbox import Batch, PublishTotals
from .core.dispatcher.republish import Republish
from .core.dispatcher.rule import Rule
from .core.dispatcher.rules import DispatcherRules
from .core.effects import Send, is_for
from .core.messages import DispatcherInbox
from .core.shards import is_counter, shard_number
from .core.stats import PENDING_SHARES, DispatcherStats, PublishStats, decode, encode
from .core.words import counted
from .sinks import Delivery, Sink, open_sink
from .sinks.client_totals import AskClient, asked_totals
from .sinks.publish_log import PublishLog
from .sinks.shortage_log import ShortageLog
from .store import open_outbox
from .store.client_check import check_client
from .store.protocols import OutboxStore
from .supervision.actor import Actor, Host, StartArgs
from .supervision.alarm import Alarm
from .supervision.effect_queue import EffectQueue
from .supervision.protocol import Ready
from .system.addresses import leads_to
from .system.exits import Failure, WriteUnavailable
from .system.logs import WriteOutage

log = logging.getLogger(__name__)

REPUBLISHES_MAX = 100  # requests that wait
FLUSH_SHARE = 0.5  # of the time that a child has to end
PAUSED = "publishing is paused: nothing leaves until it is resumed"
RATE_SHARE = 0.5  # of the time that a drain has: the drain waits no longer for the rate limit


class Dispatcher(Actor[DispatcherInbox, Settings]):
    """The actor that publishes."""

    inbox = DispatcherInbox

    def __init__(
        self,
        start_args: StartArgs,
        host: Host,
        sink_opener: Callable[[Settings], Sink] = open_sink,
        store_opener: Callable[[Settings, Callable[[str], None], bool], OutboxStore] = open_outbox,
        rules: type[DispatcherRules] = DispatcherRules,
        jitter: Callable[[], float] = random.random,
        ask_client: AskClient = asked_totals,
    ):
        super().__init__(start_args, host)
        self.rules: DispatcherRules
        outage = WriteOutage(host.monotonic_ms)
        self.effects = EffectQueue(self._carry_out, WriteUnavailable, host, outage.tried, self._performed)
        self._store: OutboxStore
        self._sink: Sink
        self._openers = sink_opener, store_opener
        self._kind = rules
        self._now_ms = host.monotonic_ms
        self._jitter = jitter
        self._ask_client = ask_client
        self._alarm = Alarm(host, self._wake)
        self._log: PublishLog
        told = decode(start_args.last_stats) if start_args.last_stats else None
        before = told.published if isinstance(told, DispatcherStats) else PublishStats()
        self._figures = PublishFigures(int(self.options.dispatch.deadline_s * 1000), before)
        self._draining = False
        self._settled: PublishTotals  # the totals of which everything is stored
        self._replies: dict[int, Callable[[bytes], None]] = {}  # by republish that is not stored yet

    async def init(self) -> Ready:
        """Read the stored batches."""
        orders = calls.decode_orders(self.start_args.orders)
        settings = config.with_values(self.options, orders.values)
        open_sink, open_store = self._openers
        self._sink = open_sink(settings)
        self._behind = 0
        self._store = open_store(settings, self._compare_with_client, self.start_args.is_first)
        batches, totals = self._store.load()
        republishes = self._store.load_republishes()
        receiver = _receiver_of(settings, self._sink.receiver)
        why = self._why_republish(totals, receiver, self._behind)
        refused = self._store.load_refused()
        of_others = refused if totals.client not in ("", self._sink.receiver) else []
        dispatch = settings.dispatch
        controls = self._controls(orders)
        self.rules = self._kind(
            Rule(dispatch.realtime_below, int(dispatch.deadline_s * 1000)),
            settings.counters.shards,
            dispatch.batch_size_max,
            service=self._store.service,
            jitter=self._jitter,
            stored=batches,
            totals=totals.published_to(self._sink.receiver, receiver),
            rate_max_per_s=controls.rate_max_per_s,
            retry_after_max_ms=int(settings.publish.retry_after_max_s * 1000),
            in_flight_max=controls.in_flight_max,
            realtime_wait_max_ms=int(settings.publish.realtime_wait_max_ms),
            republishes=republishes,
            refused=[] if of_others else refused,
        )
        self._settled = self.rules.totals
        self.rules.use_controls(controls, self._now_ms())
        self._shortage = ShortageLog(self.host.monotonic_ms)
        self._log = PublishLog(self.host, self._sink, self.rules.attempts, len(self.rules.refused))
        if of_others:
            self._perform([StoreRefused((), self.rules.totals, tuple(one.video for one in of_others))])
        self._log_republishes(republishes[0])
        if why:
            self.republish(why)
        self._alarm.set(self.rules.wakeup_ms())
        note = f"publishing to {self._sink.name}, batches to confirm: {len(batches)}"
        return Ready(note=f"{note}; {PAUSED}" if controls.paused else note)

    def linked(self, peer: str) -> None:
        """Ask a counter for its pending videos. Any other peer receives the publishes: try it at once."""
        now_ms = self._now_ms()
        linked = self.rules.linked(shard_number(peer), now_ms) if is_counter(peer) else None
        self._perform(self.rules.client_started(now_ms) if linked is None else linked)

    def lost(self, peer: str) -> None:
        """Drop the videos of a lost counter, and the messages for it."""
        if is_counter(peer):
            self.effects.forget(partial(is_for, peer))
            self._perform(self.rules.lost(shard_number(peer), self._now_ms()))

    def handle(self, peer: str, messages: list[DispatcherInbox]) -> None:
        """Handle the messages of a counter."""
        now_ms, wall_ms = self._now_ms(), self.host.wall_ns() // 1_000_000
        self._perform(self.rules.handle(shard_number(peer), messages, now_ms, wall_ms))

    def stats(self) -> bytes:
        """The figures of what was published and what is pending. A publish is told once it is stored."""
        now_ms = self._now_ms()
        stats = self.rules.stats(self._settled, now_ms)
        published = self._figures.stats(self.rules.pending_within(now_ms, PENDING_SHARES))
        return encode(structs.replace(stats, published=published))

    def drain(self) -> None:
        """Publish everything that is pending, due or not."""
        self._draining = True
        patience_ms = RATE_SHARE * self.options.supervisor.shutdown_timeout_s * 1000
        self._perform(self.rules.drain(self._now_ms(), int(patience_ms)))

    def reload(self) -> None:
        """Have the sink read its files again."""
        try:
            self._sink.reload()
        except Failure as failure:
            log.debug("%s; what was read before holds", failure)  # the supervisor says so, for all

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Handle the request of a command. A republish is answered once it is stored."""
        call = calls.decode_call(request)
        if isinstance(call, calls.Orders):
            self._obey(call)
            reply(calls.encode(calls.Answer("")))
            return
        if len(self.rules.republishing.requests) >= REPUBLISHES_MAX:
            text = f"{REPUBLISHES_MAX} requests to publish again wait already; try again later"
            reply(calls.encode(calls.Answer(text, refused=True)))
            return
        self.republish("a command asked for it", call.videos, reply)

    def republish(self, why: str, videos: bytes = b"", reply: Callable[[bytes], None] | None = None) -> None:
        """Tell the client totals again. `why`: for the log. `videos`: GUIDs, packed; empty for all.

        `reply`: called with the answer when the request is stored.
        """
        effects = self.rules.request_republish(why, videos, self._now_ms())
        if reply is not None:
            self._replies[self.rules.republishing.last_number] = reply
        self._perform(effects)

    def _obey(self, orders: calls.Orders) -> None:
        controls, now_ms = self._controls(orders), self._now_ms()
        if controls.paused != self.rules.attempts.paused:
            log.info("%s", PAUSED if controls.paused else "publishing goes on")
        self.rules.use_controls(controls, now_ms)
        self._perform(self.rules.wake(now_ms))

    def _controls(self, orders: calls.Orders) -> Controls:
        settings = config.with_values(self.options, orders.values)
        publish, dispatch = settings.publish, settings.dispatch
        return Controls(
            rate_max_per_s=publish.rate_max_per_s,
            in_flight_max=publish.in_flight_max if self._sink.takes_several else 1,
            realtime_linger_ms=int(dispatch.realtime_linger_ms),
            overdue_linger_ms=int(dispatch.overdue_linger_ms),
            paused=orders.paused,
        )

    async def terminate(self) -> None:
        """Give a slow reader of stdout some time, and close the store in order.

        If a batch is still on its way, the next dispatcher sends it again under the same key.
        """
        self._perform(self.rules.settle())
        await self._sink.flush(FLUSH_SHARE * self.options.supervisor.shutdown_timeout_s)
        self._sink.close()
        self._store.close()

    def _perform(self, effects: list[Effect]) -> None:
        self.effects.perform(stored_together(effects))

    def _compare_with_client(self, why_behind: str) -> None:
        """Find out of how many videos the client has less than was published to it, if it can be asked.

        Raises `StoreFailure` if it has a greater total than the ledgers. A restarted dispatcher does not ask.
        """
        if not self.start_args.is_first:
            return
        # No counter runs yet, so what the ledgers know as published was published before the client is asked.
        has, state_dir = self._ask_client(self.options), self.options.supervisor.state_dir
        if has is not None:
            self._behind = check_client(state_dir, self._sink.name, has, why_behind)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self.host.send(effect.peer, effect.message)
            case Store():
                self._store.store(effect.batches, effect.totals, effect.taken, effect.over)
                if effect.taken:
                    self._log.taken(effect.taken)
            case StoreRefused():
                self._store.store_refused(effect.refused, effect.totals, effect.gone, effect.forget)
                self._log.refused(effect.refused)
                self._log.taken(effect.gone)
            case StoreRepublish():
                self._store.store_republish(effect.request, effect.totals, effect.over, effect.forget)
                self._republish_stored(effect)
            case Forget():
                self._store.forget(effect.key)
            case Deliver():
                held_up_ms = self.rules.departs(effect.batch.key, self._now_ms())
                done = partial(self._delivered, effect.batch, perf_counter())
                if not self._sink.begin(effect.batch, held_up_ms, self.host.guarded(done)):
                    self.host.spawn(self._sink.deliver(effect.batch, held_up_ms), done)

    def _republish_stored(self, effect: StoreRepublish) -> None:
        """Log and answer a new request, and log one that is over."""
        request, done = effect.request, effect.done
        if request is not None and request.place is not None and not request.place.batches:
            text = f"republish {request.number} ({request.wanted})"
            log.info("%s: %s", text, request.why)
            if (reply := self._replies.pop(request.number, None)) is not None:
                reply(calls.encode(calls.Answer(text)))
        if done is not None and done.place is not None:
            place = done.place
            videos, batches = counted(place.videos, "video"), counted(place.batches, "batch", "batches")
            log.info("republish %d is done: %s in %s", done.number, videos, batches)
        elif effect.over:
            log.info("it replaces republish %s", ", ".join(map(str, effect.over)))

    def _why_republish(self, totals: PublishTotals, receiver: str, behind: int) -> str:
        """Why the client has to be told everything again; "" if it has what was published.

        `receiver`: who the client is now. `behind`: of how many videos it has less than was published to it.
        """
        if totals.receiver not in ("", receiver):
            before, now = without_secrets(totals.receiver), without_secrets(receiver)
            return f"publishes went to {before} before, and go to {now} now"
        videos = counted(behind, "video")
        return (
            f"the client has less of {videos} than was published to it: it lost its store" if behind else ""
        )

    def _log_republishes(self, stored: list[Republish]) -> None:
        """Log what becomes of the requests that an earlier dispatcher left."""
        for request in stored:
            begun = request.place is not None and request.place.batches > 0
            place = request.begun(self.options.counters.shards).place
            goes_on = "starts from its first video again, because counters.shards has changed"
            if place is not None and place.batches:
                goes_on = f"goes on after {place.videos} videos"
            goes_on = goes_on if begun else "begins"
            log.info("republish %d (%s) %s: %s", request.number, request.wanted, goes_on, request.why)

    def _performed(self) -> None:
        if not self.rules.accepted.uncounted:
            self._settled = self.rules.totals
        self._alarm.set(self.rules.wakeup_ms())
        self._shortage.look(self.rules.shortage, self.rules.attempts.in_flight_max)
        if self._draining and self.rules.drained:
            self.host.say_drained()

    def _delivered(self, batch: Batch, left_s: float, delivery: Delivery) -> None:
        self.host.say_resumed()
        self._note(batch, delivery, perf_counter() - left_s)
        before = self.rules.attempts.circuit
        effects = self.rules.delivered(
            batch.key,
            delivery.outcome,
            self._now_ms(),
            delivery.retry_after_ms,
            delivery.rejected,
            delivery.busy,
            delivery.server_error,
            delivery.about,
            delivery.why if delivery.outcome is Outcome.UNKNOWN else delivery.answer,
        )
        everything = self.rules.halving.refuses_everything
        self._log.delivered(batch, delivery, before, everything)
        self._perform(effects)

    def _note(self, batch: Batch, delivery: Delivery, took_s: float) -> None:
        """Count an attempt in the figures."""
        wall_ns = self.host.wall_ns()
        if delivery.outcome is Outcome.ACCEPTED:
            self._figures.accepted(batch, delivery.answered, took_s, wall_ns)
        else:
            self._figures.failed(delivery.why, delivery.answered, took_s, wall_ns)

    def _wake(self) -> None:
        self._perform(self.rules.wake(self._now_ms()))


def _receiver_of(settings: Settings, name: str) -> str:
    """Who the client is. The reference client is known by its store, which is ours, and not by its port."""
    publish, client = settings.publish, settings.client
    own = publish.sink_kind is SinkKind.URL and client.enabled and leads_to(publish.url, client.address)
    return "the reference client" if own else name
