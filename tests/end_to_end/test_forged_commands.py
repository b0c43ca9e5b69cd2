"""Hostile text on the command line and in settings: every command shows escapes of it, in one line."""

import json
import os
import subprocess
import sys

import pytest

from actors import config
from actors.cli.launch import COMMAND, environment
from actors.system.installation import ROOT
from tests.support.hostile_text import HOSTILE, NAME, SEEN, WORD, assert_plain
from tests.support.patience import PATIENCE_S
from tests.support.queues import require_nsqd

CLIENT = [sys.executable, "-m", "actors.client"]
QUEUE = [sys.executable, "-m", "actors.embedded_nsqd"]
PRODUCER = [sys.executable, "-m", "producer"]

STATE_COMMANDS = [
    *("status", "kill x", "totals", "totals --verify", "totals --json", "stop", "reload", "check"),
    *("check --json", "republish --all", "reshard", "accept-topic", "backup x", "restore x"),
    *("pause consuming", "resume publishing", "set publish.in_flight_max=1"),
    *("drill --here --yes", "config", "config --json", "run"),
]


def run(*words: object, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        env={**environment(), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
    )


def assert_escaped(*words: object, code: int | None = None, seen: str = SEEN, **more: str) -> None:
    """Run a command. It must fail with `code` (any but 0 if None), and show the hostile text as escapes."""
    ran = run(*words, **more)
    assert ran.returncode == code if code is not None else ran.returncode, ran
    assert_plain(ran.stdout + ran.stderr, seen)
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        [*COMMAND, WORD],
        [*COMMAND, "status", WORD],
        [*COMMAND, f"--{WORD}"],
        [*COMMAND, "status", f"--{WORD}"],
        [*COMMAND, "run", "--log-level", WORD],
        [*COMMAND, "kill", "x", "--signal", WORD],
        [*COMMAND, "republish", WORD],
        [*COMMAND, "audit", WORD],
        [*COMMAND, "audit", "-", "--record", WORD],
        [*COMMAND, "audit", os.devnull, "--deadline-s", WORD],
        [*COMMAND, "demo", "--plays", WORD],
        [*COMMAND, "drill", "--kills", WORD],
        [*COMMAND, "drill", "--seed", WORD],
        [*COMMAND, "cluster", "--flag", WORD],
        [*COMMAND, "cluster", "--nsqd", WORD],
        [*COMMAND, "cluster", "status", "--data-dir", WORD],
        [*COMMAND, "cluster", WORD],
        [*COMMAND, "status", "--config", WORD],
        [*COMMAND, "status", "--set", WORD],
        [*COMMAND, "status", "--set", f"{WORD}=1"],
        [*COMMAND, "status", "--set", f"nsq.{WORD}=1"],
        [*COMMAND, "status", "--set", f"nsq.topic=[{WORD}"],
        [*PRODUCER, WORD],
        [*PRODUCER, f"--{WORD}"],
        [*PRODUCER, "--plays", WORD],
        [*PRODUCER, "--config", WORD],
        [*PRODUCER, "--manifest", f"/proc/{WORD}"],
        [*PRODUCER, "--set", WORD],
        [*CLIENT, WORD, "--data-path", os.devnull],
        [*CLIENT, "--data-path", f"{os.devnull}/{WORD}", "--address", "127.0.0.1:0"],
        [*CLIENT, "--data-path", "FOLDER", "--address", WORD],
        [*CLIENT, "--data-path", "FOLDER", "--secret-env", WORD],
        [*CLIENT, "--data-path", "FOLDER", "--deadline-s", WORD],
        [*QUEUE, WORD, "--data-path", os.devnull],
        [*QUEUE, "--data-path", f"{os.devnull}/{WORD}", "--tcp-address", "127.0.0.1:0"],
        [*QUEUE, "--data-path", "FOLDER", "--tcp-address", WORD],
        [*QUEUE, "--data-path", os.devnull, "--log-level", WORD],
    ],
    ids=lambda words: " ".join(word for word in words[1:] if word.isprintable() and len(word) < 20),
)
def test_what_a_command_line_has_is_shown_as_escapes(words, tmp_path):
    assert_escaped(*(tmp_path if word == "FOLDER" else word for word in words))


@pytest.mark.parametrize(
    "words",
    [
        ["--flag", f"nsqd:{WORD}=1"],
        ["--flag", f"nsqd:mem-queue-size={WORD}"],
        ["--data-dir", f"/proc/{WORD}"],
    ],
    ids=["flag", "value", "data-dir"],
)
def test_what_a_cluster_is_to_start_with_is_shown_as_escapes(words):
    require_nsqd()
    assert_escaped(*COMMAND, "cluster", *words)


@pytest.mark.parametrize(
    "command",
    STATE_COMMANDS,
)
def test_a_state_folder_of_any_name_is_shown_as_escapes(command, tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "config.toml").write_text('[supervisor]\nstate_dir = "state"\n')
    if command == "run":
        (folder / "state").touch()
    ran = run(*COMMAND, *command.split(), "--config", folder / "config.toml")
    assert_plain(ran.stdout + ran.stderr, "" if command == "restore x" else SEEN)
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()


@pytest.mark.parametrize("value", [json.dumps(NAME), f"[{json.dumps(HOSTILE)}]"])
def test_a_wrong_value_of_any_setting_is_shown_as_escapes(value):
    keys = [one.key for one in config.explain(None)]
    words = [word for key in keys for word in ("--set", f"{key}={value}")]
    ran = run(*COMMAND, "config", "--config", os.devnull, *words)
    assert ran.returncode == 2
    assert_plain(ran.stdout + ran.stderr)


@pytest.mark.parametrize(
    "content",
    [
        f"[{json.dumps(NAME)}]\n",
        f"[nsq]\n{json.dumps(NAME)} = 1\n",
        f"[publish]\nurl = {json.dumps('http://127.0.0.1:1/' + NAME)}\n",
        f"[nsq]\nlookupd_http_addresses = [{json.dumps(NAME)}]\n",
        f"[publish]\nsecret_env = {json.dumps(NAME)}\n",
        f"[publish]\nsecret_file = {json.dumps(NAME)}\n",
        f"[client]\nallowed_hosts = [{json.dumps(NAME)}]\n",
        f"[nsq]\n{WORD}",
        "[nsq]\ntopic = \x1b\n",
    ],
)
@pytest.mark.parametrize("command", ["config", "status", "run"])
def test_what_a_config_file_has_is_shown_as_escapes(content, command, tmp_path):
    file = tmp_path / NAME
    file.write_text(content)
    assert_escaped(*COMMAND, command, "--config", file, "--set", f"supervisor.state_dir={tmp_path}/state")
