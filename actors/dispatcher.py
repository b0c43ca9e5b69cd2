"""The dispatcher process: the deadline heap, the batches of twenty, the client.

Owns the store of batches, the sink and the one timer. The rules are `core/dispatcher/rules.py`'s; this
performs what they say, in order.
"""

import asyncio
import logging
import random
import time
from functools import partial

from .config import Settings
from .core.dispatcher.attempts import Circuit, Outcome
from .core.dispatcher.effects import Deliver, Forget, Store
from .core.dispatcher.outbox import Batch
from .core.dispatcher.rules import Dispatching, Effect
from .core.dispatcher.schedule import Rule
from .core.effects import Send, is_for
from .core.messages import DispatcherInbox
from .core.shards import shard_number
from .core.stats import encode
from .sinks import Delivery, Sink, open_sink
from .store import OutboxStore
from .supervision.actor import Actor, StartArgs
from .supervision.effect_queue import EffectQueue
from .supervision.protocol import Ready
from .system.exits import NotWritten

log = logging.getLogger(__name__)

REASONS_TOLD_MAX = 10  # an outage, after which the next reason to fail is no news
FLUSH_SHARE = 0.5  # of the time that an actor has to end


class Dispatcher(Actor[DispatcherInbox, Settings]):
    """The actor that publishes."""

    inbox = DispatcherInbox

    def __init__(self, start_args: StartArgs):
        super().__init__(start_args)
        self._store: OutboxStore
        self._sink: Sink
        self._dispatching: Dispatching
        self._effects = EffectQueue(self._carry_out, NotWritten, self._performed)
        self._timer: asyncio.TimerHandle | None = None
        self._deliveries: set[asyncio.Task[None]] = set()
        self._failing_since_s: float | None = None
        self._reasons_told: set[str] = set()
        self._notice_told = False
        self._draining = False

    async def init(self) -> Ready:
        """Read the batches that are on their way."""
        settings = self.options
        self._sink = open_sink(settings)
        self._store = OutboxStore(
            settings.supervisor.state_dir, settings.counters.shards, settings.counters.synchronous
        )
        batches, totals = self._store.load()
        dispatch = settings.dispatch
        self._dispatching = Dispatching(
            Rule(
                dispatch.realtime_below,
                int(dispatch.deadline_s * 1000),
                int(dispatch.realtime_linger_ms),
                int(dispatch.overdue_linger_ms),
            ),
            settings.counters.shards,
            dispatch.batch_size_max,
            self._store.service,
            random.random,
            batches,
            totals.told_to(self._sink.name),
            settings.publish.rate_max_per_s,
        )
        self._set_timer()
        return Ready(note=f"publishing to {self._sink.name}, batches to confirm: {len(batches)}")

    def linked(self, peer: str) -> None:
        """A counter is there: ask what is pending."""
        self._perform(self._dispatching.linked(shard_number(peer), _now_ms()))

    def lost(self, peer: str) -> None:
        """A counter is gone."""
        self._effects.forget(partial(is_for, peer))
        self._perform(self._dispatching.lost(shard_number(peer), _now_ms()))

    def handle(self, peer: str, messages: list[DispatcherInbox]) -> None:
        """What a counter says."""
        self._perform(self._dispatching.handle(shard_number(peer), messages, _now_ms()))

    def stats(self) -> bytes:
        """What was published and what is not."""
        return encode(self._dispatching.stats())

    def drain(self) -> None:
        """Publish what is pending, due or not."""
        self._draining = True
        self._perform(self._dispatching.drain(_now_ms()))

    async def terminate(self) -> None:
        """Give a slow reader of stdout time for what waits there; close the store in order. A batch on
        its way is sent again, under its key, by the next."""
        await self._sink.flush(FLUSH_SHARE * self.options.supervisor.shutdown_timeout_s)
        self._sink.close()
        self._store.close()

    def _perform(self, effects: list[Effect]) -> None:
        self._effects.perform(effects)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self.send(effect.peer, effect.message)
            case Store():
                self._store.store(effect.batch, effect.totals)
            case Forget():
                self._store.forget(effect.key)
            case Deliver():
                task = asyncio.ensure_future(self._deliver(effect.batch))
                self._deliveries.add(task)
                task.add_done_callback(self._delivery_ended)

    def _performed(self) -> None:
        self._set_timer()
        if self._draining and self._dispatching.drained:
            self.say_drained()

    async def _deliver(self, batch: Batch) -> None:
        delivery = await self._sink.deliver(batch)
        self.say_resumed()
        before = self._dispatching.attempts.circuit
        effects = self._dispatching.delivered(
            delivery.outcome, _now_ms(), delivery.retry_after_ms, delivery.rejected
        )
        self._report(batch, delivery, before)
        self._perform(effects)

    def _delivery_ended(self, task: "asyncio.Task[None]") -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a delivery broke", "exception": task.exception()}
            )

    def _report(self, batch: Batch, delivery: Delivery, before: Circuit) -> None:
        """A line a reason when the client begins to fail, one when it is given up for now, one when it
        is back."""
        if delivery.notice and not self._notice_told:
            self._notice_told = True
            log.warning("batch %s to %s: %s", batch.key, self._sink.name, delivery.notice)
        if delivery.outcome is Outcome.ACCEPTED:
            if self._failing_since_s is not None:
                seconds = time.monotonic() - self._failing_since_s
                log.info("the client takes batches again, after %.1f s", seconds)
            self._failing_since_s = None
            self._reasons_told.clear()
            return
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        if delivery.why not in self._reasons_told and len(self._reasons_told) < REASONS_TOLD_MAX:
            self._reasons_told.add(delivery.why)
            log.warning(
                "batch %s to %s failed: %s; trying again with back-off, nothing is lost",
                batch.key,
                self._sink.name,
                delivery.why,
            )
        attempts = self._dispatching.attempts
        if before is Circuit.CLOSED and attempts.circuit is Circuit.OPEN:
            log.warning(
                "the client failed %d times in a row: the circuit is open, and one batch now and then "
                "tries whether it is back",
                attempts.failures,
            )

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ms = self._dispatching.wakeup_ms()
        if due_ms is not None:
            # A loop's timers follow the monotonic clock; look again now and then at the wall's.
            delay_s = min(max(0.0, (due_ms - time.time_ns() / 1e6) / 1000), 1.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._perform(self._dispatching.wake(_now_ms()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
