"""What processes use is told: of those that live, and of those that had their names before."""

import os
import subprocess
import sys
import time

import pytest

from actors.service import resources
from actors.service.resources import Resources

WORKS = "import time\nwhile True: sum(range(100_000))\n"
IDLES = "import time; time.sleep(600)"


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


def test_a_process_that_works_has_a_share_of_a_core_and_one_that_idles_has_none(start, monkeypatch):
    busy, idle = start(WORKS), start(IDLES)
    found = Resources()
    found.of("busy", busy.pid), found.of("idle", idle.pid)
    monkeypatch.setattr(resources, "APART_S", 0.3)
    time.sleep(1)
    worked, idled = found.of("busy", busy.pid), found.of("idle", idle.pid)
    assert worked["cpu_share"] > 0.05 > idled["cpu_share"]
    assert worked["memory_bytes"] > 1_000_000
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
