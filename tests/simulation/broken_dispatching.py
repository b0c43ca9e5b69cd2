"""Dispatchers broken on purpose, one bug each: see `mutants.py`."""

from msgspec import structs

from actors.core.dispatcher.accepted import Accepted
from actors.core.dispatcher.attempts import About
from actors.core.dispatcher.batches import ON_ITS_WAY, BatchEvent, BatchState
from actors.core.dispatcher.effects import Deliver, Store
from actors.core.dispatcher.numbered_keys import SERVER_ERRORS_MAX
from actors.core.dispatcher.outbox import make_batch
from actors.core.dispatcher.rules import DispatcherRules, Outcome
from actors.core.dispatcher.schedule import Schedule
from actors.core.dispatcher.suspects import FAILURES_ALONE_MAX, Alone
from actors.core.effects import Send
from actors.core.messages import Recall
from actors.core.triggers import Trigger

# The dispatcher


class DeliversBeforeStore(DispatcherRules):
    """Sends a batch before it is stored."""

    def handle(self, shard, inbox, *now):
        return sorted(super().handle(shard, inbox, *now), key=lambda one: not isinstance(one, Deliver))


class PublishesInAPause(DispatcherRules):
    """Publishes while somebody has paused publishing."""

    def use_controls(self, controls, now_ms):
        super().use_controls(structs.replace(controls, paused=False), now_ms)


class SendsAgainInAPause(DispatcherRules):
    """Sends what is in doubt again while somebody has paused publishing."""

    def wake(self, now_ms):
        paused, self.attempts.paused = self.attempts.paused, False
        effects = self._send_again(self._in_doubt(now_ms)[0], now_ms) if paused else []
        self.attempts.paused = paused
        return effects + super().wake(now_ms)


class ForgetsTheRateThatWasSet(DispatcherRules):
    """Lets attempts leave as the settings say, whatever was set later."""

    def use_controls(self, controls, now_ms):
        interval_ms = self.attempts.interval_ms
        super().use_controls(controls, now_ms)
        self.attempts.interval_ms = interval_ms


class ForgetsTheLimitThatWasSet(DispatcherRules):
    """Has as many batches on their way as the settings say, whatever was set later."""

    def use_controls(self, controls, now_ms):
        limit = self.attempts.in_flight_max
        super().use_controls(structs.replace(controls, in_flight_max=limit), now_ms)


class KeepsTheLingers(DispatcherRules):
    """Lets what is pending linger as it began to, whatever was set later."""

    def use_controls(self, controls, now_ms):
        before = self._schedule.rule
        super().use_controls(controls, now_ms)
        self._schedule.rule = before


class StoresTheFirstAttemptOnly(DispatcherRules):
    """Sends a batch again without storing that it leaves once more."""

    def wake(self, now_ms):
        effects = super().wake(now_ms)
        again = {held.batch.key for held in self.batches.within(BatchState.SENT_AGAIN)}
        return [one for one in effects if not (isinstance(one, Store) and one.batch.key in again)]


class ForgetsAttemptsOfBefore(DispatcherRules):
    """Does not count what an earlier dispatcher sent, and got no answer to."""

    def __init__(self, rule, shards, batch_size_max, *, totals, **rest):
        super().__init__(rule, shards, batch_size_max, totals=totals, **rest)
        self.totals = totals


class TakesUnknownForRefused(DispatcherRules):
    """Makes a new batch in place of one that got no answer."""

    def delivered(self, key, outcome, *more):
        outcome = Outcome.REFUSED if outcome is Outcome.UNKNOWN else outcome
        return super().delivered(key, outcome, *more)


class ForgetsItsDoubt(DispatcherRules):
    """Believes a refusal, though an attempt before it may have reached the client."""

    def delivered(self, key, outcome, *more):
        held = self.batches.find(key, *ON_ITS_WAY)
        if outcome is Outcome.REFUSED:
            del self.batches._by_state[held.state][held]
            held.state = BatchState.SENT  # as if it were sent for the first time
            self.batches.begin(held)
        return super().delivered(key, outcome, *more)


class NeverChangesItsKey(DispatcherRules):
    """Sends the same content under the same key for ever, whatever the client answers."""

    def delivered(self, key, outcome, now_ms, *more):
        retry_after_ms, rejected, busy, _, *rest = more
        return super().delivered(key, outcome, now_ms, retry_after_ms, rejected, busy, False, *rest)


class ChangesItsKeyInDoubt(DispatcherRules):
    """Gives up a key at the first 5xx, though an attempt before it may have reached the client."""

    def delivered(self, key, outcome, now_ms, *more):
        held = self.batches.find(key, *ON_ITS_WAY)
        if more[3]:
            held.batch = structs.replace(held.batch, server_errors=SERVER_ERRORS_MAX)
        return super().delivered(key, outcome, now_ms, *more)


