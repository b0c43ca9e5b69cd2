"""What a signal does while Python imports: it waits for a service, and ends another command in words."""

import os
import signal
import subprocess
import sys

import pytest

from actors.system import early_signals
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ("", True),
        ("run", True),
        ("--config status run", True),
        ("--set a.b=1 --log-level=DEBUG run", True),
        ("--config=run", True),
        ("--config", True),
        ("status", False),
        ("--set a.b=1 status run", False),
        ("stop --config run", False),
        ("cluster", True),
        ("cluster --nsqd 2", True),
        ("--set a.b=1 cluster --tls", True),
        ("cluster stop nsqd-0", False),
        ("cluster --data-dir x status", False),
    ],
)
def test_the_command_is_the_first_word_that_is_no_option(words, runs, monkeypatch):
    taken = []
    monkeypatch.setattr(signal, "pthread_sigmask", lambda how, numbers: taken.extend(numbers))
    monkeypatch.setattr(signal, "signal", lambda number, handler: taken.append(number))
    monkeypatch.setattr(early_signals, "end_at_ctrl_c", lambda said: None)
    early_signals.hold(words.split())
    every = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
    assert set(taken) == (every if runs else set())


def test_as_the_first_process_every_command_takes_sigterm_as_ctrl_c(monkeypatch):
    taken = {}
    monkeypatch.setattr(signal, "pthread_sigmask", lambda how, numbers: None)
    monkeypatch.setattr(signal, "signal", taken.__setitem__)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    monkeypatch.setattr(early_signals, "end_at_ctrl_c", lambda said: None)
    early_signals.hold(["totals"])
    assert taken == {}
    monkeypatch.setattr(os, "getpid", lambda: 1)
    early_signals.hold(["totals"])
    assert taken == {signal.SIGTERM: signal.default_int_handler}


INTERRUPTED_IN_AN_IMPORT = """
import os, runpy, signal, sys

module = sys.argv[1]

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
sys.argv[:2] = [sys.argv.pop(2)]
sys.path.insert(0, ".")
if sys.argv[0] == "supervisor.py":
    runpy.run_path("supervisor.py", run_name="__main__")
else:
    runpy.run_module("producer", run_name="__main__")
"""
ENDS = [
    ("actors.cli.parser", "supervisor.py", "demo", "the demo was interrupted\n"),
    ("actors.cli.demo_progress", "supervisor.py", "demo", "the demo was interrupted\n"),
    ("actors.cli.report", "supervisor.py", "demo", "the demo was interrupted\n"),
    ("actors.cli.kills", "supervisor.py", "drill", "the drill was interrupted; nothing is proven\n"),
    ("actors.cli.checks.client", "supervisor.py", "check", ""),
    ("actors.config.loading", "supervisor.py", "status", ""),
    ("producer.workload", "producer", "", "error: stopped by a signal before anything was produced\n"),
]


@pytest.mark.parametrize(("module", "program", "command", "said"), ENDS)
def test_ctrl_c_in_an_import_ends_every_command_without_a_traceback(module, program, command, said):
    words = [sys.executable, "-c", INTERRUPTED_IN_AN_IMPORT, module, program, *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S, cwd=ROOT)
    assert (done.stderr, done.returncode) == (said, 1)
