"""Which totals are published again next, and when. Pure; callers pass the time on a clock that is never set.

A request names videos, or all. One request is under way at a time, in the order in which they came. A request
of all replaces those before it. Its batches have the lowest priority: one leaves if its publish is over
before anything is due. So that it progresses under any load, one leaves too after it has waited for as long
as `PATIENCE_PUBLISHES` publishes take; if deadlines press, for a whole deadline.

The totals are those that the client confirmed, not the newest: plays that it lacks have an arrival, and their
videos leave by their own due times.
"""

from collections.abc import Collection as Shards
from collections.abc import Iterable
from typing import TypeGuard

from msgspec import structs

from ..columns import unpack_numbers, unpack_videos
from ..effects import Send
from ..messages import NO_ROW, CollectedPublished, CollectPublished
from ..shards import counter_of, shard_of
from .batches import Collection
from .effects import StoreRepublish
from .outbox import Batch, Entry, PublishTotals
from .republish import Place, Republish

PATIENCE_MS_MIN = 1000
PATIENCE_PUBLISHES = 20


class Republishing:
    """The requests that are not done."""

    def __init__(
        self,
        shards: int,
        batch_size_max: int,
        stored: Iterable[Republish] = (),
        last_number: int = 0,
    ):
        """`stored`: the requests in their order. `last_number`: the greatest number that one ever had."""
        self.requests = [request.begun(shards) for request in stored]
        self._shards = shards
        self._batch_size_max = batch_size_max
        self.last_number = last_number
        self._since_ms = 0  # when the request under way began, or its last attempt ended

    def use_width(self, width: int) -> None:
        """Fill batches up to `width` videos from now on."""
        self._batch_size_max = width

    @property
    def place(self) -> Place | None:
        """How far the request under way has got; None without a request."""
        return self.requests[0].place if self.requests else None

    def request(self, why: str, videos: bytes, now_ms: int) -> tuple[Republish, tuple[int, ...]]:
        """Add a request. Returns it, and the numbers of those that it replaces.

        `why`: for the log. `videos`: GUIDs, packed; empty for all.
        """
        self.last_number += 1
        added = Republish(self.last_number, why, videos).begun(self._shards)
        over = () if videos else tuple(one.number for one in self.requests)
        if not videos:
            self.requests.clear()
        self.requests.append(added)
        self._since_ms = max(self._since_ms, now_ms)
        return added, over

    def may_leave(
        self, now_ms: int, due_ms: int | None, deadlines_ms: int | None, publish_ms: float, deadline_ms: int
    ) -> bool:
        """Whether a batch of the request under way may leave now.

        `due_ms`: when anything else is due. `deadlines_ms`: when deadlines must begin to leave. `publish_ms`:
        how long a publish takes. `deadline_ms`: the length of a deadline.
        """
        if not self.requests:
            return False
        over_ms, waited_ms = now_ms + publish_ms, now_ms - self._since_ms
        if due_ms is None or over_ms <= due_ms:
            return True
        if deadlines_ms is not None and deadlines_ms < over_ms:
            return waited_ms >= deadline_ms
        return waited_ms >= max(PATIENCE_MS_MIN, PATIENCE_PUBLISHES * publish_ms)

    def ask(self, collection: Collection, askable: Shards[int]) -> Send | None:
        """The next question for a batch, or None if it is complete or no counter can be asked.

        `askable`: the shards whose counters answer.
        """
        place, room = collection.place, self._batch_size_max - len(collection.entries)
        if not self._is_under_way(place) or place.is_last or not room or place.shard not in askable:
            return None
        videos = b"".join(self._named(place)[place.row : place.row + room])
        if self.requests[0].videos and not videos:
            return self._next_shard(collection, askable)
        collection.unanswered.add(place.shard)
        return Send(counter_of(place.shard), CollectPublished(collection.number, room, place.row, videos))

    def take(self, collection: Collection, shard: int, message: CollectedPublished) -> None:
        """Take a counter's answer into a batch."""
        place = collection.place
        if shard not in collection.unanswered:
            return
        collection.unanswered.discard(shard)
        if not self._is_under_way(place):
            return  # another request has replaced it
        room = self._batch_size_max - len(collection.entries)
        videos, totals = unpack_videos(message.videos), unpack_numbers(message.totals)
        for video, total in zip(videos, totals, strict=True):
            collection.entries[video] = Entry(video, total, 0)
        next_row = message.next_row
        if self.requests[0].videos and place.row + room < len(self._named(place)):
            next_row = place.row + room
        ends = next_row == NO_ROW
        collection.place = structs.replace(
            place, shard=place.shard + ends, row=0 if ends else next_row, videos=place.videos + len(videos)
        )

    def collected_nothing(self, collection: Collection, totals: PublishTotals) -> list[StoreRepublish]:
        """Go on after a batch for which no counter had a total. The request may be over now."""
        place = collection.place
        return [] if place is None else self._reached(place, totals, "", stores=place.is_last)

    def accepted(self, batch: Batch, totals: PublishTotals, now_ms: int) -> list[StoreRepublish]:
        """Go on after a batch that is over: the client accepted it, or refuses its videos."""
        assert batch.place is not None, "it is no republish"
        self.waits_from(now_ms)
        place = structs.replace(batch.place, batches=batch.place.batches + 1)
        return self._reached(place, totals, batch.key)

    def begins(self, place: Place | None) -> Place | None:
        """How far a republish has got without the batch that has this place."""
        return self.requests[0].place if self._is_under_way(place) else place

    def waits_from(self, now_ms: int) -> None:
        """Note that an attempt has ended: the next one waits from now on."""
        self._since_ms = now_ms

    def _reached(
        self, place: Place, totals: PublishTotals, key: str, stores: bool = True
    ) -> list[StoreRepublish]:
        if not self._is_under_way(place):  # it was replaced, or started again
            return [StoreRepublish(None, totals, forget=key)] if key else []
        self.requests[0] = structs.replace(self.requests[0], place=place)
        if place.is_last:
            done = self.requests.pop(0)
            return [StoreRepublish(None, totals, (done.number,), key, done)]
        return [StoreRepublish(self.requests[0], totals, forget=key)] if stores else []

    def _is_under_way(self, place: Place | None) -> TypeGuard[Place]:
        return (
            place is not None
            and place.shards == self._shards
            and bool(self.requests)
            and self.requests[0].number == place.republish
        )

    def _next_shard(self, collection: Collection, askable: Shards[int]) -> Send | None:
        assert collection.place is not None, "it is a republish"
        collection.place = structs.replace(collection.place, shard=collection.place.shard + 1, row=0)
        return self.ask(collection, askable)

    def _named(self, place: Place) -> list[bytes]:
        """The videos of a shard that the request under way names."""
        videos = unpack_videos(self.requests[0].videos)
        return [video for video in videos if shard_of(video, self._shards) == place.shard]
