"""Types of command-line arguments. Each raises `argparse.ArgumentTypeError` that says what was expected."""

import argparse
import math
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core import guids

if TYPE_CHECKING:
    from ..cluster.plan import Flag


def signal_named(name: str) -> signal.Signals:
    """Return the signal that `name` means: a signal's name, with or without SIG, or its number."""
    from ..supervision.signals import signal_of

    try:
        return signal_of(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole(text: str) -> int:
    """Return a whole number, 0 or more, below 10⁹."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, 0 to 999999999")
    return int(text)


def at_least_one(text: str) -> int:
    """Return a whole number, 1 or more, below 10⁹."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, 1 to 999999999")
    return int(text)


def nodes(text: str) -> int:
    """Return how many nodes of a kind a cluster has."""
    from ..cluster.plan import NODES_MAX

    return _bounded(text, NODES_MAX, "nodes")


def first_port(text: str) -> int:
    """Return the first port of a cluster, 0 for free ones."""
    from ..cluster.plan import PORT_MAX

    return _bounded(text, PORT_MAX, "")


def _bounded(text: str, most: int, unit: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:9]) > most:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, 0 to {most} {unit}".rstrip())
    return int(text)


def flag(text: str) -> "Flag":
    """Return the flag that PROGRAM:NAME=VALUE means. Raises `ArgumentTypeError`."""
    from ..cluster.plan import OWN_FLAGS, PROGRAMS, Flag

    program, colon, rest = text.partition(":")
    name, equals, value = rest.partition("=")
    name = name.lstrip("-")
    if program not in PROGRAMS or not (colon and equals and name):
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected PROGRAM:NAME=VALUE with a PROGRAM of {', '.join(PROGRAMS)}, such as "
            "nsqd:mem-queue-size=0"
        )
    if name in OWN_FLAGS:
        raise argparse.ArgumentTypeError(f"{text!r}: the cluster sets {name} itself, {OWN_FLAGS[name]}")
    return Flag(program, name, value)


def video(text: str) -> bytes:
    """Return the 16 bytes of a video's GUID."""
    try:
        return guids.parse(text)
    except ValueError:
        found = f"{text!r} is not a GUID, expected a video as 8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"
        raise argparse.ArgumentTypeError(found) from None


def positive(text: str) -> float:
    """Return a number above 0."""
    return _number(text, "above 0", lambda number: number > 0)


def not_negative(text: str) -> float:
    """Return a number, 0 or more."""
    return _number(text, "0 or more", lambda number: number >= 0)


def _number(text: str, expected: str, allowed: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and allowed(number)):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number {expected}")
    return number
