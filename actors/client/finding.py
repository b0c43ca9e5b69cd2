"""Finds videos by the start of their GUID, for the page, which has only those with the most plays."""

import heapq
import re

from ..core.client.audit import Video
from .listing import Listing

VIDEOS_MAX = 300  # as many rows as the page shows
_AROUND = re.compile(r"\s*urn:uuid:|[-{}\s]", re.IGNORECASE | re.ASCII)
_DIGITS_OF_GUID = 32
_NS_PER_MS = 1_000_000


async def find(listing: Listing, start: str) -> tuple[int, list[tuple[str, int, int]]]:
    """How many videos there are whose GUID begins so, and those of them with the most plays: id, plays, ms.

    `start`: as people write GUIDs, in upper or lower case, with or without dashes. "" means all.
    The ms are since 1970: when the client got the newest total. Raises `StoreFailure`.
    """
    written = _with_dashes(_AROUND.sub("", start).lower())
    count = 0
    most: list[tuple[str, Video]] = []
    if len(written) == len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"):
        most = [(written, listing.videos[written])] if written in listing.videos else []
        count = len(most)
    else:
        async for part in listing.parts():
            found = [(video_id, video) for video_id, video in part if video_id.startswith(written)]
            count += len(found)
            most = heapq.nlargest(VIDEOS_MAX, most + found, key=lambda one: one[1].plays)
    return count, [(video_id, video.plays, video.received_at_ns // _NS_PER_MS) for video_id, video in most]


def _with_dashes(digits: str) -> str:
    """The digits as the start of a canonical GUID."""
    parts = [digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]]
    return "-".join(part for part in parts if part)
