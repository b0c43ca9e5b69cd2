"""Finds videos by the start of their GUID, for the page, which has only those with the most plays."""

import re

import numpy as np

from ..core.client.videos import CELLS, PLAYS, RECEIVED_NS
from ..core.columns import Bools, Int64s, guids_of
from .listing import SEARCHED_VIDEOS, Listing

VIDEOS_MAX = 300  # as many rows as the page shows
_AROUND = re.compile(r"\s*urn:uuid:|[-{}\s]", re.IGNORECASE | re.ASCII)
_DIGITS = re.compile("[0-9a-f]*")
_DIGITS_OF_GUID = 32
_DIGITS_OF_WORD = 16
_NS_PER_MS = 1_000_000


async def find(listing: Listing, start: str) -> tuple[int, list[tuple[str, int, int]]]:
    """How many videos there are whose GUID begins so, and those of them with the most plays: id, plays, ms.

    `start`: as people write GUIDs, in upper or lower case, with or without dashes. "" means all.
    The ms are since 1970: when the client got the newest total. Raises `StoreFailure`.
    """
    digits = _AROUND.sub("", start).lower()
    if not _DIGITS.fullmatch(digits) or len(digits) > _DIGITS_OF_GUID:
        return 0, []
    count, most = 0, np.empty((0, CELLS), np.int64)
    if len(digits) == _DIGITS_OF_GUID:
        row = listing.videos.row_of(digits)
        most = listing.videos.cells[row : row + 1].copy() if row >= 0 else most
        count = len(most)
    else:
        async for part in listing.parts(SEARCHED_VIDEOS):
            found = part[_begin_with(part, digits)]
            count += len(found)
            most = np.concatenate([most, found])
            # Stable: of equal totals, those that were published first.
            most = most[np.argsort(-most[:, PLAYS], kind="stable")[:VIDEOS_MAX]]
    return count, rows_of_page(most)


def rows_of_page(rows: Int64s) -> list[tuple[str, int, int]]:
    """Videos as the page gets them: GUID, plays, and when the client got them, in ms since 1970."""
    received_at_ms = rows[:, RECEIVED_NS] // _NS_PER_MS
    return list(zip(guids_of(rows[:, :PLAYS]), rows[:, PLAYS].tolist(), received_at_ms.tolist(), strict=True))


def _begin_with(rows: Int64s, digits: str) -> Bools:
    """Which rows' GUIDs begin with these digits."""
    found = np.ones(len(rows), np.bool_)
    words = np.ascontiguousarray(rows[:, :PLAYS]).view(">u8").astype(np.uint64)
    for column, start in enumerate((digits[:_DIGITS_OF_WORD], digits[_DIGITS_OF_WORD:])):
        if start:
            beyond = np.uint64(4 * (_DIGITS_OF_WORD - len(start)))
            found &= words[:, column] >> beyond == np.uint64(int(start, 16))
    return found
