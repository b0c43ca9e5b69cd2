"""Scratch folders go with their process, or with the next sweep. Sockets get a path that is short enough."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actors.system import runfile, temporary
from actors.system.exits import Failure
from actors.system.installation import ROOT

HOLDS = """
import sys, time
from actors.system.temporary import keep, scratch_folder
with scratch_folder("test") as folder:
    (folder / "file").touch()
    if len(sys.argv) > 1:
        keep(folder)
    print(folder, flush=True)
    sys.stdin.read()
"""
USES = """
import os, sys, tempfile
from multiprocessing.util import get_temp_dir
from pathlib import Path
from actors.system.temporary import use_run_folder
use_run_folder(Path(sys.argv[1]))
print(get_temp_dir(), os.environ["TMPDIR"], sep="\\n")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder for temporary files, and the only one."""
    found = tmp_path / "tmp"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(temporary, "_SHORT", ())
    return found


@pytest.fixture
def holder(place):
    """A process that has a scratch folder until it is killed or told to end."""
    running = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_scratch_folder_ends_with_its_block_and_is_for_its_user_alone(place):
    with temporary.scratch_folder("test") as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_a_sweep_removes_what_a_killed_process_left_and_nothing_else(place, holder):
    process, left = holder()
    _, used = holder()
    kept_by, kept = holder("keep")
    others = place / "playtally-drill-x"
    others.mkdir()
    temporary.sweep()
    assert left.exists()
    for one in (process, kept_by):
        one.kill()
        one.wait()
    temporary.sweep()
    assert sorted(place.iterdir()) == sorted([used, kept, others])


def test_a_sweep_leaves_a_folder_whose_service_still_ends(place, holder):
    process, folder = holder()
    process.kill()
    process.wait()
    lock = runfile.hold(str(folder / "state"), 0.0)
    temporary.sweep()
    assert folder.exists()
    os.close(lock)
    temporary.sweep()
    assert not folder.exists()


def test_a_sweep_removes_what_a_killed_cluster_left_and_follows_no_link(place, tmp_path):
    left = temporary.cluster_folder(place)
    (left / "nsqd-0").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (place / "playtally-x.scratch").symlink_to(tmp_path / "elsewhere")
    held = temporary.hold(left)
    temporary.sweep()
    assert left.exists()
    os.close(held)
    temporary.sweep()
    assert not left.exists()
    assert (tmp_path / "elsewhere").exists()


def test_the_sockets_are_in_the_state_if_its_path_is_short(tmp_path):
    with tempfile.TemporaryDirectory() as short:
        (Path(short) / "run" / "left").mkdir(parents=True)
        used = subprocess.run(
            [sys.executable, "-c", USES, short], cwd=ROOT, capture_output=True, text=True, check=True
        )
        sockets, others = used.stdout.split()
        assert (sockets, others) == (f"{short}/run", f"{short}/run")
        assert used.stderr == ""
        assert os.listdir(short) == []


def test_a_link_in_the_place_of_its_folder_is_not_followed(tmp_path):
    with tempfile.TemporaryDirectory() as short:
        (Path(short) / "run").symlink_to(tmp_path)
        used = subprocess.run(
            [sys.executable, "-c", USES + "\nassert not os.path.islink(get_temp_dir())", short],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (used.returncode, used.stderr) == (0, "")
        assert used.stdout.split() == [f"{short}/run"] * 2


def test_with_a_long_path_the_sockets_are_in_a_scratch_folder_which_goes_with_the_process(tmp_path):
    state = tmp_path / ("x" * 100)
    state.mkdir()
    used = subprocess.run(
        [sys.executable, "-c", USES, str(state)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(state)},
        capture_output=True,
        text=True,
        check=True,
    )
    sockets, others = used.stdout.split()
    assert Path(sockets).match("/*/playtally-sockets-*.scratch")
    assert others == str(state / "run")
    assert used.stderr == ""
    assert not Path(sockets).exists()


def test_without_any_place_for_sockets_it_is_said_what_to_do(tmp_path, place):
    state = tmp_path / ("x" * 100)
    state.mkdir()
    with pytest.raises(
        Failure, match=r"no place for the sockets .* supervisor\.state_dir with a shorter path"
    ):
        temporary._short_folder(state / "run")
    assert list(place.iterdir()) == []
