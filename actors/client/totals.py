"""The totals that are asked for, as they were published: of a video, of those with the most plays, of all."""

from collections.abc import AsyncIterator
from string import hexdigits

import numpy as np

from ..core import guids
from ..core.client.videos import CELLS, PLAYS
from ..core.columns import Int64s, guids_of
from ..core.greatest import greatest, greatest_first
from ..core.total_columns import FACTORS_BYTES, SUM_BITS, records_of, sum_of
from ..core.totals import Bounds, video_of
from .listing import PART_VIDEOS, SEARCHED_VIDEOS, Listing


def total_of(listing: Listing, written: str) -> dict[str, int]:
    """The total of a video by its GUID, which may be written in any form; nothing if it has no play.

    Raises `ValueError` that says what was expected, and `StoreFailure`.
    """
    guid = guids.text(video_of(written))
    video = listing.videos.get(guid)
    return {guid: video.plays} if video is not None and video.plays else {}


async def totals_within(listing: Listing, bounds: Bounds) -> AsyncIterator[dict[str, int]]:
    """The totals within these bounds, some at a time; with `bounds.top` greatest first, and all at once.

    Raises `StoreFailure`.
    """
    if bounds.top:
        yield await _most(listing, bounds)
        return
    async for part in listing.parts(PART_VIDEOS):
        yield _by_guid(_below(part, bounds))


async def records_within(listing: Listing, bounds: Bounds) -> AsyncIterator[bytes]:
    """The totals within these bounds as records (`core/total_columns.py`), some at a time, in no order.

    Raises `StoreFailure`.
    """
    async for part in listing.parts(SEARCHED_VIDEOS):
        rows = _below(part, bounds)
        yield records_of(rows[:, :PLAYS], rows[:, PLAYS])


async def sum_within(listing: Listing, factors: str) -> int:
    """The `sum_of` all totals. `factors`: in hexadecimal. Raises `ValueError`, `StoreFailure`."""
    if len(factors) != 2 * FACTORS_BYTES or not set(factors) <= set(hexdigits):
        raise ValueError(
            f"sum has {len(factors)} characters, expected {2 * FACTORS_BYTES} hexadecimal digits"
        )
    binary = bytes.fromhex(factors)
    found = 0
    async for part in listing.parts(SEARCHED_VIDEOS):
        found += sum_of(part[:, :PLAYS], part[:, PLAYS], binary)
    return found % (1 << SUM_BITS)


async def _most(listing: Listing, bounds: Bounds) -> dict[str, int]:
    most = np.empty((0, CELLS), np.int64)
    async for part in listing.parts(SEARCHED_VIDEOS):
        most = np.concatenate([most, _below(part, bounds)])
        most = most[greatest(most[:, :PLAYS], most[:, PLAYS], bounds.top)]
    return _by_guid(most[greatest_first(most[:, :PLAYS], most[:, PLAYS])])


def _below(part: Int64s, bounds: Bounds) -> Int64s:
    return part[part[:, PLAYS] < bounds.below] if bounds.below else part


def _by_guid(rows: Int64s) -> dict[str, int]:
    return dict(zip(guids_of(rows[:, :PLAYS]), rows[:, PLAYS].tolist(), strict=True))
