"""A dispatcher's rules in virtual time, with real counters, and a client that refuses what a test wants.

Nothing is on a wire or a disk: effects are carried out at once, but for the client's answer.
"""

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from actors.core.columns import pack_numbers
from actors.core.counter.effects import Commit
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import DISPATCHER, CounterRules
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.attempts import About, Outcome
from actors.core.dispatcher.effects import Deliver, Forget, Store, StoreRefused, StoreRepublish
from actors.core.dispatcher.outbox import Batch, PublishTotals
from actors.core.dispatcher.refused_videos import RefusedVideo
from actors.core.dispatcher.republish import Republish
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules
from actors.core.effects import Send
from actors.core.messages import Plays
from actors.core.shards import shard_number, shard_of

SHARDS = 2
MS = 1_000_000
START_MS = 1_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Answer(NamedTuple):
    """What the client answers. None in place of it: no answer, and the client has the batch or not."""

    outcome: Outcome = Outcome.ACCEPTED
    about: About = About.MOMENT
    words: str = ""
    retry_after_ms: int | None = None
    busy: bool = False
    server_error: bool = False


ACCEPTED = Answer()
UNPROCESSABLE = Answer(Outcome.REFUSED, About.CONTENT, "422 No: a video")
TOO_LARGE = Answer(Outcome.REFUSED, About.WIDTH, "413 Too Large")
FORBIDDEN = Answer(Outcome.REFUSED, About.EVERYTHING, "403 No")
CONFLICT = Answer(Outcome.REFUSED, About.CONFLICT, "409 At work")
UNKNOWN = Answer(Outcome.UNKNOWN, words="no answer")
BROKEN = Answer(Outcome.REFUSED, words="500 A bug", server_error=True)
BUSY = Answer(Outcome.REFUSED, words="503 Busy", busy=True, server_error=True)
UNREACHABLE = Answer(Outcome.REFUSED)


def videos(count: int) -> list[bytes]:
    """This many videos."""
    return [number.to_bytes(16, "big") for number in range(1, count + 1)]


class Attempt(NamedTuple):
    """A batch that left, and the answer to it."""

    at_ms: int
    batch: Batch
    answer: Answer

    @property
    def width(self) -> int:
        """How many videos it had."""
        return len(self.batch.entries)


class _Counter(CounterRules):
    """It answers at once: the plays of all counters come at the same moment here."""

    backlog_plays = 1 << 30


