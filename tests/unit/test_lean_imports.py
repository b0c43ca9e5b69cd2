"""What a command imports: what it uses, and so it starts fast. By `sys.modules`, not by time."""

import os
import subprocess
import sys

import pytest

from actors import config
from actors.system.installation import ROOT
from tests.support.services import open_service

# Libraries of the work, and heavy parts of the standard library.
HEAVY = {"numpy", "tornado", "nsq", "asyncio", "pyroaring", "httptools", "cramjam", "prometheus_client"}
SERVES = {"psutil", "setproctitle", "multiprocessing", "sqlite3"}
SCREEN = {"rich", "argcomplete"}
SETTINGS = {"msgspec", "tomllib", "ssl", "http", "email", "logging", "json"}
MODULES_OF = """
import os, runpy, sys
os._exit = sys.exit
sys.argv = ["supervisor.py", *sys.argv[1:]]
try:
    runpy.run_path("supervisor.py", run_name="__main__")
except SystemExit as end:
    sys.stderr.write(" ".join([str(end.code or 0), *sys.modules]))
"""


def imported_by(*words):
    """The names of all modules that a command has imported. It must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES_OF, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    code, *modules = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(modules)


def packages(modules):
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["status", "--help"], ["stop", "--help"]])
def test_help_imports_neither_the_settings_nor_a_library(words):
    modules = imported_by(*words)
    assert packages(modules) & (HEAVY | SERVES | SCREEN | SETTINGS) == set()
    ours = {name for name in modules if name.startswith("actors.")}
    assert not {
        name for name in ours if name.startswith(("actors.service", "actors.sources", "actors.store"))
    }
    assert "actors.config.loading" not in modules


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with open_service("embedded", tmp_path_factory.mktemp("service")) as service:
        service.start()
        yield service


@pytest.mark.parametrize(
    ("command", "lacks"),
    [
        (["status"], HEAVY | SERVES),
        (["status", "--json"], HEAVY | SERVES | SCREEN),
        (["config", "--json"], HEAVY | SERVES | SCREEN),
        (["kill", "consumer", "--signal", "CONT"], HEAVY | SERVES | SCREEN),
    ],
)
def test_a_command_to_a_running_service_imports_nothing_of_the_work(command, lacks, service):
    name, *rest = command
    assert packages(imported_by(name, *service.arguments, *rest)) & lacks == set()


def test_the_supervisor_starts_without_what_is_used_later_or_by_children_alone():
    code = "import sys, actors.shared_imports, actors.service.lifecycle; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    later = {"psutil", "prometheus_client", "numpy", "sqlite3", "nsq", "rich", "pyroaring"}
    assert not packages(done.stdout.split()) & later


def test_stop_imports_nothing_of_the_work(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        assert not packages(imported_by("stop", *service.arguments)) & (HEAVY | SERVES | SCREEN)


def test_every_name_of_the_settings_is_imported_from_where_it_is():
    for name in config.__all__:
        assert getattr(config, name) is not None
    assert {name for names in config._WHERE.values() for name in names} == set(config.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = config.nothing
