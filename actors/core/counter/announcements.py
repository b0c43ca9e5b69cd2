"""Collects the pending videos that a ledger has to announce to the dispatcher. Pure."""

from array import array

from ..columns import VIDEO_BYTES, Int64s
from ..messages import Pending

PENDING_VIDEOS_MAX = 4096  # videos per `Pending` message: some 130 KB, so that no mailbox is flooded


class Announcements:
    """Columns of pending videos. A video may be in them twice: then its earlier due time counts, and its
    last total.

    `received_ms`: when the consumer received the oldest play; 0 if that is not known.
    """

    def __init__(self) -> None:
        self._videos = bytearray()
        self._arrived_ns, self._ordinals, self._totals = array("q"), array("q"), array("q")
        self._has_totals = False
        self.least_ordinal: int | None = None
        self.received_ms = 0

    def add(self, videos: Int64s, arrived_ns: Int64s, ordinals: Int64s) -> None:
        """Add videos. The other two columns describe the oldest unpublished play of each video.

        `arrived_ns`: when the play arrived. `ordinals`: the video's total just after the play was counted.
        """
        if len(ordinals):
            least = int(ordinals.min())
            self.least_ordinal = least if self.least_ordinal is None else min(least, self.least_ordinal)
            self._videos += videos.tobytes()
            self._arrived_ns.frombytes(arrived_ns.tobytes())
            self._ordinals.frombytes(ordinals.tobytes())
            self._totals.frombytes(bytes(ordinals.nbytes))

    def add_one(self, video: bytes, arrived_ns: int, ordinal: int, total: int = 0) -> None:
        """Do what `add` does, for one video, without numpy's calls. `total`: see `Pending`."""
        self.least_ordinal = ordinal if self.least_ordinal is None else min(ordinal, self.least_ordinal)
        self._has_totals |= total > 0
        self._videos += video
        self._arrived_ns.append(arrived_ns)
        self._ordinals.append(ordinal)
        self._totals.append(total)

    def received(self, received_ms: int) -> None:
        """Note when the consumer received some of the plays that are announced."""
        if received_ms:
            self.received_ms = min(received_ms, self.received_ms or received_ms)

    def messages(self, commits: int = 0) -> list[Pending]:
        """All announcements, as messages to the dispatcher. `commits`: how many the ledger has."""
        messages = []
        for start in range(0, len(self._ordinals), PENDING_VIDEOS_MAX):
            end = start + PENDING_VIDEOS_MAX
            videos = bytes(self._videos[start * VIDEO_BYTES : end * VIDEO_BYTES])
            arrived_ns, ordinals = self._arrived_ns[start:end], self._ordinals[start:end]
            totals = self._totals[start:end].tobytes() if self._has_totals else b""
            columns = videos, arrived_ns.tobytes(), ordinals.tobytes()
            messages.append(Pending(*columns, self.received_ms, totals, commits))
        return messages
