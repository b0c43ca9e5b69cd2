"""All videos of the client, a part at a time: no request that wants all of them holds up the loop.

Promises that one turn of the loop makes one part at most, however many requests want parts at the same time.
A part is a copy, so that publishes that come before the next part may add videos. Rows stay where they are,
also when the store is read again, so no video is left out or comes twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np

from ..core.client.audit import Audit
from ..core.client.videos import CELLS, PLAYS, Videos
from ..core.columns import Int64s

PART_VIDEOS = 4_000  # that become text: some milliseconds of work
SEARCHED_VIDEOS = 65_536  # that are only looked at: as much work


class Listing:
    """The videos of one reference client. `audit` returns its audit, or raises `StoreFailure`."""

    def __init__(self, audit: Callable[[], Audit]) -> None:
        self._audit = audit
        self._turn = asyncio.Lock()

    @property
    def videos(self) -> Videos:
        """All videos, to look one up. Raises `StoreFailure`."""
        return self._audit().videos

    async def parts(self, part_videos: int) -> AsyncIterator[Int64s]:
        """The rows (`Videos.cells`) that there are now, each once. A total may be newer.

        Raises `StoreFailure`.
        """
        count = len(self.videos)
        for start in range(0, count, part_videos):
            await self.turn()
            yield self.videos.cells[start : min(start + part_videos, count)].copy()

    async def turn(self) -> None:
        """Wait for a turn of the loop in which nobody else makes a part."""
        async with self._turn:
            await asyncio.sleep(0)

    async def most_played(self, count: int) -> Int64s:
        """The rows of the `count` videos with the most plays, in any order. Raises `StoreFailure`."""
        most, least = np.empty((0, CELLS), np.int64), -1
        async for part in self.parts(SEARCHED_VIDEOS):
            most = np.concatenate([most, part[part[:, PLAYS] > least]])
            if len(most) > count:
                most = most[np.argpartition(most[:, PLAYS], -count)[-count:]]
            if len(most) == count:
                least = int(most[:, PLAYS].min())
        return most
