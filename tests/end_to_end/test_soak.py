"""`python -m bench.soak`: a short run of it. `make soak-service` is the long one."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.flatness import PARTS
from tests.support.patience import wait_until

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = ("service", "forkserver", "queue", "client", "dispatcher", "counter-0", "counter-1", "consumer")
WORDS = "--minutes 0.15 --rate 200 --videos 40 --queue embedded --set dispatch.deadline_s=2"


@pytest.mark.timeout(600)
def test_a_soak_looks_at_every_process_and_file_and_finds_the_totals_exact(tmp_path):
    file = tmp_path / "samples"
    ended = subprocess.run(
        [sys.executable, "-m", "bench.soak", *WORDS.split(), "--samples", str(file)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    said = ended.stdout + ended.stderr
    # So short a run may still grow, and a busy machine may miss a deadline of two seconds: each is said.
    assert "1,800 plays;" in ended.stdout, said
    assert ended.returncode == (0 if "flat, and every total is exact" in ended.stdout else 1), said
    assert "the totals that the client has" not in ended.stdout, said
    assert "Traceback" not in said
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(samples) >= PARTS
    for name in PROCESSES:
        assert all(samples[-1][f"{name}, {unit}"] >= 1 for unit in ("MB", "descriptors", "threads")), name
        assert f"{name} " in ended.stdout
    assert samples[-1]["ledgers, MB on disk"] > 0
    assert samples[-1]["queue's journal, MB on disk"] > 0


@pytest.mark.timeout(600)
def test_a_soak_that_is_stopped_leaves_nothing_behind(tmp_path):
    file = tmp_path / "samples"
    # Not pytest's folder, because the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.soak", *WORDS.split(), "--minutes", "60", "--samples", str(file)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": name},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: file.exists() or process.poll() is not None, "the first sample")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
        finally:
            process.kill()
        assert (process.returncode, said) == (1, "interrupted\n")
        assert list(Path(name).iterdir()) == []
