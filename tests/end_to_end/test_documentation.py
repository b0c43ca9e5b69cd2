"""docs/supervision.md says what happens: its commands are run, in its order, and their output compared.

A block's lines that begin with `$ ` are commands, and what follows is their output; after a line `log`
stand lines that the service's log must have by then. Numbers may differ, and so may addresses and
paths; `...` stands for anything.
"""

import re
import subprocess
import sys

import pytest

from actors.installation import ROOT
from actors.launch import Service, wait_for
from tests.support.services import ANY_PORTS

DOCUMENT = ROOT / "docs" / "supervision.md"


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


def test_the_documents_commands_do_what_it_says(tmp_path):
    quick = ["supervisor.liveness_timeout_s=1", "dispatch.deadline_s=2"]
    service = Service(tmp_path / "state", [*ANY_PORTS, *quick])
    command = f"{sys.executable} supervisor.py"
    try:
        for text, expected in steps():
            if text == "$ python supervisor.py &":
                service.start()
            elif text == "log":
                for line in expected:
                    wait_for(
                        lambda line=line: any(matches([line], one) for one in service.log().splitlines()),
                        f"the log to say {line!r}",
                        15,
                        service.log,
                    )
            else:
                words = " ".join(f"'{word}'" for word in service.arguments)
                # The settings of this test stand after the command's own words.
                line = re.sub(
                    r"python supervisor\.py (\w+)([^;]*)", rf"{command} \1\2 {words}", text.removeprefix("$ ")
                )
                done = subprocess.run(
                    ["sh", "-c", line],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=90,
                    env={"COLUMNS": "110", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                )
                assert matches(expected, done.stdout + done.stderr), (text, done.stdout, done.stderr)
        assert service.process.wait(30) == 3
    finally:
        service.end()


@pytest.mark.parametrize("line", ["sent SIGKILL to counter-7 (pid 1)", "lost 0, counted thrice 1"])
def test_an_output_that_differs_is_noticed(line):
    assert not matches([line], "sent SIGKILL to counter (pid 1)\nlost 0, counted twice 0")
