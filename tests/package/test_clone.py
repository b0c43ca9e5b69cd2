"""A fresh clone, started with an unsuitable Python, prints one line with the command to run instead."""

import configparser
import os
import re
import shutil
import subprocess
import sys

import pytest

from actors.system.environment import LIBRARIES
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.pythons import find

TOO_OLD = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10"]
NEW_ENOUGH = ["3.11", "3.12", "3.13", "3.14"]
COMMANDS = [["supervisor.py"], ["supervisor.py", "status"], ["-m", "producer"]]


@pytest.fixture
def clone(tmp_path):
    """A clone without a .venv. It has only the files that are read before the first library is imported."""
    folder = tmp_path / "clone"
    for name in ("actors", "producer"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("supervisor.py", "config.toml", "Makefile"):
        shutil.copy(ROOT / name, folder)
    return folder


def interpreter(version):
    found = find(version)
    if found is None:
        # Not even CI has every Python from 2.7 to 3.14.
        pytest.skip(f"no Python {version} on this machine")
    return found


def told(python, words, folder) -> str:
    """Run `python words` in `folder`, where no library is found. Returns the one line on stderr."""
    result = subprocess.run(
        # -S leaves out site-packages, so Python finds no library, even if it is installed.
        [*(python if isinstance(python, list) else [python]), "-S", *words],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert (result.returncode, result.stdout) == (2, b"")
    (line,) = result.stderr.decode().splitlines()
    return line


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("version", TOO_OLD)
def test_a_python_that_is_too_old_is_told_so(clone, version, words):
    line = told(interpreter(version), words, clone)
    assert re.match(rf"playtally needs Python 3\.11 or newer, and \S+ is {re.escape(version)}\.\d+: ", line)
    assert ": run `make run`, which makes .venv and starts the service" in line


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("version", NEW_ENOUGH)
def test_a_python_without_the_libraries_is_told_how_to_get_them(clone, version, words):
    line = told(interpreter(version), words, clone)
    assert line.startswith(f"playtally needs {', '.join(sorted(LIBRARIES))}, which ")
    assert ": run `make run`, which makes .venv and starts the service" in line


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_where_there_is_an_environment_it_is_named(clone, words):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert told(sys.executable, words, clone).endswith(": run it with .venv/bin/python")


def test_from_another_folder_the_clone_is_named_too(clone, tmp_path):
    words = [str(clone / "supervisor.py")]
    assert f"run `make -C {clone} run`, which makes .venv" in told(sys.executable, words, tmp_path)


def test_from_a_folder_that_is_gone_the_clone_is_named_too(clone, tmp_path):
    (tmp_path / "gone").mkdir()
    words = [str(clone / "supervisor.py")]
    python = ["sh", "-c", 'cd gone && rmdir ../gone && exec "$0" "$@"', sys.executable]
    assert f"run `make -C {clone} run`, which makes .venv" in told(python, words, tmp_path)


def test_a_path_with_a_space_is_quoted(clone, tmp_path):
    spaced = clone.rename(tmp_path / "my clone")
    words = [str(spaced / "supervisor.py")]
    assert f"run `make -C '{spaced}' run`, which makes .venv" in told(sys.executable, words, tmp_path)


@pytest.mark.parametrize("path", ["producer", "producer/__main__.py"])
def test_the_producer_by_its_path_is_told_the_same(clone, path):
    assert told(sys.executable, [path], clone).startswith(
        "playtally needs argcomplete, cramjam, httptools, msg"
    )


def test_what_is_looked_for_is_what_setup_cfg_asks_for():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split("\n")
    asked = {re.match(r"[\w-]*", line.strip()).group() for line in lines if not line.startswith("#")} - {""}
    assert asked == set(LIBRARIES)
    assert setup["options"]["python_requires"] == ">=3.11"


def test_a_python_that_leaves_out_the_scripts_folder_is_told_the_same(clone):
    """`python -P` leaves out the folder of the script, as PYTHONSAFEPATH does."""
    assert told(sys.executable, ["-P", str(clone / "supervisor.py")], clone).startswith(
        "playtally needs argcomplete, cramjam, httptools, msg"
    )
