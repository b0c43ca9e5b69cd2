"""What the simulated processes have in common: a life, links, effects that are carried out in order.

The real rules are inside and the I/O around them is simulated. The shells of the three actors do with
the effects of their rules, with links, readiness and timers what `actors/consumer.py`, `counter.py`
and `dispatcher.py` do, no more.
"""

from typing import Any

from msgspec import Struct

from actors.core.consumer.ready_count import Pace
from actors.core.consumer.rules import Deliveries
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import Counting
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.rules import Dispatching
from actors.core.effects import Send


class Machines(Struct, frozen=True):
    """Of which classes the rules are: the real ones, or broken on purpose."""

    counting: type[Counting] = Counting
    deliveries: type[Deliveries] = Deliveries
    dispatching: type[Dispatching] = Dispatching
    ledger: type[Ledger] = Ledger
    pace: type[Pace] = Pace
    seen: type[SeenIds] = SeenIds


class Shell:
    """What all three have: a life. `alive` is False once it was killed."""

    def __init__(self, world: Any, name: str, incarnation: int):
        self.world = world
        self.name = name
        self.incarnation = incarnation
        self.alive = True
        self.ready = False
        self.stopped_until_ms = 0
        self.stuck_since_ms: int | None = None
        self.ends: list[Any] = []
        self.control_ms = 0  # when the last message of the supervisor arrives: they stay in order
        self.mail: list[tuple[Any, tuple[Any, ...]]] = []  # what happens to it, in order
        self.todo: list[Any] = []  # effects that are not carried out yet
        self.links: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.name}#{self.incarnation}"

    def carry_out(self, effect: Any) -> None:
        """Do one effect of the rules."""
        match effect:
            case Send():
                self.world.send(self, effect.peer, effect.message)
            case _:
                raise AssertionError(f"not for {self.name}: {effect!r}")

    def done(self) -> None:
        """All effects of a call are carried out."""
