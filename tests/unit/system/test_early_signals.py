"""Only the command line that runs the service is made ready for signals."""

import os
import signal

import pytest

from actors.system import early_signals


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
    early_signals.hold(words.split())
    every = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
    assert set(taken) == (every if runs else set())


def test_as_the_first_process_every_command_takes_sigterm_as_ctrl_c(monkeypatch):
    taken = {}
    monkeypatch.setattr(signal, "pthread_sigmask", lambda how, numbers: None)
    monkeypatch.setattr(signal, "signal", taken.__setitem__)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    early_signals.hold(["totals"])
    assert taken == {}
    monkeypatch.setattr(os, "getpid", lambda: 1)
    early_signals.hold(["totals"])
    assert taken == {signal.SIGTERM: signal.default_int_handler}
