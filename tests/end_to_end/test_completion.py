"""Tab in real shells: bash, zsh and fish complete commands, options, children, settings and files."""

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

from actors.cli.parser import command_parser
from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S

STEERING = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>()][B0]?)|[\x07\x08\r]")
# What is typed before Tab, and what the line is then, before the next letter.
CASES = {
    "a command": ("playtally sta", "playtally status "),
    "an option": ("playtally config --ex", "playtally config --example "),
    "a child": ("playtally kill cli", "playtally kill client "),
    "a child of these settings": (
        "playtally --set counters.shards=1 kill cou",
        "playtally --set counters.shards=1 kill counter-0 ",
    ),
    "a supervisor": ("playtally terminate counters", "playtally terminate counters "),
    "a key": ("playtally --set counters.sy", "playtally --set counters.synchronous="),
    "a value": ("playtally --set log.format=j", "playtally --set log.format=json "),
    "a file": ("playtally --config only-", "playtally --config only-one.toml "),
    "a signal": ("playtally kill --signal CON", "playtally kill --signal CONT "),
    "a word of a command": ("playtally cluster sto", "playtally cluster stop "),
    "nothing": ("playtally backup x", "playtally backup x"),
}
STARTS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set bell-style none'; source <(playtally completion bash)",
    ),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -D -u; source <(playtally completion zsh)"),
}


@pytest.fixture
def environment(tmp_path):
    """The environment of a shell in a folder of its own, which finds the command as installed."""
    home, programs = tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    command = programs / "playtally"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "supervisor.py"}" "$@"\n')
    command.chmod(0o755)
    (home / "only-one.toml").write_text("")
    kept = {key: os.environ[key] for key in ("LANG", "LC_ALL") if key in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TERM": "dumb",
        "PS1": "ready> ",
    }


def shell(name):
    found = shutil.which(name)
    if found is None:
        lacking(f"no {name} on PATH: install it to test what Tab does there")
    return found


class Typed:
    """A shell on a terminal, and what it shows."""

    def __init__(self, name, environment):
        words, begin = STARTS[name]
        shell(name)
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=environment["HOME"],
            start_new_session=True,
        )
        os.close(theirs)
        self._ours = ours
        self.send(begin + "; echo it-is-r''eady\n")
        self.wait("(it-is-ready)\n")

    def send(self, text):
        os.write(self._ours, text.encode())

    def wait(self, pattern):
        """Read until the terminal shows what matches. Returns the match's group."""
        shown, end_s = "", time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, shown)) is None:
            assert time.monotonic() < end_s, f"waited for {pattern!r}, and saw {shown!r}"
            if select.select([self._ours], [], [], 0.05)[0]:
                shown = STEERING.sub("", shown + os.read(self._ours, 65536).decode(errors="replace"))
        return found[1]

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_tab_completes_what_is_typed(name, environment):
    with contextlib.closing(Typed(name, environment)) as one:
        for typed, expected in CASES.values():
            one.send(f"{typed}\tEND\x01echo \n")  # \x01: to the start of the line
            assert one.wait(r"\n(playtally.*END)\n") == f"{expected}END"


def offered(line, environment):
    """What fish offers after a line, each with its description."""
    program = f"playtally completion fish | source; complete -C {line!r}"
    words = [shell("fish"), "--no-config", "-c", program]
    ran = subprocess.run(
        words, env=environment, cwd=environment["HOME"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    return dict(one.partition("\t")[::2] for one in ran.stdout.splitlines())


@pytest.mark.parametrize("case", [case for case in CASES if case != "nothing"])
def test_fish_offers_the_same(case, environment):
    typed, expected = CASES[case]
    assert list(offered(typed, environment)) == [expected.split()[-1]]


def test_every_command_is_offered_with_its_help(environment):
    (commands,) = [one for one in command_parser()._actions if isinstance(one.choices, dict)]
    found = offered("playtally ", environment)
    assert found.keys() >= commands.choices.keys()
    assert found["totals"].startswith("the totals in the ledgers")


def test_tab_loads_no_library_that_only_the_work_needs(tmp_path):
    """So it takes a tenth of a second where `run` takes half of one."""
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": "playtally kill c",
        "COMP_POINT": "16",
        "_ARGCOMPLETE_IFS": "\n",
    }
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    words = [sys.executable, "-X", "importtime", str(ROOT / "supervisor.py")]
    said = subprocess.run(words, env=os.environ | asked, capture_output=True, text=True, timeout=PATIENCE_S)
    assert "counter-0" in answer.read_text()
    loaded = {line.split("|")[-1].strip() for line in said.stderr.splitlines()}
    assert "argcomplete" in loaded
    assert not loaded & {"numpy", "tornado", "rich", "nsq", "sqlite3", "asyncio", "psutil"}


def test_a_stray_variable_completes_nothing(environment):
    ran = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "--version"],
        env=os.environ | {"_ARGCOMPLETE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.stdout.startswith("playtally ")


def test_the_global_completion_of_argcomplete_takes_python_supervisor_py(environment):
    """In bash, by the mark at the head of supervisor.py."""
    program = """
        source <("$1" -m argcomplete.scripts.activate_global_python_argcomplete --dest -) || exit 1
        COMP_WORDS=(python supervisor.py kill c); COMP_CWORD=3; COMP_LINE="${COMP_WORDS[*]}"
        COMP_POINT=${#COMP_LINE}
        _python_argcomplete_global python c kill
        echo "${COMPREPLY[@]}"
    """
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{environment['PATH']}"
    ran = subprocess.run(
        [shell("bash"), "-c", program, "bash", sys.executable],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.stdout.split() == ["client", "counter-0", "counter-1", "consumer"], ran.stderr
