"""The versions of what is tried, from the files that choose them."""

import json
import re

from actors.system.installation import ROOT

HERE = ROOT / "tests" / "conformance" / "clients"


def _found(pattern: str, file: str) -> str:
    found = re.search(pattern, (ROOT / file).read_text())
    assert found, f"{file} lacks {pattern}"
    return found[1]


VERSIONS = {
    "pynsq": _found(r"pynsq==(\S+)", "constraints.txt"),
    "go-nsq": _found(r"nsqio/go-nsq v(\S+)", "tests/conformance/clients/go/go.mod"),
    "nsqjs": json.loads((HERE / "node" / "package-lock.json").read_text())["packages"]["node_modules/nsqjs"][
        "version"
    ],
    "NSQ": _found(r"nsqio/nsq v(\S+)", "tests/nsq/go.mod"),
}
