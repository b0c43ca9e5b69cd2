"""A dispatcher's rules: when a batch leaves, what is in it, and what becomes of it.

Pure. Owns the schedule and the batches (`batches.py` has their states). Promises:

- A batch is stored before it is sent, and stays stored until every ledger has recorded it.
- A batch whose outcome is unknown is sent again unchanged, before any new batch; while the circuit is open,
  they take turns. This ends when the client accepts it, refuses what is in it, has answered five times in a
  row with a 5xx, or judges others while this one fails (`suspects.py`).
- Another batch leaves while some are on their way only if it has to. A video is in one of them at most.
- If a batch was only ever refused, its videos are pending again, and leave with newer totals.
- A video that the client refuses does not hold up the others: `refusing.py`.

The dispatcher keeps no totals: it asks the counters for them when a batch leaves. `attempts.py` says when the
client may be tried. Times are on a clock that is never set. Only arrivals are stamps of the wall clock.
"""

from msgspec import structs

from ..columns import unpack_videos
from ..effects import Send
from ..messages import Collected, CollectedPublished, DispatcherInbox, Pending, Recall, Recorded
from ..shards import by_shard, counter_of
from ..stats import DispatcherStats
from ..triggers import Trigger
from .attempts import About, Circuit, Outcome
from .batches import EVENTS, ON_ITS_WAY, BatchEvent, BatchState, Group, HeldBatch, Phase
from .confirming import Confirming
from .effects import Effect, StoreRepublish
from .numbered_keys import answered
from .outbox import PublishTotals
from .refusing import CONFLICTS_MAX
from .suspects import Alone


