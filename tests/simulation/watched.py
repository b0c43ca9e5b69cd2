"""The real actors, watched: which plays a counter has yet to commit, and what is pending at the dispatcher,
kept apart from its schedule.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from actors.consumer import Consumer
from actors.core.counter.changes import LedgerChanges
from actors.core.counter.effects import Commit
from actors.core.counter.rules import CounterRules
from actors.core.dispatcher.attempts import Circuit, Outcome
from actors.core.dispatcher.batches import ON_ITS_WAY, BatchState, Phase
from actors.core.dispatcher.changing import Controls
from actors.core.dispatcher.effects import Deliver, Effect
from actors.core.dispatcher.outbox import Entry
from actors.core.dispatcher.rules import DispatcherRules
from actors.core.effects import Send
from actors.core.messages import Collect, Collected, CollectPublished, Pending
from actors.core.shards import shard_number
from actors.core.triggers import Trigger
from actors.counter import Counter
from actors.dispatcher import Dispatcher

from .checks import Invariant, Violation
from .clock import Clock
from .oracle import FreshPlay, Identity, Oracle
from .waiting import Waiting


def watched_counting(kind: type[CounterRules], actor: "WatchedCounter", oracle: Oracle) -> type[CounterRules]:
    """These rules. The actor also learns which plays each of their commits counts."""

    class Watched(kind):  # type: ignore[misc,valid-type]
        def handle(self, inbox: list[Any], now_ms: int, wall_ns: int) -> list[Any]:
            fresh = oracle.fresh_plays((one for _, one in inbox), wall_ns, actor.uncommitted(oracle))
            effects: list[Any] = super().handle(inbox, now_ms, wall_ns)
            for effect in effects:
                if isinstance(effect, Commit):
                    actor.expected.append((effect.changes, fresh))
            return effects

    return Watched


class WatchedCounter(Counter):
    """The counter, with the plays of the commits that are still to come."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.expected: deque[tuple[LedgerChanges, list[FreshPlay]]] = deque()

    def uncommitted(self, oracle: Oracle) -> set[Identity]:
        """The plays of commits that the disk has not taken yet."""
        return oracle.identities(play for _, fresh in self.expected for play in fresh)

    def fresh_of(self, changes: LedgerChanges) -> list[FreshPlay]:
        """The plays that this commit counts. It is the one that is carried out now."""
        expected, fresh = self.expected.popleft()
        assert expected is changes, "commits are carried out in order"
        return fresh


class WatchedConsumer(Consumer):
    """The consumer, with its source."""

    @property
    def source(self) -> Any:
        return self._source


