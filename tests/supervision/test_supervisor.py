"""When exactly a child is taken for hung, killed and started again. Real supervisors, workers and watch in
virtual time, over fake processes.
"""

import asyncio
from collections import deque

import pytest

from actors.supervision.application import PING_INTERVAL_S, Application
from actors.supervision.protocol import Loading
from actors.supervision.restarts import (
    AutoShutdown,
    ChildSpec,
    Restart,
    SpecError,
    Strategy,
    SupervisorSpec,
)
from actors.supervision.states import State
from actors.supervision.worker import START_TIMEOUT_S, StartFailed
from tests.support.virtual_tree import Clock, Habits, Process, Tree, now_s, virtual_supervision

LIVENESS_S = 10.0


@pytest.fixture
def play():
    """Run a scene in virtual time."""
    with virtual_supervision() as run:
        yield run


def test_who_does_not_answer_is_killed_when_the_timeout_is_over(play):
    async def scene() -> None:
        tree = Tree({"silent": Habits(answer_s=None), "slow": Habits(answer_s=LIVENESS_S - 0.001)})
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, LIVENESS_S))
        await asyncio.sleep(100)
        # The first question is asked after an interval. Within 10 s an answer is not too late.
        (_, silent), (_, slow), (again_s, again), *_ = Process.started
        assert silent.ended_s == pytest.approx(PING_INTERVAL_S + LIVENESS_S)
        assert silent.hung == f"no answer for {LIVENESS_S:.1f} s"
        assert (again.id, again_s) == ("silent", silent.ended_s)
        assert tree.worker("silent").incarnation == 9
        assert (tree.worker("slow").incarnation, slow.ended_s) == (1, None)
        watching.cancel()

    play(scene)


def test_who_was_not_asked_because_the_supervisor_was_halted_is_not_to_blame(play):
    async def scene() -> None:
        tree = Tree({"silent": Habits(answer_s=None), "slow": Habits(answer_s=LIVENESS_S - 0.001)})
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, LIVENESS_S))
        await asyncio.sleep(5.5)
        Clock.halted_s = 60.0
        await asyncio.sleep(100)
        (_, silent), (_, slow), *_ = Process.started
        assert silent.ended_s == pytest.approx(60 + PING_INTERVAL_S + LIVENESS_S)
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


def test_a_child_that_says_how_far_it_is_may_take_as_long_as_it_gets_on(play):
    async def scene() -> None:
        tree = Tree({"a": Habits(ready_s=None)})
        starting = asyncio.ensure_future(tree.root.start())
        await asyncio.sleep(0)
        loads = tree.worker("a")
        for number in range(10):
            await asyncio.sleep(START_TIMEOUT_S - 1)
            loads._heard(Loading(number * 1_000_000, 9_000_000, "rows"))
        assert loads.how_far == "loaded 9,000,000 of 9,000,000 rows"
        got_on_s = now_s()
        for _ in range(2):  # it says the same again, and so does not get on
            await asyncio.sleep(START_TIMEOUT_S / 2)
            loads._heard(Loading(9_000_000, 9_000_000, "rows"))
        with pytest.raises(StartFailed, match=r"a#1 was not ready after 650 s: loaded 9,000,000 of"):
            await starting
        assert now_s() == got_on_s + START_TIMEOUT_S
        assert loads.how_far == ""

    play(scene)


def test_tries_that_are_never_ready_end_the_supervisor_however_long_each_takes(play):
    async def scene() -> None:
        tree = Tree({"a": Habits()}, max_restarts=3, max_ms=10_000)
        await tree.root.start()
        Process.habits["a"] = Habits(ready_s=None)
        tree.worker("a").process.die()
        await asyncio.sleep(3 * START_TIMEOUT_S - 1)
        assert not tree.root.gave_up
        await asyncio.sleep(2)
        assert tree.root.gave_up
        assert len(Process.started) == 4

    play(scene)


