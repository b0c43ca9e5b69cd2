"""The CPU time and the memory that the processes of a service use, as the system counts them."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from actors.cli.launch import Service
from tests.support.services import facts_of

MB = 1_000_000


class CpuUse:
    """The CPU time that processes use from now on, by name."""

    def __init__(self, pids: dict[str, int]):
        self._pids = pids
        self._before_s = {name: cpu_s(pid) for name, pid in pids.items()}

    def used_s(self) -> dict[str, float]:
        """Seconds so far, user and system."""
        return {name: cpu_s(pid) - self._before_s[name] for name, pid in self._pids.items()}

    def used_us_a_play(self, plays: int) -> dict[str, float]:
        """Microseconds so far, per play."""
        return {name: seconds / plays * 1e6 for name, seconds in self.used_s().items()}


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used so far."""
    if sys.platform == "linux":
        # The process's own clock (clock_getcpuclockid): /proc and psutil count in hundredths of a second.
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """While the block lasts, so many endless loops run beside it, each of which would take a whole core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def wake_ups(pid: int) -> int:
    """How often the threads of a process have waited so far: each time, something woke them."""
    switches = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):  # it has just ended
            text = thread.read_text(encoding="ascii")
            switches += int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return switches or psutil.Process(pid).num_ctx_switches().voluntary  # where there is no /proc


def waited_s(pid: int) -> float:
    """Seconds that a process, by its main thread, was ready to run and had no core; 0 where nobody tells."""
    try:
        text = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(text.split()[1]) / 1e9


class Printed(NamedTuple):
    """What a command took: seconds until its second line and until its end, CPU seconds, largest memory."""

    first_s: float
    all_s: float
    cpu_s: float
    most_mb: float


def printed(words: list[str], environment: Mapping[str, str] | None = None) -> Printed:
    """Run a command that prints a table. Raises `AssertionError` if it fails."""
    began_s = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        first_s = time.monotonic() - began_s
        while process.stdout.read(1 << 20):
            pass
        all_s = time.monotonic() - began_s
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert not process.returncode, (words, process.returncode)
    return Printed(first_s, all_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MB)


def pids_of(service: Service) -> dict[str, int]:
    """The pids of a running service's processes, by name."""
    children = {child["id"]: child["pid"] for child in service.status()["children"]}
    return children | {"supervisor": facts_of(service)["pid"]}


def memory_mb_of(pids: dict[str, int]) -> dict[str, float]:
    """The proportional share of memory (PSS) of each process, in millions of bytes."""
    return {name: psutil.Process(pid).memory_full_info().pss / MB for name, pid in pids.items()}


def own_memory_bytes() -> int:
    """The resident memory of this process, in bytes."""
    resident: int = psutil.Process().memory_info().rss
    return resident
