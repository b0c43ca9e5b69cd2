"""What a check has found."""

from enum import StrEnum
from typing import NamedTuple

from ...supervision.printable import printable

TEXT_MAX = 1000  # characters of what another program may have said


class Verdict(StrEnum):
    """What a finding means."""

    WORKS = "works"
    WARNS = "warns"  # it works, but not as it should
    FAILS = "fails"
    SKIPPED = "skipped"  # there is nothing to check


class Finding(NamedTuple):
    """One line of `check`. `what`: the thing. `do`: what to do about it, "" if there is nothing to do."""

    what: str
    verdict: Verdict
    found: str
    do: str = ""


def works(what: str, found: str) -> Finding:
    """It is as it should be."""
    return _finding(what, Verdict.WORKS, found)


def warns(what: str, found: str, do: str) -> Finding:
    """It works, but not as it should."""
    return _finding(what, Verdict.WARNS, found, do)


def fails(what: str, found: str, do: str = "") -> Finding:
    """It does not work."""
    return _finding(what, Verdict.FAILS, found, do)


def skipped(what: str, found: str) -> Finding:
    """There is nothing to check; `found` says why."""
    return _finding(what, Verdict.SKIPPED, found)


def _finding(what: str, verdict: Verdict, found: str, do: str = "") -> Finding:
    return Finding(_line(what), verdict, _line(found), _line(do))


def _line(text: str) -> str:
    """One line, whatever another program put into it."""
    line = printable(text[: TEXT_MAX + 1])
    return line if len(line) <= TEXT_MAX else f"{line[:TEXT_MAX]}…"
