"""Setup for all tests: no deadline per example in hypothesis, and the options of `support/trouble.py`."""

import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from tests.support.trouble import BusyLoops, Halts, add_options

hypothesis.settings.register_profile("playtally", deadline=None, print_blob=True)
hypothesis.settings.load_profile("playtally")


# The folders with the slowest files. They start first, so that no slow file runs alone at the end.
SLOW_FIRST = ("package", "chaos", "end_to_end", "conformance", "fuzz", "supervision", "simulation", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    # nohup, or a shell's background, ignores these signals. The processes of the tests would inherit that.
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The tests start hundreds of processes. Without compiled modules each one would compile the checkout.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    distributes = config.getoption("numprocesses", None) is not None
    is_worker = hasattr(config, "workerinput")
    if config.option.busy and not is_worker:
        config.pluginmanager.register(BusyLoops(config.option.busy))
    # The process that distributes the tests starts only the workers, which must not be halted.
    if config.option.halts and (is_worker or not distributes):
        config.pluginmanager.register(Halts())
