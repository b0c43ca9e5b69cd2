"""The supervisors over real processes: strategies, intensity, nesting, rollback, OTP's functions."""

import asyncio
import os
import re
import signal
import time
from collections import deque
from pathlib import Path

import psutil
import pytest

from actors.supervision import forkserver
from actors.supervision.application import Application
from actors.supervision.restarts import (
    AutoShutdown,
    ChildSpec,
    Restart,
    Restarted,
    SpecError,
    Strategy,
    SupervisorSpec,
)
from actors.supervision.states import State
from actors.supervision.supervisor import Supervisor
from actors.supervision.worker import StartFailed, Worker
from tests.support.patience import PATIENCE_S


def child(name: str, kind: str = "Calm", **more) -> ChildSpec:
    return ChildSpec(name, f"tests.support.actors_for_tests:{kind}", **({"shutdown_ms": 60_000} | more))


class Tree:
    """A supervisor over real processes, and the story that they wrote."""

    def __init__(self, path: Path, *children: ChildSpec, options=None, **rules):
        self.name, self.options = "tests", options or str(path)
        self.exits: deque[str] = deque()
        self.restarts: deque[Restarted] = deque()
        self.stats: list[tuple[str, bytes | None]] = []
        self.ended: list[object] = []
        self.story_file = path / "story"
        rules = {"max_restarts": 10, "max_ms": 60_000} | rules
        spec = ChildSpec("root", supervisor=SupervisorSpec(children, **rules))
        self.root = Supervisor(
            spec, lambda spec, on_exit: Worker(spec, self, on_exit), lambda _, exit: self.ended.append(exit)
        )

    def ready(self, worker, ready) -> None:
        """Do nothing: there are no links here."""

    def told(self, worker) -> None:
        """Note what it says."""
        self.stats.append((worker.spec.id, worker.stats))

    def workers(self) -> list[Worker]:
        return list(self.root.workers())

    def worker(self, name: str) -> Worker:
        return next(worker for worker in self.root.workers() if worker.spec.id == name)

    def story(self) -> list[str]:
        return self.story_file.read_text().splitlines() if self.story_file.exists() else []

    async def until(self, condition, what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end_s:
                raise AssertionError(f"waited for {what}; story {self.story()}, exits {list(self.exits)}")
            await asyncio.sleep(0.005)

    async def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal a child, and wait until its supervisor knows that it has ended."""
        before = self.worker(name).process
        os.kill(before.pid, number)
        await self.until(lambda: not before.alive, f"{name} to end")

    async def runs(self, *names: str) -> None:
        await self.until(
            lambda: all(self.worker(name).state is State.RUNNING for name in names), f"{names} to run"
        )


@pytest.fixture(autouse=True, scope="module")
def _prepared():
    forkserver.prepare([])


def run(scenario) -> None:
    asyncio.run(scenario)


def test_children_start_in_order_and_stop_in_reverse(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a"), child("b"), child("c"))
        await tree.root.start()
        assert tree.story() == ["start a", "start b", "start c"]
        assert [str(one) for one in tree.root.which_children()] == ["a#1", "b#1", "c#1"]
        assert tree.root.count_children() == {"specs": 3, "active": 3, "supervisors": 0, "workers": 3}
        await tree.root.stop()
        assert tree.story()[3:] == ["end c", "end b", "end a"]

    run(scenario())


def test_a_child_that_cannot_start_rolls_back_those_before_it(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a"), child("b"), child("c", "Broken"), child("d"))
        with pytest.raises(StartFailed, match=r"c#1 exited\(1\) before it was ready"):
            await tree.root.start()
        assert tree.story() == ["start a", "start b", "end b", "end a"]
        assert tree.root.state is State.STOPPED

    run(scenario())


@pytest.mark.parametrize(
    ("strategy", "killed", "restarted"),
    [
        (Strategy.ONE_FOR_ONE, "b", ["b"]),
        (Strategy.REST_FOR_ONE, "b", ["b", "c"]),
        (Strategy.ONE_FOR_ALL, "b", ["a", "b", "c"]),
    ],
)
def test_the_strategy_says_who_is_restarted(tmp_path, strategy, killed, restarted):
    async def scenario():
        tree = Tree(tmp_path, child("a"), child("b"), child("c"), strategy=strategy)
        await tree.root.start()
        pids = {name: tree.worker(name).process.pid for name in "abc"}
        await tree.kill(killed)
        await tree.until(
            lambda: (
                [line for line in tree.story()[3:] if line.startswith("start")]
                == [f"start {name}" for name in restarted]
            ),
            "the restarts",
        )
        await tree.runs("a", "b", "c")
        for name in "abc":
            assert (tree.worker(name).process.pid == pids[name]) == (name not in restarted)
        ended = [line.split()[1] for line in tree.story() if line.startswith("end")]
        assert ended == [name for name in reversed(restarted) if name != killed]
        assert {one.child: (one.how, one.incarnation) for one in tree.restarts} == {
            name: ("killed(SIGKILL)" if name == killed else "stopped by its supervisor", 2)
            for name in restarted
        }
        await tree.root.stop()

    run(scenario())


@pytest.mark.parametrize(("kind", "logged"), [("Broken", True), ("Killed", False)])
def test_a_child_that_was_killed_before_it_was_ready_is_not_said_to_have_logged_why(tmp_path, kind, logged):
    async def scenario():
        tree = Tree(tmp_path, child("a", kind))
        with pytest.raises(StartFailed) as failed:
            await tree.root.start()
        assert failed.value.logged == logged

    run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGALRM])
def test_a_permanent_child_is_restarted_however_it_ends(tmp_path, number):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Ends"))
        await tree.root.start()
        await tree.kill("a", number)
        await tree.until(lambda: tree.worker("a").incarnation == 2, "a restart")
        await tree.runs("a")
        expected = {signal.SIGTERM: "exited(0)", signal.SIGALRM: "exited(0)"}
        assert str(tree.worker("a").last_exit) == expected.get(number, f"killed({number.name})")
        await tree.root.stop()

    run(scenario())


def test_a_child_that_says_what_is_no_message_is_killed_and_restarted_and_no_other(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Garbled"), child("b"))
        await tree.root.start()
        os.kill(tree.worker("a").process.pid, signal.SIGALRM)
        await tree.until(lambda: tree.worker("a").incarnation == 2, "a restart")
        await tree.runs("a")
        assert "hung (not a message" in str(tree.worker("a").last_exit)
        assert tree.worker("b").incarnation == 1
        await tree.root.stop()

    run(scenario())


def test_a_transient_child_is_restarted_after_a_kill_and_not_after_a_normal_exit(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Ends", restart=Restart.TRANSIENT), child("b"))
        await tree.root.start()
        await tree.kill("a")
        await tree.until(lambda: tree.worker("a").incarnation == 2, "a restart")
        await tree.runs("a")
        await tree.kill("a", signal.SIGALRM)
        await tree.kill("b")
        await tree.until(lambda: tree.worker("b").incarnation == 2, "a restart of b")
        assert tree.worker("a").incarnation == 2
        assert tree.worker("a").state is State.STOPPED
        await tree.root.restart_child("a")
        assert tree.worker("a").incarnation == 3
        await tree.root.stop()

    run(scenario())


def test_a_temporary_child_is_not_restarted_and_its_spec_is_forgotten(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", restart=Restart.TEMPORARY), child("b"))
        await tree.root.start()
        await tree.kill("a")
        assert [str(one) for one in tree.root.which_children()] == ["b#1"]
        await tree.root.stop()

    run(scenario())


def test_so_many_restarts_are_allowed_and_one_more_ends_it_in_reverse_order(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a"), child("b"), max_restarts=2)
        await tree.root.start()
        for incarnation in (2, 3):
            await tree.kill("a")
            await tree.until(lambda n=incarnation: tree.worker("a").incarnation == n, "a restart")
            await tree.runs("a")
        assert tree.ended == []
        await tree.kill("a")
        await tree.until(lambda: tree.ended, "the end")
        assert tree.root.gave_up
        assert "2 restarts in 60 s are allowed" in str(tree.ended[0])
        assert tree.worker("b").state is State.STOPPED
        assert len(tree.exits) == 3

    run(scenario())


def test_a_restart_that_fails_counts_like_any_other(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "BrokenOnce"), max_restarts=2)
        await tree.root.start()
        await tree.kill("a")
        await tree.until(lambda: tree.worker("a").incarnation == 3, "a third life")
        await tree.runs("a")
        assert [one.split(") ")[1] for one in tree.exits] == ["killed(SIGKILL)", "exited(9)"]
        await tree.kill("a")
        await tree.until(lambda: tree.ended, "the end")

    run(scenario())


def test_a_nested_supervisor_that_gives_up_is_restarted_by_the_one_above_until_that_gives_up(tmp_path):
    async def scenario():
        nested = ChildSpec(
            "nested",
            shutdown_ms=None,
            supervisor=SupervisorSpec((child("x"), child("y")), max_restarts=1, max_ms=60_000),
        )
        tree = Tree(tmp_path, child("a"), nested, max_restarts=1)
        await tree.root.start()
        pid = tree.worker("a").process.pid
        for round_number in (1, 2):
            for _ in range(2):
                await tree.runs("x", "y")
                await tree.kill("x")
            if round_number == 1:
                await tree.until(lambda: tree.worker("y").incarnation == 2, "nested to restart")
                assert tree.worker("a").process.pid == pid
                assert tree.root.restarts == 1
        await tree.until(lambda: tree.ended, "the end")
        assert "nested shutdown (x killed(SIGKILL)" in str(tree.ended[0])
        assert tree.worker("a").state is State.STOPPED

    run(scenario())


def test_the_end_of_a_significant_child_ends_the_supervisor(tmp_path):
    async def scenario():
        tree = Tree(
            tmp_path,
            child("a"),
            child("b", "Ends", restart=Restart.TRANSIENT, significant=True),
            auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
        )
        await tree.root.start()
        await tree.kill("b", signal.SIGALRM)
        await tree.until(lambda: tree.ended, "the end")
        assert not tree.root.gave_up
        assert tree.story()[-1] == "end a"

    run(scenario())


def test_a_child_that_does_not_end_in_its_shutdown_time_is_killed_and_brutal_kill_is_at_once(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Stubborn", shutdown_ms=200), child("b", shutdown_ms=0))
        await tree.root.start()
        pids = [tree.worker(name).process.pid for name in "ab"]
        await tree.root.stop()
        assert not any(map(psutil.pid_exists, pids))
        assert "end b" not in tree.story()

    run(scenario())


def test_children_are_added_terminated_restarted_and_deleted_at_run_time(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a"))
        await tree.root.start()
        await tree.root.start_child(child("b"))
        with pytest.raises(SpecError, match="there already"):
            await tree.root.start_child(child("b"))
        with pytest.raises(StartFailed):
            await tree.root.start_child(child("c", "Broken"))
        assert tree.root.count_children()["specs"] == 2
        with pytest.raises(SpecError, match="terminate it first"):
            tree.root.delete_child("b")
        await tree.root.terminate_child("b")
        assert tree.root.count_children() == {"specs": 2, "active": 1, "supervisors": 0, "workers": 2}
        await tree.root.restart_child("b")
        with pytest.raises(SpecError, match="expected stopped"):
            await tree.root.restart_child("b")
        await tree.root.terminate_child("b")
        tree.root.delete_child("b")
        with pytest.raises(SpecError, match="no child 'b', expected one of a"):
            await tree.root.terminate_child("b")
        await tree.root.stop()

    run(scenario())


def test_a_child_that_loads_says_how_far_it_is(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Loads"))
        starting = asyncio.ensure_future(tree.root.start())
        await tree.until(lambda: tree.worker("a").how_far, "what it says")
        assert tree.worker("a").how_far == "loaded 5 of 10 rows"
        assert tree.worker("a").state is State.STARTING
        (tmp_path / "go on").touch()
        await starting
        assert tree.worker("a").how_far == ""
        await tree.root.stop()

    run(scenario())


def test_what_a_child_says_of_itself_is_heard_though_nobody_asked(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Tells"))
        await tree.root.start()
        calling = asyncio.ensure_future(tree.worker("a").call(b"", PATIENCE_S))
        await tree.until(lambda: tree.stats == [("a", b"told")], "what it says")
        calling.cancel()
        await tree.root.stop()

    run(scenario())


def test_a_child_that_spins_for_ever_is_killed_and_restarted(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Busy"), max_restarts=1000)
        await tree.root.start()
        watching = asyncio.ensure_future(Application.watch(tree, 0.5))
        os.kill(tree.worker("a").process.pid, signal.SIGALRM)
        # On a slow machine, its next incarnation may be taken for hung too.
        await tree.until(lambda: tree.worker("a").incarnation > 1, "a restart")
        await tree.runs("a")
        silent_s = re.search(r"hung \(no answer for ([\d.]+) s\)", tree.exits[0])[1]
        assert float(silent_s) >= 0.5
        watching.cancel()
        await tree.root.stop()

    run(scenario())


def test_a_restart_waits_for_the_back_off_which_doubles(tmp_path):
    async def scenario():
        loop = asyncio.get_running_loop()
        tree = Tree(tmp_path, child("a"), back_off_ms=100)
        await tree.root.start()
        for least_s in (0.1, 0.2):
            killed_s = loop.time()
            await tree.kill("a")
            await tree.runs("a")
            assert loop.time() - killed_s >= least_s
        await tree.root.stop()

    run(scenario())


def test_a_hundred_restarts_leave_no_descriptor_no_zombie_and_no_memory_behind(tmp_path):
    names = ["a", "b", "c", "d", "e"]

    async def scenario():
        tree = Tree(tmp_path, *map(child, names), child("other"), max_restarts=1000)
        await tree.root.start()
        ours, other = psutil.Process(), psutil.Process(tree.worker("other").process.pid)

        async def restart(times: int) -> None:
            for _ in range(times // len(names)):
                await asyncio.gather(*map(tree.kill, names))
                await tree.runs(*names)

        await restart(20)  # what grows only once has grown now
        before = [(one.num_fds(), one.memory_info().rss) for one in (ours, other)]
        await restart(100)
        after = [(one.num_fds(), one.memory_info().rss) for one in (ours, other)]
        for (fds_before, rss_before), (fds_after, rss_after) in zip(before, after, strict=True):
            assert fds_after <= fds_before
            assert rss_after <= rss_before + 1_000_000, "10 kB per restart"
        family = [one for one in ours.children(recursive=True) if one.status() == psutil.STATUS_ZOMBIE]
        assert family == []
        await tree.root.stop()

    run(scenario())


def test_orders_hold_for_this_incarnation_for_one_that_starts_and_for_each_later_one(tmp_path):
    async def scenario():
        tree = Tree(tmp_path, child("a", "Obedient"))
        await tree.root.start()
        assert await tree.worker("a").instruct(b"one", PATIENCE_S) == b"yes"
        (tmp_path / "hold").touch()
        await tree.kill("a")
        await tree.until(lambda: tree.story()[-1] == "starts with one: a", "the second to start")
        assert await tree.worker("a").instruct(b"two", PATIENCE_S) is None, "it starts just now"
        (tmp_path / "hold").unlink()
        await tree.until(lambda: tree.story()[-1] == "is told two: a", "the orders that came meanwhile")
        await tree.kill("a")
        await tree.until(lambda: tree.story()[-1] == "starts with two: a", "the third to start")
        await tree.runs("a")
        await tree.root.stop()
        told = [line.removesuffix(" a") for line in tree.story()[:-1]]
        assert told == [
            "starts with :",
            "is told one:",
            "starts with one:",
            "is told two:",
            "starts with two:",
        ]

    run(scenario())
