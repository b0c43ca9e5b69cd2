"""OTP's restart rules: what to stop and to start when a child exits, or whether to end.

Pure: callers pass the time, in milliseconds that only grow. Words and rules are OTP's (stdlib, module
`supervisor`, and its Design Principles):

    restart        permanent   always started again
                   transient   only after an abnormal exit: other than normal or shutdown
                   temporary   never, and its spec is forgotten
    strategy       one_for_one   the child that exited
                   rest_for_one  it and those started after it
                   one_for_all   all
    intensity      max_restarts within max_ms are allowed; one more, and the supervisor ends
    auto_shutdown  any_significant  ends when a significant child ended by itself
                   all_significant  ends when all of them did

Ours, and not OTP's:

    back-off       the nth restart within the window waits back_off_ms * 2**(n - 1), 0 by default
    one event      different children that exit within same_event_ms count as one restart; by default none do
    tries in a row of a child that is never ready all count, however long each one takes
    side by side   children that don't depend on each other (`ChildSpec.after`) start at the same time
"""

import math
from enum import StrEnum
from typing import NamedTuple, Optional

from msgspec import Struct


class Restart(StrEnum):
    """When a child is started again after it exited."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(StrEnum):
    """Which children are restarted when one is."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"


class AutoShutdown(StrEnum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class SpecError(ValueError):
    """A child spec that can't be: the text says which, why, and what is expected."""


class SupervisorSpec(Struct, frozen=True):
    """A supervisor: its children in the order in which they start, and its rules.

    `same_event_ms`: different children that exit within this time count as one restart, because they have one
    cause: a disk that stalls, for example. The same child twice is always two. 0: each one counts, as in OTP.
    """

    children: tuple["ChildSpec", ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 1
    max_ms: int = 5000
    back_off_ms: int = 0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    same_event_ms: int = 0


class ChildSpec(Struct, frozen=True):
    """A child: a process (`start` is "module:class" of its actor) or a nested `supervisor`.

    `shutdown_ms`: how long it may take to end in order before it is killed; 0 is OTP's brutal_kill,
    None its infinity. `peers` are the children it has a link to. `drains`: it is told to finish what
    it holds before anything is stopped. `intake`: it brings in new work, so it is not started again once the
    program stops. `environment`: withheld variables that it gets (`forkserver.prepare`).

    `after`: when its supervisor starts, the children before it that have to run before it is started. None
    means all of them, as in OTP; an empty tuple means that it depends on nobody.
    """

    id: str
    start: str = ""
    restart: Restart = Restart.PERMANENT
    shutdown_ms: int | None = 5000
    significant: bool = False
    supervisor: Optional[SupervisorSpec] = None  # noqa: UP045 - msgspec reads it by name
    peers: tuple[str, ...] = ()
    drains: bool = False
    intake: bool = False
    environment: tuple[str, ...] = ()
    after: tuple[str, ...] | None = None


class Exit(Struct, frozen=True):
    """How a child ended: exit code, signal, or the shutdown of a supervisor. `hung`: why we killed it."""

    code: int | None = None
    signal: str | None = None
    hung: str = ""
    shutdown: str = ""

    @property
    def normal(self) -> bool:
        """Whether it ended by itself and well: OTP's reasons `normal` and `shutdown`."""
        return bool(self.shutdown) or (self.code == 0 and not self.hung)

    def __str__(self) -> str:
        if self.hung:
            return f"hung ({self.hung})"
        if self.shutdown:
            return f"shutdown ({self.shutdown})"
        if self.signal is None and self.code is None:
            return "ended (how is not known, as the forkserver that started it is gone)"
        return f"killed({self.signal})" if self.signal else f"exited({self.code})"


class Plan(Struct, frozen=True):
    """What to do after an exit: stop these in this order, forget those, wait, start these in this order."""

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    delay_ms: int = 0


class End(Struct, frozen=True):
    """The supervisor itself ends, with all its children. `gave_up`: the intensity was exceeded."""

    reason: str
    gave_up: bool


class Restarted(NamedTuple):
    """A child was started again. `at_s`: when, in seconds since 1970. `how`: how its life before ended.

    `incarnation`: of the life that began.
    """

    at_s: float
    child: str
    how: str
    incarnation: int


class Restarts:
    """The rules of one supervisor, with its recent restarts."""

    def __init__(self, spec: SupervisorSpec):
        """Raises `SpecError`."""
        self.spec = spec
        self._children: dict[str, ChildSpec] = {}
        # A restart as the intensity counts it: who was restarted, and when, in ms.
        self._events: list[dict[str, int]] = []
        self._unready_since_ms: dict[str, int] = {}
        self._ended: set[str] = set()
        for child in spec.children:
            self.add(child)

    def add(self, child: ChildSpec) -> None:
        """Add a child after the others. Raises `SpecError`."""
        if child.id in self._children:
            raise SpecError(f"a child {child.id!r} is there already, expected another id")
        if child.significant and self.spec.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(f"{child.id!r} is significant, expected auto_shutdown other than never")
        if child.significant and child.restart is Restart.PERMANENT:
            raise SpecError(f"{child.id!r} is significant, expected restart transient or temporary")
        if unknown := set(child.after or ()) - self._children.keys():
            raise SpecError(
                f"{child.id!r} starts after {sorted(unknown)}, expected ids of children before it"
            )
        self._children[child.id] = child

    def delete(self, child_id: str) -> None:
        """Forget a child."""
        del self._children[child_id]
        self._ended.discard(child_id)
        self.terminated(child_id)

    def started(self, child_id: str) -> None:
        """Note that a child was started and is ready."""
        self._ended.discard(child_id)
        self._unready_since_ms.pop(child_id, None)

    def terminated(self, child_id: str) -> None:
        """Note that a child is not tried any more, as a command wants."""
        self._unready_since_ms.pop(child_id, None)

    def exited(self, child_id: str, exit: Exit, now_ms: int) -> Plan | End:
        """What to do about a child that exited without having been told to. `now_ms` is monotonic."""
        child = self._children[child_id]
        self._unready_since_ms.pop(child_id, None)  # it was ready, or its start would have failed
        broke = child.restart is Restart.TRANSIENT and not exit.normal
        if child.restart is Restart.PERMANENT or broke:
            return self._restart(child, f"{child_id} {exit}", now_ms)
        self._ended.add(child_id)
        if child.significant and self._all_that_matter_ended():
            return End(f"{child_id} {exit}, and it is significant", gave_up=False)
        return Plan(forget=(child_id,) if child.restart is Restart.TEMPORARY else ())

    def start_failed(self, child_id: str, why: str, now_ms: int) -> Plan | End:
        """What to do about a child that was to be restarted and was never ready.

        It is tried again whatever its restart type is, as OTP does, and the try counts.
        """
        return self._restart(self._children[child_id], why, now_ms)

    def _all_that_matter_ended(self) -> bool:
        if self.spec.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
            return True
        significant = {child.id for child in self._children.values() if child.significant}
        return significant <= self._ended

    def _restart(self, child: ChildSpec, why: str, now_ms: int) -> Plan | End:
        number = self._count(child.id, now_ms)
        if number > self.spec.max_restarts:
            return End(
                f"{why}, and {self.spec.max_restarts} restarts in {self.spec.max_ms / 1000:g} s are allowed",
                gave_up=True,
            )
        delay_ms = self.spec.back_off_ms * 2 ** min(number - 1, 16)
        affected = self._affected(child.id)
        others = [name for name in affected if name != child.id]
        # A temporary child that goes down with others is not started again, and so is forgotten.
        forget = tuple(name for name in others if self._children[name].restart is Restart.TEMPORARY)
        start = tuple(name for name in affected if name not in forget)
        return Plan(tuple(reversed(others)), start, forget, min(delay_ms, self.spec.max_ms))

    def _count(self, child_id: str, now_ms: int) -> int:
        """Count a restart. Returns its number among those that count now."""
        self._events = [event for event in self._events if self._still_counts(event, now_ms)]
        self._unready_since_ms.setdefault(child_id, now_ms)
        for number, event in enumerate(self._events, start=1):
            is_recent = now_ms - min(event.values()) <= self.spec.same_event_ms
            if self.spec.same_event_ms and is_recent and child_id not in event:
                event[child_id] = now_ms
                return number
        self._events.append({child_id: now_ms})
        return len(self._events)

    def _still_counts(self, event: dict[str, int], now_ms: int) -> bool:
        """Whether it is in the window, or one of the tries in a row of a child that was not ready since."""
        if now_ms - min(event.values()) <= self.spec.max_ms:
            return True
        return any(at_ms >= self._unready_since_ms.get(one, math.inf) for one, at_ms in event.items())

    def _affected(self, child_id: str) -> list[str]:
        """The children that are restarted with that child, itself too, in the order of their start."""
        ids = list(self._children)
        match self.spec.strategy:
            case Strategy.ONE_FOR_ONE:
                return [child_id]
            case Strategy.REST_FOR_ONE:
                return ids[ids.index(child_id) :]
            case Strategy.ONE_FOR_ALL:
                return ids
