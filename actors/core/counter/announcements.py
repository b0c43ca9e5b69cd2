"""Collects the pending videos that a ledger has to announce to the dispatcher. Pure."""

from collections.abc import Iterator

from ..columns import NUMBER_BYTES, VIDEO_BYTES, Int64s, count, pack_numbers
from ..messages import Pending

PENDING_VIDEOS_MAX = 4096  # videos per `Pending` message: some 130 KB, so that no mailbox is flooded


class Announcements:
    """Columns of pending videos. A video may be in them twice: then its earlier due time counts, and its
    last total.

    `received_ms`: when the consumer received the oldest play; 0 if that is not known.
    """

    def __init__(self) -> None:
        self._columns: tuple[list[bytes], ...] = ([], [], [], [])
        self._has_totals = False
        self.least_ordinal: int | None = None
        self.received_ms = 0

    def add(self, videos: Int64s, arrived_ns: Int64s, ordinals: Int64s) -> None:
        """Add videos. The other two columns describe the oldest unpublished play of each video.

        `arrived_ns`: when the play arrived. `ordinals`: the video's total just after the play was counted.
        """
        if len(ordinals):
            columns = videos.tobytes(), arrived_ns.tobytes(), ordinals.tobytes(), bytes(ordinals.nbytes)
            self._add(int(ordinals.min()), *columns)

    def add_one(self, video: bytes, arrived_ns: int, ordinal: int, total: int = 0) -> None:
        """Do what `add` does, for one video, without numpy's calls. `total`: see `Pending`."""
        self._has_totals |= total > 0
        self._add(ordinal, video, *(pack_numbers([number]) for number in (arrived_ns, ordinal, total)))

    def _add(self, least: int, *columns: bytes) -> None:
        self.least_ordinal = least if self.least_ordinal is None else min(least, self.least_ordinal)
        for parts, more in zip(self._columns, columns, strict=True):
            parts.append(more)

    def received(self, received_ms: int) -> None:
        """Note when the consumer received some of the plays that are announced."""
        if received_ms:
            self.received_ms = min(received_ms, self.received_ms or received_ms)

    def messages(self) -> Iterator[Pending]:
        """All announcements, as messages to the dispatcher."""
        videos, arrived_ns, ordinals, totals = map(b"".join, self._columns)
        for start in range(0, count(videos, VIDEO_BYTES), PENDING_VIDEOS_MAX):
            end = start + PENDING_VIDEOS_MAX
            numbers = slice(start * NUMBER_BYTES, end * NUMBER_BYTES)
            part = videos[start * VIDEO_BYTES : end * VIDEO_BYTES]
            known = totals[numbers] if self._has_totals else b""
            yield Pending(part, arrived_ns[numbers], ordinals[numbers], self.received_ms, known)