class ForgetsBeforeRecorded(DispatcherRules):
    """Forgets an accepted batch before the ledgers have recorded it."""

    def _accepted(self, held, now_ms):
        effects = super()._accepted(held, now_ms)
        if held.state is BatchState.ACCEPTED:
            self.batches.move(held, BatchEvent.ALL_RECORDED)
            self.accepted.recorded(held.batch.key, now_ms)
        return effects


class RecordsBeforeTheAnswer(DispatcherRules):
    """Sends `Published` when the batch leaves."""

    def _deliver(self, held, now_ms, *gone):
        shards = held.content.shards(self._shards) & self._linked
        told = [self._published([held.content], shard) for shard in sorted(shards)]
        return [*super()._deliver(held, now_ms, *gone), *told]


class AsksBeforeItTells(DispatcherRules):
    """Asks the counters for totals before it has told them what the client has."""

    def _collect(self, *more, **others):
        accepted, self.accepted = self.accepted, Accepted()
        effects = super()._collect(*more, **others)
        self.accepted = accepted
        return effects


class StoresTheNewBatchAlone(DispatcherRules):
    """Stores what the client has accepted only when it is time to, though newer batches are stored before."""

    def _store(self, batch, taken=(), gone=()):
        if batch is None:
            return super()._store(batch, taken, gone)
        return Store(batch, self.totals, taken, over=tuple(gone))


class CountsAStoreToCome(DispatcherRules):
    """Tells the counters of one store more than was made."""

    def _published(self, batches, shard):
        told = super()._published(batches, shard)
        return structs.replace(told, message=structs.replace(told.message, stores=told.message.stores + 1))


class LossDropsPending(DispatcherRules):
    """Does not ask a restarted counter for its pending videos."""

    def linked(self, shard, now_ms):
        effects = super().linked(shard, now_ms)
        return [one for one in effects if not (isinstance(one, Send) and isinstance(one.message, Recall))]


class ResendsOneOfSeveral(DispatcherRules):
    """Of several batches without an answer, sends only one again."""

    def wake(self, now_ms):
        for held in self.batches.within(BatchState.IN_DOUBT)[1:]:
            del self.batches._by_state[held.state][held]
            held.state = BatchState.ACCEPTED
            self.batches.begin(held)
        return super().wake(now_ms)


class SavesUpAttempts(DispatcherRules):
    """Allows attempts while the disk holds others up."""

    def _deliver(self, *arguments):
        effects = super()._deliver(*arguments)
        self.attempts._held_up = 0
        return effects

    def departs(self, key, now_ms):
        held_up_ms = super().departs(key, now_ms)
        self.attempts._held_up = 0
        return held_up_ms


class LimitsEachConnection(DispatcherRules):
    """Keeps the rate limit for each of the batches that may be on their way."""

    def use_controls(self, controls, now_ms):
        rate_max_per_s = controls.rate_max_per_s * controls.in_flight_max
        super().use_controls(structs.replace(controls, rate_max_per_s=rate_max_per_s), now_ms)


class TakesTwentyOne(DispatcherRules):
    """Puts one video too many into a batch."""

    def __init__(self, rule, shards, batch_size_max, **rest):
        super().__init__(rule, shards, batch_size_max + 1, **rest)


class CallsStepsOverdue(DispatcherRules):
    """Calls a total overdue because a later play of its video is overdue."""

    def _take_totals(self, collection, shard, message, now_ms):
        super()._take_totals(collection, shard, message, 1 << 60)


class _OtherKeys(DispatcherRules):
    """Gives batches keys of its own."""

    def _leave_if_collected(self, now_ms):
        effects = super()._leave_if_collected(now_ms)
        if not effects or not isinstance(effects[0], Store):
            return effects
        (held,) = self.batches.within(BatchState.SENT)
        held.batch = structs.replace(held.batch, key=self._key(held.batch))
        return [structs.replace(effects[0], batch=held.batch), Deliver(held.batch)]


class CountsItsKeys(_OtherKeys):
    """Numbers its keys, beginning at the same number in every life."""

    def _key(self, batch):
        return f"batch {self._collections}"


class KeysByVideo(_OtherKeys):
    """Makes the key from the videos only, so newer totals get a used key."""

    def _key(self, batch):
        return b"".join(entry.video for entry in batch.entries).hex()


# What the client refuses


class _Misunderstands(DispatcherRules):
    """Takes a refusal for another."""

    def delivered(
        self,
        key,
        outcome,
        now_ms,
        retry_after_ms=None,
        rejected=False,
        busy=False,
        server_error=False,
        about=About.MOMENT,
        answer="",
    ):
        more = retry_after_ms, rejected, busy, server_error, self._takes_for(about), answer
        return super().delivered(key, outcome, now_ms, *more)


