"""The memory and the CPU time of the service's processes, and how much of a core each has used lately.

Uses psutil: only Linux has /proc.
"""

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import psutil

APART_S = 1.0  # CPU time is counted in steps of 10 ms, so a shorter time says little
PIDS_MAX = 256


@functools.lru_cache(maxsize=PIDS_MAX)  # to make one costs as much as all it is asked
def _process(pid: int) -> "psutil.Process":
    import psutil  # here and below: it is heavy, and a start does without it

    return psutil.Process(pid)


class Total(NamedTuple):
    """The CPU seconds of the processes of one name: of the present one, and of those that have ended."""

    pid: int | None = None
    cpu_s: float = 0.0
    ended_s: float = 0.0


class Resources:
    """What the processes use. It remembers a look at each, to compare the next one with."""

    def __init__(self) -> None:
        self._totals: dict[str, Total] = {}
        # by pid: when, CPU seconds then, share so far
        self._looks: dict[int, tuple[float, float, float]] = {}

    def of(self, name: str, pid: int | None) -> dict[str, Any]:
        """The resident memory in bytes, the CPU seconds so far, and the share of one core since the look
        before, at least a second ago; since the start of the process at the first look. All 0 without a
        process. `cpu_total_s`: of all processes that had this name, as far as they were looked at.
        """
        used = self._now(pid)
        before = self._totals.get(name, Total())
        if pid is not None and used["memory_bytes"]:
            is_same = pid == before.pid and used["cpu_s"] >= before.cpu_s
            ended_s = before.ended_s if is_same else before.ended_s + before.cpu_s
            before = self._totals[name] = Total(pid, used["cpu_s"], ended_s)
        return used | {"cpu_total_s": round(before.ended_s + before.cpu_s, 2)}

    def _now(self, pid: int | None) -> dict[str, Any]:
        if pid is not None:
            import psutil

            with contextlib.suppress(psutil.Error):  # the process has just ended
                process = _process(pid)
                times = process.cpu_times()
                cpu_s = times.user + times.system
                return {
                    "memory_bytes": process.memory_info().rss,
                    "cpu_s": round(cpu_s, 2),
                    "cpu_share": round(self._share(pid, cpu_s, time.time() - process.create_time()), 3),
                }
        return {"memory_bytes": 0, "cpu_s": 0.0, "cpu_share": 0.0}

    def _share(self, pid: int, cpu_s: float, age_s: float) -> float:
        now_s = time.monotonic()
        if pid not in self._looks and len(self._looks) >= PIDS_MAX:
            del self._looks[next(iter(self._looks))]
        if pid not in self._looks:
            # A process that has just begun: as if it had run for the shortest time that says anything.
            self._looks[pid] = now_s, cpu_s, cpu_s / max(age_s, APART_S)
        since_s, before_s, share = self._looks[pid]
        if cpu_s < before_s:  # another process has got the pid
            del self._looks[pid]
        elif now_s - since_s >= APART_S:
            share = (cpu_s - before_s) / (now_s - since_s)
            self._looks[pid] = now_s, cpu_s, share
        return share
