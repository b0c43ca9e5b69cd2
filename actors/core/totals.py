"""Questions about totals, as a GET /totals asks them, and what a counter answers. Pure.

A video is asked for by its GUID. Videos with the greatest totals, or all of them, are asked for in pieces: a
counter looks at some rows at a time, so that no question holds up the counting, and no answer is large.
"""

import heapq
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from . import guids
from .messages import NO_ROW

TOP_MAX = 1000  # so that the greatest of every counter together are merged in a millisecond
PIECE_VIDEOS = 1000  # an answer of a counter: 24 kB, so that several fit into its pipe
PIECE_ROWS = 65_536  # a counter looks at them in a millisecond
NUMBER_MAX = 2**63 - 1  # no total is greater
SHOWN_CHARACTERS_MAX = 100  # of a text that is refused


class TotalsCall(Struct, frozen=True, array_like=True):
    """To a counter: send committed totals of these videos (16-byte GUIDs, packed).

    If there are none: of the videos from row `row` of the ledger on. `top`: only those with the greatest
    totals, at most so many; 0 for all. `below`: only totals below it; 0 for all.
    """

    videos: bytes
    row: int = 0
    top: int = 0
    below: int = 0


class FoundTotals(Struct, frozen=True, array_like=True):
    """A counter's answer: packed columns. `next_row`: where to go on; `NO_ROW` after the last row.

    `problem`: why there is no answer now, in words.
    """

    videos: bytes = b""
    totals: bytes = b""
    next_row: int = NO_ROW
    problem: str = ""


def encode(message: TotalsCall | FoundTotals) -> bytes:
    """A question or an answer as bytes."""
    return msgspec.msgpack.encode(message)


def decode_call(data: bytes) -> TotalsCall:
    """A question from bytes. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=TotalsCall)


def decode_found(data: bytes) -> FoundTotals:
    """An answer from bytes. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=FoundTotals)


def by_guid(found: FoundTotals) -> dict[str, int]:
    """The totals of an answer by the canonical text of their GUIDs, in its order."""
    videos = (guids.text(found.videos[at : at + 16]) for at in range(0, len(found.videos), 16))
    return dict(zip(videos, array("q", found.totals), strict=True))


def greatest_of(totals: Iterable[tuple[str, int]], count: int) -> dict[str, int]:
    """The `count` greatest of these totals by GUID, greatest first; of equal ones, the least GUID first."""
    return dict(heapq.nsmallest(count, totals, key=lambda one: (-one[1], one[0])))


class Bounds(NamedTuple):
    """What a GET /totals asks for: the greatest `top` totals, those below `below`; 0 where it does not."""

    top: int = 0
    below: int = 0


def bounds_of(arguments: Mapping[str, Sequence[bytes]]) -> Bounds:
    """The bounds in a query. Raises `ValueError` that says what was expected."""
    for name in arguments:
        if name not in Bounds._fields:
            raise ValueError(f"{_shown(name)} is unknown, expected top=N, below=N or both")
    top = _number("top", arguments.get("top", ()), TOP_MAX)
    return Bounds(top, _number("below", arguments.get("below", ()), NUMBER_MAX))


def video_of(text: str) -> bytes:
    """The 16 bytes of a GUID. Raises `ValueError` that says what was expected."""
    try:
        return guids.parse(text)
    except ValueError:
        expected = "expected a video as 8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"
        raise ValueError(f"{_shown(text)} is not a GUID, {expected}") from None


def _number(name: str, given: Sequence[bytes], most: int) -> int:
    if not given:
        return 0
    text = given[0].decode(errors="replace")
    is_number = len(text) < 20 and text.isascii() and text.isdecimal()
    if len(given) > 1 or not is_number or not 1 <= int(text) <= most:
        found = f"{name} is given {len(given)} times" if len(given) > 1 else f"{name} = {_shown(text)}"
        raise ValueError(f"{found}, expected one whole number, 1 to {most}")
    return int(text)


def _shown(text: str) -> str:
    more = "…" if len(text) > SHOWN_CHARACTERS_MAX else ""
    return f"{text[:SHOWN_CHARACTERS_MAX]!r}{more}"
