"""What the system refuses a command is said in words: no "[Errno 2]", no name of an exception."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli.launch import COMMAND, environment
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.states import new_state

PYTHONS = re.compile(r"\[Errno|<urlopen|Traceback|\b\w+Error\b|\bErrno\b|Command '")


def run(state: Path, *words: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on a state folder. `path`: a folder that is first on PATH."""
    own = environment()
    return subprocess.run(
        [*map(str, words), "--set", f"supervisor.state_dir={json.dumps(str(state))}"],
        cwd=ROOT,
        env=own | {"PATH": f"{path}:{own['PATH']}"} if path else own,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def a_file_in_the_way(path: Path) -> Path:
    path.write_text("not a folder")
    return path / "below"


def a_folder_in_the_way(path: Path) -> None:
    path.mkdir(parents=True)


@pytest.fixture
def state(tmp_path) -> Path:
    """The state of a service that has counted nothing."""
    return new_state(tmp_path)


def nsqd_that_is_no_program(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "nsqd"
    program.parent.mkdir()
    program.write_bytes(b"\0no program")
    program.chmod(0o755)
    return program.parent


def test_a_backup_to_a_place_that_can_not_be_made(state, tmp_path):
    check(run(state, *COMMAND, "backup", a_file_in_the_way(tmp_path / "file")), "Not a directory")


def test_a_restore_of_what_is_no_backup_or_to_what_is_no_folder(state, tmp_path):
    check(run(state, *COMMAND, "restore", a_file_in_the_way(tmp_path / "file")), "Not a directory")
    a_folder_in_the_way(tmp_path / "backup" / "backup.json")
    check(run(state, *COMMAND, "restore", tmp_path / "backup"), "it is a folder")
    assert run(state, *COMMAND, "backup", tmp_path / "good").returncode == 0
    check(run(tmp_path / "file" / "state", *COMMAND, "restore", tmp_path / "good"), "Not a directory")


def test_a_reshard_that_can_not_write(state):
    a_folder_in_the_way(state / "ledgers.draft")
    check(run(state, *COMMAND, "reshard", "--set", "counters.shards=3"), "Is a directory")


@pytest.mark.parametrize("command", ["reshard", "accept-topic", "backup x", "restore x", "run"])
def test_a_state_whose_lock_is_a_folder(command, state, tmp_path):
    assert run(state, *COMMAND, "backup", tmp_path / "good").returncode == 0
    for name in ("service.lock", "dispatcher.lock"):
        (state / name).unlink(missing_ok=True)
        a_folder_in_the_way(state / name)
    folder = tmp_path / ("good" if "restore" in command else "new")
    words = [folder if word == "x" else word for word in command.split()]
    ran = run(state, *COMMAND, *words, "--set", "counters.shards=3")
    assert ran.returncode or command == "backup x"
    assert not PYTHONS.search(ran.stdout + ran.stderr), ran.stderr


@pytest.mark.parametrize(
    "command", ["totals", "totals --verify", "check", "status", "reshard", "backup x", "stop"]
)
@pytest.mark.parametrize("name", ["counter-0.sqlite", "dispatcher.sqlite", "ledgers.json", "service.json"])
def test_a_store_that_is_a_folder(command, name, state, tmp_path):
    (state / name).unlink(missing_ok=True)
    a_folder_in_the_way(state / name)
    ran = run(state, *COMMAND, *command.replace("x", str(tmp_path / "new")).split())
    assert not PYTHONS.search(ran.stdout + ran.stderr), ran.stderr


def test_an_nsqd_that_is_no_program(state, tmp_path):
    path = nsqd_that_is_no_program(tmp_path)
    ran = run(state, *COMMAND, "cluster", "--flag", "nsqd:mem-queue-size=1", path=path)
    check(ran, "Exec format error")


@pytest.mark.parametrize("words", [["audit", "FILE"], ["audit", "-", "--record", "FILE"]])
def test_a_file_that_can_not_be_opened(words, state, tmp_path):
    below = a_file_in_the_way(tmp_path / "file")
    ran = run(state, *COMMAND, *(below if word == "FILE" else word for word in words))
    check(ran, "Not a directory")


def test_a_manifest_that_can_not_be_written(state, tmp_path):
    a_folder_in_the_way(tmp_path / "manifest.json")
    words = [sys.executable, "-m", "producer", "--plays", "1", "--manifest", tmp_path / "manifest.json"]
    check(run(state, *words), "")


def check(ran: subprocess.CompletedProcess[str], reason: str) -> None:
    """It failed, and says why in words."""
    assert ran.returncode, ran
    assert reason in ran.stderr, ran.stderr
    assert not PYTHONS.search(ran.stdout + ran.stderr), ran.stderr
