"""Hostile text in marks, in a cluster's file and answers, and in environment variables that settings name."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.cli.launch import COMMAND, environment
from actors.cluster import control
from actors.system.installation import ROOT
from tests.support.hostile_text import HOSTILE, WORD, assert_plain
from tests.support.patience import PATIENCE_S
from tests.support.states import new_state

MARK_BYTES = 24


def said(*words: str, **environ: str) -> str:
    """What a command prints, on both streams. It is no traceback."""
    ran = subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env=environment() | environ,
        capture_output=True,
        timeout=2 * PATIENCE_S,
    )
    text = (ran.stdout + ran.stderr).decode()
    assert "Traceback" not in text, text
    return text


@contextlib.contextmanager
def a_cluster(folder: Path, content: str) -> Iterator[None]:
    """A cluster's folder whose file says this, as if the cluster ran: its lock is held."""
    folder.mkdir(exist_ok=True)
    with open(folder / control.LOCK, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / control.NAME).write_text(content)
        yield


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of a server that gives this answer to one request."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.makefile("rb").readline()
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", ["status", "stop nsqd-0"])
def test_what_a_clusters_file_says_is_shown_as_escapes(command, tmp_path):
    words = ["cluster", *command.split(), "--data-dir", str(tmp_path / "c")]
    for facts in (
        {"pid": HOSTILE, "port": 1, "token": ""},
        {"pid": 1, "port": HOSTILE, "token": ""},
        {"pid": 1, "port": 1, "token": HOSTILE},
        {"pid": 1, "port": 99999, "token": ""},
        {"pid": 1, "port": -1, "token": ""},
        {HOSTILE: 1},
        HOSTILE,
    ):
        with a_cluster(tmp_path / "c", json.dumps(facts)):
            assert_plain(said(*words), seen="")
    with a_cluster(tmp_path / "c", WORD):
        assert_plain(said(*words), seen="")


@pytest.mark.parametrize("key", ["done", "error"])
def test_what_a_cluster_answers_is_shown_as_escapes(key, tmp_path):
    """A status has several lines, so only its newlines stay. Only this user's cluster is asked."""
    hostile = HOSTILE if key == "error" else HOSTILE.replace("\n", "")
    with answering(json.dumps({key: hostile}).encode() + b"\n") as port:
        with a_cluster(tmp_path / "c", json.dumps({"pid": 1, "port": port, "token": "x"})):
            assert_plain(said("cluster", "status", "--data-dir", str(tmp_path / "c")))


@pytest.mark.parametrize("command", ["check", "totals --verify", "totals", "run"])
def test_what_a_mark_says_is_a_number_or_nothing(command, tmp_path):
    state = new_state(tmp_path)
    too_short = [] if command == "run" else [HOSTILE.encode()]  # as an empty one: the service would go on
    for content in (HOSTILE.encode()[:MARK_BYTES], *too_short):
        for name in ("counter-0.mark", "counter-1.mark", "dispatcher.mark"):
            (state / name).write_bytes(content)
        settings = [f"supervisor.state_dir={json.dumps(str(state))}", "admin.address=127.0.0.1:0"]
        words = [word for one in settings for word in ("--set", one)]
        assert_plain(said(*command.split(), *words), seen="")


def test_a_mark_that_is_a_pipe_is_not_waited_for(tmp_path):
    state = new_state(tmp_path)
    (state / "counter-0.mark").unlink(missing_ok=True)
    os.mkfifo(state / "counter-0.mark")
    assert_plain(
        said("totals", "--verify", "--set", f"supervisor.state_dir={json.dumps(str(state))}"), seen=""
    )


@pytest.mark.parametrize("command", ["check", "run", "config"])
@pytest.mark.parametrize(
    "setting", ["publish.token_env", "publish.secret_env", "nsq.auth_secret_env", "environment's proxy"]
)
def test_what_a_named_variable_holds_is_shown_as_escapes(command, setting, tmp_path):
    settings = [f"supervisor.state_dir={json.dumps(str(tmp_path / 'state'))}", "admin.address=203.0.113.1:1"]
    settings += ["client.enabled=false", "publish.url=http://client.invalid/", "publish.signature=body"]
    settings += ["nsq.nsqd_tcp_addresses=127.0.0.1:1"]
    variables = {"PLAYTALLY_HOSTILE": WORD}
    if setting.startswith("environment"):
        variables = dict.fromkeys(("http_proxy", "HTTP_PROXY"), f"http://{WORD}:3128")
    else:
        settings.append(f"{setting}=PLAYTALLY_HOSTILE")
    words = [word for one in settings for word in ("--set", one)]
    assert_plain(said(command, *words, **variables), seen="")
