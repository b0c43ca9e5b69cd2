"""Dispatchers broken on purpose, one bug each: see `mutants.py`."""

from msgspec import structs

from actors.core.dispatcher.effects import Deliver, Forget, Store
from actors.core.dispatcher.outbox import Trigger
from actors.core.dispatcher.rules import Dispatching, Outcome
from actors.core.dispatcher.schedule import Schedule
from actors.core.effects import Send
from actors.core.messages import Recall

# The dispatcher


class DeliversBeforeStore(Dispatching):
    """A batch leaves before it is written down."""

    def handle(self, shard, inbox, now_ms):
        return sorted(super().handle(shard, inbox, now_ms), key=lambda one: not isinstance(one, Deliver))


class TakesUnknownForRefused(Dispatching):
    """A batch without an answer is made anew."""

    def delivered(self, outcome, *more):
        outcome = Outcome.REFUSED if outcome is Outcome.UNKNOWN else outcome
        return super().delivered(outcome, *more)


class ForgetsItsDoubt(Dispatching):
    """A refusal is believed, though an attempt before it may have got through."""

    def delivered(self, outcome, *more):
        self._doubtful = self._doubtful and outcome is not Outcome.REFUSED
        return super().delivered(outcome, *more)


class ForgetsBeforeRecorded(Dispatching):
    """A batch that was accepted is forgotten before the ledgers have recorded it."""

    def delivered(self, outcome, *more):
        key = self._batch.key
        effects = super().delivered(outcome, *more)
        if outcome is Outcome.ACCEPTED:
            self._unrecorded.clear()
            effects.insert(1, Forget(key))
        return effects


class RecordsBeforeTheAnswer(Dispatching):
    """`Published` is said when a batch leaves."""

    def _deliver(self, batch, now_ms):
        told = [self._tell(batch, shard) for shard in sorted(self._shards_of(batch) & self._linked)]
        return [*super()._deliver(batch, now_ms), *told]


class LossDropsPending(Dispatching):
    """A counter that is back is not asked what is pending."""

    def linked(self, shard, now_ms):
        effects = super().linked(shard, now_ms)
        return [one for one in effects if not (isinstance(one, Send) and isinstance(one.message, Recall))]


class TakesTwentyOne(Dispatching):
    """One too many."""

    def __init__(self, rule, shards, batch_size_max, *rest):
        super().__init__(rule, shards, batch_size_max + 1, *rest)


class CallsStepsOverdue(Dispatching):
    """A total is called overdue because a later play of its video is."""

    def _collected(self, shard, message, now_ms):
        return super()._collected(shard, message, 1 << 60)


class _OtherKeys(Dispatching):
    """A batch under a key of its own making."""

    def _leave_if_collected(self, now_ms):
        effects = super()._leave_if_collected(now_ms)
        if not effects or not isinstance(effects[0], Store):
            return effects
        batch = self._batch = structs.replace(self._batch, key=self._key(self._batch))
        return [Store(batch, self.totals), Deliver(batch)]


class CountsItsKeys(_OtherKeys):
    """A counter that begins anew in every life."""

    def _key(self, batch):
        return f"batch {self._collections}"


class KeysByVideo(_OtherKeys):
    """The same videos, the same key: newer totals under a key that was used."""

    def _key(self, batch):
        return b"".join(entry.video for entry in batch.entries).hex()


# The schedule


class _OtherSchedule(Dispatching):
    schedule: type[Schedule]

    def __init__(self, rule, shards, batch_size_max, *rest):
        super().__init__(rule, shards, batch_size_max, *rest)
        self._schedule = self.schedule(rule, batch_size_max, self._margin)


class DeadlineFromReceipt(_OtherSchedule):
    """The deadline counts from when a play was received, not from when it arrived on the queue."""

    class schedule(Schedule):
        def offer(self, video, arrived_ms, ordinal, now_ms):
            super().offer(video, max(arrived_ms, now_ms), ordinal, now_ms)


class IgnoresWhatIsOnItsWay(_OtherSchedule):
    """A video in a batch on its way is not taken in again."""

    class schedule(Schedule):
        def offer(self, video, arrived_ms, ordinal, now_ms):
            if video not in self._taken:
                super().offer(video, arrived_ms, ordinal, now_ms)


class HotFirst(_OtherSchedule):
    """Hot videos have the right of way."""

    class schedule(Schedule):
        def take(self, now_ms):
            def hot_first(video):
                waiting = self._waiting.get(video)
                return waiting.trigger is Trigger.REALTIME, waiting.latest_ms

            calendars = self._lingering, self._deadlines
            waiting = [video for calendar in calendars for _, video in calendar.first(len(calendar))]
            taken = sorted(waiting, key=hot_first)[: self._batch_size_max]
            trigger = self._waiting.get(taken[0]).trigger
            for video in taken:
                self._taken[video] = self._remove(video)
            return trigger, taken


class LeavesRoom(_OtherSchedule):
    """A video a batch, while others wait."""

    class schedule(Schedule):
        def take(self, now_ms):
            size, self._batch_size_max = self._batch_size_max, 1
            taken = super().take(now_ms)
            self._batch_size_max = size
            return taken
