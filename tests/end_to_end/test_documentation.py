"""docs/supervision.md says what happens: this test runs its commands in order and compares their output.

In a block, a line that begins with `$ ` is a command, and the lines after it are its output. After a line
`log` come lines that the service's log must have by then. Numbers, addresses and paths may differ; `...`
stands for anything.
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
# The document's last kills. Five are allowed; two restarts of the root's children come before them.
TOO_OFTEN = "for i in 1 2 3 4 5 6; do python supervisor.py kill consumer; sleep 0.4; done"
QUICK = [
    "supervisor.liveness_timeout_s=6",  # so that no child of a busy machine is taken for hung
    "dispatch.deadline_s=0.3",
    "supervisor.max_restarts=7",
    "supervisor.max_seconds=3600",  # so that the speed of this machine does not matter
]


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
    """The output of a command of the document. This test's settings are added to its words."""
    words = " ".join(f"'{word}'" for word in service.arguments)
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
                    run(line, service, tmp_path)  # when it was to be killed, the child was not back
        assert service.process.wait(PATIENCE_S) == 3
    finally:
        service.end()


def gives_up(service: Service) -> bool:
    """Whether one of the service's supervisors gives up, or is about to."""
    try:
        return bool(wait_for(lambda: "gives up" in service.log(), "the end", 2.0))
    except Failure:
        return False


@pytest.mark.parametrize("line", ["sent SIGKILL to counter-7 (pid 1)", "lost 0, counted thrice 1"])
def test_an_output_that_differs_is_noticed(line):
    assert not matches([line], "sent SIGKILL to counter (pid 1)\nlost 0, counted twice 0")
