"""docs/using.md says what was tried on the embedded queue, and in which version."""

import re
from importlib.metadata import version

from actors.system.installation import ROOT
from tests.conformance.clients.programs import CLIENTS
from tests.conformance.clients.versions import HERE, VERSIONS

TOOLS = {"nsqadmin", "nsq_stat", "nsq_tail", "nsq_to_file", "nsq_to_nsq", "to_nsq"}


def _paragraph() -> str:
    text = (ROOT / "docs" / "using.md").read_text()
    [found] = [each for each in text.split("\n\n") if each.startswith("Tried on the embedded queue")]
    return " ".join(found.split())


def test_docs_name_the_clients_with_the_versions_that_run_here():
    assert dict(re.findall(r"(pynsq|go-nsq|nsqjs|NSQ) ([\d.]*\d)", _paragraph())) == VERSIONS
    assert version("pynsq") == VERSIONS["pynsq"]


def test_docs_name_all_that_is_tried_and_nothing_else():
    tests = "".join((HERE / name).read_text() for name in ("test_tools.py", "test_nsqadmin.py"))
    run = set(re.findall(r'programs\.run\("(\w+)"', tests))
    assert run == TOOLS
    assert set(re.findall(r"\b(?:nsqadmin|nsq_\w+|to_nsq)\b", _paragraph())) == TOOLS
    assert set(CLIENTS) == VERSIONS.keys() - {"NSQ"}
