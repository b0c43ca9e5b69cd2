"""A simulated process: its actor is the real one, and finds in it all that a process gives.

What `actors/supervision/actor_host.py` does with a loop, this does with the virtual clock. A process does one
thing at a time, and what is for it while it is stopped happens when it continues.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from msgspec import Struct

from actors.core.consumer.ready_count import ReadyCounts
from actors.core.consumer.rules import ConsumerRules
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import CounterRules
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.rules import DispatcherRules


class Machines(Struct, frozen=True):
    """Of which classes the rules are: the real ones, or broken on purpose."""

    counting: type[CounterRules] = CounterRules
    deliveries: type[ConsumerRules] = ConsumerRules
    dispatching: type[DispatcherRules] = DispatcherRules
    ledger: type[Ledger] = Ledger
    ready_counts: type[ReadyCounts] = ReadyCounts
    seen: type[SeenIds] = SeenIds


class Timer:
    """Something that a process does later, unless it is cancelled."""

    def __init__(self, call: Callable[[], None]):
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Don't."""
        self._call = None

    def fire(self) -> None:
        """Its time has come."""
        if self._call is not None:
            self._call()


class Process:
    """One life of one process; `alive` is False once it was killed. A `Host` to its actor."""

    def __init__(self, world: Any, name: str, incarnation: int):
        self.world = world
        self.name = name
        self.incarnation = incarnation
        self.alive = True
        self.stopped_until_ms = 0
        self.ends: list[Any] = []
        self.control_ms = 0  # when the last message of the supervisor arrives: they stay in order
        self.mail: list[tuple[Any, tuple[Any, ...]]] = []  # what happens to it, in order
        self.links: dict[str, Any] = {}
        self.actor: Any = None

    def __str__(self) -> str:
        return f"{self.name}#{self.incarnation}"

    def wall_ns(self) -> int:
        """The clock of the machine that the service is on."""
        wall_ms: int = self.world.clock.wall_ms
        return wall_ms * 1_000_000

    def monotonic_ms(self) -> int:
        """The virtual clock."""
        now_ms: int = self.world.clock.now_ms
        return now_ms

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """By the virtual clock, as far as the process is not stopped then."""
        timer = Timer(call)
        self.world.clock.after(round(delay_s * 1000), self.world.run, self, timer.fire)
        return timer

    def spawn(self, awaitable: Awaitable[Any], done: Callable[[Any], None]) -> None:
        """Of what the simulation gives, nothing is awaited: it calls by itself."""
        awaitable.then(done)  # type: ignore[attr-defined]

    def send(self, peer: str, message: Any) -> None:
        """Write to a peer; without a link to it that is dropped."""
        with self.world.effect(self, "Send", message):
            self.world.send(self, peer, message)

    def peers(self) -> Collection[str]:
        """Who is linked."""
        return self.links.keys()

    def link_name(self, peer: str) -> str:
        """For the log."""
        return peer

    def say_resumed(self, note: str = "") -> None:
        """The supervisor's business."""

    def say_drained(self, left: str = "") -> None:
        """What was promised then, holds."""
        self.world.drained(self)
