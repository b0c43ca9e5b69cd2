"""A command line of any words is understood, or refused with exit code 2 and a message; never a traceback."""

import contextlib
import io
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cli.parser import command_parser
from actors.system.exits import EXIT_DONE, EXIT_USAGE
from actors.system.installation import ROOT
from producer.command import main as produce
from tests.support.fuzzing import tries
from tests.support.patience import PATIENCE_S

COMMANDS = [
    "run",
    "status",
    "kill",
    "config",
    "totals",
    "check",
    "stop",
    "audit",
    "demo",
    "drill",
    "reshard",
    "backup",
    "restore",
    "republish",
    "pause",
    "resume",
    "set",
    "accept-topic",
    "terminate",
    "restart",
    "cluster",
]
OPTIONS = [
    "--nsqd",
    "--flag",
    "--port",
    "--data-dir",
    "--config",
    "--set",
    "--json",
    "--watch",
    "--signal",
    "--log-level",
    "--verify",
    "--all",
    "--plays",
    "--seconds",
    "--deadline-s",
    "--linger-ms",
    "--kills",
    "--seed",
    "--videos",
    "--quiet-videos",
    "--rate",
    "--manifest",
    "--",
    "-",
    "-x",
    "--=",
    "--set=",
    "--help",
]
VALUES = ["", "1", "-1", "nan", "inf", "1e999", "9" * 5000, "KILL", "0", "²", "x=y", "a.b=c", "\udcff", "\0"]
PARSER = command_parser()
words = st.lists(
    st.sampled_from(COMMANDS) | st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | st.text(max_size=8),
    max_size=6,
)


@tries(150)
@given(words)
def test_any_words_are_a_command_or_refused_with_the_reason(line):
    said, shown = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            options = PARSER.parse_args(line)
    except SystemExit as end:
        assert end.code in (EXIT_DONE, EXIT_USAGE)
        assert (said if end.code else shown).getvalue(), line
    else:
        assert callable(options.command)


@tries(100)
@given(words.map(lambda line: [*line, "--nothing-of-the-kind"]))
def test_any_words_to_the_producer_are_refused_with_the_reason(line):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = produce(line)
        except SystemExit as end:
            code = end.code
    assert code == EXIT_DONE or (code == EXIT_USAGE and said.getvalue())


@pytest.mark.parametrize(
    "line",
    [
        ["--nothing"],
        ["kill", "x", "--signal", "9" * 5000],
        ["config", "--set", "nsq.topic=" + "[" * 5000],
        ["config", "--set", b"nsq.topic=\xff\xfe"],
        ["config", "--set", b"\xff"],
        ["config", "--config", "x" * 10_000],
        ["demo", "--plays", "9" * 5000],
    ],
    ids=lambda line: repr(line)[:40],
)
def test_what_is_no_command_ends_with_2_and_a_message(line):
    ended = subprocess.run(
        [sys.executable, "supervisor.py", *line],
        cwd=ROOT,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=False,
    )
    said = ended.stderr.decode()
    assert ended.returncode == EXIT_USAGE, said
    assert said and b"Traceback" not in ended.stderr
    assert not ended.stdout
