"""The manifest is whole or not there; the lines on stderr tell how far it is, now and then."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from producer import manifest
from producer.progress import LINE_EVERY_S, PlainLines
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]


def test_the_manifest_counts_what_its_totals_add_up_to(tmp_path):
    target = tmp_path / "manifest.json"
    manifest.write(str(target), manifest.describe(7, {"a": 2, "b": 1}, {}))
    assert json.loads(target.read_text()) == {"plays": 3, "seed": 7, "totals": {"a": 2, "b": 1}}


def test_plays_of_unknown_outcome_are_apart_from_the_totals():
    described = manifest.describe(7, {"a": 2}, {"a": 5})
    assert described == {"plays": 2, "seed": 7, "totals": {"a": 2}, "unacknowledged": {"a": 5}}


def test_a_manifest_that_fails_to_be_written_leaves_the_old_one_whole(tmp_path, monkeypatch):
    target = tmp_path / "manifest.json"
    target.write_text("the old one")

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        manifest.write(str(target), manifest.describe(7, {"a": 2}, {}))
    assert target.read_text() == "the old one"
    assert [found.name for found in tmp_path.iterdir()] == ["manifest.json"]


def test_without_a_terminal_a_line_comes_every_couple_of_seconds(capsys):
    lines = PlainLines(1000)
    for tenth in range(50):
        lines.update(acknowledged_plays=tenth * 10, now_s=100 + tenth / 10)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == int(5 / LINE_EVERY_S)
    assert told[0] == "produced 200 of 1000 plays (20 %), 100 plays/s, 8 s left"


def test_a_run_that_stands_still_says_no_time_left_rather_than_divide_by_nothing(capsys):
    lines = PlainLines(1000)
    lines.update(10, 1.0)
    lines.update(10, 1.0 + LINE_EVERY_S)
    assert capsys.readouterr().err == "produced 10 of 1000 plays (1 %), 0 plays/s\n"


def test_on_a_terminal_a_bar_shows_plays_speed_and_what_is_said_above_it():
    code = (
        "from producer import progress; bar = progress.on_stderr(200); bar.say('[a line]');"
        "bar.update(50, 1.0); bar.close()"
    )
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=end, env=environment)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        pass  # How Linux says that the other end of a terminal was closed.
    os.close(terminal)
    assert process.wait(PATIENCE_S) == 0
    assert b"50/200 plays" in shown and b"plays/s" in shown and b"[a line]" in shown
