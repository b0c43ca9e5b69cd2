"""A counter's rules: what it does with each message.

Pure. Promises that nobody hears of a play before it is committed: every answer stands after the
`Commit` of everything that came in with it. Messages that arrive together are committed together,
so the slower the disk, the larger the transactions. What became pending is said before the answers:
a dispatcher that drains takes an answer to mean that it has heard of everything before. It is said at once
where it is to be published on receipt; what can wait for a deadline is said in messages that are some
milliseconds apart, because in a backlog of many videos each commit would else be a message of its own.
"""

from ..columns import unpack_numbers, unpack_videos
from ..effects import Send
from ..messages import Collect, Counted, CounterInbox, Plays, Published, Recall, Recorded, Rejected
from ..stats import CounterStats
from .effects import Commit
from .ledger import Ledger

CONSUMER = "consumer"
DISPATCHER = "dispatcher"
HOLD_MS_MAX = 20
HOLD_SHARE = 100  # of a deadline; half of what a batch leaves early for what no publish time shows, or less


class Counting:
    """The state machine of one counter: messages and the time in, effects out."""

    def __init__(self, ledger: Ledger, at_once_below: int = 0, deadline_ms: int = 0):
        """`at_once_below`: totals below it are to be published on receipt, others within `deadline_ms`: what
        became pending at those may wait a little to be said.
        """
        self.ledger = ledger
        self._at_once_below = at_once_below
        self._hold_ms = min(HOLD_MS_MAX, deadline_ms // HOLD_SHARE)
        self._said_ms = 0

    def handle(self, inbox: list[CounterInbox], now_ms: int) -> list[Commit | Send]:
        """Take in what arrived together. Returns what to do, in order."""
        ledger = self.ledger
        counted: list[int] = []
        answers: list[Send] = []
        for message in inbox:
            match message:
                case Plays():
                    ledger.apply(message, now_ms)
                    counted.append(message.number)
                case Rejected():
                    ledger.reject(message, now_ms)
                    counted.append(message.number)
                case Collect():
                    collected = ledger.collect(message.number, unpack_videos(message.videos))
                    answers.append(Send(DISPATCHER, collected))
                case Published():
                    ledger.publish(unpack_videos(message.videos), unpack_numbers(message.totals))
                    answers.append(Send(DISPATCHER, Recorded(message.batch)))
                case Recall():
                    answers.extend(Send(DISPATCHER, pending) for pending in ledger.recall())
                case _:
                    raise AssertionError(f"a counter does not understand {message!r}")
        changes = ledger.take_changes(now_ms)
        effects: list[Commit | Send] = []
        if changes is not None:
            effects.append(Commit(changes))
        # Commit before Counted: the consumer FINs on it, and nsqd forgets a message once it sees FIN.
        if counted:
            effects.append(Send(CONSUMER, Counted(counted)))
        least = ledger.least_announced
        held = 0 <= now_ms - self._said_ms < self._hold_ms and not answers
        if least is not None and (least < self._at_once_below or not held):
            effects += self.wake(now_ms)
        effects.extend(answers)
        return effects

    def wakeup_ms(self) -> int | None:
        """When to call `wake` at the latest; None when nothing is held."""
        return None if self.ledger.least_announced is None else self._said_ms + self._hold_ms

    def wake(self, now_ms: int) -> list[Commit | Send]:
        """Say what became pending and was not said."""
        self._said_ms = now_ms
        return [Send(DISPATCHER, pending) for pending in self.ledger.take_announcements()]

    def stats(self) -> CounterStats:
        """What this ledger holds."""
        tallies = self.ledger.tallies
        return CounterStats(
            tallies.counted,
            tallies.redelivered,
            tallies.dead_lettered,
            len(self.ledger),
            self.ledger.pending_count,
        )
