"""When exactly a child is taken for hung, killed and started again. Real supervisors, workers and watch in
virtual time, over fake processes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import pytest
from msgspec import Struct

from actors.supervision import application, worker
from actors.supervision import supervisor as supervision
from actors.supervision.actor import StartArgs
from actors.supervision.application import PING_INTERVAL_S, Application
from actors.supervision.protocol import Drain, Drained, Ping, Pong, Ready, Shutdown
from actors.supervision.restarts import ChildSpec, Exit, SupervisorSpec
from actors.supervision.supervisor import Supervisor
from actors.supervision.worker import START_TIMEOUT_S, StartFailed, State, Worker
from tests.support.virtual_time import run_virtually

LIVENESS_S = 10.0


class Habits(NamedTuple):
    """How long each step of a child takes. None: for ever."""

    ready_s: float | None = 0.0
    answer_s: float | None = 0.0
    drain_s: float | None = 0.0
    end_s: float | None = 0.0


class Process:
    """In place of `ChildProcess`: does as its child's habits say. `started` has each one, with the time."""

    habits: dict[str, Habits]
    started: list[tuple[float, "Process"]]

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
        self._habits = self.habits.get(start_args.id, Habits())
        self._on_message, self._on_exit = on_message, on_exit
        self.started.append((now_s(), self))
        self._after(self._habits.ready_s, self._say, Ready())

    def send(self, message: Struct, descriptor: int | None = None) -> None:
        match message:
            case Ping():
                self._after(self._habits.answer_s, self._say, Pong(message.number, b"", 0))
            case Drain():
                self._after(self._habits.drain_s, self._say, Drained(""))
            case Shutdown():
                self._after(self._habits.end_s, self._end, Exit(code=0))

    def kill(self) -> None:
        asyncio.get_running_loop().call_soon(self._end, Exit(signal="SIGKILL", hung=self.hung))

    def kill_hung(self, why: str) -> None:
        self.hung = why
        self.kill()

    def die(self) -> None:
        self._end(Exit(code=1))

    def _after(self, delay_s: float | None, call: Callable[..., None], argument: object) -> None:
        if delay_s is not None:
            asyncio.get_running_loop().call_later(delay_s, call, argument)

    def _say(self, message: Struct) -> None:
        if self.ended_s is None:
            self._on_message(message)

    def _end(self, exit: Exit) -> None:
        if self.ended_s is None:
            self.ended_s = now_s()
            self._on_exit(exit)


class Tree:
    """A supervisor of children with these habits."""

    def __init__(self, habits: dict[str, Habits], shutdown_ms: int | None = 5000, **rules: int):
        Process.habits, Process.started = habits, []
        self.name, self.options = "tests", None
        self.exits: deque[str] = deque()
        self.ended_s: list[float] = []
        children = tuple(ChildSpec(name, "none:None", shutdown_ms=shutdown_ms) for name in habits)
        spec = ChildSpec("root", supervisor=SupervisorSpec(children, **({"max_restarts": 1000} | rules)))
        self.root = Supervisor(
            spec,
            lambda spec, on_exit: Worker(spec, self, on_exit),
            lambda _, exit: self.ended_s.append(now_s()),
        )

    def ready(self, worker: Worker, ready: Ready) -> None:
        """Do nothing: there are no links here."""

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


@pytest.fixture
def play(monkeypatch):
    """Run a scene in virtual time."""
    monkeypatch.setattr(Clock, "halted_s", 0.0)
    monkeypatch.setattr(worker, "ChildProcess", Process)
    for module in (supervision, application, worker):
        monkeypatch.setattr(module, "time", Clock)
    return run_virtually


def test_who_does_not_answer_is_killed_with_the_first_look_after_the_timeout(play):
    async def scene() -> None:
        tree = Tree({"silent": Habits(answer_s=None), "slow": Habits(answer_s=LIVENESS_S)})
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, LIVENESS_S))
        await asyncio.sleep(100)
        # The first question is asked after an interval. 10 s later the answer is not too late yet.
        (_, silent), (_, slow), (again_s, again), *_ = Process.started
        assert silent.ended_s == pytest.approx(2 * PING_INTERVAL_S + LIVENESS_S)
        assert silent.hung == f"no answer for {LIVENESS_S + PING_INTERVAL_S:.1f} s"
        assert (again.id, again_s) == ("silent", silent.ended_s)
        assert tree.worker("silent").incarnation == 9
        assert (tree.worker("slow").incarnation, slow.ended_s) == (1, None)
        watching.cancel()

    play(scene)


