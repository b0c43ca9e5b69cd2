"""A dispatcher's rules: when a batch leaves, what is in it, and what becomes of it.

Pure. Owns the schedule and the one batch on its way. Promises: a batch is written down before it is
sent and until every ledger has recorded it; a batch whose outcome is unknown is sent again as it is,
under its key, before anything else, until it is accepted; one that was only ever refused is made
anew, with newer totals. Keeps no totals of videos: it asks the counters for them when a batch leaves.
When the client may be tried is `attempts.py`'s.

    IDLE ──due──▶ COLLECTING ──all shards answered──▶ SENDING ──accepted──▶ IDLE
     ▲                                                │
     │                                                ├ refused: the videos wait again
     └──────────pause over─────────── BACKING_OFF ◀───┴ unknown, now or before: the same batch again
"""

from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import blake2b

from msgspec import Struct, structs

from ..columns import by_video, pack_numbers
from ..effects import Send
from ..messages import Collect, Collected, DispatcherInbox, Pending, Published, Recall, Recorded
from ..shards import counter_of, shard_of
from ..stats import DispatcherStats
from .attempts import Attempts, Outcome
from .client_delays import HoldUps
from .effects import Deliver, Forget, Store
from .lead_time import Margin
from .outbox import Batch, Entry, PublishTotals, Stage, Trigger, make_batch
from .schedule import Rule, Schedule

COLLECT_TIMEOUT_MS = 1000  # a counter that is slower is passed over until it says something

Effect = Send | Store | Forget | Deliver


class Phase(Enum):
    """What the dispatcher is doing."""

    IDLE = "idle"
    COLLECTING = "collecting"
    SENDING = "sending"
    BACKING_OFF = "backing off"


class Collection(Struct):
    """The totals of a batch that leaves, as far as the counters have answered."""

    number: int
    trigger: Trigger
    asked: dict[int, list[bytes]]
    unanswered: set[int]
    expires_ms: int
    entries: dict[bytes, Entry] = {}


