"""The commands of the README and the docs do what they say, in a copy of the project, in their order.

Those of docs/supervision.md are run by test_documentation.py.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from actors.system import runfile
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import free_ports
from tests.support.snippets import commands

# How a command begins that is not run here, and why.
NOT_RUN = {
    "make run": "the test starts its recipe",
    "make demo": "test_commands.py runs the demo",
    "make": "it installs, or takes minutes; unit/test_snippets.py knows the targets",
    "BACKUPS=": "it takes minutes",
    "FUZZ_RUNS=": "it takes minutes",
    "RENEW_SNAPSHOTS=": "the copy has no tests",
    "python -m bench": "it takes minutes",
    "python -m tests": "it takes minutes",
    "python -m actors.client": "it runs until it is stopped; test_log.py runs it",
    "python supervisor.py cluster": "test_cluster.py runs it",
    "python supervisor.py drill": "test_drill.py runs it",
    "python examples/": "test_receivers.py runs it",
    "node": "test_receivers.py runs it",
    "go": "test_receivers.py runs it",
}
WITHOUT_A_SERVICE = ("python supervisor.py restore", "python supervisor.py accept-topic")
QUICK = {"--seconds 60": "--seconds 0 --plays 2000"}
VIDEO = "5fec8982-705f-4a15-8228-3d03c74803e5"
PUBLISH = {
    "batch": "a",
    "trigger": "realtime",
    "videos": [{"video_id": VIDEO, "plays": 1, "arrived_at_ns": 1}],
}
PORTS = ("4150", "4151", "8080", "8081")


def plain(line: str) -> str:
    return (
        line.removeprefix(".venv/bin/")
        .replace("playtally-producer", "python -m producer")
        .replace("playtally ", "python supervisor.py ")
    )


LINES = list(dict.fromkeys(plain(one.line) for one in commands()))
RUN = [line for line in LINES if not line.startswith(tuple(NOT_RUN))]


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the project that has its own ports, and files with the names that the documents use."""
    folder = tmp_path / "playtally"
    for name in ("actors", "producer", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "supervisor.py", folder)
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        text = text.replace(f'"127.0.0.1:{port}"', f'"127.0.0.1:{free}"')
    (folder / "config.toml").write_text(text, encoding="utf-8")
    for name in ("FILE", "publishes.jsonl"):
        (folder / name).write_text(json.dumps(PUBLISH) + "\n")
    (folder / "plays.jsonl").write_text(json.dumps({"video_id": VIDEO, "arrived_at_ns": 1}) + "\n")
    return folder


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=variables | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )


def look_at(url: str, folder: Path) -> None:
    """Do as `open` does: get the page at the address of this copy."""
    facts = runfile.read(folder / "state")
    assert facts is not None
    name = {"8080": "client_address", "8081": "admin_address"}[url.rstrip("/").rpartition(":")[2]]
    with urllib.request.urlopen(f"http://{facts[name]}/", timeout=PATIENCE_S) as answer:
        assert b"<html" in answer.read()


def run(line: str, folder: Path) -> None:
    for words, quick in QUICK.items():
        line = line.replace(words, quick)
    program, _, rest = line.partition(" ")
    if program == "open":
        look_at(rest, folder)
        return
    result = shell(line, folder)
    assert result.returncode == 0, (line, result.stdout, result.stderr)


def test_every_command_of_the_readme_and_the_docs_works(copy):
    assert "python supervisor.py run $(ARGS)" in (ROOT / "Makefile").read_text()
    with open(copy / "log", "wb") as log:
        service = subprocess.Popen(
            [sys.executable, "supervisor.py", "run"], cwd=copy, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        wait_until(lambda: runfile.read(copy / "state") or service.poll(), "the service")
        for line in RUN:
            if not line.startswith(WITHOUT_A_SERVICE):
                run(line, copy)
        result = shell("python supervisor.py stop", copy)
        assert result.returncode == 0, result.stderr
        assert service.wait(PATIENCE_S) == 0
        for line in RUN:
            if line.startswith(WITHOUT_A_SERVICE):
                run(line, copy)
    finally:
        service.kill()
        service.wait()


def test_the_list_of_what_is_not_run_is_not_longer_than_needed():
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in LINES)] == []
    assert len(RUN) >= 15, RUN
