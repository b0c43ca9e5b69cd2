"""What becomes of a batch that the client has accepted: a part of the dispatcher's rules.

Pure. `accepted.py` says when it is stored, and when the counters are told.
"""

from msgspec import structs

from ..messages import Recorded
from .batches import BatchEvent, BatchState, HeldBatch
from .effects import Effect, StoreRefused
from .outbox import Batch
from .refusing import Refusing


class Confirming(Refusing):
    """The dispatcher's rules for accepted batches."""

    def settle(self) -> list[Effect]:
        """Store and tell at once what could wait."""
        stored: list[Effect] = [self._store_rest()] if self.accepted.unstored else []
        return stored + self._say_accepted()

    def _settle_if_due(self, now_ms: int) -> list[Effect]:
        if self._draining:
            return self.settle()
        store_ms, say_ms = self.accepted.store_ms, self.accepted.say_ms
        effects: list[Effect] = []
        if store_ms is not None and store_ms <= now_ms:
            effects.append(self._store_rest())
        if say_ms is not None and say_ms <= now_ms:
            effects += self._say_accepted()
        return effects

    def _accepted(self, held: HeldBatch, now_ms: int) -> list[Effect]:
        """Go on after the client accepted a batch."""
        assert held.offered_ms is not None, "the batch was sent"
        self._lead_time.measure(now_ms - held.left_ms)
        self.attempts.accepted(now_ms, held.offered_ms, held.attempt)
        batch = held.content
        videos = batch.videos
        taken = self._taken(held, videos, now_ms)
        if batch.place is not None:
            return self._republished(held, batch, taken, now_ms)
        late, ours = self._schedule.late(videos, now_ms, held.offered_ms)
        counts = {batch.trigger.value: 1, "videos": len(videos), "late": late, "late_by_client": late - ours}
        for entry in batch.entries:
            self._schedule.confirm(entry.video, entry.plays)
        self.totals = structs.replace(self.totals.plus(**counts), publish_time=self._lead_time.publish_time)
        # Keep the batch until Recorded: a ledger that missed Published would announce what the client has.
        held.batch, held.unrecorded = batch.accepted(), batch.shards(self._shards)
        self.accepted.add(held, now_ms)
        return [self._store_rest(taken)] if taken else []

    def _republished(
        self, held: HeldBatch, batch: Batch, taken: tuple[bytes, ...], now_ms: int
    ) -> list[Effect]:
        """The client has a batch of totals that it had before, so no ledger has to record it."""
        self.batches.move(held, BatchEvent.ALL_RECORDED)
        for video in batch.videos:
            self._schedule.release(video)  # the totals are old ones, and cover no play that is pending
        self.totals = structs.replace(
            self.totals.plus(republish=1, videos=len(batch.entries)),
            publish_time=self._lead_time.publish_time,
        )
        effects = self._store_accepted()
        if taken:
            effects.append(StoreRefused((), self.totals, taken))
        return [*effects, *self._over(held, batch, now_ms)]

    def _recorded(self, shard: int, message: Recorded, now_ms: int) -> None:
        """Note that a ledger has recorded some batches."""
        self.totals = self.totals.heard_of(shard, message.commits)
        for key in message.batches:
            held = self.batches.find(key, BatchState.ACCEPTED)
            if held is None:
                continue
            held.unrecorded.discard(shard)
            if not held.unrecorded:
                self.batches.move(held, BatchEvent.ALL_RECORDED)
                self.accepted.recorded(key, now_ms)

    def _say_again(self, shard: int) -> list[Effect]:
        """Tell a counter again what it may have missed."""
        accepted = self.batches.within(BatchState.ACCEPTED)
        missed = [held.content for held in accepted if shard in held.unrecorded]
        return [self._published(missed, shard)] if missed else []
