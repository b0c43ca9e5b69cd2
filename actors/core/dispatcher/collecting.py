"""How a batch of a dispatcher is filled, stored and sent: the state of the rules, and their first steps.

Pure. `rules.py` says when a batch leaves and what becomes of it.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b

from ..effects import Send
from ..messages import Collect, Collected, CollectedPublished
from ..shard_columns import shards_of
from ..shards import counter_of
from ..triggers import Trigger
from .accepted import Accepted, published
from .attempts import RETRY_AFTER_MS_MAX, Attempts
from .batches import Batches, BatchEvent, BatchState, Collection, Group, HeldBatch, Phase
from .effects import Deliver, Effect, Store, StoreRefused
from .halving import Halving
from .lead_time import LeadTime
from .numbered_keys import NumberedKeys
from .outbox import Batch, Entry, PublishTotals, Stage, make_batch
from .pending import NEVER_MS
from .refused_videos import RefusedVideo, RefusedVideos
from .republish import Place, Republish
from .republishing import Republishing
from .rule import Rule
from .schedule import Schedule
from .suspects import Suspects

COLLECT_TIMEOUT_MS = 1000  # a slower counter is passed over until it sends a message


class Collecting:
    """The state of a dispatcher's rules."""

    def __init__(
        self,
        rule: Rule,
        shards: int,
        batch_size_max: int,
        *,
        service: str,
        jitter: Callable[[], float],
        stored: Iterable[Batch] = (),
        totals: PublishTotals = PublishTotals(),
        rate_max_per_s: float = 0.0,
        retry_after_max_ms: int = RETRY_AFTER_MS_MAX,
        in_flight_max: int = 1,
        realtime_wait_max_ms: int = 0,
        republishes: tuple[Iterable[Republish], int] = ((), 0),
        refused: Iterable[RefusedVideo] = (),
    ):
        """`service`: the id that the state began with. `jitter`: returns a random number from 0 to 1.

        `stored`: the stored batches: some ledger has not recorded them yet, or the client refused them.
        `rate_max_per_s`: the attempts per second that the client allows; 0 for no limit.
        `retry_after_max_ms`: the longest pause that the client can ask for. `in_flight_max`: how many batches
        may be on their way at once. `realtime_wait_max_ms`: how long a video without a deadline waits for the
        answer to the batches before it. `republishes`: the stored requests to publish totals again, and the
        greatest number that one ever had. `refused`: the stored videos that the client refuses.
        """
        self.batches = Batches()
        self.accepted = Accepted()
        self.totals = totals.taken_over()
        self.attempts = Attempts(jitter, rate_max_per_s, retry_after_max_ms, in_flight_max)
        self._realtime_wait_max_ms = realtime_wait_max_ms
        self._departed_ms = self._full_ms = -1  # when a batch last left, and when there was last no room
        self._lead_time = LeadTime(
            rule.deadline_ms,
            interval_ms=self.attempts.interval_ms,
            publish_time=totals.publish_time,
            in_flight_max=in_flight_max,
        )
        salt = blake2b(service.encode(), digest_size=16).digest()
        self._batch_size_max = batch_size_max
        self._schedule = Schedule(rule, self.width, self._lead_time, salt)
        self._widens_ms: int | None = None  # when a wider batch is tried
        self.republishing = Republishing(shards, self.width, *republishes)
        self.halving = Halving()
        self.refused = RefusedVideos(refused)
        self.suspects = Suspects()
        self._new_attempt = 0  # the number of the last attempt with a new batch, a half among them
        self._turn = 0  # how many batches were taken from the schedule
        self._half_attempt = 0  # the number of the last attempt with a half
        self._schedule.hold(self.refused)
        self._deadline_ms = rule.deadline_ms
        self._shards = shards
        self._service = service
        self._linked: set[int] = set()
        self._silent: set[int] = set()
        self._looked_ms = 0  # when it was last decided what leaves
        self._busy_try_ms = -NEVER_MS  # when a try last did not wait for others
        self._collections = self._wall_ahead_ms = 0  # ahead of the clock that is never set
        self._draining = self._barrier_due = False
        stored = list(stored)
        self._keys = NumberedKeys(service, (one for one in stored if one.stage is Stage.REFUSED))
        self._begin_with(one for one in stored if one.stage is not Stage.REFUSED)

    @property
    def width(self) -> int:
        """How many videos a batch has at most: as many as the settings and the client allow."""
        return min(self._batch_size_max, self.totals.width or self._batch_size_max)

    @property
    def phase(self) -> Phase:
        """What the dispatcher is doing."""
        if self.batches.asked:
            return Phase.COLLECTING
        if self.batches.are_on_their_way:
            return Phase.SENDING
        in_doubt = self.batches.in_doubt
        waits = in_doubt and not all(self._is_refused(held.content) for held in in_doubt)
        return Phase.BACKING_OFF if self.attempts.backing_off or waits else Phase.IDLE

    def pending_within(self, now_ms: int, shares: Iterable[float]) -> list[int]:
        """How many videos in no batch are due within each of these shares of a deadline, which are sorted.

        Each video is counted once: in the first share that it is within.
        """
        return self._schedule.pending_within([now_ms + round(one * self._deadline_ms) for one in shares])

    def _is_refused(self, batch: Batch) -> bool:
        """Whether a batch is a try of a refused video."""
        return len(batch.entries) == 1 and batch.entries[0].video in self.refused

    def _begin_with(self, stored: Iterable[Batch]) -> None:
        """Hold the batches that an earlier dispatcher has sent."""
        for batch in stored:
            held = self.batches.begin(HeldBatch.stored(batch, batch.shards(self._shards)))
            if held.state is BatchState.IN_DOUBT:
                self._schedule.hold(batch.videos)

    def _collect(
        self,
        trigger: Trigger,
        asked: dict[int, list[bytes]],
        now_ms: int,
        due_ms: int,
        trial: int = 0,
        offered_ms: int | None = None,
        known: dict[bytes, Entry] | None = None,
        group: Group | None = None,
    ) -> list[Effect]:
        self._collections, group = self._collections + 1, group or Group()
        group.batches += 1
        collection = Collection(
            Trigger.DRAIN if self._draining else trigger,
            self._collections,
            asked,
            set(asked),
            now_ms + COLLECT_TIMEOUT_MS,
            known or {},
            trial=trial,
        )
        follows = max(due_ms, self._full_ms, self.attempts.next_ms()) <= self._departed_ms
        own_from_ms = self._departed_ms if follows else now_ms
        held = HeldBatch(collection, now_ms, due_ms=due_ms, own_from_ms=own_from_ms, group=group)
        self.batches.begin(held).offered_ms = offered_ms
        if not asked:
            return self._leave_if_collected(now_ms)
        effects = self._say_accepted()  # before they are asked: else they answer with what the client has
        for shard, videos in sorted(asked.items()):
            effects.append(Send(counter_of(shard), Collect(collection.number, b"".join(videos))))
        return effects

    def _known(self, videos: Iterable[bytes]) -> tuple[dict[bytes, Entry], list[bytes]]:
        """What leaves of these videos, which were taken, without asking; and the videos to ask for."""
        known, asked = dict[bytes, Entry](), list[bytes]()
        for video in videos:
            due = self._schedule.taken(video)
            if due is not None and due.total:
                known[video] = Entry(video, due.total, due.arrived_ns, due.overdue)
            else:
                asked.append(video)
        return known, asked

    def _collected(self, shard: int, message: Collected, now_ms: int) -> list[Effect]:
        self.totals = self.totals.heard_of(shard, message.commits)
        if message.recalls:
            self._barrier_due = self._draining  # not drained before everything is announced
        for held in self.batches.within(BatchState.ASKED):
            if held.collection.number == message.number:
                self._take_totals(held.collection, shard, message, now_ms)
                return self._leave_if_collected(now_ms)
        return []  # too late: the batch left without this counter, which announces its videos again

    def _republish(self, now_ms: int, due_ms: int | None) -> list[Effect]:
        """Begin a batch of the request to publish totals again, if one may leave now.

        `due_ms`: when anything else is due.
        """
        publish_ms = max(self._lead_time.publish_ms, self._lead_time.interval_ms)
        askable = self._linked - self._silent
        place = self.republishing.place
        if place is None or place.shard not in askable:
            return []
        self.republishing.use_width(1 if self.halving.refuses_everything else self.width)
        deadlines_ms = self._schedule.begin_ms()
        if not self.republishing.may_leave(now_ms, due_ms, deadlines_ms, publish_ms, self._deadline_ms):
            return []
        self._collections += 1
        collection = Collection(Trigger.REPUBLISH, self._collections, place=place)
        self.batches.begin(HeldBatch(collection, now_ms, due_ms=now_ms, own_from_ms=now_ms))
        return self._ask_published(collection, now_ms)

    def _ask_published(self, collection: Collection, now_ms: int) -> list[Effect]:
        asks = self.republishing.ask(collection, self._linked - self._silent)
        if asks is None:
            return self._leave_if_collected(now_ms)
        collection.expires_ms = now_ms + COLLECT_TIMEOUT_MS
        return [*self._say_accepted(), asks]

    def _collected_published(self, shard: int, message: CollectedPublished, now_ms: int) -> list[Effect]:
        for held in self.batches.within(BatchState.ASKED):
            if held.collection.number == message.number:
                self.republishing.take(held.collection, shard, message)
                return self._ask_published(held.collection, now_ms)
        return []  # too late: it is asked for again

    def _take_totals(self, collection: Collection, shard: int, message: Collected, now_ms: int) -> None:
        collection.take(shard, message, self._schedule, now_ms + self._wall_ahead_ms)

    def _leave_if_collected(self, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        for held in list(self.batches.asked):
            collection = held.collection
            if collection.unanswered:
                continue
            if collection.place is not None:
                effects += self._leave_out_refused(collection)
            if collection.trial and not collection.entries:
                effects += self._nothing_to_try(collection, now_ms)
            if not collection.entries:
                self.batches.move(held, BatchEvent.NOTHING_COLLECTED)
                effects += [] if collection.place is None else self._store_accepted()
                effects += self.republishing.collected_nothing(collection, self.totals)
                continue
            entries = list(collection.entries.values())
            if len(entries) > self.width:  # the client has said meanwhile that this is too wide
                self.batches.move(held, BatchEvent.NOTHING_COLLECTED)
                self._leave_as_halves(held, entries, now_ms)
                continue
            effects += self._leave(held, entries, now_ms)
        return effects

    def _leave_as_halves(self, held: HeldBatch, entries: list[Entry], now_ms: int) -> None:
        place, due_ms = held.collection.place, min(now_ms, held.due_ms)
        if place is not None:
            self._schedule.hold([entry.video for entry in entries])
        places = place, self.republishing.begins(place)
        dues = due_ms, self.attempts.delays.offered_ms(due_ms, now_ms), now_ms
        self.halving.halve(None, held.collection.trigger, entries, places, *dues)

    def _leave(self, held: HeldBatch, entries: list[Entry], now_ms: int) -> list[Effect]:
        """Store a batch with these entries, and send it."""
        collection, gone = held.collection, list[str]()
        place = collection.place
        if collection.trial:
            # Each try has a key of its own: a client may keep its first answer to a key.
            held.batch = make_batch(self._service, collection.trigger, entries, collection.trial, place)
        else:
            held.batch, gone = self._keys.make(collection.trigger, entries, place)
        self.batches.move(held, BatchEvent.COLLECTED)
        if place is not None:
            self._schedule.hold(held.batch.videos)  # newer totals of them leave after this batch
        return self._deliver(held, now_ms, gone)

    def _leave_out_refused(self, collection: Collection) -> list[Effect]:
        """Take the videos that the client refuses out of a republish. They are told when they are tried."""
        refused = [one for video, one in collection.entries.items() if video in self.refused]
        for one in refused:
            del collection.entries[one.video]
        told = tuple(self.refused.tell_again(one.video, one.plays) for one in refused)
        return [*self._store_accepted(), StoreRefused(told, self.totals)] if told else []

    def _nothing_to_try(self, collection: Collection, now_ms: int) -> list[Effect]:
        """Go on after no counter had a new total of a video that was to be tried."""
        effects: list[Effect] = []
        for shard, videos in collection.asked.items():
            for video in videos:
                one = self.refused.get(video)
                if one is None:
                    continue
                if shard not in self._linked - self._silent:
                    self._schedule.put_aside(video, keep=False)
                    self.refused.delay(video, now_ms)
                elif one.again:
                    collection.entries[video] = Entry(video, one.plays, 0)
                    collection.trigger = Trigger.REPUBLISH
                    collection.place = Place(0, self._shards, self._shards)
                else:
                    self.refused.drop([video])
                    effects += [*self._store_accepted(), StoreRefused((), self.totals, (video,))]
        return effects

    def _deliver(self, held: HeldBatch, now_ms: int, gone: Iterable[str] = ()) -> list[Effect]:
        """Store that a batch leaves, and send it. `gone`: the keys of batches to delete with that."""
        held.sent(self.attempts.delays, now_ms)
        held.attempt = self.attempts.left(now_ms)
        is_new = held.state is BatchState.SENT
        if is_new:
            self._new_attempt = held.attempt
            if held.part is not None:
                self._half_attempt = held.attempt
        self.totals = self.totals.plus(attempts=1, stores=int(is_new))
        # Store before Deliver: after a crash in between, the same batch is sent under the same key, and an
        # attempt whose outcome nobody knows is counted.
        return [self._store(held.content, gone=gone), Deliver(held.content)]

    def _store(self, batch: Batch | None, taken: tuple[bytes, ...] = (), gone: Iterable[str] = ()) -> Store:
        """Store a batch, and what is still to be stored of accepted ones. `taken`: as in `Store`.

        `gone`: the keys of more batches to delete.
        """
        accepted, over = self.accepted.take_unstored()
        batches = accepted if batch is None else (*accepted, batch)
        return Store(batches, self.totals, taken, (*over, *gone))

    def _store_rest(self, taken: tuple[bytes, ...] = ()) -> Store:
        """Store what is still to be stored of accepted batches, and no other batch."""
        self.totals = self.totals.plus(stores=1)
        return self._store(None, taken)

    def _store_accepted(self) -> list[Effect]:
        """Store the accepted batches that the totals have, before totals are stored without a batch.

        Else a dispatcher that is killed then would send them again, and count them twice.
        """
        return [self._store_rest()] if self.accepted.uncounted else []

    def _say_accepted(self) -> list[Effect]:
        """Tell the counters of accepted batches of which they were not told."""
        told: dict[int, list[Batch]] = {}
        for held in self.accepted.take_unsaid():
            for shard in held.unrecorded:
                if shard in self._linked:
                    told.setdefault(shard, []).append(held.content)
        return [self._published(batches, shard) for shard, batches in sorted(told.items())]

    def _published(self, batches: list[Batch], shard: int) -> Send:
        return Send(counter_of(shard), published(batches, shard, self._shards, self.totals.stores))

    def _set_aside(self, shard: int) -> None:
        """Drop the videos of a counter that can't be asked. A batch that waits for it goes without them."""
        self._schedule.forget(lambda videos: shards_of(videos, self._shards) == shard)
        for held in self.batches.within(BatchState.ASKED):
            if shard in held.collection.unanswered:
                held.collection.unanswered.discard(shard)
                for video in held.collection.asked.get(shard, []):
                    self._schedule.release(video)
