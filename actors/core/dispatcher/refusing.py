"""What a dispatcher does with what the client refuses: halves, and videos alone.

Pure. `halving.py` tells a refusal of everything from one of a video, `suspects.py` a failure of the client
from one of a video, and `refused_videos.py` says when a refused video is tried again.

Halves and tries leave between the batches of the schedule, and wait for deadlines that could not wait for
them: a half for half a deadline at most. A try leaves while nothing else is to do. If there was always
something for a minute, one try in ten seconds leaves all the same.
"""

from msgspec import structs

from ..columns import by_video
from ..messages import Pending
from ..shards import shard_of
from ..triggers import Trigger
from .attempts import About, Circuit, Outcome
from .batches import EVENTS, BatchEvent, BatchState, Collection, HeldBatch, Phase
from .changing import Changing
from .effects import Effect, Forget, StoreRefused, StoreRepublish
from .halving import Part
from .outbox import Batch
from .suspects import Alone

WIDENS_MS = 3_600_000  # after a 413, until a wider batch is tried
ALONE_MS_FIRST = 1000  # the pause of a batch in doubt that waits by itself
ALONE_MS_MAX = 60_000
CONFLICTS_MAX = 10  # in a row, over some five minutes: then the client is not at work any more
TRY_MS = 1000  # a try that can't leave now is looked at again after this
PATIENCE_MS = 60_000  # a try that waited so long for other batches does not wait for them any more
BUSY_TRY_MS = 10_000  # from one such try to the next


