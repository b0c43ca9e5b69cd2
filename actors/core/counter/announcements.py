"""Announcements of pending videos that a ledger has not sent to the dispatcher yet. Pure."""

from collections.abc import Iterator

from ..columns import NUMBER_BYTES, VIDEO_BYTES, Int64s, count, pack_numbers
from ..messages import Pending

PENDING_VIDEOS_MAX = 4096  # videos in a `Pending` message: some 130 KB, so that no mailbox is flooded


class Announcements:
    """Columns of pending videos. A video may be in them twice; the dispatcher then takes the earlier one."""

    def __init__(self) -> None:
        self._columns: tuple[list[bytes], ...] = ([], [], [])
        self.least_ordinal: int | None = None

    def add(self, videos: Int64s, arrived_ns: Int64s, ordinals: Int64s) -> None:
        """Add videos, each with its oldest unpublished play: the arrival (ns) and the total that it made."""
        if len(ordinals):
            self._add(int(ordinals.min()), videos.tobytes(), arrived_ns.tobytes(), ordinals.tobytes())

    def add_one(self, video: bytes, arrived_ns: int, ordinal: int) -> None:
        """Add one video, without numpy's calls."""
        self._add(ordinal, video, pack_numbers([arrived_ns]), pack_numbers([ordinal]))

    def _add(self, least: int, *columns: bytes) -> None:
        self.least_ordinal = least if self.least_ordinal is None else min(least, self.least_ordinal)
        for parts, more in zip(self._columns, columns, strict=True):
            parts.append(more)

    def messages(self) -> Iterator[Pending]:
        """All announcements, as messages to the dispatcher."""
        videos, arrived_ns, ordinals = map(b"".join, self._columns)
        for start in range(0, count(videos, VIDEO_BYTES), PENDING_VIDEOS_MAX):
            end = start + PENDING_VIDEOS_MAX
            numbers = slice(start * NUMBER_BYTES, end * NUMBER_BYTES)
            part = videos[start * VIDEO_BYTES : end * VIDEO_BYTES]
            yield Pending(part, arrived_ns[numbers], ordinals[numbers])
