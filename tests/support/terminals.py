"""Commands on a terminal of their own, and what the terminal shows."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping

from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S

_STEERING = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def on_a_terminal(
    *words: str, columns: int = 80, variables: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command of `supervisor.py` on a terminal. Returns the process, and our end of the terminal.

    `variables` are added to the environment. The process leads a group, as in a shell.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "CI")}
    process = subprocess.Popen(
        [sys.executable, "supervisor.py", *words],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment | {"TERM": "xterm-256color", "NO_COLOR": "1"} | dict(variables or {}),
    )
    os.close(theirs)
    return process, ours


def read_terminal(ours: int, until: Callable[[str], bool] = lambda _: False) -> str:
    """What a terminal shows, until `until` accepts it or the command ends."""
    text, deadline_s = "", time.monotonic() + 2 * PATIENCE_S
    while not until(text):
        assert time.monotonic() < deadline_s, text
        if select.select([ours], [], [], 0.05)[0]:
            try:
                text += os.read(ours, 65536).decode(errors="replace")
            except OSError:  # this is how Linux says that the other end is closed
                break
    return text


def lines_of(text: str) -> list[str]:
    """The lines of what a terminal has shown, without what steers it."""
    return [line.rstrip() for line in _STEERING.sub("", text).replace("\r", "").split("\n")]
