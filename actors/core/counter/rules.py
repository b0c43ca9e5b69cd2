"""A counter's rules: its effects for each message that it receives.

Pure. No actor hears of a play before the play is committed: an answer always follows the `Commit` of all
messages that were received together with it. Messages that are received together are committed together, so
a slower disk makes larger transactions.

Plays come from one consumer or several. Each numbers its messages itself, and hears of those alone.

In a backlog, what the dispatcher asks waits for the next plays, so that one commit answers both.

What the client confirmed waits for the next plays, and is heard before them; or it is heard alone some
milliseconds later. Until it is committed the dispatcher keeps the batch, and tells it again to a counter that
was killed.

A recall is answered a piece at a time, each in a turn of its own, so that plays are counted meanwhile.

Pending videos are announced before the answers: a dispatcher that drains takes an answer to mean that it has
heard of all earlier plays. Videos to be published on receipt are announced at once. Videos that can wait for
a deadline are announced some milliseconds apart; otherwise, during a backlog of many videos, every commit
would send a message.
"""

from typing import ClassVar, TypeAlias

from msgspec import structs

from ..columns import VIDEO_BYTES, unpack_numbers, unpack_videos
from ..effects import Send
from ..messages import (
    NO_ROW,
    Collect,
    Collected,
    CollectedPublished,
    CollectPublished,
    Counted,
    CounterInbox,
    Pending,
    Plays,
    Published,
    Recall,
    Recorded,
    Rejected,
)
from ..stats import CounterStats
from .changes import Tallies
from .effects import Commit
from .joined import joined
from .ledger import Ledger
from .recall import RECALL_VIDEOS

Answer: TypeAlias = Collected | CollectedPublished | Pending
Received: TypeAlias = tuple[str, CounterInbox]  # the child that sent it, and the message

DISPATCHER = "dispatcher"
HOLD_MS_MAX = 50
RECORD_MS = 50  # `Published` waits so long for plays to be committed with
BACKLOG_PLAYS = 256  # a message with so many is of a backlog
COMPANY_MS = 10  # what the dispatcher asks in a backlog waits so long for plays to be committed with
NEVER_MS = 1 << 62
# Announcements wait at most 1/HOLD_SHARE of a deadline: less than half of the slack with which a batch leaves
# early.
HOLD_SHARE = 100


