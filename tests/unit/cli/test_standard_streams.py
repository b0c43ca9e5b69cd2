"""What a terminal can't show is replaced by what it can, whatever its encoding is. No command raises."""

import os
import subprocess
import sys

import pytest

from actors.system.installation import ROOT

SHOWS = (
    "from actors.supervision.standard_streams import open_standard_streams; open_standard_streams(); "
    "from actors.cli.page import Page; Page().print('├─ nsqd │ └─ … ü €')"
)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"|- nsqd | `- ... ? ?\n"),
        ("latin-1", b"|- nsqd | `- ... \xfc ?\n"),
        ("utf-8", "├─ nsqd │ └─ … ü €\n".encode()),
        ("ascii:surrogateescape", b"|- nsqd | `- ... ? ?\n"),  # Python's own in the C locale
        ("ascii:backslashreplace", rb"\u251c\u2500 nsqd \u2502 \u2514\u2500 \u2026 \xfc \u20ac" + b"\n"),
    ],
)
def test_a_character_that_the_terminal_lacks_is_replaced(encoding, shown):
    ran = subprocess.run(
        [sys.executable, "-c", SHOWS],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == (shown, b"")