class DispatcherRules(Confirming):
    """The state machine of the dispatcher: messages and the time in, effects out.

    `expired`: how many questions to the counters had no answer in time.
    """

    expired = 0

    # Events

    def linked(self, shard: int, now_ms: int) -> list[Effect]:
        """Send a newly linked counter each `Published` that it may have missed, then `Recall`."""
        effects = self.lost(shard, now_ms)
        self._linked.add(shard)
        self._barrier_due = self._draining  # not drained before it has answered the Recall
        effects += self._say_again(shard)
        return [*effects, Send(counter_of(shard), Recall()), *self.wake(now_ms)]

    def lost(self, shard: int, now_ms: int) -> list[Effect]:
        """Drop the videos of a lost counter. It announces them again when it is back."""
        self._linked.discard(shard)
        self._silent.discard(shard)
        self._set_aside(shard)
        return self._leave_if_collected(now_ms) + self.wake(now_ms)

    def handle(
        self, shard: int, inbox: list[DispatcherInbox], now_ms: int, wall_ms: int | None = None
    ) -> list[Effect]:
        """Handle messages that arrived together from one counter. Returns the effects, in order.

        `wall_ms`: the wall clock, in milliseconds since 1970; None if it shows `now_ms`.
        """
        self._wall_ahead_ms = 0 if wall_ms is None else wall_ms - now_ms
        effects: list[Effect] = []
        if shard in self._silent:
            self._silent.discard(shard)
            self._barrier_due = self._draining
            effects.append(Send(counter_of(shard), Recall()))
        for message in inbox:
            match message:
                case Pending():
                    self.totals = self.totals.heard_of(shard, message.commits)
                    self._schedule.offer_all(message, now_ms, self._wall_ahead_ms)
                    self._played(message)
                case Collected():
                    effects += self._collected(shard, message, now_ms)
                case CollectedPublished():
                    effects += self._collected_published(shard, message, now_ms)
                case Recorded():
                    self._recorded(shard, message, now_ms)
                case _:
                    raise AssertionError(f"the dispatcher does not understand {message!r}")
        return effects + self.wake(now_ms)

    def departs(self, key: str, now_ms: int) -> int:
        """Note that the batch with this key leaves now. Storing it may have taken some time.

        Returns for how many ms the client has delayed it: see `client_delays.py`.
        """
        held = self.batches.find(key, *ON_ITS_WAY)
        assert held is not None and held.offered_ms is not None, f"{key} is not on its way"
        waited_ms = now_ms - held.sent_ms
        if waited_ms > 0:
            held.waited(waited_ms)
        self.attempts.departed(now_ms, late=waited_ms > 0)
        if held.state is BatchState.SENT and held.part is None:
            self._lead_time.measure_own((now_ms - held.own_from_ms) / held.group.batches)
        self._departed_ms = now_ms
        return now_ms - held.offered_ms

    def delivered(
        self,
        key: str,
        outcome: Outcome,
        now_ms: int,
        retry_after_ms: int | None = None,
        rejected: bool = False,
        busy: bool = False,
        server_error: bool = False,
        about: About = About.MOMENT,
        answer: str = "",
    ) -> list[Effect]:
        """Handle the outcome of the batch with this key, which is on its way.

        `retry_after_ms`: the pause that the client asks for. `rejected`: the client said that the request
        itself is wrong; this is counted apart. `busy`: the client said that it has too much to do.
        `server_error`: the client answered with a 5xx. `about`: of a refusal. `answer`: the client's words,
        or why there are none; "" if the attempt did not get as far as the client.
        """
        held = self.batches.find(key, *ON_ITS_WAY)
        if held is None:
            raise AssertionError(f"an outcome of {key}, and no such batch is on its way")
        if self.attempts.room <= 0:
            self._full_ms = now_ms
        if outcome is Outcome.ACCEPTED:
            self.batches.move(held, BatchEvent.CLIENT_ACCEPTED)
            return self._accepted(held, now_ms) + self.wake(now_ms)
        before = held.content
        held.batch = answered(self._service, before, server_error)
        self.totals = self.totals.plus(failed=1, rejected=int(rejected))
        if before.place is not None:
            self.republishing.waits_from(now_ms)
        if about is About.CONFLICT and held.state is BatchState.SENT_AGAIN and held.conflicts < CONFLICTS_MAX:
            self._still_at_work(held, now_ms, retry_after_ms)
            return self.wake(now_ms)
        held.conflicts = 0
        if outcome is Outcome.REFUSED and about in (About.CONTENT, About.CONFLICT, About.WIDTH):
            effects = self._refused_content(held, before, about, answer, now_ms, retry_after_ms)
            return effects + self.wake(now_ms)
        has_failed = bool(answer)  # a busy client may refuse any batch
        alone = self._failed(held, before) if has_failed else Alone()
        may_be_content = has_failed and (not busy or len(before.entries) == 1)
        if may_be_content and self._is_refused(before) and held.batch.key == before.key:
            return self._refuses_again(held, before, outcome, answer, now_ms) + self.wake(now_ms)
        if may_be_content and alone.is_proof:
            return self._gives_up(held, before, answer, now_ms) + self.wake(now_ms)
        key_given_up = held.batch.key != before.key
        state = self.batches.move(held, BatchEvent.KEY_GIVEN_UP if key_given_up else EVENTS[outcome])
        is_changed = state is BatchState.IN_DOUBT and held.batch != before
        stored: list[Effect] = [self._store(held.batch)] if is_changed else []
        if state is BatchState.IN_DOUBT and alone.times and may_be_content:
            self._wait_alone(held, alone.times - 1, now_ms, retry_after_ms)
            self.attempts.says_nothing(now_ms)
            return stored + self.wake(now_ms)
        opens = about is About.EVERYTHING and not alone.times
        self.attempts.failed(now_ms, retry_after_ms, held.attempt, busy, opens)
        return stored if state is BatchState.IN_DOUBT else self._refuse(held, before.key, now_ms)

    def request_republish(self, why: str, videos: bytes, now_ms: int) -> list[Effect]:
        """Tell the client totals again. `why`: for the log. `videos`: GUIDs, packed; empty for all."""
        request, over = self.republishing.request(why, videos, now_ms)
        named = set(unpack_videos(videos))
        self.refused.try_soon(now_ms, lambda one: not named or one.video in named)
        return [*self._store_accepted(), StoreRepublish(request, self.totals, over), *self.wake(now_ms)]

    def client_started(self, now_ms: int) -> list[Effect]:
        """Try the client, which has just started, whatever the pause."""
        self.attempts.once_more()
        return self.wake(now_ms)

    def drain(self, now_ms: int, patience_ms: int | None = None) -> list[Effect]:
        """From now on, publish pending videos at once, due or not. Try once more, whatever the pause.

        `patience_ms`: the longest wait for the rate limit before that attempt; None for any wait.
        """
        self._draining = self._barrier_due = True
        self.attempts.once_more()
        if patience_ms is not None:
            self.attempts.bound_rate_wait(now_ms, patience_ms)
        return self.wake(now_ms)

    def wake(self, now_ms: int) -> list[Effect]:
        """Do what is due. Call it at `wakeup_ms`."""
        effects = self._settle_if_due(now_ms)
        if self.batches.asked:
            effects += self._look_at_asked(now_ms)
            if self.batches.asked:
                return effects
        others: list[HeldBatch] = []
        if self.batches.in_doubt:
            for held in self.batches.in_doubt:
                held.due_ms = min(held.due_ms, now_ms)  # that of an earlier dispatcher is due from the start
            first, others = self._in_doubt(now_ms)
            effects += self._send_again(first, now_ms)
            if first and not self.attempts.may_leave(now_ms):
                return effects
        if self.totals.width:
            self._widen(now_ms)
        may_leave = self.attempts.may_leave(now_ms)
        if may_leave and self.attempts.backing_off:
            self.attempts.resumed()
        if self._barrier_due and self.phase is Phase.IDLE:
            # When a counter answers this, everything that it sent before has arrived.
            self._barrier_due = False
            return effects + self._collect(
                Trigger.DRAIN, {shard: [] for shard in self._linked}, now_ms, now_ms
            )
        if self.halving.parts and self._halves_go_first():
            effects += self._send_parts(now_ms)
            if may_leave and not self.attempts.may_leave(now_ms):
                self._looked_ms, may_leave = now_ms, False
        if may_leave:
            effects += self._send(now_ms)
        if not self.batches.asked:
            effects += self._send_parts(now_ms) if self.halving.parts else []
            effects += self._send_again(others, now_ms) if others else []
        return effects

    def _look_at_asked(self, now_ms: int) -> list[Effect]:
        """Let batches leave that are collected, or whose time for that is over."""
        for held in self.batches.asked:
            if held.collection.is_expired(now_ms):
                self.expired += 1
                for shard in sorted(held.collection.unanswered):
                    self._silent.add(shard)
                    self._set_aside(shard)
        return self._leave_if_collected(now_ms)

    def _send(self, now_ms: int) -> list[Effect]:
        """Begin the next batch, if one may leave now."""
        self._looked_ms = now_ms
        due_ms = self._next_due_ms()
        if self.republishing.requests and self._may_republish(now_ms, due_ms):
            if effects := self._republish(now_ms, due_ms):
                return effects
            if self.batches.asked:
                return []
        if self.refused.known and (tried := self._try_refused(now_ms, due_ms)):
            return tried
        effects, group = list[Effect](), Group()
        while due_ms is not None and due_ms <= now_ms and self._has_room_for(group):
            trigger, videos = self._take(now_ms)
            known, asked = self._known(videos)
            by = by_shard(asked, self._shards) if asked else {}
            effects += self._collect(trigger, by, now_ms, due_ms, known=known, group=group)
            due_ms = self._next_due_ms()
        return effects

    def _may_republish(self, now_ms: int, due_ms: int | None) -> bool:
        """Whether a batch of a republish may leave. `due_ms`: when anything else is due."""
        # While the client fails, what is due does not wait for a republish.
        gives_way = self.attempts.circuit is not Circuit.CLOSED and due_ms is not None and due_ms <= now_ms
        is_idle = self.phase is Phase.IDLE and not self.halving.parts
        return is_idle and not self._draining and not gives_way

    def _has_room_for(self, group: Group) -> bool:
        """Whether one more batch may leave together with these. The first may."""
        room_for_several = not self.attempts.interval_ms and self.attempts.room > len(self.batches.asked)
        return not group.batches or room_for_several

    # Questions

    def wakeup_ms(self) -> int | None:
        """When to call `wake` at the latest; None if only a message can change anything."""
        leaves_ms, settles_ms = self._leaves_ms(), self.accepted.due_ms
        if leaves_ms is None or settles_ms is None:
            return settles_ms if leaves_ms is None else leaves_ms
        return min(leaves_ms, settles_ms)

    def _leaves_ms(self) -> int | None:
        if self.batches.asked:
            return min(held.collection.expires_ms for held in self.batches.asked)
        if self.attempts.room <= 0:
            return None
        next_ms = self.attempts.next_ms()
        if self.attempts.backing_off:
            return next_ms
        times_ms: list[int] = []
        if in_doubt := self.batches.in_doubt:
            times_ms = [max(next_ms, held.again_ms) for held in in_doubt if not self._is_try(held)]
        may_republish = self.republishing.requests and self.phase is Phase.IDLE and not self._draining
        if next_ms > self._looked_ms and may_republish:
            return next_ms  # the rate limit holds up a batch that is not due
        if self.halving.parts or self.refused.known:
            times_ms += self._refusing_wakeups_ms(next_ms)
        due_ms = self._next_due_ms()
        if due_ms is not None:
            times_ms.append(max(due_ms, next_ms))
        return min(times_ms, default=None)

    def stats(self, stored: PublishTotals | None = None, now_ms: int = 0) -> DispatcherStats:
        """The statistics of the dispatcher. `stored`: the totals to tell; None for the newest."""
        accepted = self.batches.accepted
        on_its_way = accepted + max(len(self.batches) - accepted, self.phase is not Phase.IDLE)
        on_its_way = max(on_its_way, int(self.accepted.uncounted))
        circuit, failures = self.attempts.circuit, self.attempts.failures
        requests = len(self.republishing.requests)
        totals = self.totals if stored is None else stored
        stats = totals.stats(len(self._schedule), on_its_way, circuit, failures, requests)
        return structs.replace(
            stats,
            refused=len(self.refused),
            refused_videos=self.refused.stats(now_ms),
            unanswered=len(self.batches.within(*ON_ITS_WAY)),
            expired=self.expired,
        )

    # Steps

    def _next_due_ms(self) -> int | None:
        """When a new batch has to leave; a time in the past means now. None if nothing is pending.

        While others are on their way, it leaves only when it has to: the answer to one of them is worth
        waiting for, because what arrives meanwhile leaves together.
        """
        others = self.batches.are_on_their_way or bool(self.batches.asked)
        due_ms = self._schedule.next_due_ms(self._realtime_wait_max_ms if others else 0)
        if self._draining and due_ms is not None:
            is_full = self._schedule.waiting >= self.width
            return 0 if is_full or not others else due_ms
        return due_ms
