"""With NO_COLOR, on a dumb terminal and in a pipe, no command writes an escape code."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from actors.cli.launch import Service
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, facts_of, open_service, reading, wait_caught_up
from tests.support.terminals import on_a_terminal, read_terminal

VIDEO = "00000000-0000-4000-8000-000000000001"
OF_A_SERVICE = [
    ["status"],
    ["status", "--json"],
    ["config"],
    ["check"],
    ["totals"],
    ["totals", "--verify"],
    ["republish", VIDEO],
    ["reload"],
    ["kill", "counter-9"],
    ["kill", "counter-0"],
    ["restart", "consumer"],
    ["run"],  # refused: one runs
    ["audit", "-"],
]
ALONE = [
    ["--help"],
    ["status", "--help"],
    ["--version"],
    ["config", "--example"],
    ["completion", "bash"],
    ["no"],
]
PLAIN = {"no color": {"NO_COLOR": "1"}, "dumb": {"NO_COLOR": "", "TERM": "dumb"}}


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with open_service("embedded", tmp_path_factory.mktemp("service"), *PATIENT) as service:
        service.start()
        service.queue.put("plays", b'{"video_id": "%b"}' % VIDEO.encode())
        wait_caught_up(service, 1)
        yield service


def on_terminal(*words: str, **variables: str) -> str:
    process, ours = on_a_terminal(*words, variables=variables)
    with os.fdopen(ours, closefd=True):
        if words[0] == "audit":
            os.write(ours, b"\x04")  # the end of what is typed
        shown = read_terminal(ours)
    process.wait(PATIENCE_S)
    return shown


@pytest.mark.parametrize("words", OF_A_SERVICE, ids=" ".join)
def test_no_command_steers_what_may_not_be_steered(words, service):
    words = [words[0], *service.arguments, *words[1:]]
    for variables in PLAIN.values():
        shown = on_terminal(*words, **variables)
        assert shown and "\x1b" not in shown
    for colour in ({}, {"FORCE_COLOR": ""}):
        ran = subprocess.run(
            [sys.executable, "supervisor.py", *words],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color", **colour},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        assert b"\x1b" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("words", ALONE, ids=" ".join)
def test_help_and_errors_are_plain_too(words):
    for variables in PLAIN.values():
        shown = on_terminal(*words, **variables)
        assert shown and "\x1b" not in shown


def test_colours_are_there_where_they_may_be(service):
    assert "\x1b[32m" in on_terminal("status", *service.arguments, NO_COLOR="")


@pytest.mark.parametrize("variables", PLAIN.values(), ids=PLAIN)
def test_a_demo_and_a_drill_are_plain_lines(variables):
    settings = ["--set", "dispatch.deadline_s=1"]
    shown = on_terminal("demo", "--plays", "2000", "--videos", "10", *settings, **variables)
    assert "playtally, the whole job" in shown and "\x1b" not in shown
    shown = on_terminal("drill", "--kills", "1", *settings, **variables)
    assert "lost" in shown and "\x1b" not in shown


@pytest.mark.parametrize("variables", PLAIN.values(), ids=PLAIN)
def test_the_producer_is_plain_lines(variables, service):
    """Its bar is for terminals that may be steered."""
    nsqd = reading(facts_of(service)["nsqd_tcp_address"])
    words = ["-m", "producer", "--set", nsqd, "--set", "nsq.topic=other", "--plays", "10"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **variables},
    )
    os.close(theirs)
    with os.fdopen(ours, closefd=True):
        shown = read_terminal(ours)
    assert process.wait(PATIENCE_S) == 0, shown
    assert "10 plays" in shown and "\x1b" not in shown