def test_who_was_not_asked_because_the_supervisor_was_halted_is_not_to_blame(play):
    async def scene() -> None:
        tree = Tree({"silent": Habits(answer_s=None), "slow": Habits(answer_s=LIVENESS_S)})
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, LIVENESS_S))
        await asyncio.sleep(5.5)
        Clock.halted_s = 60.0
        await asyncio.sleep(100)
        (_, silent), (_, slow), *_ = Process.started
        assert silent.ended_s == pytest.approx(60 + 2 * PING_INTERVAL_S + LIVENESS_S)
        assert slow.ended_s is None
        watching.cancel()

    play(scene)


@pytest.mark.parametrize(
    ("end_s", "shutdown_ms", "ended_s", "hung"),
    [
        (4.999, 5000, 4.999, ""),
        (None, 5000, 5.0, "did not end within 5 s"),
        (None, 0, 0.0, ""),
        (100_000.0, None, 100_000.0, ""),
    ],
    ids=["in time", "killed when its time is over", "killed at once", "allowed for ever"],
)
def test_a_child_has_its_shutdown_time_to_end(play, end_s, shutdown_ms, ended_s, hung):
    async def scene() -> None:
        tree = Tree({"a": Habits(end_s=end_s)}, shutdown_ms=shutdown_ms)
        await tree.root.start()
        await tree.root.stop()
        ((_, process),) = Process.started
        assert (now_s(), process.ended_s, process.hung) == (pytest.approx(ended_s), now_s(), hung)

    play(scene)


def test_a_child_has_so_long_to_drain_and_is_not_waited_for_when_it_is_done_or_gone(play):
    async def scene() -> None:
        tree = Tree(
            {"done": Habits(drain_s=3.0), "never": Habits(drain_s=None), "dies": Habits(drain_s=None)}
        )
        await tree.root.start()
        asyncio.get_running_loop().call_later(14.0, tree.worker("dies").process.die)
        for name, moment_s in (("done", 3.0), ("never", 13.0), ("dies", 14.0)):
            await tree.worker(name).drain(10.0)
            assert now_s() == pytest.approx(moment_s), name

    play(scene)


def test_a_child_that_is_never_ready_is_killed_when_its_time_is_over(play):
    async def scene() -> None:
        tree = Tree({"a": Habits(), "b": Habits(ready_s=None)})
        with pytest.raises(StartFailed, match=f"b#1 was not ready after {START_TIMEOUT_S:g} s"):
            await tree.root.start()
        assert now_s() == START_TIMEOUT_S
        assert [process.ended_s for _, process in Process.started] == [START_TIMEOUT_S] * 2

    play(scene)


def test_a_restart_waits_for_the_back_off_which_doubles_and_begins_anew_after_the_window(play):
    async def scene() -> None:
        tree = Tree({"a": Habits()}, back_off_ms=200, max_ms=10_000)
        await tree.root.start()
        waits_s = [await tree.until_restarted() for _ in range(4)]
        assert waits_s == pytest.approx([0.2, 0.4, 0.8, 1.6])
        await asyncio.sleep(10.001)
        assert await tree.until_restarted() == pytest.approx(0.2)
        without = Tree({"a": Habits()})
        await without.root.start()
        assert [await without.until_restarted() for _ in range(4)] == [0.0] * 4

    play(scene)


@pytest.mark.parametrize(("last_s", "gives_up"), [(10.0005, True), (10.0015, False)])
def test_restarts_count_for_as_long_as_the_window_is(play, last_s, gives_up):
    async def scene() -> None:
        tree = Tree({"a": Habits()}, max_restarts=2, max_ms=10_000)
        await tree.root.start()
        for moment_s in (0.0005, 5.0, last_s):
            await asyncio.sleep(moment_s - now_s())
            tree.worker("a").process.die()
        await asyncio.sleep(1)
        assert tree.root.gave_up == gives_up
        assert tree.ended_s == ([pytest.approx(last_s)] if gives_up else [])

    play(scene)