class Dispatching:
    """The state machine of the dispatcher: messages and the time in, effects out."""

    def __init__(
        self,
        rule: Rule,
        shards: int,
        batch_size_max: int,
        service: str,
        jitter: Callable[[], float],
        stored: Iterable[Batch] = (),
        totals: PublishTotals = PublishTotals(),
        rate_max_per_s: float = 0.0,
    ):
        """`service`: the id that the state began with. `jitter`: 0 to 1, at random, for back-off.

        `stored`: the batches that were written down and not yet recorded by every ledger.
        `rate_max_per_s`: attempts to publish a second that the client allows; 0 for any number.
        """
        self.phase = Phase.IDLE
        self.totals = totals
        self.attempts = Attempts(jitter, rate_max_per_s)
        self._margin = Margin(rule.deadline_ms, interval_ms=self.attempts.interval_ms, pace=totals.pace)
        salt = blake2b(service.encode(), digest_size=16).digest()
        self._schedule = Schedule(rule, batch_size_max, self._margin, salt)
        self._holdups = HoldUps()
        self._shards = shards
        self._service = service
        self._linked: set[int] = set()
        self._silent: set[int] = set()
        self._collections = 0
        self._collection: Collection | None = None
        self._batch: Batch | None = None
        self._doubtful = False  # whether the client may have the batch on its way already
        self._left_ms = 0
        self._draining = False
        self._barrier_due = False
        self._unrecorded: dict[str, tuple[Batch, set[int]]] = {}
        for batch in stored:
            if batch.stage is Stage.ACCEPTED:
                self._unrecorded[batch.key] = (batch, self._shards_of(batch))
            else:
                self._batch, self.phase, self._doubtful = batch, Phase.BACKING_OFF, True

    # What happens to it

    def linked(self, shard: int, now_ms: int) -> list[Effect]:
        """A counter is there, for the first time or again: tell it what it missed, then ask."""
        effects = self.lost(shard, now_ms)
        self._linked.add(shard)
        self._barrier_due = self._draining  # not drained before it has answered the Recall
        effects += [
            self._tell(batch, shard) for batch, shards in self._unrecorded.values() if shard in shards
        ]
        return [*effects, Send(counter_of(shard), Recall()), *self.wake(now_ms)]

    def lost(self, shard: int, now_ms: int) -> list[Effect]:
        """A counter is gone. It offers its videos again when it is back."""
        self._linked.discard(shard)
        self._silent.discard(shard)
        self._set_aside(shard)
        return self._leave_if_collected(now_ms) + self.wake(now_ms)

    def handle(self, shard: int, inbox: list[DispatcherInbox], now_ms: int) -> list[Effect]:
        """Take in what arrived together from one counter. Returns what to do, in order."""
        effects: list[Effect] = []
        if shard in self._silent:
            self._silent.discard(shard)
            self._barrier_due = self._draining
            effects.append(Send(counter_of(shard), Recall()))
        for message in inbox:
            match message:
                case Pending():
                    self._schedule.offer_all(message, now_ms)
                case Collected():
                    effects += self._collected(shard, message, now_ms)
                case Recorded():
                    effects += self._recorded(shard, message.batch)
                case _:
                    raise AssertionError(f"the dispatcher does not understand {message!r}")
        return effects + self.wake(now_ms)

    def delivered(
        self,
        outcome: Outcome,
        now_ms: int,
        retry_after_ms: int | None = None,
        rejected: bool = False,
    ) -> list[Effect]:
        """What became of the batch on its way. `retry_after_ms`: the pause that the client asks for.

        `rejected`: the client said that the request itself is wrong; that is counted apart.
        """
        batch = self._batch
        if batch is None or self.phase is not Phase.SENDING:
            raise AssertionError(f"an outcome while {self.phase.value}")
        if outcome is Outcome.ACCEPTED:
            return self._accepted(batch, now_ms)
        self.totals = self.totals.plus(failed=1, rejected=int(rejected))
        self.attempts.failed(now_ms, retry_after_ms)
        self.phase = Phase.BACKING_OFF
        # A refusal says nothing of the attempts before it, and one of those may have got through.
        self._doubtful = self._doubtful or outcome is Outcome.UNKNOWN
        if self._doubtful:
            return []
        # The client has none of it: newer totals go along next time, under their own key.
        self._batch = None
        for entry in batch.entries:
            if shard_of(entry.video, self._shards) in self._linked:
                self._schedule.fail(entry.video)
            else:
                self._schedule.release(entry.video)
        return [Forget(batch.key)]

    def drain(self, now_ms: int) -> list[Effect]:
        """From now on publish what is pending at once, due or not."""
        self._draining = self._barrier_due = True
        return self.wake(now_ms)

    def wake(self, now_ms: int) -> list[Effect]:
        """Do what is due: call it when `wakeup_ms` has come."""
        effects: list[Effect] = []
        collection = self._collection
        if collection is not None and not self._left_ms <= now_ms < collection.expires_ms:
            for shard in sorted(collection.unanswered):
                self._silent.add(shard)
                self._set_aside(shard)
            effects += self._leave_if_collected(now_ms)
        may_leave = self.attempts.may_leave(now_ms)
        if self.phase is Phase.BACKING_OFF and may_leave:
            if self._batch is not None:
                self._left_ms = now_ms
                return [*effects, *self._deliver(self._batch, now_ms)]
            self.attempts.resumed()
            self._holdups.end(now_ms)
            self.phase = Phase.IDLE
        if self.phase is Phase.IDLE and self._barrier_due:
            # What the counters said before they answer this has then arrived.
            self._barrier_due = False
            return effects + self._collect(Trigger.DRAIN, {shard: [] for shard in self._linked}, now_ms)
        if self.phase is Phase.IDLE and may_leave:
            due_ms = self._schedule.next_due_ms()
            if due_ms is not None and (due_ms <= now_ms or self._draining):
                trigger, videos = self._schedule.take(now_ms)
                asked: dict[int, list[bytes]] = {}
                for video in videos:
                    asked.setdefault(shard_of(video, self._shards), []).append(video)
                effects += self._collect(trigger, asked, now_ms)
        return effects

    # What can be asked of it

    def wakeup_ms(self) -> int | None:
        """When to call `wake` at the latest; None when only a message can change anything."""
        if self._collection is not None:
            return self._collection.expires_ms
        match self.phase:
            case Phase.BACKING_OFF:
                return self.attempts.next_ms()
            case Phase.IDLE:
                due_ms = self._schedule.next_due_ms()
                return None if due_ms is None else max(due_ms, self.attempts.next_ms())
            case _:
                return None

    @property
    def drained(self) -> bool:
        """Whether all that the linked counters have is published, and recorded by them."""
        nothing_held = not len(self._schedule) and not self._unrecorded
        everything_heard = not self._barrier_due and not self._silent
        return self.phase is Phase.IDLE and nothing_held and everything_heard

    def stats(self) -> DispatcherStats:
        """What was published, and what is not yet."""
        on_its_way = len(self._unrecorded) + (self.phase is not Phase.IDLE)
        names = DispatcherStats.__struct_fields__
        counts = {name: getattr(self.totals, name) for name in names if hasattr(self.totals, name)}
        return DispatcherStats(
            **counts,
            pending_videos=len(self._schedule),
            in_flight=on_its_way,
            circuit=self.attempts.circuit,
            failures=self.attempts.failures,
        )

    # How it does that

    def _collect(self, trigger: Trigger, asked: dict[int, list[bytes]], now_ms: int) -> list[Effect]:
        self.phase = Phase.COLLECTING
        self._left_ms = now_ms
        self._collections += 1
        self._collection = Collection(
            self._collections,
            Trigger.DRAIN if self._draining else trigger,
            asked,
            set(asked),
            now_ms + COLLECT_TIMEOUT_MS,
        )
        asks: list[Effect] = [
            Send(counter_of(shard), Collect(self._collections, b"".join(videos)))
            for shard, videos in sorted(asked.items())
        ]
        return asks or self._leave_if_collected(now_ms)

    def _collected(self, shard: int, message: Collected, now_ms: int) -> list[Effect]:
        collection = self._collection
        if collection is None or message.number != collection.number:
            return []  # of a collection that went on without it; its videos are offered again
        for video, total, arrived_ns in by_video(message.videos, message.totals, message.arrived_ns):
            taken = self._schedule.taken(video)
            # Of several plays that wait one may be overdue and another, told first, not: every_play.
            latest_ms = arrived_ns // 1_000_000 + self._schedule.rule.deadline_ms
            overdue = taken is not None and taken.overdue and latest_ms <= now_ms
            collection.entries[video] = Entry(video, total, arrived_ns, overdue)
        for video in collection.asked[shard]:
            if video not in collection.entries:
                self._schedule.release(video)
        collection.unanswered.discard(shard)
        return self._leave_if_collected(now_ms)

    def _leave_if_collected(self, now_ms: int) -> list[Effect]:
        collection = self._collection
        if collection is None or collection.unanswered:
            return []
        self._collection = None
        entries = list(collection.entries.values())
        if not entries:
            self.phase = Phase.IDLE
            return []
        batch = make_batch(self._service, collection.trigger, entries)
        self._doubtful = False
        # Store before Deliver: after a crash in between, the same batch goes under the same key.
        return [Store(batch, self.totals), *self._deliver(batch, now_ms)]

    def _deliver(self, batch: Batch, now_ms: int) -> list[Effect]:
        self.phase = Phase.SENDING
        self._holdups.add(*self.attempts.rate_wait_ms())
        self._holdups.begin(now_ms)
        self.attempts.left(now_ms)
        self._batch = batch
        return [Deliver(batch)]

    def _accepted(self, batch: Batch, now_ms: int) -> list[Effect]:
        lead_ms = self._margin.lead_ms()
        self._margin.measure(max(0, now_ms - self._left_ms))
        self.attempts.accepted()
        self._holdups.end(now_ms)
        self._batch = None
        self.phase = Phase.IDLE
        late = late_by_client = 0
        for entry in batch.entries:
            taken = self._schedule.taken(entry.video)
            if taken is not None and taken.trigger is Trigger.DEADLINE:
                late_ms = now_ms - taken.latest_ms
                late += late_ms > 0
                late_by_client += 0 < late_ms <= self._holdups.since(taken.latest_ms - lead_ms)
            self._schedule.confirm(entry.video, entry.plays)
        counts = {batch.trigger.value: 1, "videos": len(batch.entries), "late": late}
        counts["late_by_client"] = late_by_client
        self.totals = structs.replace(self.totals.plus(**counts), pace=self._margin.pace)
        accepted, shards = batch.accepted(), self._shards_of(batch)
        self._unrecorded[batch.key] = (accepted, shards)
        told = [self._tell(accepted, shard) for shard in sorted(shards & self._linked)]
        # Kept until Recorded: a ledger that missed Published would offer what the client has.
        return [Store(accepted, self.totals), *told, *self.wake(now_ms)]

    def _recorded(self, shard: int, key: str) -> list[Effect]:
        if key not in self._unrecorded:
            return []
        shards = self._unrecorded[key][1]
        shards.discard(shard)
        if shards:
            return []
        del self._unrecorded[key]
        return [Forget(key)]

    def _set_aside(self, shard: int) -> None:
        """A counter can't be asked: take its videos out, also of a batch that waits for it."""
        self._schedule.forget(lambda video: shard_of(video, self._shards) == shard)
        if self._collection is not None and shard in self._collection.unanswered:
            self._collection.unanswered.discard(shard)
            for video in self._collection.asked[shard]:
                self._schedule.release(video)

    def _tell(self, batch: Batch, shard: int) -> Send:
        entries = [one for one in batch.entries if shard_of(one.video, self._shards) == shard]
        videos = b"".join(entry.video for entry in entries)
        return Send(counter_of(shard), Published(batch.key, videos, pack_numbers(e.plays for e in entries)))

    def _shards_of(self, batch: Batch) -> set[int]:
        return {shard_of(entry.video, self._shards) for entry in batch.entries}
