"""The dispatcher process: the deadline heap, the batches of twenty, the client.

Owns the store of batches, the sink and the one timer. The rules are `core/dispatching.py`'s; this
performs what they say, in order.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from .behaviour import Actor, Birth
from .config import without_password
from .core.dispatching import Dispatching, Effect, Outcome
from .core.effects import Deliver, Forget, Send, Store
from .core.messages import DispatcherFigures, DispatcherInbox, Message, Ready
from .core.outbox import Batch
from .core.schedule import Rule
from .core.shards import shard_number
from .exits import NotWritten
from .sinks import Delivery, Sink, open_sink
from .store import OutboxStore

log = logging.getLogger(__name__)

STORE_RETRY_S = 0.5


class Dispatcher(Actor):
    """The actor that publishes."""

    inbox = DispatcherInbox

    def __init__(self, birth: Birth):
        super().__init__(birth)
        self._store: OutboxStore
        self._sink: Sink
        self._dispatching: Dispatching
        self._timer: asyncio.TimerHandle | None = None
        self._deliveries: set[asyncio.Task[None]] = set()
        self._failing_since_s: float | None = None
        self._draining = False

    async def init(self) -> Ready:
        """Read the batches that are on their way."""
        settings = self.settings
        self._sink = open_sink(settings.publish)
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
            totals,
        )
        self._set_timer()
        where = without_password(settings.publish.url) or "stdout"
        return Ready(note=f"publishing to {where}, batches to confirm: {len(batches)}")

    def linked(self, peer: str) -> None:
        """A counter is there: ask what is pending."""
        self._perform(self._dispatching.linked(shard_number(peer), _now_ms()))

    def lost(self, peer: str) -> None:
        """A counter is gone."""
        self._perform(self._dispatching.lost(shard_number(peer), _now_ms()))

    def handle(self, peer: str, messages: list[Message]) -> None:
        """What a counter says."""
        self._perform(self._dispatching.handle(shard_number(peer), messages, _now_ms()))

    def figures(self) -> DispatcherFigures:
        """What was published and what is not."""
        return self._dispatching.figures()

    def drain(self) -> None:
        """Publish what is pending, due or not."""
        self._draining = True
        self._perform(self._dispatching.drain(_now_ms()))

    async def terminate(self) -> None:
        """Close the store in order. A batch on its way is sent again, under its key, by the next."""
        self._store.close()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.send(effect.peer, effect.message)
                case Store():
                    self._write(self._store.store, effect.batch, effect.totals)
                case Forget():
                    self._write(self._store.forget, effect.key)
                case Deliver():
                    task = asyncio.ensure_future(self._deliver(effect.batch))
                    self._deliveries.add(task)
                    task.add_done_callback(self._delivery_ended)
        self._set_timer()
        if self._draining and self._dispatching.drained:
            self.say_drained()

    async def _deliver(self, batch: Batch) -> None:
        delivery = await self._sink.deliver(batch)
        self._report(batch, delivery)
        self.say_resumed()
        self._perform(
            self._dispatching.delivered(delivery.outcome, _now_ms(), delivery.retry_after_ms)
        )

    def _delivery_ended(self, task: "asyncio.Task[None]") -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a delivery broke", "exception": task.exception()}
            )

    def _report(self, batch: Batch, delivery: Delivery) -> None:
        """One line when the client begins to fail, one when it is back."""
        if delivery.outcome is not Outcome.ACCEPTED:
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
                log.warning(
                    "batch %s to %s failed: %s; trying again with back-off, nothing is lost",
                    batch.key, without_password(self.settings.publish.url) or "stdout", delivery.why,
                )
        elif self._failing_since_s is not None:
            seconds = time.monotonic() - self._failing_since_s
            log.info("the client takes batches again, after %.1f s", seconds)
            self._failing_since_s = None

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

    def _write(self, write: Callable[..., None], *arguments: object) -> None:
        while True:
            try:
                return write(*arguments)
            except NotWritten as failure:
                log.error("%s, trying again: nothing is lost", failure)
                time.sleep(STORE_RETRY_S)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