class NeverHalves(_Misunderstands):
    """Sends a batch that is refused for its content again and again, with newer totals."""

    def _takes_for(self, about):
        return About.MOMENT if about is About.CONTENT else about


class TakesA409ForContent(_Misunderstands):
    """Halves a batch while the client is at work on an attempt that had no answer."""

    def _takes_for(self, about):
        return About.CONTENT if about is About.CONFLICT else about


class ForgetsWhoIsRefused(DispatcherRules):
    """Begins without the refused videos when the dispatcher starts again."""

    def __init__(self, rule, shards, batch_size_max, refused=(), **rest):
        super().__init__(rule, shards, batch_size_max, **rest)


class HalvesWhenAllIsRefused(DispatcherRules):
    """Never takes the client to refuse everything."""

    def __init__(self, rule, shards, batch_size_max, **rest):
        super().__init__(rule, shards, batch_size_max, **rest)
        self.halving._several = 1 << 30


class NeverTriesAgain(DispatcherRules):
    """Never tries a refused video again."""

    def _try_refused(self, now_ms, due_ms):
        return []


class NeverNarrows(DispatcherRules):
    """Makes batches as wide as before after a 413."""

    def _narrow(self, part, width, now_ms):
        pass


class ForgetsTheWidth(DispatcherRules):
    """Begins with wide batches when the dispatcher starts again."""

    def __init__(self, rule, shards, batch_size_max, totals, **rest):
        totals = structs.replace(totals, width=0)
        super().__init__(rule, shards, batch_size_max, totals=totals, **rest)


class NeverGivesWay(DispatcherRules):
    """Probes a client that fails with the same batch or half in doubt for ever."""

    def _in_doubt(self, now_ms):
        first, others = super()._in_doubt(now_ms)
        return [*first, *others], []

    def _halves_go_first(self):
        return True


class ProbesTheSameVideos(DispatcherRules):
    """Probes a client that fails with the videos that are due earliest."""

    def _take(self, now_ms):
        return self._schedule.take(now_ms, 1 if self.halving.refuses_everything else None)


class BlamesNoVideo(DispatcherRules):
    """Takes each failure for one of the client."""

    def _failed(self, held, before):
        return Alone()


class BlamesAtOnce(DispatcherRules):
    """Takes the first failure for one of a video, though the client may have the batch."""

    def _failed(self, held, before):
        return Alone(FAILURES_ALONE_MAX, True)


# Totals that are published again


class AdvancesWhenItLeaves(DispatcherRules):
    """Goes on after a batch that left, though the client may refuse it."""

    def _deliver(self, held, now_ms, *gone):
        if held.content.place is not None and self.republishing.requests:
            self.republishing.requests[0] = structs.replace(
                self.republishing.requests[0], place=held.content.place
            )
        return super()._deliver(held, now_ms, *gone)


class LeavesTheRepublishOutOfTheKey(_OtherKeys):
    """Gives the same totals the same key, whichever republish they are of."""

    def _key(self, batch):
        return make_batch(self._service, batch.trigger, batch.entries).key


class ForgetsTheRepublish(DispatcherRules):
    """Drops a request when the dispatcher starts again."""

    def __init__(self, rule, shards, batch_size_max, republishes=((), 0), **rest):
        super().__init__(rule, shards, batch_size_max, republishes=([], republishes[1]), **rest)


# The schedule


class _OtherSchedule(DispatcherRules):
    schedule: type[Schedule]

    def __init__(self, rule, shards, batch_size_max, **rest):
        super().__init__(rule, shards, batch_size_max, **rest)
        self._schedule = self.schedule(rule, batch_size_max, self._lead_time)


class DeadlineFromReceipt(_OtherSchedule):
    """Counts the deadline from the receipt of a play, not from its arrival on the queue."""

    class schedule(Schedule):
        def offer(self, video, arrived_ms, ordinal, now_ms, *known):
            super().offer(video, max(arrived_ms, now_ms), ordinal, now_ms, *known)


class IgnoresWhatIsOnItsWay(_OtherSchedule):
    """Does not take in a video that is in a batch on its way."""

    class schedule(Schedule):
        def offer(self, video, *pending):
            if video not in self._taken:
                super().offer(video, *pending)


class TakesTwice(_OtherSchedule):
    """Puts a video into a batch while it is in another one."""

    class schedule(Schedule):
        def offer(self, video, *pending):
            taken, self._taken = self._taken, {}
            super().offer(video, *pending)
            self._taken = taken


class HotFirst(_OtherSchedule):
    """Puts hot videos first."""

    class schedule(Schedule):
        def take(self, now_ms, width=None, without=()):
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
    """Puts one video into each batch, while others wait."""

    class schedule(Schedule):
        def take(self, now_ms, width=None, without=()):
            size, self._batch_size_max = self._batch_size_max, 1
            taken = super().take(now_ms)
            self._batch_size_max = size
            return taken