def test_while_all_answer_each_is_asked_every_other_time_and_found_to_hang_as_soon(play):
    async def scene() -> None:
        tree = Tree({"a": Habits(), "b": Habits()})
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, LIVENESS_S))
        await asyncio.sleep(99.5)
        assert [one._answers._last for one in tree.workers()] == [50, 50]
        (_, a), (_, b) = Process.started
        a._habits = Habits(answer_s=None)  # hangs before it answers at 101 s
        await asyncio.sleep(2)
        b._habits = Habits(answer_s=None)  # hangs after it has answered then
        await asyncio.sleep(28)
        asked_s = 101 * PING_INTERVAL_S
        assert a.ended_s == pytest.approx(asked_s + LIVENESS_S)
        assert b.ended_s == pytest.approx(asked_s + PING_INTERVAL_S + LIVENESS_S)
        watching.cancel()

    play(scene)


def test_many_that_hang_at_one_moment_are_one_restart(play):
    async def scene() -> None:
        names = [f"counter-{number}" for number in range(8)]
        tree = Tree(dict.fromkeys(names, Habits()), max_restarts=1, max_ms=60_000, same_event_ms=2000)
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, LIVENESS_S))
        for _, process in Process.started:
            process._habits = Habits(answer_s=None)
        await asyncio.sleep(30)
        assert not tree.root.gave_up
        assert [one.incarnation for one in tree.workers()] == [2] * 8
        watching.cancel()

    play(scene)


@pytest.mark.parametrize("strategy", Strategy)
def test_terminate_ends_a_restart_that_is_pending_or_that_loops(play, strategy):
    async def scene() -> None:
        tree = Tree({"a": Habits()}, strategy=strategy, back_off_ms=3000)
        await tree.root.start()
        tree.worker("a").process.die()
        with pytest.raises(SpecError, match="a is being restarted, expected stopped"):
            await tree.root.restart_child("a")
        await tree.root.terminate_child("a")
        await asyncio.sleep(1000)
        assert [one.id for _, one in Process.started] == ["a"]
        await tree.root.restart_child("a")
        Process.habits["a"] = Habits(ready_s=None, dies_s=1.0)
        tree.worker("a").process.die()
        await asyncio.sleep(13.5)  # in the third of its next lives
        await tree.root.terminate_child("a")
        assert len(Process.started) == 4
        await asyncio.sleep(1000)
        assert len(Process.started) == 4

    play(scene)


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
def test_a_nested_supervisor_whose_start_fails_is_tried_again_and_counted(play, strategy, restart):
    async def scene(fails: int) -> bool:
        below = SupervisorSpec((ChildSpec("x", "none:None"), ChildSpec("y", "none:None")), max_restarts=0)
        nested = ChildSpec("n", restart=restart, significant=restart is Restart.TRANSIENT, supervisor=below)
        children = (ChildSpec("a", "none:None"), nested)
        end = AutoShutdown.ANY_SIGNIFICANT
        root = SupervisorSpec(children, strategy, max_restarts=3, auto_shutdown=end)
        tree = Tree.of_spec(ChildSpec("root", supervisor=root))
        await tree.root.start()
        Process.next_habits["y"] = deque([Habits(ready_s=None, dies_s=0.0)] * fails)
        # A transient one is restarted with a sibling.
        tree.worker("x" if restart is Restart.PERMANENT else "a").process.die()
        await asyncio.sleep(1)
        assert tree.root.gave_up == (fails > 2)
        return all(one.state is State.RUNNING for one in tree.workers())

    if restart is Restart.PERMANENT or strategy is not Strategy.ONE_FOR_ONE:
        assert play(lambda: scene(2))
        assert not play(lambda: scene(3))


def test_a_command_under_a_stopped_supervisor_is_refused_and_a_start_is_fresh(play):
    async def scene() -> None:
        below = SupervisorSpec((ChildSpec("x", "none:None"),))
        tree = Tree.of_spec(
            ChildSpec("root", supervisor=SupervisorSpec((ChildSpec("n", supervisor=below),), max_restarts=9))
        )
        await tree.root.start()
        (nested,) = tree.root.which_children()
        await nested.start_child(ChildSpec("added", "none:None"))
        await tree.root.terminate_child("n")
        for command in (nested.restart_child, nested.terminate_child):
            with pytest.raises(SpecError, match="n is stopped, expected running"):
                await command("x")
        with pytest.raises(SpecError, match="n is stopped, expected running"):
            nested.delete_child("x")
        await tree.root.restart_child("n")
        assert [str(one) for one in tree.workers()] == ["x#2"]
        with pytest.raises(SpecError, match="n is running, expected stopped"):
            await tree.root.restart_child("n")

    play(scene)


