"""External programs as children: they end with their actor, and their actor with them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from actors.supervision.application import Application
from actors.supervision.program import PAUSE, RESUME
from actors.supervision.restarts import ChildSpec, SupervisorSpec
from actors.supervision.states import State
from tests.support.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]


def application(path: Path, kind: str = "Sleeper") -> Application[str]:
    child = ChildSpec("sleeper", f"tests.support.actors_for_tests:{kind}", shutdown_ms=60_000)
    root = ChildSpec("root", supervisor=SupervisorSpec((child,), max_restarts=10, max_ms=60_000))
    return Application("tests", str(path), root, lambda options, _: options, lambda *_: None)


def program_pid(path: Path) -> int:
    text = (path / "pid").read_text() if (path / "pid").exists() else ""
    return int(text) if text.endswith("\n") else 0


def state_of(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.Error:
        return "gone"


def gone(pid: int) -> bool:
    return state_of(pid) in ("gone", psutil.STATUS_ZOMBIE)


async def until(condition, what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"waited for {what}"
        await asyncio.sleep(0.01)


async def end_in_turn(path: Path) -> None:
    """End a program, or its actor, in each way. Run it as a process: a forkserver keeps its first stderr."""
    tests = application(path)
    await tests.root.start()
    [worker] = tests.workers()
    for kill in (lambda program: os.kill(worker.process.pid, signal.SIGKILL), os_kill, halt_and_kill):
        await until(lambda: worker.state is State.RUNNING and program_pid(path), "a program")
        pid, incarnation = program_pid(path), worker.incarnation
        assert not gone(pid)
        (path / "pid").unlink()
        kill(pid)
        await until(lambda: gone(pid), "the program to end")  # noqa: B023 - awaited at once
        await until(lambda: worker.incarnation > incarnation, "the next life")  # noqa: B023 - awaited at once
    await until(lambda: worker.state is State.RUNNING and program_pid(path), "a program")
    pid = program_pid(path)
    await tests.root.stop()
    assert gone(pid)


def test_a_program_ends_when_its_actor_does_and_its_actor_when_it_does(tmp_path):
    script = (
        "import asyncio, sys, pathlib; from tests.supervision.test_program import end_in_turn; "
        "asyncio.run(end_in_turn(pathlib.Path(sys.argv[1])))"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "killed(SIGKILL)" in run.stderr
    assert "one\\x1b[2J line" in run.stderr  # what it says is logged, and can't steer a terminal


def os_kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def halt_and_kill(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)


def test_a_program_is_halted_and_goes_on_and_a_halted_one_is_stopped_in_order(tmp_path):
    async def live():
        tests = application(tmp_path)
        await tests.root.start()
        [worker] = tests.workers()
        await until(lambda: program_pid(tmp_path), "the program")
        pid = program_pid(tmp_path)
        for request, halted in ((PAUSE, True), (RESUME, False), (PAUSE, True)):
            assert await worker.call(request, PATIENCE_S) == b""
            await until(lambda: (state_of(pid) == psutil.STATUS_STOPPED) is halted, "that")  # noqa: B023 - at once
        await tests.root.stop()
        assert gone(pid)
        assert worker.last_exit is None

    asyncio.run(live())


def test_a_program_that_is_not_ready_yet_does_not_outlive_its_supervisor(tmp_path):
    script = (
        "import asyncio, sys, pathlib; from tests.supervision.test_program import application; "
        "asyncio.run(application(pathlib.Path(sys.argv[1]), 'NeverReady').root.start())"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT) as supervisor:
        try:
            pid = wait_until(lambda: program_pid(tmp_path), "the program")
        finally:
            supervisor.kill()
    wait_until(lambda: gone(pid), "the program to end")
