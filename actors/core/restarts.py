"""When a child exits: what is stopped, what is started, or whether to give up. A table of OTP's rules.

Pure. Words and rules are OTP's (stdlib `supervisor`): restart `permanent` is always started again,
`transient` only after an abnormal exit, `temporary` never, not even when it was stopped because of a
sibling. `one_for_one` restarts the child that exited, `rest_for_one` also those started after it,
`one_for_all` all. `max_restarts` restarts within `max_seconds` are allowed; one more, and the
supervisor gives up.
"""

from enum import StrEnum

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


class ChildSpec(Struct, frozen=True):
    """What a supervisor needs to know of a child. `start` is "module:class" of its actor.

    `peers` are the children it has a link to; `drains`: it is told to finish what it holds before
    anything is stopped.
    """

    id: str
    start: str
    restart: Restart = Restart.PERMANENT
    peers: tuple[str, ...] = ()
    drains: bool = False


class Exit(Struct, frozen=True):
    """How a child ended: its exit code, or the signal that killed it, and why we killed it if we did."""

    code: int | None = None
    signal: str | None = None
    hung: str = ""

    @property
    def normal(self) -> bool:
        """Whether it ended by itself and well."""
        return self.code == 0 and not self.hung

    def __str__(self) -> str:
        if self.hung:
            return f"hung ({self.hung})"
        if self.signal is None and self.code is None:
            return "exited(unknown)"  # its status was lost with the forkserver
        return f"killed({self.signal})" if self.signal else f"exited({self.code})"


class Plan(Struct, frozen=True):
    """What follows from an exit: stop these in this order, then start these in this order."""

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


class GiveUp(Struct, frozen=True):
    """The restart intensity is exceeded: stop everything."""

    reason: str


class Restarts:
    """The rules of one supervisor, and the restarts within its window."""

    def __init__(
        self, specs: list[ChildSpec], strategy: Strategy, max_restarts: int, max_ms: int
    ):
        self._specs = {spec.id: spec for spec in specs}
        self._strategy = strategy
        self._max_restarts = max_restarts
        self._max_ms = max_ms
        self._restarted_ms: list[int] = []

    def exited(self, child_id: str, exit: Exit, now_ms: int) -> Plan | GiveUp:
        """A child exited that nobody had told to. What to do. `now_ms` is monotonic."""
        spec = self._specs[child_id]
        if spec.restart is Restart.TEMPORARY:
            return Plan()
        if spec.restart is Restart.TRANSIENT and exit.normal:
            return Plan()
        in_window = [at for at in self._restarted_ms if now_ms - at <= self._max_ms]
        self._restarted_ms = [*in_window, now_ms]
        if len(self._restarted_ms) > self._max_restarts:
            return GiveUp(
                f"{child_id} {exit}; {self._max_restarts} restarts in {self._max_ms / 1000:g} s "
                "are allowed (supervisor.max_restarts, supervisor.max_seconds)"
            )
        return self._plan(child_id)

    def _plan(self, child_id: str) -> Plan:
        ids = list(self._specs)
        at = ids.index(child_id)
        match self._strategy:
            case Strategy.ONE_FOR_ONE:
                return Plan((), (child_id,))
            case Strategy.REST_FOR_ONE:
                return Plan(tuple(reversed(ids[at + 1 :])), self._restartable(ids[at:]))
            case Strategy.ONE_FOR_ALL:
                return Plan(tuple(reversed(ids[:at] + ids[at + 1 :])), self._restartable(ids))

    def _restartable(self, ids: list[str]) -> tuple[str, ...]:
        return tuple(one for one in ids if self._specs[one].restart is not Restart.TEMPORARY)
