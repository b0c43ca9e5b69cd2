"""A container's first process waits for what it inherits, and for nothing that it has started itself."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actors.supervision.orphans import reap_inherited, reap_unknown
from tests.support.patience import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "waitid"), reason="no os.waitid: no containers here")
ROOT = Path(__file__).resolve().parents[2]
EXITS_WITH_7 = [sys.executable, "-c", "raise SystemExit(7)"]


def is_zombie(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_nobody_waits_for_is_reaped_and_one_of_ours_keeps_its_status():
    ours, inherited = subprocess.Popen(EXITS_WITH_7), subprocess.Popen(EXITS_WITH_7)
    wait_until(lambda: is_zombie(ours.pid) and is_zombie(inherited.pid), "both to have ended")
    # What else this process has started, such as a helper of another test, is not to be reaped either.
    own = {child.pid for child in psutil.Process().children()} - {inherited.pid}
    reap_unknown(own)
    assert not psutil.pid_exists(inherited.pid)
    assert is_zombie(ours.pid)
    assert ours.wait(PATIENCE_S) == 7
    reap_unknown(own)
    inherited.returncode = 0  # its status is gone


def test_a_process_that_is_not_the_first_one_reaps_nothing():
    child = subprocess.Popen(EXITS_WITH_7)
    wait_until(lambda: is_zombie(child.pid), "it to have ended")
    reap_inherited()
    assert child.wait(PATIENCE_S) == 7


def test_without_children_and_with_one_that_runs_it_returns_at_once():
    code = (
        "import subprocess, sys; from actors.supervision.orphans import reap_unknown; reap_unknown(set()); "
        "child = subprocess.Popen(['sleep', '60']); reap_unknown(set()); assert child.poll() is None; "
        "child.kill(); child.wait(); reap_unknown(set())"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE_S)
