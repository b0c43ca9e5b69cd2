"""The dispatcher as the simulation has it: its batches, its one timer, and what waits at it, checked."""

from itertools import count
from random import Random
from typing import Any

from actors.core.dispatcher.effects import Deliver, Forget, Store
from actors.core.dispatcher.outbox import Batch
from actors.core.dispatcher.rules import Outcome, Phase
from actors.core.dispatcher.schedule import Rule
from actors.core.effects import Send
from actors.core.messages import Collect, Collected, Pending
from actors.core.shards import shard_number

from .checks import Invariant, Violation
from .client import BATCH_SIZE_MAX
from .shells import Shell
from .waiting import OVERDUE_LINGER_MS, Waiting

LOOK_AGAIN_MS = 1000


class DispatcherShell(Shell):
    """The batches, one on its way at a time."""

    def __init__(self, world: Any, name: str, incarnation: int):
        super().__init__(world, name, incarnation)
        plan, outbox = world.plan, world.outbox
        rule = Rule(plan.realtime_below, plan.deadline_ms, plan.linger_ms, OVERDUE_LINGER_MS)
        self.rules = world.machines.dispatching(
            rule,
            plan.shards,
            BATCH_SIZE_MAX,
            "service",
            Random(plan.luck).random,
            list(outbox.batches.values()),
            outbox.totals,
        )
        self.on_its_way: Batch | None = None
        self.draining = False
        self._waiting = Waiting(plan)
        self._timers = count()
        self._timer = 0
        self._called_ms = world.clock.wall_ms  # a disk that fails may hold its effects up after that
        self.done()

    def linked(self, peer: str) -> None:
        self._waiting.lost(shard_number(peer))
        self._perform(self.rules.linked(shard_number(peer), self.world.clock.wall_ms))

    def lost(self, peer: str) -> None:
        self._waiting.lost(shard_number(peer))
        self._perform(self.rules.lost(shard_number(peer), self.world.clock.wall_ms))

    def handle(self, peer: str, messages: list[Any]) -> None:
        wall_ms, shard = self.world.clock.wall_ms, shard_number(peer)
        for message in messages:
            match message:
                case Pending():
                    self._waiting.offer(message, wall_ms)
                case Collected():
                    self._waiting.answered(shard, message.number)
        self._perform(self.rules.handle(shard, messages, wall_ms))

    def delivered(self, batch: Batch, outcome: Outcome) -> None:
        self.on_its_way = None
        effects = self.rules.delivered(outcome, self.world.clock.wall_ms)
        videos = [entry.video for entry in batch.entries]
        if outcome is Outcome.ACCEPTED:
            self._waiting.accepted({entry.video: entry.plays for entry in batch.entries})
        elif any(isinstance(effect, Forget) for effect in effects):
            self._waiting.refused(videos, {shard_number(peer) for peer in self.links})
        self._perform(effects)

    def drain(self) -> None:
        self.draining = True
        self._perform(self.rules.drain(self.world.clock.wall_ms))

    def carry_out(self, effect: Any) -> None:
        match effect:
            case Store():
                self.world.outbox.store(effect.batch, effect.totals)
            case Forget():
                self.world.outbox.forget(effect.key)
            case Deliver():
                stored = self.world.outbox.batches.get(effect.batch.key)
                if stored is None or self.on_its_way is not None:
                    raise Violation(Invariant.WRITTEN_FIRST, f"{effect.batch.key} is sent at once")
                self.on_its_way = effect.batch
                self.world.outside.deliver(self, effect.batch)
            case _:
                super().carry_out(effect)

    def done(self) -> None:
        clock = self.world.clock
        if self.rules.phase is Phase.IDLE:
            self._waiting.idle(self._called_ms)
        elif self.rules.phase is not Phase.COLLECTING:
            self._waiting.give_up()
        if self.draining and self.rules.drained and self.world.client.totals != self.world.oracle.totals:
            raise Violation(Invariant.DRAINED, "not all is published")
        wakeup_ms = self.rules.wakeup_ms()
        self._timer = next(self._timers)
        if wakeup_ms is not None:
            delay_ms = min(max(0, wakeup_ms - clock.wall_ms), LOOK_AGAIN_MS)
            clock.after(delay_ms, self.world.run, self, self._wake, self._timer)

    def _wake(self, timer: int) -> None:
        if timer == self._timer:
            self._perform(self.rules.wake(self.world.clock.wall_ms))

    def _perform(self, effects: list[Any]) -> None:
        self._called_ms = self.world.clock.wall_ms
        leaving: dict[int, dict[int, list[bytes]]] = {}
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Collect):
                column = effect.message.videos
                videos = [column[at : at + 16] for at in range(0, len(column), 16)]
                leaving.setdefault(effect.message.number, {})[shard_number(effect.peer)] = videos
        for number, asked in leaving.items():
            self._waiting.leave(number, asked)
        self.world.perform(self, effects)
