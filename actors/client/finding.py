"""Finds videos by the start of their GUID, for the page, which has only those with the most plays."""

import heapq
import re
from collections.abc import Mapping

from ..core.client.audit import Video

VIDEOS_MAX = 300  # as many rows as the page shows
_AROUND = re.compile(r"\s*urn:uuid:|[-{}\s]", re.IGNORECASE | re.ASCII)
_DIGITS_OF_GUID = 32
_NS_PER_MS = 1_000_000


def find(videos: Mapping[str, Video], start: str) -> tuple[int, list[tuple[str, int, int]]]:
    """How many videos there are whose GUID begins so, and those of them with the most plays: id, plays, ms.

    `start`: as people write GUIDs, in upper or lower case, with or without dashes. "" means all.
    The ms are since 1970: when the client got the newest total.
    """
    written = _with_dashes(_AROUND.sub("", start).lower())
    if len(written) == len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"):
        found = [written] if written in videos else []
    else:
        found = [video_id for video_id in videos if video_id.startswith(written)]
    most = heapq.nlargest(VIDEOS_MAX, found, key=lambda video_id: videos[video_id].plays)
    return len(found), [
        (video_id, videos[video_id].plays, videos[video_id].received_at_ns // _NS_PER_MS) for video_id in most
    ]


def _with_dashes(digits: str) -> str:
    """The digits as the start of a canonical GUID."""
    parts = [digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]]
    return "-".join(part for part in parts if part)
