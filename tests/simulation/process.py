"""A simulated process: its actor is the real one, and this is its `Host`.

It does with the virtual clock what `actors/supervision/actor_host.py` does with a loop. A process does one
thing at a time. Events of a stopped process wait until it continues.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from msgspec import Struct

from actors.core.consumer.identified import IdentifiedBodies
from actors.core.consumer.identities import Identities
from actors.core.consumer.ready_count import ReadyCounts
from actors.core.consumer.rules import ConsumerRules
from actors.core.consumer.stalls import Stalls
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import CounterRules
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.rules import DispatcherRules


class Machines(Struct, frozen=True):
    """The classes of the rules: the real ones, or broken ones."""

    counting: type[CounterRules] = CounterRules
    deliveries: type[ConsumerRules] = ConsumerRules
    dispatching: type[DispatcherRules] = DispatcherRules
    identities: type[Identities] = Identities
    identified: type[IdentifiedBodies] = IdentifiedBodies
    ledger: type[Ledger] = Ledger
    ready_counts: type[ReadyCounts] = ReadyCounts
    seen: type[SeenIds] = SeenIds
    stalls: type[Stalls] = Stalls


class Timer:
    """A call that a process makes later, unless it is cancelled."""

    def __init__(self, call: Callable[[], None]):
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Cancel the call."""
        self._call = None

    def fire(self) -> None:
        """Make the call."""
        if self._call is not None:
            self._call()


class Process:
    """One life of one process; `alive` is False after a kill. Its actor uses it as a `Host`."""

    def __init__(self, world: Any, name: str, incarnation: int):
        self.world = world
        self.name = name
        self.incarnation = incarnation
        self.alive = True
        self.stopped_until_ms = 0
        self.ends: list[Any] = []
        self.control_ms = 0  # when the supervisor's last message arrives: messages stay in order
        self.mail: list[tuple[Any, tuple[Any, ...]]] = []  # the calls that wait for it, in order
        self.links: dict[str, Any] = {}
        self.actor: Any = None

    def __str__(self) -> str:
        return f"{self.name}#{self.incarnation}"

    def wall_ns(self) -> int:
        """The wall clock of the service's machine."""
        wall_ms: int = self.world.clock.wall_ms
        return wall_ms * 1_000_000

    def monotonic_ms(self) -> int:
        """The virtual clock."""
        now_ms: int = self.world.clock.now_ms
        return now_ms

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call after this time of the virtual clock, or when the process continues after a stop."""
        timer = Timer(call)
        self.world.clock.after(round(delay_s * 1000), self.world.run, self, timer.fire)
        return timer

    def spawn(self, awaitable: Awaitable[Any], done: Callable[[Any], None]) -> None:
        """Call `done` with the result. The simulation calls by itself; nothing is awaited."""
        awaitable.then(done)  # type: ignore[attr-defined]

    def guarded(self, done: Callable[[Any], None]) -> Callable[[Any], None]:
        """The same function: the simulation sees whatever is raised."""
        return done

    def send(self, peer: str, message: Any) -> None:
        """Write to a peer. Without a link the message is dropped."""
        with self.world.effect(self, "Send", message):
            self.world.send(self, peer, message)

    def cork(self) -> None:
        """Do nothing: each message has a delay of its own, whatever it is written with."""

    def uncork(self) -> None:
        """Do nothing."""

    def peers(self) -> Collection[str]:
        """The linked peers."""
        return self.links.keys()

    def link_name(self, peer: str) -> str:
        """The name of a link, for the log."""
        return peer

    def say_loading(self, done: int, total: int, what: str) -> None:
        """Do nothing: this is for the supervisor."""

    def say_stats(self) -> None:
        """Do nothing."""

    def say_resumed(self, note: str = "") -> None:
        """Do nothing: this is for the supervisor."""

    def say_drained(self, left: str = "") -> None:
        """Check what must hold when the actor is drained."""
        self.world.drained(self)