def beside(habits: dict[str, Habits], after: dict[str, tuple[str, ...] | None]) -> Tree:
    """A tree of children that start after those, or side by side."""
    children = tuple(ChildSpec(name, "none:None", after=after.get(name, ())) for name in habits)
    tree = Tree.of_spec(ChildSpec("root", supervisor=SupervisorSpec(children)))
    Process.habits = habits
    return tree


def starts() -> list[tuple[str, float]]:
    return [(process.id, at_s) for at_s, process in Process.started]


def test_children_that_name_nobody_start_side_by_side_and_the_others_after_those_they_name(play):
    async def scene() -> None:
        habits = {"a": Habits(3.0), "b": Habits(1.0), "c": Habits(5.0), "d": Habits(0.5), "e": Habits(0.0)}
        tree = beside(habits, {"c": ("b",), "d": ("a", "b"), "e": None})
        await tree.root.start()
        begun_s = starts()[0][1]
        assert [(name, at_s - begun_s) for name, at_s in starts()] == [
            ("a", 0.0),
            ("b", 0.0),
            ("c", 1.0),
            ("d", 3.0),
            ("e", 6.0),
        ]
        assert [child.spec.id for child in tree.root.which_children()] == list(habits)
        await tree.root.stop()
        assert [name for event, name in Process.story if event == "stop"] == list(reversed(habits))

    play(scene)


def test_a_start_that_fails_stops_those_that_run_and_those_that_still_start(play):
    async def scene() -> None:
        habits = {
            "a": Habits(1.0),
            "b": Habits(100.0, end_s=4.0),
            "c": Habits(None, dies_s=2.0),
            "d": Habits(),
        }
        tree = beside(habits, {"d": ("b",)})
        begun_s = now_s()
        with pytest.raises(StartFailed, match=r"c#1 exited\(1\) before it was ready"):
            await tree.root.start()
        assert now_s() - begun_s == 6.0
        assert tree.root.state is State.STOPPED
        assert [name for name, _ in starts()] == ["a", "b", "c"]
        assert all(process.ended_s is not None for _, process in Process.started)
        Process.habits = {}
        await tree.root.start()  # nothing of the start before is left
        assert tree.root.count_children()["active"] == 4
        await tree.root.stop()

    play(scene)


def test_a_stop_while_children_start_side_by_side_starts_no_more(play):
    async def scene() -> None:
        habits = {"a": Habits(1.0), "b": Habits(2.0, end_s=3.0), "c": Habits(), "d": Habits()}
        tree = beside(habits, {"c": ("a",), "d": None})
        for wait_s in (0.0, 0.5, 1.0, 1.5, 2.0):
            Process.started.clear()
            starting = asyncio.ensure_future(tree.root.start())
            await asyncio.sleep(wait_s)
            await tree.root.stop()
            begun = len(Process.started)
            with pytest.raises(StartFailed, match=r"told to stop|before it was ready"):
                await starting
            await asyncio.sleep(10)
            assert len(Process.started) == begun
            assert all(process.ended_s is not None for _, process in Process.started)
            assert tree.root.state is State.STOPPED

    play(scene)


def test_a_start_that_is_cancelled_starts_no_more_and_a_stop_ends_what_starts(play):
    async def scene() -> None:
        tree = beside({"a": Habits(1.0), "b": Habits(2.0), "c": Habits()}, {"c": ("a",)})
        starting = asyncio.ensure_future(tree.root.start())
        await asyncio.sleep(0.5)
        starting.cancel()
        await asyncio.sleep(5)
        assert [name for name, _ in starts()] == ["a", "b"]
        await tree.root.stop()
        assert all(process.ended_s is not None for _, process in Process.started)

    play(scene)


def test_a_child_can_only_start_after_children_before_it():
    late = (ChildSpec("a", "none:None", after=("b",)), ChildSpec("b", "none:None"))
    root = ChildSpec("root", supervisor=SupervisorSpec(late))
    with pytest.raises(SpecError, match=r"'a' starts after \['b'\], expected ids of children before it"):
        Tree.of_spec(root)
