"""docs/supervision.md says what happens: its commands are run, in its order, and their output compared.

A block's lines that begin with `$ ` are commands, and what follows is their output; after a line `log`
stand lines that the service's log must have by then. Numbers may differ, and so may addresses and
paths; `...` stands for anything.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli.launch import Service, wait_for
from actors.system.exits import Failure
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.services import ANY_PORTS

DOCUMENT = ROOT / "docs" / "supervision.md"
COMMAND = f"{sys.executable} supervisor.py"
# The document's last kills, five of which are allowed; and five restarts of the root's children before them.
TOO_OFTEN = "for i in 1 2 3 4 5 6; do python supervisor.py kill consumer; sleep 0.4; done"
QUICK = [
    "supervisor.liveness_timeout_s=2",
    "dispatch.deadline_s=0.3",
    "supervisor.max_restarts=10",
    "supervisor.max_seconds=3600",  # however long it takes on this machine
]
PACE_OF_THE_DRILL = ["--set", "supervisor.max_seconds=1"]


def steps() -> list[tuple[str, list[str]]]:
    """The document's commands and log excerpts, each with the lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    inside = False
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if not line.startswith("    "):
            inside = inside and not line
            continue
        text = line[4:]
        if text.startswith("$ ") or text == "log":
            found.append((text, []))
            inside = True
        elif inside:
            found[-1][1].append(text)
    return found


def normal(text: str) -> str:
    """What is the same in every run: no numbers, addresses, paths, table padding or line ends."""
    text = re.sub(r"(state in |\d+\.\d+\.\d+\.\d+:)\S*", "", text)
    text = re.sub(r"\d[\d.,]*", "0", text)
    return " ".join(text.split())


def matches(expected: list[str], output: str) -> bool:
    parts = [normal(part) for part in "\n".join(expected).split("...")]
    pattern = ".*".join(re.escape(part) for part in parts if part)
    return re.search(pattern, normal(output)) is not None


def run(line: str, service: Service, home: Path) -> str:
    """What a command of the document says, with this test's settings after its own words."""
    settings = [*service.arguments, *(PACE_OF_THE_DRILL if " drill " in line else ())]
    words = " ".join(f"'{word}'" for word in settings)
    done = subprocess.run(
        ["sh", "-c", re.sub(r"python supervisor\.py (\w+)([^;]*)", rf"{COMMAND} \1\2 {words}", line)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        env={"COLUMNS": "110", "PATH": "/usr/bin:/bin", "HOME": str(home)},
    )
    return done.stdout + done.stderr


def test_the_documents_commands_do_what_it_says(tmp_path):
    service = Service(tmp_path / "state", [*ANY_PORTS, *QUICK])
    try:
        for text, expected in steps():
            if text == "$ python supervisor.py &":
                service.start()
            elif text == "log":
                for line in expected:
                    wait_for(
                        lambda line=line: any(matches([line], one) for one in service.log().splitlines()),
                        f"the log to say {line!r}",
                        PATIENCE_S,
                        service.log,
                    )
            else:
                line = text.removeprefix("$ ")
                output = run(line, service, tmp_path)
                assert matches(expected, output), (text, output)
                while line == TOO_OFTEN and not gives_up(service):
                    run(line, service, tmp_path)  # a child was not back when it was to be killed
        assert service.process.wait(PATIENCE_S) == 3
    finally:
        service.end()


def gives_up(service: Service) -> bool:
    """Whether a supervisor of it does, or is about to."""
    try:
        return bool(wait_for(lambda: "gives up" in service.log(), "the end", 2.0))
    except Failure:
        return False


@pytest.mark.parametrize("line", ["sent SIGKILL to counter-7 (pid 1)", "lost 0, counted thrice 1"])
def test_an_output_that_differs_is_noticed(line):
    assert not matches([line], "sent SIGKILL to counter (pid 1)\nlost 0, counted twice 0")
