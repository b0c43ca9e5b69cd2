"""What a check has found."""

from enum import StrEnum
from typing import NamedTuple


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
    return Finding(what, Verdict.WORKS, found)


def warns(what: str, found: str, do: str) -> Finding:
    """It works, but not as it should."""
    return Finding(what, Verdict.WARNS, found, do)


def fails(what: str, found: str, do: str = "") -> Finding:
    """It does not work."""
    return Finding(what, Verdict.FAILS, found, do)


def skipped(what: str, found: str) -> Finding:
    """There is nothing to check; `found` says why."""
    return Finding(what, Verdict.SKIPPED, found)
