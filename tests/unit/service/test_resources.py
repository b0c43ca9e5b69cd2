"""What processes use is told: of those that live, and of those that had their names before."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest

from actors.service import resources
from actors.service.resources import Resources
from tests.support.patience import wait_until

WORKS = "import time\nwhile True: sum(range(100_000))\n"
IDLES = "import time; time.sleep(600)"
STEP = 0.05  # CPU time is counted in steps of 10 ms, here over a second or more


@pytest.fixture
def start():
    """Starts a program, and ends it after the test."""
    started = []

    def begin(code):
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        return started[-1]

    yield begin
    for one in started:
        one.kill()
        one.wait()


class Around(NamedTuple):
    """What is told of a process, and its CPU time and the time, before and after it was asked for."""

    told: dict[str, float]
    used_s: tuple[float, float]
    at_s: tuple[float, float]

    def least(self, before):
        """The least share of a core that it can have used since then."""
        return (self.used_s[0] - before.used_s[1]) / (self.at_s[1] - before.at_s[0])

    def most(self, before):
        """The greatest one."""
        return (self.used_s[1] - before.used_s[0]) / (self.at_s[0] - before.at_s[1])


def around(found, name, pid):
    used_s_before, at_s = used_s(pid), time.monotonic()
    told = found.of(name, pid)
    ended_s = time.monotonic()
    return Around(told, (used_s_before, used_s(pid)), (at_s, ended_s))


def used_s(pid):
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def test_a_process_that_works_has_a_share_of_a_core_and_one_that_idles_has_none(start, monkeypatch):
    busy, idle = start(WORKS), start(IDLES)
    found = Resources()
    monkeypatch.setattr(resources, "APART_S", 0.3)
    wait_until(lambda: used_s(busy.pid) > 0.1, "the busy one to work")
    first = [around(found, name, pid) for name, pid in (("busy", busy.pid), ("idle", idle.pid))]
    began_s = used_s(busy.pid)
    wait_until(lambda: used_s(busy.pid) > began_s + 1, "the busy one to work on")
    last = [around(found, name, pid) for name, pid in (("busy", busy.pid), ("idle", idle.pid))]
    for before, after in zip(first, last, strict=True):
        assert after.least(before) - STEP <= after.told["cpu_share"] <= after.most(before) + STEP
    worked, idled = (one.told for one in last)
    assert worked["cpu_share"] > idled["cpu_share"]
    assert worked["memory_bytes"] > 1_000_000
    monkeypatch.setattr(resources, "APART_S", 1000)
    # A look that follows at once tells the same share: it has nothing to measure.
    assert found.of("busy", busy.pid)["cpu_share"] == worked["cpu_share"]


def test_the_cpu_seconds_of_a_name_go_on_when_another_process_gets_it(start):
    found = Resources()
    mine = found.of("a", os.getpid())
    assert mine["cpu_total_s"] == mine["cpu_s"] > 0
    other = start(IDLES)
    then = found.of("a", other.pid)
    assert then["cpu_total_s"] == pytest.approx(mine["cpu_s"] + then["cpu_s"], abs=0.02)
    away = found.of("a", None)
    assert away == {"memory_bytes": 0, "cpu_s": 0.0, "cpu_share": 0.0, "cpu_total_s": then["cpu_total_s"]}


def test_a_process_that_is_gone_uses_nothing(start):
    ended = start("")
    ended.wait()
    assert Resources().of("a", ended.pid) == {
        "memory_bytes": 0,
        "cpu_s": 0.0,
        "cpu_share": 0.0,
        "cpu_total_s": 0.0,
    }


@pytest.mark.parametrize("now_s", [10.0, 11447.988140443])
def test_the_first_look_at_a_process_that_has_just_begun_is_one(monkeypatch, now_s):
    """`now - (now - 0.3)` is less than 0.3 for some times: such a look was forgotten."""
    clocks = SimpleNamespace(monotonic=lambda: now_s, time=psutil.Process().create_time)
    monkeypatch.setattr(resources, "APART_S", 0.3)
    monkeypatch.setattr(resources, "time", clocks)
    used = used_s(os.getpid())
    assert Resources().of("a", os.getpid())["cpu_share"] == pytest.approx(used / 0.3, abs=0.2)
