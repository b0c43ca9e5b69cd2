"""What became of each play: waiting, in flight, acknowledged, or of unknown outcome.

Owns the truth that the manifest is written from. A play is sent again only when it is certain that
the queue does not have it; one that may or may not be on the queue is neither counted as there nor
sent again, for that could put it there twice. Pure: sends nothing, knows no connection.
"""

from array import array
from collections import Counter, deque
from typing import NamedTuple


class MessageBatch(NamedTuple):
    """Plays that travel in one MPUB: those at `start` to before `stop` of the order of plays."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many plays the batch carries."""
        return self.stop - self.start


class Deliveries:
    """Hands out the plays of `order` (video indexes) in batches, and keeps what became of each.

    Every batch from `take` is ended by exactly one of `acknowledge`, `give_back` and `lose`.
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
        """Plays that the queue certainly does not have and that nobody is sending."""
        settled = self.acknowledged_plays + self.unknown_plays
        return len(self._order) - settled - self.in_flight_plays

    @property
    def released_plays(self) -> int:
        """Plays that have left for the queue and did not come back."""
        return len(self._order) - self.waiting_plays

    @property
    def finished(self) -> bool:
        """Whether every play is either acknowledged or of unknown outcome."""
        return self.waiting_plays == 0 and self.in_flight_plays == 0

    def take(self, size_max: int) -> MessageBatch | None:
        """The next plays to send, at most `size_max`; None when none waits."""
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
        """The queue said OK: it has these plays."""
        self._land(batch)
        self._acknowledged.update(self.videos_of(batch))
        self.acknowledged_plays += batch.size

    def give_back(self, batch: MessageBatch) -> None:
        """The queue certainly does not have these plays: they will be sent again."""
        self._land(batch)
        self._given_back.append(batch)

    def lose(self, batch: MessageBatch) -> None:
        """The queue may or may not have these plays: nobody will ever know."""
        self._land(batch)
        self._unknown.update(self.videos_of(batch))
        self.unknown_plays += batch.size

    def acknowledged(self, videos: tuple[str, ...]) -> dict[str, int]:
        """Acknowledged plays by video, in the order of `videos`, those without any left out."""
        return _by_name(videos, self._acknowledged)

    def unknown(self, videos: tuple[str, ...]) -> dict[str, int]:
        """Plays of unknown outcome by video, in the order of `videos`."""
        return _by_name(videos, self._unknown)

    def _land(self, batch: MessageBatch) -> None:
        self._in_flight.remove(batch)
        self.in_flight_plays -= batch.size


def _by_name(videos: tuple[str, ...], counts: Counter[int]) -> dict[str, int]:
    return {videos[index]: counts[index] for index in sorted(counts)}
