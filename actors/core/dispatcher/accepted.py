"""The batches that the client has accepted, until they are stored as accepted and the counters are told.

Pure. An accepted batch would cost a commit, and a second one once every ledger has recorded it. Neither is
urgent, so several batches share them:

- That a batch was accepted, or is over, is stored with the next batch that leaves, or `STORE_MS` later.
- The counters are told at once, but not twice within `SAY_MS`: then of several batches together. A counter
  that knows takes the next play of a quiet video without being asked.
- They are told before they are asked for totals: else they would answer with plays that the client has.

A dispatcher that is killed before that sends these batches again, as they were and before any newer batch. No
newer batch can have been sent: it would have been stored, and they with it. The client knows their keys.
"""

from collections.abc import Iterable

from ..columns import pack_numbers
from ..messages import Published
from ..shards import shard_of
from .batches import HeldBatch
from .outbox import Batch

STORE_MS = 50
SAY_MS = 5
OVER_MS = 250  # a batch that is over is deleted by then


class Accepted:
    """What is still to be stored and to be told of accepted batches.

    `uncounted`: whether the publish totals have batches whose acceptance is not stored: a dispatcher that is
    killed now counts them again. `store_ms`: when it is to be stored at the latest; None if all is. `say_ms`:
    when the counters are to be told; None if they know all.
    """

    def __init__(self) -> None:
        self.uncounted = False
        self.say_ms: int | None = None
        self.store_ms: int | None = None
        self._next_say_ms = 0
        self._unsaid: list[HeldBatch] = []
        self._unstored: dict[str, Batch] = {}
        self._over: list[str] = []

    @property
    def due_ms(self) -> int | None:
        """When something is to be done at the latest; None if nothing is left."""
        return _sooner(self.store_ms, self.say_ms)

    def add(self, held: HeldBatch, now_ms: int) -> None:
        """Note that the client has accepted this batch."""
        batch = held.content
        self.uncounted = True
        self._unsaid.append(held)
        self._unstored[batch.key] = batch
        self.store_ms = _sooner(self.store_ms, now_ms + STORE_MS)
        if self.say_ms is None:
            self.say_ms = max(now_ms, self._next_say_ms)
            self._next_say_ms = self.say_ms + SAY_MS

    def recorded(self, key: str, now_ms: int) -> None:
        """Note that every ledger has recorded the batch with this key, so it can be forgotten."""
        self._unstored.pop(key, None)
        self._over.append(key)
        self.store_ms = _sooner(self.store_ms, now_ms + OVER_MS)

    @property
    def unstored(self) -> bool:
        """Whether there is anything to store."""
        return bool(self._unstored or self._over)

    def take_unstored(self) -> tuple[tuple[Batch, ...], tuple[str, ...]]:
        """The batches to store as accepted, and the keys of those to delete, in the next store."""
        batches, over = tuple(self._unstored.values()), tuple(self._over)
        self.uncounted = False
        self.store_ms = None
        self._unstored.clear()
        self._over.clear()
        return batches, over

    def take_unsaid(self) -> list[HeldBatch]:
        """The batches of which the counters have to be told now, in the order in which they were accepted."""
        unsaid, self._unsaid, self.say_ms = self._unsaid, [], None
        return unsaid


def _sooner(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)


def published(batches: Iterable[Batch], shard: int, shards: int, stores: int) -> Published:
    """The message to the counter of a shard: its totals in these batches are published.

    `stores`: how many stores the dispatcher has made.
    """
    keys, videos, totals = list[str](), bytearray(), list[int]()
    for batch in batches:
        keys.append(batch.key)
        for entry in batch.entries:
            if shard_of(entry.video, shards) == shard:
                videos += entry.video
                totals.append(entry.plays)
    return Published(keys, bytes(videos), pack_numbers(totals), stores)
