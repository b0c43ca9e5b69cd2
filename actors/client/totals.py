"""The totals that are asked for, as they were published: of a video, of those with the most plays, of all."""

from collections.abc import AsyncIterator

from ..core import guids
from ..core.totals import Bounds, greatest_of, video_of
from .listing import Listing


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
    most: dict[str, int] = {}
    async for part in listing.parts():
        found = [(guid, video.plays) for guid, video in part]
        if bounds.below:
            found = [one for one in found if one[1] < bounds.below]
        if bounds.top:
            most = greatest_of([*most.items(), *found], bounds.top)
        else:
            yield dict(found)
    if bounds.top:
        yield most
