"""A tree of supervisors in virtual time: real supervisors and workers over fake processes.

with virtual_supervision() as play:
    play(scene)
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

from msgspec import Struct

from actors.supervision import application, worker
from actors.supervision import supervisor as supervision
from actors.supervision.actor import StartArgs
from actors.supervision.protocol import Drain, Drained, Ping, Pong, Ready, Shutdown
from actors.supervision.restarts import ChildSpec, Exit, Restarted, SupervisorSpec
from actors.supervision.states import State
from actors.supervision.supervisor import Supervisor
from actors.supervision.worker import Worker
from tests.support.virtual_time import run_virtually


class Habits(NamedTuple):
    """How long each step of a child takes, in seconds, and after which it dies by itself. None: for ever."""

    ready_s: float | None = 0.0
    answer_s: float | None = 0.0
    drain_s: float | None = 0.0
    end_s: float | None = 0.0
    dies_s: float | None = None


class Process:
    """In place of `ChildProcess`: does as its child's habits say.

    `next_habits` are those of the next processes of a child, and go before `habits`. `started` has each
    process with the time of its start. `story` has every start and end: "stop" if it was told to end, else
    "exit"; not the end of one that was not ready.
    """

    habits: dict[str, Habits]
    next_habits: dict[str, deque[Habits]]
    started: list[tuple[float, "Process"]]
    story: list[tuple[str, str]]

    def __init__(
        self,
        start_args: StartArgs,
        on_message: Callable[[Struct], None],
        on_exit: Callable[[Exit], None],
    ):
        self.pid = len(self.started) + 1
        self.id = start_args.id
        self.started_s = now_s()
        self.ended_s: float | None = None
        self.hung = ""
        coming = self.next_habits.get(self.id)
        self._habits = coming.popleft() if coming else self.habits.get(self.id, Habits())
        self._was_ready = self._was_told = False
        self._on_message, self._on_exit = on_message, on_exit
        self.started.append((now_s(), self))
        self.story.append(("start", self.id))
        self._after(self._habits.ready_s, self._say, Ready())
        self._after(self._habits.dies_s, self._end, Exit(code=1))

    def send(self, message: Struct, descriptor: int | None = None) -> None:
        match message:
            case Ping():
                self._after(self._habits.answer_s, self._say, Pong(message.number, b"", 0))
            case Drain():
                self._after(self._habits.drain_s, self._say, Drained(""))
            case Shutdown():
                self._was_told = True
                self._after(self._habits.end_s, self._end, Exit(code=0))

    def kill(self) -> None:
        asyncio.get_running_loop().call_soon(self._end, Exit(signal="SIGKILL", hung=self.hung))

    def kill_hung(self, why: str) -> None:
        self.hung = why
        self.kill()

    def die(self, code: int = 1) -> None:
        self._end(Exit(code=code))

    def _after(self, delay_s: float | None, call: Callable[..., None], argument: object) -> None:
        if delay_s is not None:
            asyncio.get_running_loop().call_later(delay_s, call, argument)

    def _say(self, message: Struct) -> None:
        if self.ended_s is None:
            self._was_ready = self._was_ready or isinstance(message, Ready)
            self._on_message(message)

    def _end(self, exit: Exit) -> None:
        if self.ended_s is None:
            self.ended_s = now_s()
            if self._was_ready:
                self.story.append(("stop" if self._was_told else "exit", self.id))
            self._on_exit(exit)


class Tree:
    """A supervisor of children with these habits."""

    def __init__(self, habits: dict[str, Habits], shutdown_ms: int | None = 5000, **rules: int):
        children = tuple(ChildSpec(name, "none:None", shutdown_ms=shutdown_ms) for name in habits)
        rules = {"max_restarts": 1000} | rules
        self.of(ChildSpec("root", supervisor=SupervisorSpec(children, **rules)), habits)  # type: ignore[arg-type]

    @classmethod
    def of_spec(cls, spec: ChildSpec) -> "Tree":
        """A tree of children that do everything at once, until `Process.next_habits` says otherwise."""
        tree = cls.__new__(cls)
        tree.of(spec, {})
        return tree

    def of(self, spec: ChildSpec, habits: dict[str, Habits]) -> None:
        Process.habits, Process.next_habits, Process.started, Process.story = habits, {}, [], []
        self.name, self.options = "tests", None
        self.exits: deque[str] = deque()
        self.restarts: deque[Restarted] = deque()
        self.ended_s: list[float] = []
        self.root = Supervisor(
            spec,
            lambda spec, on_exit: Worker(spec, self, on_exit),
            lambda _, exit: self.ended_s.append(now_s()),
        )

    def ready(self, worker: Worker, ready: Ready) -> None:
        """Do nothing: there are no links here."""

    def told(self, worker: Worker) -> None:
        """Do nothing."""

    def workers(self) -> list[Worker]:
        return list(self.root.workers())

    def worker(self, name: str) -> Worker:
        return next(one for one in self.workers() if one.spec.id == name)

    async def until_restarted(self) -> float:
        """Kill the only child. Returns the time until its next incarnation was started."""
        (one,) = self.workers()
        died_s = now_s()
        one.process.die()
        while one.state is not State.RUNNING:
            await asyncio.sleep(0.001)
        return one.process.started_s - died_s


class Clock:
    """In place of `time`: the loop's time, and how long the whole process was halted."""

    halted_s = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return asyncio.get_running_loop().time() + cls.halted_s

    @staticmethod
    def strftime(form: str) -> str:
        return form


now_s = Clock.monotonic


@contextlib.contextmanager
def virtual_supervision() -> Iterator[Callable[..., Any]]:
    """Put the fake processes and the virtual clock in place. Yields what runs a scene in virtual time."""
    with contextlib.ExitStack() as stack:
        Clock.halted_s = 0.0
        stack.enter_context(mock.patch.object(worker, "ChildProcess", Process))
        for module in (supervision, application, worker):
            stack.enter_context(mock.patch.object(module, "time", Clock))
        yield run_virtually