class World:
    """Counters, a dispatcher and a client. `answer`: the client's answer to a batch; a test may set it."""

    def __init__(self, *, latency_ms: int = 10, rule: Rule = Rule(realtime_linger_ms=1), **options: Any):
        self.now_ms = START_MS
        self.answer: Callable[[Batch], Answer] = lambda batch: ACCEPTED
        self.attempts: list[Attempt] = []
        self.totals: dict[bytes, int] = {}
        self.batches: dict[str, Batch] = {}  # as stored
        self.refused: dict[bytes, RefusedVideo] = {}  # as stored
        self.republishes: dict[int, Republish] = {}  # as stored
        self.new_refused: list[RefusedVideo] = []
        self.published = PublishTotals()
        self.told_ms: dict[bytes, int] = {}
        self._latency_ms = latency_ms
        self._rule = rule
        self._options = options
        self._ids = itertools.count(1)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._life = 0
        self.counters = [_Counter(Ledger(SeenIds(HOUR_MS))) for _ in range(SHARDS)]
        self.start()

    def start(self) -> None:
        """Start a dispatcher from what is stored, as after a kill -9."""
        self._life += 1
        self.rules = DispatcherRules(
            self._rule,
            SHARDS,
            20,
            service="s",
            jitter=lambda: 0.5,
            stored=list(self.batches.values()),
            totals=self.published,
            refused=list(self.refused.values()),
            republishes=(list(self.republishes.values()), max(self.republishes, default=0)),
            **self._options,
        )
        for shard in range(SHARDS):
            self.do(self.rules.linked(shard, self.now_ms))

    def play(self, *played: bytes, count: int = 1) -> None:
        """Count plays that arrive now."""
        for shard in range(SHARDS):
            column = [video for video in played if shard_of(video, SHARDS) == shard] * count
            ids = b"".join(next(self._ids).to_bytes(8, "big") for _ in column)
            arrived_ns = pack_numbers([self.now_ms * MS] * len(column))
            self._handle_counter(shard, Plays(1, "a/plays", ids, b"".join(column), arrived_ns))

    def hot(self, *played: bytes) -> None:
        """Give these videos 100 plays that the client has, so that their next plays have a deadline."""
        self.play(*played, count=100)
        self.run(1000)

    def run(self, for_ms: int) -> None:
        """Let this time pass."""
        end_ms = self.now_ms + for_ms
        while True:
            wakeup_ms = self.rules.wakeup_ms()
            times = [
                one for one in (self._events[0][0] if self._events else None, wakeup_ms) if one is not None
            ]
            if not times or max(self.now_ms, min(times)) > end_ms:
                break
            if self._events and (wakeup_ms is None or self._events[0][0] <= wakeup_ms):
                at_ms, _, call = heapq.heappop(self._events)
                self.now_ms = max(self.now_ms, at_ms)
                call()
            else:
                assert wakeup_ms is not None
                self.now_ms = max(self.now_ms, wakeup_ms)
                before = len(self.attempts)
                self.do(self.rules.wake(self.now_ms))
                again_ms = self.rules.wakeup_ms()
                idle = again_ms is not None and again_ms <= self.now_ms and len(self.attempts) == before
                assert not idle, "it wakes again and again, and does nothing"
        self.now_ms = end_ms

    def do(self, effects: list[Any]) -> None:
        """Carry out effects in order."""
        for effect in effects:
            match effect:
                case Send():
                    shard = shard_number(effect.peer)
                    self._handle_counter(shard, effect.message)
                case Store():
                    for key in effect.over:
                        self.batches.pop(key, None)
                    for one in effect.batches:
                        self.batches[one.key] = one
                    self.published = effect.totals
                    for video in effect.taken:
                        self.refused.pop(video, None)
                case StoreRefused():
                    self.refused |= {one.video: one for one in effect.refused}
                    self.new_refused += effect.refused
                    self.published = effect.totals
                    for video in effect.gone:
                        self.refused.pop(video, None)
                    self.batches.pop(effect.forget, None)
                case StoreRepublish():
                    if effect.request is not None:
                        self.republishes[effect.request.number] = effect.request
                    for number in effect.over:
                        self.republishes.pop(number, None)
                    self.batches.pop(effect.forget, None)
                case Forget():
                    self.batches.pop(effect.key, None)
                case Deliver():
                    self._deliver(effect.batch)

    def _deliver(self, batch: Batch) -> None:
        self.rules.departs(batch.key, self.now_ms)
        answer = self.answer(batch)
        self.attempts.append(Attempt(self.now_ms, batch, answer))
        if answer.outcome is Outcome.ACCEPTED:
            for entry in batch.entries:
                assert entry.plays >= self.totals.get(entry.video, 0), "a total falls"
                self.totals[entry.video] = entry.plays
                self.told_ms[entry.video] = self.now_ms
        life = self._life

        def answered() -> None:
            if life == self._life:
                more = (answer.retry_after_ms, False, answer.busy, answer.server_error)
                more += answer.about, answer.words
                self.do(self.rules.delivered(batch.key, answer.outcome, self.now_ms, *more))

        heapq.heappush(self._events, (self.now_ms + self._latency_ms, next(self._order), answered))

    def _handle_counter(self, shard: int, *messages: Any) -> None:
        counter = self.counters[shard]
        inbox = [("a peer", message) for message in messages]
        effects = counter.handle(inbox, self.now_ms, self.now_ms * MS)
        if (wakeup_ms := counter.wakeup_ms()) is not None:
            heapq.heappush(self._events, (wakeup_ms, next(self._order), partial(self._handle_counter, shard)))
        said = [one.message for one in effects if not isinstance(one, Commit) and one.peer == DISPATCHER]
        life = self._life

        def tell() -> None:
            if life == self._life:
                self.do(self.rules.handle(shard, said, self.now_ms, self.now_ms))

        if said:
            heapq.heappush(self._events, (self.now_ms, next(self._order), tell))

    # What a test asks

    def refuses(self, *wrong: bytes, answer: Answer = UNPROCESSABLE) -> None:
        """From now on the client refuses batches with one of these videos."""
        self.answer = lambda batch: ACCEPTED if set(wrong).isdisjoint(batch.videos) else answer

    def counted(self, video: bytes) -> int:
        """The total of a video in its ledger."""
        return self.counters[shard_of(video, SHARDS)].ledger._accounts[video].total

    def refused_now(self) -> list[bytes]:
        """The videos that the client refuses, as the status has them."""
        return [one.video for one in self.rules.stats(now_ms=self.now_ms).refused_videos]
