"""Snapshots of what commands print, in tests/snapshots. What differs from run to run is masked.

`RENEW_SNAPSHOTS=1 make test ARGS="-k snapshot"` writes them again. Look at the difference before a commit.
"""

import io
import os
import re
import threading
from collections.abc import Callable
from typing import NamedTuple

import pytest

from actors.cli.page import Page
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.terminals import lines_of

FOLDER = ROOT / "tests" / "snapshots"
COLUMNS = 200  # of the terminal: wide, so that no line is wrapped elsewhere because a number is longer
_MASKS = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?", "TIME"),
    (r"\d+ h \d+ min|\d+ min \d+ s|\b\d[\d.,]* m?s\b", "TIME"),
    (r"\b\d[\d.,]* ([kMG]B|[KMGT]iB)\b", "SIZE"),
    (r"\b(pid|process) \d+", r"\1 PID"),
    (r"(?<=running )( *)\d+(?= +#)", r"\1PID"),
    (r"(?<=127\.0\.0\.1:)\d+", "PORT"),
    (r", last TIME old", ""),
    (r"\bRDY \d+(,\d{3})*", "RDY N"),
    (r"\bnode id \d+", "node id N"),
    (r"  +", "  "),
    (r"(?<=  )empty\b", "SIZE"),
)


class Printed(NamedTuple):
    """What a command printed without a terminal, and on one."""

    plain: str
    on_a_terminal: str


def printed(command: Callable[[], object], monkeypatch: pytest.MonkeyPatch, folder: str = "") -> Printed:
    """Call `command` twice: with its output in a file, and on a terminal. `folder` is shown as FOLDER."""
    shown = []
    for stream in (_to_text, _to_a_terminal):
        with monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("NO_COLOR", "1")
            patch.setenv("COLUMNS", str(COLUMNS))
            shown.append(masked(stream(command, patch), folder))
    return Printed(*shown)


def masked(text: str, folder: str = "") -> str:
    """The text without what differs from run to run."""
    lines = lines_of(text.replace(folder, "FOLDER") if folder else text)
    for pattern, instead in _MASKS:
        lines = [re.sub(pattern, instead, line) for line in lines]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def check(name: str, command_line: str, found: Printed) -> None:
    """Compare with the snapshot of that name; or write it, if it is to be renewed."""
    again = "the same" if found.on_a_terminal == found.plain else f"\n{found.on_a_terminal}"
    text = f"$ {command_line}\n{found.plain}\n\non a terminal: {again}\n".replace(": \n", ":\n")
    file = FOLDER / f"{name}.txt"
    if os.environ.get("RENEW_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    expected = file.read_text(encoding="utf-8") if file.exists() else ""
    assert text == expected, f"{file.name} differs; see tests/support/snapshots.py"


def _to_text(command: Callable[[], object], patch: pytest.MonkeyPatch) -> str:
    text = io.StringIO()
    patch.setattr("sys.stdout", text)
    patch.setattr("sys.stderr", text)
    command()
    return text.getvalue()


def _to_a_terminal(command: Callable[[], object], patch: pytest.MonkeyPatch) -> str:
    ours, theirs = os.openpty()
    read: list[bytes] = []

    def reading() -> None:
        with os.fdopen(ours, "rb", 0) as terminal:
            try:
                while piece := terminal.read(65536):
                    read.append(piece)
            except OSError:  # this is how Linux says that the other end is closed
                pass

    reader = threading.Thread(target=reading, daemon=True)
    reader.start()
    with open(theirs, "w", encoding="utf-8") as stream:
        patch.setattr("sys.stdout", stream)
        patch.setattr("sys.stderr", stream)
        assert Page().is_terminal
        command()
    reader.join(PATIENCE_S)
    return b"".join(read).decode()
