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

Back-off is ours: the nth restart within the window waits back_off_ms * 2**(n - 1), 0 by default.
"""

from enum import StrEnum
from typing import Optional

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
    """A supervisor: its children in the order in which they start, and its rules."""

    children: tuple["ChildSpec", ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 1
    max_ms: int = 5000
    back_off_ms: int = 0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER


class ChildSpec(Struct, frozen=True):
    """A child: a process (`start` is "module:class" of its actor) or a nested `supervisor`.

    `shutdown_ms`: how long it may take to end in order before it is killed; 0 is OTP's brutal_kill,
    None its infinity. `peers` are the children it has a link to. `drains`: it is told to finish what
    it holds before anything is stopped.
    """

    id: str
    start: str = ""
    restart: Restart = Restart.PERMANENT
    shutdown_ms: int | None = 5000
    significant: bool = False
    supervisor: Optional[SupervisorSpec] = None  # noqa: UP045 - msgspec reads it by name
    peers: tuple[str, ...] = ()
    drains: bool = False


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
            return "exited(unknown)"  # its status was lost with the forkserver
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


class Restarts:
    """The rules of one supervisor, with its recent restarts."""

    def __init__(self, spec: SupervisorSpec):
        """Raises `SpecError`."""
        self.spec = spec
        self._children: dict[str, ChildSpec] = {}
        self._restarted_ms: list[int] = []
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
        self._children[child.id] = child

    def delete(self, child_id: str) -> None:
        """Forget a child."""
        del self._children[child_id]
        self._ended.discard(child_id)

    def started(self, child_id: str) -> None:
        """Note that a child was started."""
        self._ended.discard(child_id)

    def exited(self, child_id: str, exit: Exit, now_ms: int) -> Plan | End:
        """What to do about a child that exited without having been told to. `now_ms` is monotonic."""
        child = self._children[child_id]
        broke = child.restart is Restart.TRANSIENT and not exit.normal
        if child.restart is Restart.PERMANENT or broke:
            return self._restart(child, exit, now_ms)
        self._ended.add(child_id)
        if child.significant and self._all_that_matter_ended():
            return End(f"{child_id} {exit}, and it is significant", gave_up=False)
        return Plan(forget=(child_id,) if child.restart is Restart.TEMPORARY else ())

    def _all_that_matter_ended(self) -> bool:
        if self.spec.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
            return True
        significant = {child.id for child in self._children.values() if child.significant}
        return significant <= self._ended

    def _restart(self, child: ChildSpec, exit: Exit, now_ms: int) -> Plan | End:
        in_window = [at for at in self._restarted_ms if now_ms - at <= self.spec.max_ms]
        self._restarted_ms = [*in_window, now_ms]
        if len(in_window) >= self.spec.max_restarts:
            return End(
                f"{child.id} {exit}, and {self.spec.max_restarts} restarts in "
                f"{self.spec.max_ms / 1000:g} s are allowed",
                gave_up=True,
            )
        delay_ms = self.spec.back_off_ms * 2 ** min(len(in_window), 16)
        affected = self._affected(child.id)
        others = [name for name in affected if name != child.id]
        # A temporary child that goes down with others is not started again, and so is forgotten.
        forget = tuple(name for name in others if self._children[name].restart is Restart.TEMPORARY)
        start = tuple(name for name in affected if name not in forget)
        return Plan(tuple(reversed(others)), start, forget, min(delay_ms, self.spec.max_ms))

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
