"""What a process does on SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, whatever its main thread does."""

import logging
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from actors.supervision import signals

ROOT = Path(__file__).resolve().parents[2]
HANGS = """
import logging, sys, threading
from actors.supervision import signals
logging.basicConfig(level="INFO")
if sys.argv[1] == "early":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
signals.watch(lambda: print("hangup", flush=True), lambda: print("quit", flush=True))
def hang():
    print("ready", flush=True)
    while True:
        pass
hang()
"""


@pytest.fixture
def watcher():
    calls = []
    watcher = signals._Watcher(lambda: calls.append("hangup"), lambda: calls.append("quit"))
    watcher.calls = calls
    return watcher


@pytest.mark.parametrize("when", ["", "early"], ids=["alone", "beside a thread that was there before"])
def test_a_process_that_hangs_tells_where_and_goes_on(when):
    command = [sys.executable, "-c", HANGS, when]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        for _ in range(20):
            answers(process, signal.SIGQUIT, "quit\n")
            answers(process, signal.SIGHUP, "hangup\n")
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGUSR2)
        assert process.poll() is None
    finally:
        process.kill()
        _, told = process.communicate()
    assert "thread MainThread:" in told
    assert "in hang" in told


def answers(process, number, line):
    """Send a signal until it is answered. Python can lose one that another thread gets, once in thousands of
    times, if its main thread only computes: nothing makes that thread look again then (seen with 3.11).
    """
    told = ""
    for _ in range(5):
        process.send_signal(number)
        while told != line and select.select([process.stdout], [], [], 10)[0]:
            told = process.stdout.readline()
        if told == line:
            return
    raise AssertionError(f"no answer to {number!r}")


def test_stacks_are_told_once_in_a_second_and_each_signal_is_passed_on(watcher, caplog, monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now_s[0])
    for _ in range(3):
        watcher.came(signal.SIGQUIT)
    assert (caplog.text.count("SIGQUIT"), watcher.calls) == (1, ["quit"] * 3)
    now_s[0] += signals.STACKS_INTERVAL_S
    watcher.came(signal.SIGQUIT)
    assert caplog.text.count("SIGQUIT") == 2


def test_each_signal_that_asks_for_nothing_is_told_once(watcher, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(3):
        watcher.came(signal.SIGUSR1)
        watcher.came(signal.SIGUSR2)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["SIGUSR1", "SIGUSR2"]
    assert watcher.calls == []


def test_a_bug_in_what_a_signal_asks_for_is_told_and_the_next_is_taken(caplog):
    watcher = signals._Watcher(lambda: 1 / 0, lambda: None)
    watcher.came(signal.SIGHUP)
    assert "ZeroDivisionError" in caplog.text
    watcher.came(signal.SIGQUIT)
    assert "SIGQUIT: the stacks" in caplog.text


def test_the_thread_itself_is_in_no_stacks():
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(signals.stacks()), name="asks")
    thread.start()
    thread.join()
    assert "thread MainThread:" in told[0]
    assert "thread asks:" not in told[0]
