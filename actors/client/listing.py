"""All videos of the client, a part at a time: no request that wants all of them holds up the loop.

Promises that one turn of the loop makes one part at most, however many requests want parts at the same time.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Mapping

from ..core.client.audit import Audit, Video

PART_VIDEOS = 4_000  # some milliseconds of work


class Listing:
    """The videos of one reference client. `audit` returns its audit, or raises `StoreFailure`."""

    def __init__(self, audit: Callable[[], Audit]) -> None:
        self._audit = audit
        self._listed: Mapping[str, Video] = {}
        self._ids: list[str] = []  # of `_listed`, in its order; one list for all requests
        self._turn = asyncio.Lock()

    @property
    def videos(self) -> Mapping[str, Video]:
        """All videos, to look one up. Raises `StoreFailure`."""
        return self._audit().videos

    async def parts(self) -> AsyncIterator[list[tuple[str, Video]]]:
        """The videos that there are now, each once. A total may be newer. Raises `StoreFailure`."""
        ids = self._ids_now()
        count = len(ids)
        for start in range(0, count, PART_VIDEOS):
            async with self._turn:
                await asyncio.sleep(0)
            videos = self.videos
            part = ids[start : min(start + PART_VIDEOS, count)]
            yield [(video_id, videos[video_id]) for video_id in part if video_id in videos]

    async def most_played(self, count: int) -> list[tuple[str, Video]]:
        """The videos with the most plays, at most `count`, in any order. Raises `StoreFailure`."""
        most: list[tuple[int, str, Video]] = []
        async for part in self.parts():
            for video_id, video in part:
                if len(most) < count:
                    heapq.heappush(most, (video.plays, video_id, video))
                elif video.plays > most[0][0]:
                    heapq.heapreplace(most, (video.plays, video_id, video))
        return [(video_id, video) for _, video_id, video in most]

    def _ids_now(self) -> list[str]:
        """All ids. The list only grows, by the videos that are new since: no video is ever removed."""
        videos = self.videos
        if videos is not self._listed:  # the store was read again
            self._listed, self._ids = videos, []
        self._ids.extend(itertools.islice(videos, len(self._ids), None))
        return self._ids
