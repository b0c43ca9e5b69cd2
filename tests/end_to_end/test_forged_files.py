"""Hostile text in files that commands read: the state, backups, recordings, and the run file of a service."""

import contextlib
import fcntl
import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from actors.cli.launch import COMMAND, environment
from actors.store.backup import MANIFEST
from actors.system import runfile
from actors.system.installation import ROOT
from tests.support.hostile_servers import answer, raw_http
from tests.support.hostile_text import HOSTILE, NAME, SEEN, WORD, assert_plain
from tests.support.patience import PATIENCE_S
from tests.support.states import new_state


def run(state: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *words, "--set", f"supervisor.state_dir={json.dumps(str(state))}"],
        cwd=ROOT,
        env=environment(),
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
    )


def assert_shown(state: Path, *words: str, seen: str = SEEN, stdin: bytes = b"") -> None:
    ran = run(state, *words, stdin=stdin)
    assert_plain(ran.stdout + ran.stderr, seen)
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()


@pytest.fixture
def state(tmp_path) -> Path:
    """The state of a service that has counted nothing."""
    return new_state(tmp_path)


def test_a_backups_manifest_is_shown_as_escapes(state, tmp_path):
    good = tmp_path / "good"
    assert run(state, "backup", str(good)).returncode == 0
    told = json.loads((good / MANIFEST).read_text())
    for changed in (
        {"made_at": HOSTILE},
        {"version": HOSTILE, "state": HOSTILE},
        {"files": {**told["files"], NAME: {"bytes": 1, "sha256": HOSTILE}}},
        {"files": {f"../{HOSTILE}": {"bytes": 1, "sha256": ""}}},
        {"format": HOSTILE},
    ):
        (good / MANIFEST).write_text(json.dumps(told | changed))
        assert_shown(state, "restore", str(good), seen=SEEN if "made_at" in changed else "")
    (good / MANIFEST).write_text(WORD)
    assert_shown(state, "restore", str(good), seen="")


@pytest.mark.parametrize("command", ["totals", "check", "reshard", "backup x", "run"])
@pytest.mark.parametrize("changed", [{"folder": NAME}, {"stage": HOSTILE}, {HOSTILE: 1}])
def test_what_the_state_says_of_itself_is_shown_as_escapes(command, changed, state, tmp_path):
    file = state / "ledgers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    assert_shown(state, *command.replace("x", str(tmp_path / "copy")).split(), seen="")


@pytest.mark.parametrize("command", ["totals", "totals --verify", "check", "reshard", "accept-topic", "run"])
def test_what_a_store_says_of_itself_is_shown_as_escapes(command, state):
    for path in state.glob("*.sqlite"):
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE meta SET value = ?", (HOSTILE,))
            store.execute("INSERT OR REPLACE INTO meta VALUES ('topic', ?), (?, ?)", (HOSTILE, HOSTILE, 1))
    assert_shown(state, *command.split(), seen="")


def test_a_recording_is_shown_as_escapes(state, tmp_path):
    one = {"video_id": HOSTILE, "plays": 1, "arrived_at_ns": 1}
    guid = one | {"video_id": "00000000-0000-4000-8000-000000000001"}
    wrong = [one | {"plays": HOSTILE}, guid | {"plays": HOSTILE}, guid | {HOSTILE: 1}, one]
    publishes = [{"batch": "b", "trigger": "deadline", "videos": [video]} for video in wrong]
    publishes += [{"batch": HOSTILE, "trigger": "deadline", "videos": [guid]}]
    publishes += [{"batch": "b", "trigger": HOSTILE, "videos": [guid]}, {HOSTILE: HOSTILE}]
    for line in (*map(json.dumps, publishes), WORD, json.dumps(HOSTILE)):
        assert_shown(state, "audit", "-", seen="", stdin=line.encode())
    good = json.dumps({"batch": "b", "trigger": "deadline", "videos": [guid]}).encode()
    plays = tmp_path / "plays"
    for line in (json.dumps(one), json.dumps({HOSTILE: 1}), WORD):
        plays.write_text(line)
        assert_shown(state, "audit", "-", "--plays", str(plays), seen="", stdin=good)


@contextlib.contextmanager
def told_by(state: Path, **facts: object):
    """A run file that says this, as if a service ran: its lock is held."""
    lock = os.open(runfile.lock_path(state), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (state / runfile.NAME).write_text(json.dumps({"pid": 1, "secret": "x", **facts}))
    try:
        yield
    finally:
        os.close(lock)


COMMANDS = [
    *("status", "status --json", "kill counter-0", "stop", "terminate x", "restart x", "reload", "check"),
    *("republish --all", "totals", "drill --here --yes --kills 1"),
    *("pause consuming", "set publish.in_flight_max=1"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_file_with_hostile_facts_is_shown_as_escapes(command, state):
    names = ("admin_address", "client_address", "nsqd_tcp_address", "nsqd_http_address", "hostname")
    with told_by(state, **dict.fromkeys((*names, "pid_namespace"), HOSTILE)):
        assert_shown(state, *command.split(), seen="")


@pytest.mark.parametrize(
    "command",
    [
        "terminate x",
        "reload",
        "republish --all",
        "pause consuming",
        "set x.y=1",
        "status",
        "check",
        "status --json",
    ],
)
def test_what_a_service_answers_is_shown_as_escapes(command, state):
    children = [{"id": "x", "pid": None, "state": HOSTILE}]
    supervisors = [{"id": "root", "children": []}, {"id": HOSTILE, "children": [HOSTILE]}]
    reloaded = {name: [HOSTILE] for name in ("in_force", "need_restart", "refused", "not_read")}
    said = {"children": children, "supervisors": supervisors, "done": HOSTILE, "error": HOSTILE, **reloaded}
    for status in ("200 OK", "409 Conflict"):
        with raw_http(answer(status, json.dumps(said | {"reasons": [HOSTILE]}))) as service:
            if command == "status" and status == "200 OK":
                continue  # tables of a whole status: tests/unit/cli/test_status_page.py
            with told_by(state, admin_address=service.address):
                assert_shown(state, *command.split(), seen="")