class WatchedDispatching(DispatcherRules):
    """The dispatcher's rules. `waiting` learns of everything that happens. See `watched_dispatching`."""

    waiting: Waiting
    sink: Any
    clock: Clock
    called_ms = 0  # on the virtual clock; a failing disk may delay the effects of this call
    silent_before: frozenset[int] = frozenset()
    known: dict[int, list[bytes]]  # by number of the batch: videos that left without a question
    paused_after: int | None = (
        None  # how many batches had begun before publishing was paused; None if it is not
    )
    inside = False  # true during a call: calls that the rules make to themselves are part of it

    def linked(self, shard: int, now_ms: int) -> list[Effect]:
        self.waiting.lost(shard)
        return self._watch(super().linked, shard, now_ms)

    def lost(self, shard: int, now_ms: int) -> list[Effect]:
        self.waiting.lost(shard)
        return self._watch(super().lost, shard, now_ms)

    def handle(
        self, shard: int, inbox: Iterable[Any], now_ms: int, wall_ms: int | None = None
    ) -> list[Effect]:
        assert wall_ms is not None
        for message in inbox:
            match message:
                case Pending():
                    self.waiting.offer(message, now_ms, wall_ms)
                case Collected():
                    self.waiting.answered(shard, message.number)
        return self._watch(super().handle, shard, inbox, now_ms, wall_ms)

    def delivered(self, key: str, outcome: Outcome, *more: Any) -> list[Effect]:
        batch = self.sink.on_their_way.pop(key)
        self.inside = True
        effects = super().delivered(key, outcome, *more)
        self.inside = False
        if outcome is Outcome.ACCEPTED:
            again = batch.place is not None
            self.waiting.accepted({entry.video: 0 if again else entry.plays for entry in batch.entries})
        elif self.batches.find(key, *BatchState) is None:
            if len(batch.videos) == 1 and batch.videos[0] in self.refused:
                self.waiting.refused_alone(batch.videos[0], self._linked)
            still = self._set_apart() | self._held()
            self.waiting.refused([video for video in batch.videos if video not in still], self._linked)
        return self._seen(effects)

    def drain(self, now_ms: int, patience_ms: int | None = None) -> list[Effect]:
        return self._watch(super().drain, now_ms, patience_ms)

    def client_started(self, now_ms: int) -> list[Effect]:
        return self._watch(super().client_started, now_ms)

    def wake(self, now_ms: int) -> list[Effect]:
        return self._watch(super().wake, now_ms)

    def use_controls(self, controls: Controls, now_ms: int) -> None:
        if not controls.paused:
            self.paused_after = None
        elif self.paused_after is None:
            self.paused_after = self._collections
        self.waiting.use_lingers(controls.realtime_linger_ms, controls.overdue_linger_ms)
        super().use_controls(controls, now_ms)

    def _check_paused(self, effects: list[Effect]) -> None:
        """Check that in a pause nothing leaves but what had begun before."""
        for effect in effects:
            match effect:
                case Send(message=Collect() | CollectPublished() as asks) if asks.videos != b"":
                    number, is_new = asks.number, True
                case Deliver():
                    held = self.batches.find(effect.batch.key, *ON_ITS_WAY)
                    number = held.collection.number
                    is_new = held.part is None and held.state is BatchState.SENT
                case _:
                    continue
            if not is_new or number > self.paused_after:
                raise Violation(Invariant.PAUSED, f"{effect}")

    def _watch(self, call: Callable[..., list[Effect]], *arguments: Any) -> list[Effect]:
        if self.inside:
            return call(*arguments)
        self.inside = True
        effects = call(*arguments)
        self.inside = False
        return self._seen(effects)

    def _set_apart(self) -> set[bytes]:
        """The videos that are refused, or in a half that has not left."""
        return {*self.refused, *(one.video for part in self.halving.parts for one in part.entries)}

    def _held(self) -> set[bytes]:
        """The videos in batches that the client has not accepted."""
        sent = (one for one in self.batches if one.batch is not None)
        return {video for one in sent if one.state is not BatchState.ACCEPTED for video in one.batch.videos}

    def _seen(self, effects: list[Effect]) -> list[Effect]:
        self.called_ms = self.clock.now_ms
        if self.paused_after is not None:
            self._check_paused(effects)
        for shard in self._silent - self.silent_before:
            self.waiting.lost(shard)  # it did not answer: it announces its videos again
        self.silent_before = frozenset(self._silent)
        self.waiting.set_apart(self._set_apart(), self._held(), self._linked)
        left = {video for effect in effects if isinstance(effect, Deliver) for video in effect.batch.videos}
        left |= self._set_apart()
        asked = {held.collection.number for held in self.batches.within(BatchState.ASKED)}
        known, self.known = self.known, {}
        self.waiting.left(asked, left)
        for effect in effects:
            if isinstance(effect, Deliver) and effect.batch.place is not None:
                self.waiting.hold(effect.batch.videos)
        leaving: dict[int, dict[int, list[bytes]]] = {number: {} for number in known}
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Collect):
                column = effect.message.videos
                videos = [column[at : at + 16] for at in range(0, len(column), 16)]
                leaving.setdefault(effect.message.number, {})[shard_number(effect.peer)] = videos
        for number, by_shard in leaving.items():
            if tried := [video for videos in by_shard.values() for video in videos if video in self.refused]:
                self.waiting.tries(*tried)
            else:
                is_open = self.attempts.circuit is not Circuit.CLOSED
                probes = is_open and len(self.suspects) > 0
                width = 1 if self.halving.refuses_everything else self.width
                self.waiting.leave(number, by_shard, known[number], width, self.suspects.alone, probes)
        self.waiting.left(asked, left)
        return effects

    def _collect(
        self, trigger: Trigger, asked: Any, *times: Any, known: dict[bytes, Entry] | None = None, **more: Any
    ) -> list[Effect]:
        self.known[self._collections + 1] = list(known or {})
        return super()._collect(trigger, asked, *times, known=known, **more)


def watched_dispatching(
    kind: type[DispatcherRules], waiting: Waiting, sink: Any, clock: Clock
) -> type[DispatcherRules]:
    """These rules. `waiting` learns of everything that happens to them."""
    facts = {"waiting": waiting, "sink": sink, "clock": clock, "called_ms": clock.now_ms, "known": {}}
    return type(f"Watched{kind.__name__}", (WatchedDispatching, kind), facts)


class WatchedDispatcher(Dispatcher):
    """The dispatcher. When it is idle, no video may be due."""

    waiting: Waiting

    async def init(self) -> Any:
        ready = await super().init()
        for held in self.rules.batches.within(BatchState.IN_DOUBT):
            self.waiting.hold(held.content.videos)
        self.waiting.hold(self.rules.refused)
        self._performed()
        return ready

    def _performed(self) -> None:
        rules, wait_ms = self.rules, int(self.options.publish.realtime_wait_max_ms)
        called_ms: int = rules.called_ms  # type: ignore[attr-defined]
        wakeup_ms = rules.wakeup_ms()
        is_still = wakeup_ms is None or wakeup_ms > called_ms
        if is_still and rules.attempts.may_leave(called_ms):
            match rules.phase:
                case Phase.IDLE:
                    self.waiting.idle(called_ms)
                case Phase.SENDING:
                    self.waiting.idle(called_ms - wait_ms)
        super()._performed()
