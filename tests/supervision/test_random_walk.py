"""Random walks over all commands and crashes, in virtual time, over fake processes.

One walk waits after each step, and compares everything with a model of OTP's supervisor (`otp_model.py`): the
order of all starts and ends, what is refused, who gives up. The other walk waits for nothing, so that
commands, crashes, back-off and a stop cross each other; it checks what must hold at any moment and in the
end.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from actors.supervision.restarts import ChildSpec, Restart, SpecError, Strategy, SupervisorSpec
from actors.supervision.states import State
from actors.supervision.supervisor import Supervisor
from actors.supervision.worker import StartFailed, Worker
from tests.support.virtual_time import VirtualLoop
from tests.support.virtual_tree import Habits, Process, Tree, now_s, virtual_supervision

from .otp_model import FAILS, READY, SLOWLY, SLOWLY_MS, NotStarted, OtpSupervisor, Refused, World

MAX_MS = 5000
OUTER = ("a", "transient", "n", "temporary", "z")
INNER = ("x", "y", "w")
WORKERS = [one for one in (*OUTER, *INNER, "added") if one != "n"]
HABITS = {READY: Habits(), FAILS: Habits(None, dies_s=0.0), SLOWLY: Habits(None, dies_s=SLOWLY_MS / 1000)}
# For the walk that does not wait: also slow to start, slow to end, never ready, dead soon after the start.
CROSSING = [
    *HABITS.values(),
    Habits(0.3),
    Habits(end_s=0.7),
    Habits(0.2, end_s=1.5),
    Habits(None),
    Habits(end_s=None),
    Habits(dies_s=0.1),
    Habits(0.4, dies_s=0.1),
]
STRATEGIES = st.sampled_from(list(Strategy))
AFTER = st.sampled_from([None, ()])  # one after the other, or side by side


def spec_of(
    root: SupervisorSpec,
    nested: SupervisorSpec,
    nested_restart: Restart,
    inner_after: tuple[str, ...] | None,
    outer_after: tuple[str, ...] | None = None,
) -> ChildSpec:
    """A root over workers of each restart type and a nested supervisor. `…_after`: () is side by side."""
    inner = tuple(ChildSpec(one, "none:None", after=inner_after) for one in INNER)
    kinds = {"transient": Restart.TRANSIENT, "temporary": Restart.TEMPORARY}
    children = []
    for one in OUTER:
        if one == "n":
            below = SupervisorSpec(inner, nested.strategy, nested.max_restarts, MAX_MS, nested.back_off_ms)
            children.append(
                ChildSpec("n", restart=nested_restart, shutdown_ms=None, supervisor=below, after=outer_after)
            )
        else:
            kind = kinds.get(one, Restart.PERMANENT)
            children.append(ChildSpec(one, "none:None", kind, after=outer_after))
    spec = SupervisorSpec(
        tuple(children),
        root.strategy,
        root.max_restarts,
        MAX_MS,
        root.back_off_ms,
        same_event_ms=root.same_event_ms,
    )
    return ChildSpec("root", shutdown_ms=None, supervisor=spec)


async def planted(spec: ChildSpec) -> Tree:
    """A tree, made while a loop runs: its workers have futures."""
    return Tree.of_spec(spec)


class Walk(RuleBasedStateMachine):
    """What both walks have: the loop, the tree, the parents."""

    tree: Tree

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.bugs: list[dict[str, Any]] = []
        self.runner.get_loop().set_exception_handler(lambda _, context: self.bugs.append(context))

    def run(self, scene: Coroutine[Any, Any, Any]) -> Any:
        result = self.runner.run(scene)
        assert not self.bugs
        return result

    @property
    def nested(self) -> Supervisor:
        (found,) = [one for one in self.tree.root.supervisors() if one.spec.id == "n"]
        return found

    def parent(self, child_id: str) -> Supervisor:
        return self.nested if child_id in INNER else self.tree.root

    def worker(self, child_id: str) -> Worker | None:
        return next((one for one in self.tree.workers() if one.spec.id == child_id), None)

    def living(self) -> list[Process]:
        return [one for _, one in Process.started if one.ended_s is None]

    async def settle(self) -> None:
        """Wait until no supervisor has anything to do."""
        while any(
            one._plans or one.state in (State.STARTING, State.STOPPING)
            for one in self.tree.root.supervisors()
        ):
            await asyncio.sleep(0.25)

    @invariant()
    def a_child_exists_once_and_none_that_lives_is_forgotten(self) -> None:
        if not hasattr(self, "tree"):
            return
        living = self.living()
        assert len({one.id for one in living}) == len(living)
        known = {
            worker.process.pid
            for worker in self.tree.workers()
            if worker.state is not State.STOPPED and worker.process is not None
        }
        assert known == {one.pid for one in living}

    def teardown(self) -> None:
        if hasattr(self, "tree"):
            self.run(self.tree.root.stop())
            assert not self.living()
            assert self.tree.root.state is State.STOPPED
        self.runner.close()


class AgainstOtp(Walk):
    """One step after the other."""

    @initialize(
        strategy=STRATEGIES,
        nested=STRATEGIES,
        nested_restart=st.sampled_from([Restart.PERMANENT, Restart.TRANSIENT]),
        max_restarts=st.integers(0, 4),
        nested_max=st.integers(0, 3),
        same_event_ms=st.sampled_from([0, 2000]),
        inner_after=AFTER,
    )
    def begin(
        self,
        strategy: Strategy,
        nested: Strategy,
        nested_restart: Restart,
        max_restarts: int,
        nested_max: int,
        same_event_ms: int,
        inner_after: tuple[str, ...] | None,
    ) -> None:
        spec = spec_of(
            SupervisorSpec((), strategy, max_restarts, same_event_ms=same_event_ms),
            SupervisorSpec((), nested, nested_max),
            nested_restart,
            inner_after,
        )
        self.world = World()
        self.model = OtpSupervisor(spec, self.world)
        self.model.start()
        self.tree = self.run(planted(spec))
        self.run(self.tree.root.start())
        self.compare()

    @property
    def model_nested(self) -> OtpSupervisor:
        below = self.model.children["n"].below
        assert below is not None
        return below

    def model_parent(self, child_id: str) -> OtpSupervisor:
        return self.model_nested if child_id in INNER and "n" in self.model.children else self.model

    def is_in_tree(self, child_id: str) -> bool:
        return "n" in self.model.children or child_id not in INNER

    @precondition(lambda self: self.model.alive)
    @rule(
        child_id=st.sampled_from(WORKERS),
        outcomes=st.lists(st.sampled_from([READY, FAILS, SLOWLY]), max_size=3),
    )
    def next_starts_end_so(self, child_id: str, outcomes: list[str]) -> None:
        self.world.outcomes[child_id] = deque(outcomes)
        Process.next_habits[child_id] = deque(HABITS[one] for one in outcomes)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @precondition(lambda self: self.model.alive)
    @rule(child_id=st.sampled_from(WORKERS), normal=st.booleans())
    def one_exits(self, child_id: str, normal: bool) -> None:
        self.exit_together([child_id], normal)

    @precondition(lambda self: self.model.alive)
    @rule(group=st.sampled_from([OUTER, INNER]), data=st.data(), normal=st.booleans())
    def several_exit_at_one_moment(self, group: tuple[str, ...], data: st.DataObject, normal: bool) -> None:
        # OTP handles the second exit after the start that follows from the first; we handle both at the same
        # time under one_for_one. So starts take no time here, and one_for_one is for the other walk.
        workers = [one for one in group if one != "n"]
        for outcomes in self.world.outcomes.values():
            outcomes.clear()
        for habits in Process.next_habits.values():
            habits.clear()
        drawn = data.draw(st.permutations(workers))
        one_by_one = self.model_parent(drawn[0]).rules.strategy is Strategy.ONE_FOR_ONE
        for child_ids in [[one] for one in drawn] if one_by_one else [drawn]:
            if self.model.alive:
                self.exit_together(child_ids, normal)

    def exit_together(self, child_ids: list[str], normal: bool) -> None:
        running = [one for one in child_ids if (worker := self.worker(one)) and worker.state is State.RUNNING]
        if not running:
            return
        self.world.now_ms = round(self.run(time_now()) * 1000)
        below = self.model_parent(running[0])
        below.exited(running, normal)
        if below is not self.model and not below.alive:
            self.model.exited(["n"], normal=True)

        async def scene() -> None:
            for child_id in running:
                worker = self.worker(child_id)
                # Under the other strategies the first exit may have ended the others.
                if worker is not None and worker.process is not None:
                    worker.process.die(0 if normal else 1)
            await self.settle()

        self.run(scene())
        self.compare()

    @precondition(lambda self: self.model.alive)
    @rule(child_id=st.sampled_from([*WORKERS, "n"]))
    def terminate(self, child_id: str) -> None:
        self.command(child_id, "terminate_child", child_id)

    @precondition(lambda self: self.model.alive)
    @rule(child_id=st.sampled_from([*WORKERS, "n"]))
    def restart(self, child_id: str) -> None:
        self.command(child_id, "restart_child", child_id)

    @precondition(lambda self: self.model.alive)
    @rule(child_id=st.sampled_from([*WORKERS, "n"]))
    def delete(self, child_id: str) -> None:
        self.command(child_id, "delete_child", child_id)

    @precondition(lambda self: self.model.alive)
    @rule(kind=st.sampled_from(list(Restart)))
    def add(self, kind: Restart) -> None:
        self.command("added", "start_child", ChildSpec("added", "none:None", kind))

    def command(self, child_id: str, name: str, argument: Any) -> None:
        if not self.is_in_tree(child_id):
            return
        self.world.now_ms = round(self.run(time_now()) * 1000)
        expected = self.tried(self.model_parent(child_id), name, argument)

        async def scene() -> str:
            parent = self.parent(child_id)
            try:
                done = getattr(parent, name)(argument)
                if done is not None:
                    await done
            except SpecError:
                return "refused"
            except StartFailed:
                return "not started"
            finally:
                await self.settle()
            return "done"

        assert self.run(scene()) == expected
        self.compare()

    def tried(self, model: OtpSupervisor, name: str, argument: Any) -> str:
        try:
            getattr(model, name)(argument)
        except Refused:
            return "refused"
        except NotStarted:
            return "not started"
        return "done"

    def compare(self) -> None:
        for ids in ((*OUTER, "added"), INNER):
            ours = [one for one in Process.story if one[1] in ids]
            theirs = [one for one in self.world.story if one[1] in ids]
            assert ours == theirs
        assert (self.tree.root.state is State.RUNNING) == self.model.alive
        assert self.tree.root.gave_up == self.model.gave_up
        assert bool(self.tree.ended_s) == self.model.gave_up
        if not self.model.alive:
            return
        assert [one.spec.id for one in self.tree.root.which_children()] == list(self.model.children)
        for child in self.tree.root.which_children():
            model = self.model.children[child.spec.id]
            assert (child.state is State.RUNNING) == (model.pid is True), child
            if isinstance(child, Supervisor) and model.pid is True:
                assert model.below is not None
                assert {one.spec.id: one.state is State.RUNNING for one in child.which_children()} == {
                    name: one.pid is True for name, one in model.below.children.items()
                }


async def time_now() -> float:
    return now_s()


class Crossing(Walk):
    """Nothing is waited for, so that everything crosses everything."""

    @initialize(
        strategy=STRATEGIES,
        nested=STRATEGIES,
        nested_restart=st.sampled_from([Restart.PERMANENT, Restart.TRANSIENT]),
        max_restarts=st.sampled_from([3, 1000]),
        back_off_ms=st.sampled_from([0, 500]),
        inner_after=AFTER,
        outer_after=AFTER,
    )
    def begin(
        self,
        strategy: Strategy,
        nested: Strategy,
        nested_restart: Restart,
        max_restarts: int,
        back_off_ms: int,
        inner_after: tuple[str, ...] | None,
        outer_after: tuple[str, ...] | None,
    ) -> None:
        spec = spec_of(
            SupervisorSpec((), strategy, 1000, back_off_ms=back_off_ms, same_event_ms=2000),
            SupervisorSpec((), nested, max_restarts, back_off_ms=back_off_ms),
            nested_restart,
            inner_after,
            outer_after,
        )
        self.tree = self.run(planted(spec))
        self.commands: set[asyncio.Task[None]] = set()
        self.stopped_at: int | None = None
        self.last_command: dict[str, object] = {}
        self.touched: set[str] = set()  # who was ever terminated or deleted
        self.terminated: dict[str, tuple[bool, object]] = {}  # who was last, and how things were then
        self.one_for_one = strategy is nested is Strategy.ONE_FOR_ONE
        self.start_of_all: asyncio.Task[None] | None = None
        self.run(self.begin_to_start())

    async def begin_to_start(self) -> None:
        self.start_of_all = asyncio.create_task(self.tree.root.start())

    @rule(child_id=st.sampled_from(WORKERS), habits=st.lists(st.sampled_from(CROSSING), max_size=4))
    def next_processes_are_so(self, child_id: str, habits: list[Habits]) -> None:
        Process.next_habits[child_id] = deque(habits)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(child_ids=st.lists(st.sampled_from(WORKERS), min_size=1, max_size=4), code=st.sampled_from([0, 1]))
    def processes_die(self, child_ids: list[str], code: int) -> None:
        async def scene() -> None:
            for process in self.living():
                if process.id in child_ids:
                    process.die(code)

        self.run(scene())

    @rule(
        child_id=st.sampled_from([*WORKERS, "n"]),
        name=st.sampled_from(["terminate_child", "restart_child", "delete_child"]),
    )
    def command(self, child_id: str, name: str) -> None:
        self.give(self.obey(child_id, name))

    @rule(
        child_id=st.sampled_from([one for one in WORKERS if one not in ("temporary", "added")]),
        name=st.sampled_from(["terminate_child", "restart_child"]),
        seconds=st.sampled_from([0.0, 0.1]),
    )
    def one_dies_and_is_commanded(self, child_id: str, name: str, seconds: float) -> None:
        self.processes_die([child_id], 1)
        self.run(asyncio.sleep(seconds))
        self.command(child_id, name)

    @precondition(lambda self: self.stopped_at is None)
    @rule(child_ids=st.lists(st.sampled_from(WORKERS), min_size=1, max_size=3), chance=st.integers(0, 4))
    def some_die_and_all_stops(self, child_ids: list[str], chance: int) -> None:
        self.processes_die(child_ids, 1)
        if not chance:
            self.stop(0)
            self.processes_die(list(INNER), 1)

    @rule()
    def add(self) -> None:
        self.give(self.obey("added", "start_child"))

    def give(self, command: Coroutine[Any, Any, None]) -> None:
        async def scene() -> None:
            task = self.runner.get_loop().create_task(command)
            self.commands.add(task)
            task.add_done_callback(self.commands.discard)

        self.run(scene())

    async def obey(self, child_id: str, name: str) -> None:
        parent = self.tree.root
        for one in self.tree.root.supervisors():
            if child_id in [child.spec.id for child in one.which_children()]:
                parent = one
        meant = {child_id, *(INNER if child_id == "n" else ())}
        token = object()
        for one in meant:
            self.last_command[one] = token
            self.terminated.pop(one, None)
        so_far = self.so_far()
        try:
            if name == "start_child":
                await parent.start_child(ChildSpec("added", "none:None", Restart.TEMPORARY))
            elif name == "delete_child":
                parent.delete_child(child_id)
            else:
                await getattr(parent, name)(child_id)
        except (SpecError, StartFailed):
            return
        if name in ("terminate_child", "delete_child"):
            self.touched |= meant
        if name == "terminate_child" and self.last_command[child_id] is token:
            self.terminated[child_id] = so_far

    def so_far(self) -> tuple[bool, object]:
        """Whether no exit is to be decided, and what changes when a sibling's exit is."""
        supervisors = list(self.tree.root.supervisors())
        calm = not any(one._exits or one._group_plan for one in supervisors)
        exits = 0 if self.one_for_one else sum(event == "exit" for event, _ in Process.story)
        return calm or self.one_for_one, (exits, [one._lives for one in supervisors])

    @precondition(lambda self: self.stopped_at is None)
    @rule(chance=st.integers(0, 9))
    def stop(self, chance: int) -> None:
        if chance:
            return

        self.give(self.tree.root.stop())
        self.run(asyncio.sleep(0))
        self.stopped_at = len(Process.started)

    @invariant()
    def nothing_is_started_once_a_stop_has_begun(self) -> None:
        if getattr(self, "stopped_at", None) is not None:
            assert len(Process.started) == self.stopped_at

    def teardown(self) -> None:
        if not hasattr(self, "tree"):
            super().teardown()
            return
        Process.next_habits.clear()
        self.run(asyncio.sleep(1000))
        self.run(self.settle())
        assert not self.commands, "a command was never answered"
        self.a_child_exists_once_and_none_that_lives_is_forgotten()
        assert self.start_of_all is not None and self.start_of_all.done()
        self.start_of_all.exception()  # it may have failed
        for supervisor in self.tree.root.supervisors():
            assert not supervisor._pending and not supervisor._exits and not supervisor._plans
            if supervisor.state is State.RUNNING:
                self.check_rest(supervisor)
        super().teardown()

    def check_rest(self, supervisor: Supervisor) -> None:
        for child in supervisor.which_children():
            child_id = child.spec.id
            calm, then = self.terminated.get(child_id, (False, None))
            if calm and then == self.so_far()[1]:
                assert child.state is State.STOPPED, f"{child} was terminated"
            if (
                child_id not in self.touched
                and child.spec.restart is Restart.PERMANENT
                and isinstance(child, Worker)
            ):
                assert child.state is State.RUNNING, f"{child} was never terminated"


@pytest.fixture(autouse=True)
def _without_log():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("walk", [AgainstOtp, Crossing])
def test_whatever_comes_in_whatever_order(walk):
    with virtual_supervision():
        run_state_machine_as_test(
            walk,
            settings=settings(
                max_examples=150,
                stateful_step_count=40,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
