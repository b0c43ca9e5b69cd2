"""A counter process: one shard's ledger, in memory and on disk.

Owns the store. The rules are `core/counter/rules.py`'s; this performs what they say, in order. A commit
that fails (disk full) is tried again until it works: nothing is answered meanwhile, so nothing is
finished on the queue, and nsqd keeps what comes.
"""

import asyncio
import logging
import time
from functools import partial

from .config import Settings
from .core.counter.effects import Commit
from .core.counter.ledger import Ledger
from .core.counter.rules import CONSUMER, HOLD_MS_MAX, Counting
from .core.counter.seen_ids import SeenIds
from .core.effects import Send, is_for
from .core.messages import CounterInbox
from .core.shards import shard_number
from .core.stats import encode
from .store import LedgerStore
from .supervision.actor import Actor, StartArgs
from .supervision.effect_queue import EffectQueue
from .supervision.protocol import Ready
from .system.exits import NotWritten

log = logging.getLogger(__name__)


class Counter(Actor[CounterInbox, Settings]):
    """The actor of one shard."""

    inbox = CounterInbox

    def __init__(self, start_args: StartArgs):
        super().__init__(start_args)
        self._store: LedgerStore
        self._counting: Counting
        self._effects = EffectQueue(self._carry_out, NotWritten)
        self._timer: asyncio.TimerHandle | None = None

    async def init(self) -> Ready:
        """Read the ledger."""
        settings = self.options
        self._store = LedgerStore(
            settings.supervisor.state_dir,
            shard_number(self.start_args.id),
            settings.counters.shards,
            settings.counters.synchronous,
        )
        accounts, chunks, tallies = self._store.load()
        seen = SeenIds(int(settings.counters.dedupe_window_s * 1000), chunks)
        every_play = settings.dispatch.realtime == "every_play"
        steps_below = settings.dispatch.realtime_below if every_play else 0
        ledger = Ledger(seen, accounts, tallies, steps_below)
        dispatch = settings.dispatch
        self._counting = Counting(ledger, dispatch.realtime_below, int(dispatch.deadline_s * 1000))
        return Ready(
            note=f"{tallies.counted} plays of {len(ledger)} videos, {ledger.pending_count} of them pending; "
            f"knows {len(seen)} message ids"
        )

    def handle(self, peer: str, messages: list[CounterInbox]) -> None:
        """Count, answer, tell: what the rules say, in their order."""
        self._effects.perform(self._counting.handle(messages, _now_ms()))
        due_ms = self._counting.wakeup_ms()
        if due_ms is not None and self._timer is None:
            delay_s = min(max(0, due_ms - _now_ms()), HOLD_MS_MAX) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)
        if peer == CONSUMER:
            self.say_resumed()

    def lost(self, peer: str) -> None:
        """Whoever comes after asks or sends again."""
        self._effects.forget(partial(is_for, peer))
        held = "nsqd will redeliver what it held" if peer == CONSUMER else "what is pending stays here"
        log.debug("%s is gone; %s", peer, held)

    def stats(self) -> bytes:
        """What the ledger holds."""
        return encode(self._counting.stats())

    async def terminate(self) -> None:
        """Close the ledger in order."""
        self._store.close()

    def _wake(self) -> None:
        self._timer = None
        self._effects.perform(self._counting.wake(_now_ms()))

    def _carry_out(self, effect: Commit | Send) -> None:
        match effect:
            case Commit():
                self._store.commit(effect.changes)
            case Send():
                self.send(effect.peer, effect.message)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
