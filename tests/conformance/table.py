"""The table of differences in docs/embedded_queue.md, as data."""

import re
from typing import NamedTuple

from actors.system.installation import ROOT

DOCUMENT = ROOT / "docs" / "embedded_queue.md"
_HEAD = ["conversation", "nsqd 1.3.0", "the embedded queue", "why"]
_CODE = re.compile(r"`([^`]+)`")


class Difference(NamedTuple):
    """One row: in these conversations nsqd says one thing, and the embedded queue another.

    `nsqd`, `ours`: what stands in the transcript of this side alone, in each of the conversations.
    """

    conversations: list[str]
    nsqd: list[str]
    ours: list[str]
    why: str


def differences() -> list[Difference]:
    """The rows of the table."""
    found = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|") or cells == _HEAD or set(line) <= set("|- "):
            continue
        assert len(cells) == len(_HEAD), f"{line!r}: expected {len(_HEAD)} cells"
        names, nsqd, ours = ([part.replace(r"\|", "|") for part in _CODE.findall(cell)] for cell in cells[:3])
        found.append(Difference(names, nsqd, ours, cells[3]))
    return found


def counts() -> list[int]:
    """The numbers in the sentence above the table: all conversations, the equal ones, and the others."""
    (found,) = re.findall(
        r"(\d+) conversations: (\d+) are the same, (\d+) differ", DOCUMENT.read_text(encoding="utf-8")
    )
    return [int(number) for number in found]
