"""A counter as the simulation has it: one shard's ledger, in memory and on its disk."""

from typing import Any

from actors.core.counter.effects import Commit
from actors.core.counter.rules import CONSUMER, HOLD_MS_MAX
from actors.core.shards import shard_number

from .shells import Shell


class CounterShell(Shell):
    """One shard's ledger."""

    def __init__(self, world: Any, name: str, incarnation: int):
        super().__init__(world, name, incarnation)
        plan, machines = world.plan, world.machines
        self.disk = world.ledgers[shard_number(name)]
        self.fresh: list[Any] = []
        accounts, chunks, tallies = self.disk.load()
        seen = machines.seen(plan.window_ms, chunks)
        steps_below = plan.realtime_below if plan.every_play else 0
        ledger = machines.ledger(seen, accounts, tallies, steps_below)
        self.rules = machines.counting(ledger, plan.realtime_below, plan.deadline_ms)

    def linked(self, peer: str) -> None:
        """Whoever is there asks or sends."""

    def lost(self, peer: str) -> None:
        """Whoever comes after asks or sends again."""

    def handle(self, peer: str, messages: list[Any]) -> None:
        wall_ms = self.world.clock.wall_ms
        self.fresh = self.world.oracle.fresh_plays(messages, wall_ms) if peer == CONSUMER else []
        self.world.perform(self, self.rules.handle(messages, wall_ms))
        due_ms = self.rules.wakeup_ms()
        if due_ms is not None:
            delay_ms = min(max(0, due_ms - wall_ms), HOLD_MS_MAX)
            self.world.clock.after(delay_ms, self.world.run, self, self._wake)

    def _wake(self) -> None:
        self.world.perform(self, self.rules.wake(self.world.clock.wall_ms))

    def carry_out(self, effect: Any) -> None:
        match effect:
            case Commit():
                self.disk.commit(effect.changes)
                self.world.committed(self, effect.changes)
            case _:
                super().carry_out(effect)
