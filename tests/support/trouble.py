"""Pytest options that make the machine busy on purpose. Every test must pass with them.

    pytest --busy 2     two endless loops run beside the tests, so that no test has a core for itself
    pytest --halts      now and then, a process that a test started is halted for a tenth of a second

A test that halts a process itself must use `halt`. Otherwise `--halts` could let the process go on too early.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.patience import wait_until

HALT_S = 0.1
PAUSE_S = (0.1, 1.0)  # between two halts, drawn evenly

_BUSY_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1_000_000))"
_halting = threading.Lock()


def halt(pid: int) -> None:
    """Halt a process with SIGSTOP, for good: `--halts` does not touch a process that is halted already.

    Returns as soon as all its threads stand still: on a busy machine they go on for a while after the signal.
    """
    with _halting:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: stands_still(pid), f"process {pid} to stand still")


def stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped, or over."""
    try:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # a thread has ended meanwhile
        return False
    return all(one.rpartition(")")[2].split()[0] in "TtZX" for one in threads)


def add_options(parser: pytest.Parser) -> None:
    """Add the two options."""
    group = parser.getgroup("trouble", "a busy machine, made on purpose")
    group.addoption("--busy", type=int, default=0, metavar="N", help="run N endless loops beside the tests")
    group.addoption(
        "--halts", action="store_true", help=f"halt processes of the tests for {HALT_S} s now and then"
    )


class BusyLoops:
    """Endless loops beside the tests, for as long as the whole run lasts."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._loops: list[subprocess.Popen[bytes]] = []

    def pytest_sessionstart(self) -> None:
        self._loops = [subprocess.Popen([sys.executable, "-c", _BUSY_LOOP]) for _ in range(self._count)]

    def pytest_sessionfinish(self) -> None:
        for loop in self._loops:
            loop.kill()
            loop.wait()


class Halts:
    """Again and again halts one of the descendants of this process, chosen at random, for a moment."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._random = random.Random()

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    def pytest_sessionfinish(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._random.uniform(*PAUSE_S)):
            try:
                victims = psutil.Process().children(recursive=True)
                if victims:
                    self._halt_for_a_moment(self._random.choice(victims))
            except psutil.Error:
                continue  # the process has ended meanwhile

    def _halt_for_a_moment(self, victim: psutil.Process) -> None:
        with _halting:
            if victim.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                return
            victim.suspend()
            try:
                self._ended.wait(HALT_S)
            finally:
                victim.resume()
