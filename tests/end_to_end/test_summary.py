"""On a terminal, a service says now and then what it does, in lines of its log. Elsewhere it does not."""

import contextlib
import os
import re
import subprocess
import time

import pytest

from actors.cli.launch import COMMAND
from actors.service.summary import INTERVAL_S
from actors.system import runfile
from actors.system.installation import environment
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import RawClient
from tests.support.services import ANY_PORTS
from tests.support.terminals import read_terminal

PLAY = b'{"video_id": "00000000-0000-4000-8000-000000000001"}'
SUMMARY = re.compile(
    r"\d{4}-\d\d-\d\dT\S+ I supervisor   3 plays counted \(\d+ a second\), \d+ publish(es)? "
    r"\(\d+ a minute\), 0 videos pending, 0 messages behind"
)
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d [A-Z] \S")


@contextlib.contextmanager
def running(path, stdout, stderr, *overrides):
    """A service with these descriptors, which has counted three plays."""
    settings = [
        *ANY_PORTS,
        f"supervisor.state_dir={path / 'state'}",
        "dispatch.realtime_below=100",
        *overrides,
    ]
    words = [word for one in settings for word in ("--set", one)]
    process = subprocess.Popen(
        [*COMMAND, "run", *words], env=environment(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
    )
    try:
        facts = wait_until(lambda: runfile.read(path / "state"), "the service to start")
        with RawClient(facts["nsqd_tcp_address"]) as queue:
            queue.publish("plays", *[PLAY] * 3)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def terminal():
    ours, theirs = os.openpty()
    return ours, theirs


def lines(text):
    return [one.rstrip("\r") for one in text.split("\n") if one.strip()]


@pytest.mark.parametrize("on", ["stderr", "stdout"])
def test_a_terminal_shows_the_summary_among_the_log_and_is_never_steered(on, tmp_path):
    ours, theirs = terminal()
    with open(tmp_path / "elsewhere", "wb") as file:
        streams = (file.fileno(), theirs) if on == "stderr" else (theirs, file.fileno())
        with os.fdopen(ours, closefd=True), running(tmp_path, *streams):
            os.close(theirs)
            shown = read_terminal(ours, lambda text: SUMMARY.search(text) is not None)
    assert "\x1b" not in shown
    assert [one for one in lines(shown)[:-1] if not LINE.match(one)] == []
    assert "all children run" in (shown if on == "stderr" else (tmp_path / "elsewhere").read_text())


@pytest.mark.parametrize("why", ["no terminal", "json"])
def test_without_a_terminal_or_with_a_log_in_json_there_is_no_summary(why, tmp_path):
    ours, theirs = terminal()
    overrides = ["log.format=json"] if why == "json" else []
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "log", "wb") as log, os.fdopen(ours):
        stdout, stderr = (theirs, theirs) if why == "json" else (out.fileno(), log.fileno())
        with running(tmp_path, stdout, stderr, *overrides) as process:
            if why == "json":
                end_s = time.monotonic() + 3 * INTERVAL_S
                shown = read_terminal(ours, lambda _: time.monotonic() > end_s)
            else:
                time.sleep(3 * INTERVAL_S)  # two lines would be there
                shown = (tmp_path / "log").read_text() + (tmp_path / "out").read_text()
            assert process.poll() is None
        os.close(theirs)
    assert "all children run" in shown
    assert "plays counted (" not in shown
