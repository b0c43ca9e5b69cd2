"""What a dispatcher does with what the client refuses: halves, and videos alone.

Pure. `halving.py` tells a refusal of everything from one of a video, and `refused_videos.py` says when a
refused video is tried again. Halves and tries leave between the batches of the schedule. They wait for
deadlines that could not wait for them, but no longer than half a deadline.
"""

from msgspec import structs

from ..columns import by_video
from ..messages import Pending
from ..shards import shard_of
from .attempts import About
from .batches import BatchEvent, Collection, HeldBatch, Phase
from .collecting import Collecting, Effect
from .effects import Forget, Store, StoreRefused, StoreRepublish
from .outbox import Batch

WIDENS_MS = 3_600_000  # after a 413, until a wider batch is tried
CONFLICT_MS_FIRST = 1000
CONFLICT_MS_MAX = 60_000
CONFLICTS_MAX = 10  # in a row, over some five minutes: then the client is not at work any more
TRY_MS = 1000  # a try that can't leave now is looked at again after this
PATIENCE_MS = 60_000  # the longest that a try waits for other batches


class Refusing(Collecting):
    """The steps after a refusal."""

    def _refused_content(
        self,
        held: HeldBatch,
        before: Batch,
        about: About,
        answer: str,
        now_ms: int,
        retry_after_ms: int | None,
    ) -> list[Effect]:
        """Go on after the client refused a batch for what is in it. `before`: the batch as it was sent."""
        self.batches.move(held, BatchEvent.CONTENT_REFUSED)
        entries = before.entries
        is_alone, known = len(entries) == 1, entries[0].video in self.refused
        if about is About.WIDTH and not is_alone:
            self._narrow((len(entries) + 1) // 2, now_ms)
        elif not (is_alone and known):
            self.halving.refused(held.part, len(entries))
        if is_alone and not known and self.refused.is_full:
            self.halving.refuses_everything = True
        everything = self.halving.refuses_everything
        effects: list[Effect] = []
        if everything:
            self.attempts.failed(now_ms, retry_after_ms, held.attempt, opens=True)
            for part in self.halving.give_up():
                self._pending_again([entry.video for entry in part.entries])
        else:
            self.attempts.judged(now_ms, held.attempt)
        if is_alone:
            effects += self._refuse_video(held, before, answer, now_ms)
        elif everything:
            effects += self._refuse(held, before.key, now_ms)
        else:
            assert held.offered_ms is not None, "the batch was sent"
            places = before.place, self.republishing.begins(before.place)
            dues = held.due_ms, held.offered_ms, now_ms
            self.halving.halve(held.part, before.trigger, entries, places, *dues)
            # The width is stored at once: a client that has said that it is too wide is not asked again.
            is_width = about is About.WIDTH
            effects.append(
                StoreRefused((), self.totals, forget=before.key) if is_width else Forget(before.key)
            )
        return effects

    def _refuse_video(self, held: HeldBatch, before: Batch, answer: str, now_ms: int) -> list[Effect]:
        """Note that the client refuses a video alone."""
        (entry,) = before.entries
        assert held.offered_ms is not None, "the batch was sent"
        again, everything = before.place is not None, self.halving.refuses_everything
        one = self.refused.refuse(
            entry.video, entry.plays, answer, now_ms, held.offered_ms, again, everything
        )
        self._schedule.put_aside(entry.video, shard_of(entry.video, self._shards) in self._linked)
        gone = self.refused.drop_first()
        for video in gone:
            self._schedule.postpone(video, now_ms)
        stored = StoreRefused((one,), self.totals, gone, forget=before.key)
        return [stored, *self._over(held, before, now_ms)]

    def _over(self, held: HeldBatch, batch: Batch, now_ms: int) -> list[StoreRepublish]:
        """Go on with a republish after one of its batches, or the last part of it, is over."""
        if batch.place is None:
            return []
        if held.part is not None:
            origin = held.part.split.origin
            origin.open -= 1
            if origin.open:
                return [StoreRepublish(None, self.totals, forget=batch.key)]
            batch = structs.replace(batch, place=origin.place)
        return self.republishing.accepted(batch, self.totals, now_ms)

    def _refuse(self, held: HeldBatch, key: str, now_ms: int) -> list[Effect]:
        """Make the videos of a refused batch pending again. `key`: the key under which it was refused."""
        # The client has nothing of this batch: the next one has newer totals, under another key.
        batch = held.content
        if held.collection.trial or (len(batch.entries) == 1 and batch.entries[0].video in self.refused):
            (video,) = batch.videos
            self._schedule.put_aside(video, shard_of(video, self._shards) in self._linked)
            self.refused.delay(video, now_ms)
            return [Forget(key)]
        if held.part is not None and not self.halving.refuses_everything:
            self.halving.again(held.part)
        else:
            self._pending_again(batch.videos)
        kept, gone = self._keys.keep(batch)
        effects: list[Effect] = [] if kept is None else [Store(kept, self.totals)]
        if batch.key != key:
            gone = [key, *gone]
        return [*effects, *map(Forget, gone)]

    def _pending_again(self, videos: list[bytes]) -> None:
        for video in videos:
            if shard_of(video, self._shards) in self._linked:
                self._schedule.fail(video)
            else:
                self._schedule.release(video)

    def _still_at_work(self, held: HeldBatch, now_ms: int, retry_after_ms: int | None) -> None:
        """Ask again later: the client is at work on an attempt that had no answer. Others go on."""
        self.batches.move(held, BatchEvent.CLIENT_REFUSED)
        asked_ms = min(retry_after_ms or 0, self.attempts.retry_after_max_ms)
        pause_ms = max(asked_ms, min(CONFLICT_MS_MAX, CONFLICT_MS_FIRST << held.conflicts))
        held.conflicts += 1
        held.again_ms = now_ms + pause_ms
        self.attempts.judged(now_ms, held.attempt)

    def _taken(self, held: HeldBatch, now_ms: int) -> tuple[bytes, ...]:
        """Note that the client took a batch. Returns the videos in it that it refused before."""
        videos = held.content.videos
        if self.halving.accepted(held.part, len(videos)):
            self.refused.try_soon(now_ms, lambda one: one.unsure)
        return tuple(self.refused.drop(videos))

    def _played(self, message: Pending) -> None:
        """Note the plays of refused videos."""
        if len(self.refused):
            for video, _, ordinal in by_video(message.videos, message.arrived_ns, message.ordinals):
                self.refused.played(video, ordinal)

    # Steps that send

    def _send_parts(self, now_ms: int) -> list[Effect]:
        """Send the halves that may leave now."""
        effects: list[Effect] = []
        parts = self.halving.parts
        while parts and self.attempts.may_leave(now_ms) and self._goes_between(parts[0].since_ms, now_ms):
            part = parts.popleft()
            if len(part.entries) > self.width:  # the client has said meanwhile that this is too wide
                dues = part.due_ms, part.offered_ms, part.since_ms
                self.halving.halve(part, part.trigger, part.entries, (part.place, part.place), *dues)
                continue
            nobody = Collection(0, part.trigger, {}, set(), 0, place=part.place)
            held = self.batches.begin(
                HeldBatch(nobody, now_ms, due_ms=part.due_ms, offered_ms=part.offered_ms, part=part)
            )
            effects += self._leave(held, part.entries, now_ms)
        return effects

    def _try_refused(self, now_ms: int, due_ms: int | None) -> list[Effect]:
        """Try a video that the client refused, if it is time. `due_ms`: when anything else is due."""
        soonest_ms = self.refused.soonest_ms(now_ms)
        if soonest_ms is None or soonest_ms > now_ms or self._draining:
            return []
        is_quiet = self.phase is Phase.IDLE and not self.halving.parts and (due_ms is None or due_ms > now_ms)
        if not is_quiet and now_ms - soonest_ms < PATIENCE_MS:
            return []
        if not self._goes_between(soonest_ms, now_ms):
            return []
        askable = self._linked - self._silent
        on_their_way = {
            video for held in self.batches if held.batch is not None for video in held.batch.videos
        }
        video = self.refused.due(
            now_ms, lambda one: shard_of(one, self._shards) in askable and one not in on_their_way
        )
        if video is None:
            return []
        trigger, shard = self._schedule.take_alone(video), shard_of(video, self._shards)
        offered_ms = self.refused.offered_ms(video)
        return self._collect(trigger, {shard: [video]}, now_ms, now_ms, trial=True, offered_ms=offered_ms)

    def _goes_between(self, since_ms: int, now_ms: int) -> bool:
        """Whether a batch that is not the schedule's may leave now: no deadline has to wait for it."""
        begin_ms = self._schedule.begin_ms()
        if self._draining or begin_ms is None or now_ms + self._lead_time.apart_ms < begin_ms:
            return True
        return now_ms - since_ms >= self._deadline_ms // 2

    def _refusing_wakeups_ms(self, next_ms: int) -> list[int]:
        """When to look at halves and tries again. `next_ms`: when an attempt may leave."""
        times_ms = []
        if self.halving.parts:
            fair_ms = self.halving.parts[0].since_ms + self._deadline_ms // 2
            times_ms.append(next_ms if next_ms > self._looked_ms else max(next_ms, fair_ms))
        soonest_ms = self.refused.soonest_ms(self._looked_ms)
        if soonest_ms is not None and not self._draining:
            again_ms = soonest_ms if soonest_ms > self._looked_ms else self._looked_ms + TRY_MS
            times_ms.append(max(next_ms, again_ms))
        return times_ms

    # The width

    def _narrow(self, width: int, now_ms: int) -> None:
        """Make batches narrower from now on: the client says that they have too many bytes."""
        if width < self.width:
            self._use_width(width)
        self._widens_ms = now_ms + WIDENS_MS

    def _widen(self, now_ms: int) -> None:
        """Try wider batches again, if it is time."""
        if not self.totals.width:
            return
        if self._widens_ms is None:
            self._widens_ms = now_ms + WIDENS_MS
        if now_ms >= self._widens_ms:
            self._use_width(2 * self.width)
            self._widens_ms = now_ms + WIDENS_MS

    def _use_width(self, width: int) -> None:
        is_any = width >= self._batch_size_max
        self.totals = structs.replace(self.totals, width=0 if is_any else width)
        self._schedule.use_width(self.width)
