"""A request to tell the client totals again, and how far it has got. Pure.

The totals are handed out by the counters, shard by shard, in the order of the rows of their tables: nobody
holds all videos. The place in that order is stored with each accepted batch, so a restart goes on there.
"""

from msgspec import Struct, structs

from ..columns import VIDEO_BYTES
from ..words import counted


class Place(Struct, frozen=True, array_like=True):
    """How far a republish has got.

    `republish`: its number. `shard`, `row`: where the counters go on. `shards`: how many there are; the place
    means nothing for another number. `videos`, `batches`: how many the client has accepted so far.
    """

    republish: int
    shards: int
    shard: int = 0
    row: int = 0
    videos: int = 0
    batches: int = 0

    @property
    def is_last(self) -> bool:
        """Whether all shards have handed out all videos."""
        return self.shard >= self.shards


class Republish(Struct, frozen=True, array_like=True):
    """A request, as it is stored.

    `number`: of this republish; it is part of the keys of its batches. `why`: for the log. `videos`: the
    GUIDs to publish again, packed; empty for all. `place`: how far it has got; None before the first batch.
    """

    number: int
    why: str
    videos: bytes = b""
    place: Place | None = None

    @property
    def wanted(self) -> str:
        """Which videos, in words."""
        count = len(self.videos) // VIDEO_BYTES
        return counted(count, "video") if count else "all videos"

    def begun(self, shards: int) -> "Republish":
        """This request for a dispatcher with `shards` shards.

        If there was another number of shards, it starts from the first video.
        """
        if self.place is not None and self.place.shards == shards:
            return self
        return structs.replace(self, place=Place(self.number, shards))