class CounterRules:
    """The state machine of one counter: messages and the time in, effects out."""

    backlog_plays: ClassVar[int] = BACKLOG_PLAYS
    recall_videos: ClassVar[int] = RECALL_VIDEOS

    def __init__(self, ledger: Ledger, at_once_below: int = 0, deadline_ms: int = 0, commits: int = 0):
        """`at_once_below`: totals below it are published on receipt, so their videos are announced at once.
        Others are published within `deadline_ms`, so their announcements may wait a little.
        `commits`: how many commits the ledger has.
        """
        self.ledger = ledger
        self._commits = commits
        self._at_once_below = at_once_below
        self._hold_ms = min(HOLD_MS_MAX, deadline_ms // HOLD_SHARE)
        self._said_ms = 0
        self._ahead_max_ns: int | None = None
        self._waiting: list[Received] = []  # what waits for plays
        self._wait_until_ms = 0  # how long it waits at most
        self._backlog_until_ms = 0
        self._recall_row = NO_ROW  # where a recall goes on

    def handle(self, inbox: list[Received], now_ms: int, wall_ns: int) -> list[Commit | Send]:
        """Handle messages that were received together. Returns the effects, in order.

        `now_ms` is monotonic.
        """
        inbox = self._in_company(inbox, now_ms)
        ledger, ahead_ns = self.ledger, wall_ns - now_ms * 1_000_000
        if not inbox and ledger.announced.least_ordinal is None and self._recall_row == NO_ROW:
            return []
        if self._ahead_max_ns is None or ahead_ns > self._ahead_max_ns:
            self._ahead_max_ns = ahead_ns
        clock = wall_ns, self._ahead_max_ns - ahead_ns
        counted: dict[str, list[int]] = {}  # by consumer
        several: list[Plays] = []
        others: list[CounterInbox] = []
        recorded: list[str] = []
        for peer, message in inbox:
            if isinstance(message, Plays):
                several.append(message)
            elif isinstance(message, Published):
                ledger.publish(unpack_videos(message.videos), unpack_numbers(message.totals))
                ledger.heard_of(message.stores)
                recorded += message.batches
            else:
                others.append(message)
            if isinstance(message, (Plays, Rejected)):
                counted.setdefault(peer, []).append(message.number)
        for plays in several if len(several) < 2 else joined(several):
            ledger.apply(plays, now_ms, wall_ns)
        answers = self._hear(others, now_ms, clock) if others else []
        if self._recall_row != NO_ROW:
            answers += self._recall(*clock)
        ledger.take_realtime(self._at_once_below)
        effects: list[Commit | Send] = []
        if counted or answers or recorded:
            effects += self._commit(now_ms)
        # Commit before Counted: the consumer FINs on it, and nsqd forgets a message once it sees FIN.
        for consumer, numbers in counted.items():
            effects.append(Send(consumer, Counted(numbers)))
        effects += self._announce(now_ms, may_wait=not answers and not recorded)
        for answer in answers:
            effects.append(Send(DISPATCHER, self._with_commits(answer)))
        if recorded:
            effects.append(Send(DISPATCHER, Recorded(recorded, self._commits)))
        return effects

    def _announce(self, now_ms: int, may_wait: bool) -> list[Send]:
        least = self.ledger.announced.least_ordinal
        held = may_wait and now_ms - self._said_ms < self._hold_ms
        if least is None or (least >= self._at_once_below and held):
            return []
        self._said_ms = now_ms
        return [Send(DISPATCHER, pending) for pending in self.ledger.take_announcements(self._commits)]

    def _hear(self, messages: list[CounterInbox], now_ms: int, clock: tuple[int, int]) -> list[Answer]:
        """Handle messages that are neither plays nor `Published`. Returns the answers to the dispatcher."""
        ledger = self.ledger
        answers: list[Answer] = []
        for message in messages:
            match message:
                case Rejected():
                    ledger.reject(message, now_ms)
                case Collect():
                    answers += self._collect(message, *clock)
                case CollectPublished():
                    answers.append(ledger.hand_out(message))
                case Recall():
                    self._recall_row = 0
                case _:
                    raise AssertionError(f"a counter does not understand {message!r}")
        return answers

    def wakeup_ms(self) -> int | None:
        """When to call `handle` at the latest, with nothing; None if nothing is held."""
        announce_ms = [] if self.ledger.announced.least_ordinal is None else [self._said_ms + self._hold_ms]
        waiting_ms = [self._wait_until_ms] * bool(self._waiting)
        recall_ms = [0] * (self._recall_row != NO_ROW)  # at once
        return min(announce_ms + waiting_ms + recall_ms, default=None)

    def end(self, now_ms: int) -> list[Commit]:
        """What is still to be committed before the counter ends in order."""
        return self._commit(now_ms, ends=True)

    def hurry(self) -> None:
        """Let nothing wait for plays at the next `handle`: who asked has gone."""
        self._wait_until_ms = 0

    def _in_company(self, inbox: list[Received], now_ms: int) -> list[Received]:
        """What to handle now, of what came and what has waited."""
        until_ms = self._wait_until_ms if self._waiting else NEVER_MS
        for _, one in inbox:
            if isinstance(one, Published):
                may_wait_ms = now_ms + RECORD_MS
            elif isinstance(one, Collect):
                may_wait_ms = self._backlog_until_ms
            else:
                may_wait_ms = 0
                if isinstance(one, Plays) and len(one.videos) >= self.backlog_plays * VIDEO_BYTES:
                    self._backlog_until_ms = now_ms + COMPANY_MS
            until_ms = min(until_ms, may_wait_ms)
        self._wait_until_ms = until_ms
        inbox, self._waiting = [*self._waiting, *inbox], []
        if until_ms > now_ms:
            inbox, self._waiting = [], inbox
        return inbox

    def _collect(self, asked: Collect, wall_ns: int, set_back_ns: int) -> list[Answer]:
        """The answer. A drain names no video, and hears of the next piece of a recall before."""
        collected = self.ledger.collect(asked.number, unpack_videos(asked.videos))
        if asked.videos:
            return [collected]
        piece = [] if self._recall_row == NO_ROW else self._recall(wall_ns, set_back_ns)
        return [*piece, structs.replace(collected, recalls=self._recall_row != NO_ROW)]

    def _recall(self, wall_ns: int, set_back_ns: int) -> list[Pending]:
        """The next piece of a recall, which goes on."""
        found, self._recall_row = self.ledger.recall(
            self._recall_row, self.recall_videos, wall_ns, set_back_ns
        )
        return found

    def _commit(self, now_ms: int, ends: bool = False) -> list[Commit]:
        changes = self.ledger.take_changes(now_ms, ends)
        if changes is None:
            return []
        self._commits += 1
        return [Commit(changes)]

    def _with_commits(self, answer: Answer) -> Answer:
        if isinstance(answer, CollectedPublished):
            return answer
        return structs.replace(answer, commits=self._commits)

    def stats(self, settled: Tallies | None = None) -> CounterStats:
        """The statistics of this ledger. `settled`: its tallies without what the disk has not taken yet."""
        tallies = self.ledger.tallies if settled is None else settled
        return CounterStats(
            tallies.counted,
            tallies.redelivered,
            tallies.dead_lettered,
            len(self.ledger),
            self.ledger.pending_count,
            tallies.reused,
            duplicates=tallies.duplicates,
        )
