"""`python -m bench.compare` from the command line: it compares two checkouts, and leaves nothing behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support.queues import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 240

pytestmark = [
    pytest.mark.timeout(2 * DEADLINE_S),
    pytest.mark.skipif(
        not (ROOT / ".git").exists() or shutil.which("git") is None,
        reason="no git checkout here, so no other commit to compare with",
    ),
]


@pytest.fixture
def folder():
    """The folder for its temporary files. It is not pytest's, because the path of a socket must be short."""
    with tempfile.TemporaryDirectory(prefix="cmp-") as name:
        yield Path(name)


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "bench.compare", "HEAD", "--embedded", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder):
    """The processes with files or temporary files in this folder; those of a service are below it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            paths = [process.environ().get("TMPDIR", "/"), *(one.path for one in process.open_files())]
            if any(Path(path).is_relative_to(folder) for path in paths):
                found.append(process)
    return found


def test_a_commit_is_compared_with_the_working_tree_and_nothing_is_left(folder, tmp_path):
    file = tmp_path / "figures.json"
    process = start(folder, "--pairs", "1", "--plays", "2000", "--lone-plays", "20", "--json", str(file))
    said, talk = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (0, 1), talk
    assert said.splitlines()[-1] == ("slower" if process.returncode else "not slower")
    figures = json.loads(file.read_text())
    assert figures["slower"] == bool(process.returncode)
    for figure, name in (("cpu_us_a_play", "CPU a play, µs"), ("wait_ms", "median wait, ms")):
        (pair,) = figures["pairs"]
        assert pair[figure]["old"] > 0 and pair[figure]["new"] > 0
        ratio = figures["ratios"][figure]["median"]
        assert ratio == pytest.approx(pair[figure]["new"] / pair[figure]["old"])
        assert re.search(rf"{name} .* {ratio:.3f} ", said), said
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


def test_a_comparison_that_is_stopped_leaves_nothing(folder):
    with start(folder, "--pairs", "50") as process:
        children = psutil.Process(process.pid).children
        wait_until(lambda: len(children(recursive=True)) > 8, "services of both to run", DEADLINE_S)
        started = children(recursive=True)
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert "stopped by a signal" in talk
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []
    wait_until(lambda: not any(one.is_running() for one in started), "all that was started to be gone")
