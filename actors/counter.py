"""A counter process: one shard's ledger, in memory and on disk.

It owns the store. The rules are in `core/counter/rules.py`; this carries out their effects in order. A commit
that fails (a full disk) is tried again until it works. Nothing is answered meanwhile, so nothing is finished
on the queue, and nsqd keeps the messages.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from time import perf_counter

from msgspec import structs

from .config import Settings
from .core import totals
from .core.consumers import is_consumer
from .core.counter.accounts import Accounts
from .core.counter.changes import Tallies
from .core.counter.effects import Commit
from .core.counter.ledger import Ledger
from .core.counter.lookup import look_up
from .core.counter.rules import CounterRules, Received
from .core.counter.seen_ids import SeenIds
from .core.effects import Send, is_for
from .core.histogram import COMMIT_BOUNDS_S, Histogram, HistogramStats
from .core.messages import CounterInbox
from .core.shards import shard_number
from .core.stats import CounterStats, decode, encode
from .core.words import counted
from .store import open_ledger
from .store.loading import SayLoading
from .store.protocols import LedgerStore
from .supervision.actor import Actor, Host, StartArgs
from .supervision.alarm import Alarm
from .supervision.effect_queue import EffectQueue
from .supervision.protocol import Ready
from .system.exits import WriteUnavailable
from .system.logs import WriteOutage

log = logging.getLogger(__name__)

REUSED_LOG_INTERVAL_MS = 60_000
# So long after the last commit, nothing else has come while it was made: what comes is handled at once.
COMPANY_CAME_MS = 1


class Counter(Actor[CounterInbox, Settings]):
    """The actor of one shard."""

    inbox = CounterInbox
    needs_asyncio = False

    def __init__(
        self,
        start_args: StartArgs,
        host: Host,
        opener: Callable[[Settings, int, SayLoading, bool], LedgerStore] = open_ledger,
        rules: type[CounterRules] = CounterRules,
        ledger: type[Ledger] = Ledger,
        seen_ids: type[SeenIds] = SeenIds,
    ):
        super().__init__(start_args, host)
        self.rules: CounterRules
        self._outage = WriteOutage(host.monotonic_ms)
        self.effects = EffectQueue(self._carry_out, WriteUnavailable, host, self._tried, self._performed)
        self._settled: Tallies
        self._accounts: Accounts  # the ledger's, to look totals up
        told = decode(start_args.last_stats) if start_args.last_stats else None
        before = told.commit_duration_s if isinstance(told, CounterStats) else HistogramStats()
        self._commits_s = Histogram(COMMIT_BOUNDS_S, before)
        self._store: LedgerStore
        self._seen: SeenIds
        self._open = opener
        self._kinds = rules, ledger, seen_ids
        self._alarm = Alarm(host, self._handle_all)
        self._inbox: list[Received] = []
        self._has_resumed = False
        self._handled_ms = host.monotonic_ms()
        self._reused_said = 0
        self._say_reused_ms = 0

    async def init(self) -> Ready:
        """Read the ledger."""
        settings, dispatch = self.options, self.options.dispatch
        rules, make_ledger, seen_ids = self._kinds
        shard, is_first = shard_number(self.start_args.id), self.start_args.is_first
        self._store = self._open(settings, shard, self.host.say_loading, is_first)
        accounts, chunks, tallies = self._store.load()
        window_ms = int(settings.counters.dedupe_window_s * 1000)
        seen = self._seen = seen_ids(window_ms, chunks, os.urandom(16))
        steps_below = dispatch.realtime_below if dispatch.realtime == "every_play" else 0
        ledger = make_ledger(seen, accounts, tallies, steps_below, self._now_ms())
        self._reused_said = tallies.reused
        self._settled = tallies
        self._accounts = accounts
        self.rules = rules(
            ledger, dispatch.realtime_below, int(dispatch.deadline_s * 1000), self._store.commits
        )
        return Ready(
            note=f"{counted(tallies.counted, 'play')} of {counted(len(ledger), 'video')}, "
            f"{ledger.pending_count:,} of them pending; knows {counted(len(seen), 'message id')}"
        )

    def handle(self, peer: str, messages: list[CounterInbox]) -> None:
        """Take what came. What all peers sent while a commit was made goes into one commit."""
        is_first = not self._inbox
        for message in messages:
            self._inbox.append((peer, message))
        if not self._has_resumed and is_consumer(peer):
            self._has_resumed = True
            self.host.say_resumed()
        if is_first:
            now_ms = self.host.monotonic_ms()
            if now_ms - self._handled_ms > COMPANY_CAME_MS:
                self._handle(now_ms)
            else:
                self.host.call_later(0.0, self._handle_all)

    def _handle_all(self) -> None:
        self._handle(self._now_ms())

    def _handle(self, now_ms: int) -> None:
        """Count, commit and answer, as the rules say."""
        inbox, self._inbox = self._inbox, []
        effects = self.rules.handle(inbox, now_ms, self.host.wall_ns())
        self._alarm.set(self.rules.wakeup_ms())
        if not effects:
            return
        self.effects.perform(effects)
        self._handled_ms = self.host.monotonic_ms()
        if self.rules.ledger.tallies.reused > self._reused_said:
            self._say_reused(self._handled_ms)

    def lost(self, peer: str) -> None:
        """Drop the messages for a lost peer: its next incarnation asks or sends again."""
        self.rules.hurry()
        self._handle_all()  # now, because an answer to this incarnation means nothing to the next one
        self.effects.forget(partial(is_for, peer))
        held = "nsqd will redeliver what it held" if is_consumer(peer) else "what is pending stays here"
        log.debug("%s is gone; %s", peer, held)

    def stats(self) -> bytes:
        """The figures of the ledger. A play is told once it is committed."""
        return encode(
            structs.replace(
                self.rules.stats(self._settled),
                commits=self._store.commits,
                seen_ids=len(self._seen),
                commit_duration_s=self._commits_s.stats(),
            )
        )

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Answer what is asked about totals, at once. A play is told once it is committed."""
        if self._settled is self.rules.ledger.tallies:
            found = look_up(self._accounts, totals.decode_call(request))
        else:
            why = "can't write its ledger now, so it tells no total; the log says why"
            found = totals.FoundTotals(problem=f"{self.start_args.id} {why}")
        reply(totals.encode(found))

    async def terminate(self) -> None:
        """Write the last numbers, and close the ledger in order."""
        self.effects.perform(self.rules.end(self._now_ms()))
        self._store.close()

    def _say_reused(self, now_ms: int) -> None:
        reused = self.rules.ledger.tallies.reused
        if now_ms >= self._say_reused_ms:
            log.warning(
                "%s came with an id that another message had before: an nsqd's clock was set back before it "
                "started again, or two nsqds have one address. All are counted. Said once a minute",
                counted(reused - self._reused_said, "message"),
            )
            self._reused_said, self._say_reused_ms = reused, now_ms + REUSED_LOG_INTERVAL_MS

    def _tried(self, failure: Exception | None) -> None:
        self._outage.tried(failure)
        if failure is None:
            self.rules.ledger.clock.go_on(self._now_ms())
        else:
            self.rules.ledger.clock.stand_still(self._now_ms())

    def _performed(self) -> None:
        self._settled = self.rules.ledger.tallies

    def _carry_out(self, effect: Commit | Send) -> None:
        match effect:
            case Commit():
                began_s = perf_counter()
                self._store.commit(effect.changes)
                self._commits_s.observe(perf_counter() - began_s)
            case Send():
                self.host.send(effect.peer, effect.message)

    def _now_ms(self) -> int:
        return self.host.monotonic_ms()
