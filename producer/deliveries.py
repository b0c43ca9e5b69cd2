"""The state of each play: waiting, in flight, acknowledged, or of unknown outcome.

The manifest is written from these states. A play is sent again only if the queue certainly does not
have it. A play of unknown outcome may be on the queue: it is not counted as acknowledged, and it is
not sent again, because then the queue could have it twice. Pure: it sends nothing and knows no
connection.
"""

from array import array
from collections import Counter, deque
from typing import NamedTuple


class MessageBatch(NamedTuple):
    """The plays of one MPUB: positions `start` to `stop - 1` in the order of plays."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many plays the batch carries."""
        return self.stop - self.start


class Deliveries:
    """Hands out the plays of `order` (video indexes) in batches, and keeps the state of each play.

    Each batch from `take` must be passed once to `acknowledge`, `give_back` or `lose`.
    """

    def __init__(self, order: "array[int]"):
        self._order = order
        self._next = 0
        self._given_back: deque[MessageBatch] = deque()
        self._in_flight: set[MessageBatch] = set()
        self._acknowledged: Counter[int] = Counter()
        self._unknown: Counter[int] = Counter()
        self.acknowledged_plays = 0
        self.unknown_plays = 0
        self.in_flight_plays = 0

    @property
    def waiting_plays(self) -> int:
        """The number of plays that the queue certainly does not have and that are not in flight."""
        return len(self._order) - self.released_plays

    @property
    def released_plays(self) -> int:
        """The number of plays that were taken and not given back."""
        return self.acknowledged_plays + self.unknown_plays + self.in_flight_plays

    @property
    def finished(self) -> bool:
        """Whether every play is either acknowledged or of unknown outcome."""
        return self.waiting_plays == 0 and self.in_flight_plays == 0

    def take(self, size_max: int) -> MessageBatch | None:
        """Take the next plays to send, at most `size_max`. Returns None if no play is waiting."""
        if self._given_back:
            batch = self._given_back.popleft()
            if batch.size > size_max:
                self._given_back.appendleft(MessageBatch(batch.start + size_max, batch.stop))
                batch = MessageBatch(batch.start, batch.start + size_max)
        elif self._next < len(self._order):
            batch = MessageBatch(self._next, min(self._next + size_max, len(self._order)))
            self._next = batch.stop
        else:
            return None
        self._in_flight.add(batch)
        self.in_flight_plays += batch.size
        return batch

    def videos_of(self, batch: MessageBatch) -> "array[int]":
        """The video index of each play in the batch."""
        return self._order[batch.start : batch.stop]

    def acknowledge(self, batch: MessageBatch) -> None:
        """Record that the queue has these plays: it said OK."""
        self._land(batch)
        self._acknowledged.update(self.videos_of(batch))
        self.acknowledged_plays += batch.size

    def give_back(self, batch: MessageBatch) -> None:
        """Record that the queue certainly does not have these plays. `take` returns them again."""
        self._land(batch)
        self._given_back.append(batch)

    def lose(self, batch: MessageBatch) -> None:
        """Record that the outcome of these plays is unknown: the queue may or may not have them."""
        self._land(batch)
        self._unknown.update(self.videos_of(batch))
        self.unknown_plays += batch.size

    def acknowledged(self, videos: tuple[str, ...]) -> dict[str, int]:
        """Acknowledged plays by video, in the order of `videos`. Videos without any are left out."""
        return _by_name(videos, self._acknowledged)

    def unknown(self, videos: tuple[str, ...]) -> dict[str, int]:
        """Plays of unknown outcome by video, in the order of `videos`. Others are left out."""
        return _by_name(videos, self._unknown)

    def _land(self, batch: MessageBatch) -> None:
        self._in_flight.remove(batch)
        self.in_flight_plays -= batch.size


def _by_name(videos: tuple[str, ...], counts: Counter[int]) -> dict[str, int]:
    return {videos[index]: counts[index] for index in sorted(counts)}
