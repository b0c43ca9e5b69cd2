"""The halves of batches that the client refused for what is in them, until what it refuses is alone.

Pure. A batch of twenty with one refused video costs at most ten more publishes: 10 and 10, 5 and 5, 3 and 2,
2 and 1, 1 and 1. The halves are sent in the order in which they were made, widest first.

A client that refuses everything looks the same at first. It is told apart by its halves: while the client
takes nothing, and both halves of `SEVERAL` batches are refused, it is about everything. Halves of a batch of
which the client took a part say nothing. A video that left alone says little: `LONE` of them count as one
such batch, because a few refused videos may well be played one after the other.

Then nothing more is halved, until the client takes a batch. If it takes one, and then refuses as much again,
it refuses many videos and not everything: each time it takes twice as many batches to say so, until the
client takes a batch of several videos as it is.
"""

from collections import deque

from msgspec import Struct

from ..triggers import Trigger
from .outbox import Entry
from .republish import Place

SEVERAL = 3
SEVERAL_MAX = 48  # more than a batch of twenty has halves
LONE = 4


class Origin(Struct):
    """The batch that was refused first. `open`: how many of its parts are not over. `taken`: whether the
    client took one of them.

    Of a republish: `place`: how far it has got once all parts are over; `begins`: how far it had got before.
    A part has `begins`, because a part that is sent again after a restart must not count for the others.
    """

    place: Place | None
    begins: Place | None
    open: int = 1
    taken: bool = False


class Split(Struct):
    """A refused batch that was halved. `refused`: how many of its halves the client refused too."""

    origin: Origin
    refused: int = 0


class Part(Struct, frozen=True):
    """A half that leaves as a batch of its own.

    `due_ms`, `offered_ms`: those of the batch that was refused first. `since_ms`: when this half was made.
    """

    split: Split
    trigger: Trigger
    entries: list[Entry]
    due_ms: int
    offered_ms: int
    since_ms: int

    @property
    def place(self) -> Place | None:
        """Of a republish: the place of its batch."""
        return self.split.origin.begins


class Halving:
    """The halves that are to be sent, and whether the client refuses everything."""

    def __init__(self) -> None:
        self.parts: deque[Part] = deque()
        self.refuses_everything = False
        self._several = SEVERAL
        # Batches of which the client has refused all since it last took one, in parts of `LONE`.
        self._fruitless = 0

    def halve(
        self,
        part: Part | None,
        trigger: Trigger,
        entries: list[Entry],
        places: tuple[Place | None, Place | None],
        due_ms: int,
        offered_ms: int,
        now_ms: int,
    ) -> None:
        """Halve a batch of several videos. `part`: what it was, if it was a half itself.

        `places`: of a republish: see `Origin`.
        """
        origin = Origin(*places) if part is None else part.split.origin
        origin.open += 1
        split, middle = Split(origin), (len(entries) + 1) // 2
        for half in (entries[:middle], entries[middle:]):
            self.parts.append(Part(split, trigger, half, due_ms, offered_ms, now_ms))

    def again(self, part: Part, last: bool) -> None:
        """Note that a part was not judged. `last`: whether it goes after the others, or before them."""
        if last:
            self.parts.append(part)
        else:
            self.parts.appendleft(part)

    def refused(self, part: Part | None, videos: int) -> bool:
        """Note that the client refused a batch for what is in it. Returns whether it refuses everything."""
        if part is not None:
            part.split.refused += 1
            self._fruitless += LONE * (part.split.refused == 2 and not part.split.origin.taken)
        else:
            self._fruitless += videos == 1
        self.refuses_everything = self.refuses_everything or self._fruitless >= LONE * self._several
        return self.refuses_everything

    def accepted(self, part: Part | None, videos: int) -> bool:
        """Note that the client took a batch. Returns whether it refused everything before."""
        if part is not None:
            part.split.origin.taken = True
        if self.refuses_everything:
            self._several = min(2 * self._several, SEVERAL_MAX)
        elif part is None and videos > 1:
            self._several = SEVERAL
        before, self.refuses_everything, self._fruitless = self.refuses_everything, False, 0
        return before

    def give_up(self) -> list[Part]:
        """The parts that are to be sent, which are not sent any more."""
        parts, self.parts = list(self.parts), deque()
        return parts