class Refusing(Changing):
    """The steps after a refusal."""

    def _refused_content(
        self,
        held: HeldBatch,
        before: Batch,
        about: About,
        answer: str,
        now_ms: int,
        retry_after_ms: int | None,
        is_answer: bool = True,
    ) -> list[Effect]:
        """Go on after the client refused a batch for what is in it. `before`: the batch as it was sent.

        `is_answer`: whether the client said so; False if its other answers show it.
        """
        self.batches.move(held, BatchEvent.CONTENT_REFUSED)
        entries = before.entries
        is_alone, known = len(entries) == 1, self._is_refused(before)
        if about is About.WIDTH:
            self._narrow(held.part, len(entries), now_ms)
        elif is_answer and not known:
            self.halving.refused(held.part, len(entries))
        if is_alone and not known and self.refused.is_full:
            self.halving.refuses_everything = True
        everything = self.halving.refuses_everything
        effects: list[Effect] = []
        if everything:
            self.attempts.failed(now_ms, retry_after_ms, held.attempt, opens=True)
            given_up = [entry.video for part in self.halving.give_up() for entry in part.entries]
            self._pending_again(given_up)
            self.suspects.failed([*before.videos, *given_up], held.attempt, with_all=True)
        elif is_answer:
            self.attempts.judged(now_ms, held.attempt)
            self.suspects.refused(before.videos, held.attempt)
        else:
            self.attempts.says_nothing(now_ms)
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
            if about is About.WIDTH:
                effects += [*self._store_accepted(), StoreRefused((), self.totals, forget=before.key)]
            else:
                effects.append(Forget(before.key))
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
        stored = [*self._store_accepted(), StoreRefused((one,), self.totals, gone, forget=before.key)]
        return [*stored, *self._over(held, before, now_ms)]

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
        if held.collection.trial or self._is_refused(batch):
            (video,) = batch.videos
            self._schedule.put_aside(video, shard_of(video, self._shards) in self._linked)
            self.refused.delay(video, now_ms)
            return [Forget(key)]
        if held.part is not None and not self.halving.refuses_everything:
            self.halving.again(held.part, last=self.attempts.circuit is not Circuit.CLOSED)
        else:
            self._pending_again(batch.videos)
        kept, gone = self._keys.keep(batch)
        effects: list[Effect] = [] if kept is None else [self._store(kept)]
        gone = gone if batch.key == key else [key, *gone]
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
        self._wait_alone(held, held.conflicts, now_ms, retry_after_ms)
        held.conflicts += 1
        self.attempts.judged(now_ms, held.attempt)
        if self._is_refused(held.content):
            self.refused.delay(held.content.videos[0], now_ms)

    def _wait_alone(self, held: HeldBatch, times: int, now_ms: int, retry_after_ms: int | None) -> None:
        """Send a batch in doubt again after a pause of its own. `times`: how many such pauses it had."""
        asked_ms = min(retry_after_ms or 0, self.attempts.retry_after_max_ms)
        held.again_ms = now_ms + max(asked_ms, min(ALONE_MS_MAX, ALONE_MS_FIRST << times))

    def _refuses_again(
        self, held: HeldBatch, before: Batch, outcome: Outcome, why: str, now_ms: int
    ) -> list[Effect]:
        """Go on after the try of a refused video failed. It says nothing about the client.

        If the client may have the total, it is sent again under its key when the video is tried next.
        """
        if outcome is Outcome.REFUSED and held.state is BatchState.SENT:
            return self._gives_up(held, before, why, now_ms)
        (entry,) = before.entries
        assert held.offered_ms is not None, "the batch was sent"
        self.batches.move(held, EVENTS[outcome])
        self.attempts.says_nothing(now_ms)
        again = before.place is not None
        one = self.refused.refuse(entry.video, entry.plays, why, now_ms, held.offered_ms, again, unsure=False)
        held.again_ms = self.refused.next_ms(entry.video)
        stored: list[Effect] = [] if held.content == before else [self._store(held.content)]
        return [*stored, *self._store_accepted(), StoreRefused((one,), self.totals)]

    def _failed(self, held: HeldBatch, before: Batch) -> Alone:
        """Note that an attempt with the batch `before` failed."""
        return self.suspects.failed(before.videos, held.attempt)

    def _gives_up(self, held: HeldBatch, before: Batch, why: str, now_ms: int) -> list[Effect]:
        """Search a batch for the video on which the client fails, as if the client had refused it."""
        return self._refused_content(held, before, About.CONTENT, why, now_ms, None, is_answer=False)

    def _is_try(self, held: HeldBatch) -> bool:
        """Whether a batch in doubt goes again as the next try of a refused video, and not by itself."""
        return held.again_ms > 0 and self._is_refused(held.content)

    def _in_doubt(self, now_ms: int) -> tuple[list[HeldBatch], list[HeldBatch]]:
        """The batches to send again, without tries: those before any new batch, and those that give way.

        While the circuit is open, one batch at a time probes the client. The client may fail on what is in a
        batch in doubt. So after each of them was tried once more, a new batch is tried.
        """
        in_doubt = self.batches.within(BatchState.IN_DOUBT)
        again = [held for held in in_doubt if held.again_ms <= now_ms and not self._is_try(held)]
        again.sort(key=lambda held: held.attempt)
        if self.attempts.circuit is Circuit.CLOSED:
            return again, []
        first = [held for held in again if held.attempt <= self._new_attempt]
        return first, again[len(first) :]

    def _halves_go_first(self) -> bool:
        """Whether halves leave before a batch of the schedule. While the circuit is open, they take turns."""
        return self.attempts.circuit is Circuit.CLOSED or self._half_attempt < self._new_attempt

    def _take(self, now_ms: int) -> tuple[Trigger, list[bytes]]:
        """Take the videos of the next batch.

        While the circuit is open, and the client may fail on a video, pending videos probe it one by one, in
        turn: of those that have not failed the one that is due last (twice as often), and the one that is due
        first; of the others the one that failed longest ago. Else only videos that failed alone leave one by
        one, in turn with the others.
        """
        width = 1 if self.halving.refuses_everything else None
        self._turn += 1
        is_open = self.attempts.circuit is not Circuit.CLOSED
        apart = self.suspects if is_open else self.suspects.alone
        if not apart:
            return self._schedule.take(now_ms, width)
        if is_open and self._turn % 2 == 0 and (newest := self._schedule.newest_due(now_ms, apart)):
            return self._schedule.take_alone(newest), [newest]
        first = next((one for one in apart if self._schedule.is_pending(one)), None)
        if first is None or self._turn % 4 == 1:
            trigger, videos = self._schedule.take(now_ms, 1 if is_open else width, apart)
            if videos:
                return trigger, videos
        if first is None:
            return self._schedule.take(now_ms, width)
        return self._schedule.take_alone(first), [first]

    def _send_again(self, again: list[HeldBatch], now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        for held in again:
            if self.attempts.may_leave(now_ms):
                self.batches.move(held, BatchEvent.RESENT)
                held.again_ms = 0
                effects += self._deliver(held, now_ms)
        return effects

    def _taken(self, held: HeldBatch, videos: list[bytes], now_ms: int) -> tuple[bytes, ...]:
        """Note that the client took a batch of these videos. Returns those that it refused before."""
        self.suspects.taken(videos, held.attempt)
        if self.totals.width and len(videos) > self.width:
            self._use_width(len(videos))
        if self.halving.accepted(held.part, len(videos)):
            self.refused.try_soon(now_ms, lambda one: one.unsure)
        return tuple(self.refused.drop(videos)) if self.refused.known else ()

    def _played(self, message: Pending) -> None:
        """Note the plays of refused videos."""
        if self.refused.known:
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
            collection = Collection(part.trigger, place=part.place)
            held = self.batches.begin(
                HeldBatch(collection, now_ms, due_ms=part.due_ms, offered_ms=part.offered_ms, part=part)
            )
            effects += self._leave(held, part.entries, now_ms)
        return effects

    def _try_refused(self, now_ms: int, due_ms: int | None) -> list[Effect]:
        """Try a video that the client refused, if it is time. `due_ms`: when anything else is due."""
        soonest_ms = self.refused.soonest_ms(now_ms)
        if soonest_ms is None or soonest_ms > now_ms or self._draining:
            return []
        is_due = due_ms is not None and due_ms <= now_ms
        if is_due and self.attempts.circuit is not Circuit.CLOSED:
            return []  # a try is no probe of the client
        is_quiet = self.phase is Phase.IDLE and not self.halving.parts and not is_due
        if not is_quiet or self._presses(now_ms):
            if now_ms - soonest_ms < PATIENCE_MS or now_ms - self._busy_try_ms < BUSY_TRY_MS:
                return []
            self._busy_try_ms = now_ms
        in_doubt = self.batches.within(BatchState.IN_DOUBT)
        again = {one.content.videos[0]: one for one in in_doubt if self._is_try(one)}
        others = {video for one in self.batches for video in one.content.videos}
        askable = self._linked - self._silent

        def is_free(video: bytes) -> bool:
            return video in again or (video not in others and shard_of(video, self._shards) in askable)

        tried = self.refused.due(now_ms, is_free)
        if tried is None:
            return []
        if (video := tried.video) in again:
            return self._send_again([again[video]], now_ms)
        trigger, asked = self._schedule.take_alone(video), {shard_of(video, self._shards): [video]}
        offered_ms = self.refused.offered_ms(video)
        return self._collect(trigger, asked, now_ms, now_ms, trial=tried.attempts, offered_ms=offered_ms)

    def _goes_between(self, since_ms: int, now_ms: int) -> bool:
        """Whether a batch that is not the schedule's may leave now: no deadline has to wait for it."""
        waited_ms = now_ms - since_ms
        return self._draining or not self._presses(now_ms) or waited_ms >= self._deadline_ms // 2

    def _presses(self, now_ms: int) -> bool:
        """Whether a deadline can't wait for one more batch."""
        begin_ms = self._schedule.begin_ms()
        return begin_ms is not None and now_ms + self._lead_time.apart_ms >= begin_ms

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

    def _narrow(self, part: Part | None, width: int, now_ms: int) -> None:
        """Make batches narrower than `width` from now on: the client says that they have too many bytes.

        `part`: what was sent. If the client took another part of its batch, this one has a video with too
        many bytes. A video that has too many alone is the cause, so batches are as wide as before.
        """
        if width == 1:
            self._use_width(self._batch_size_max)
        elif part is None or not part.split.origin.taken:
            self._use_width(min(self.width, (width + 1) // 2))
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
