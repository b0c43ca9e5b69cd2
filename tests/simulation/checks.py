"""What must hold in a simulated run: each invariant by its name, and how a broken one is said.

The deadline is promised for a play of a hot video (its total 100 or more; here `realtime_below`) that
was received with at least half of its deadline left, when from its arrival until the client had it

- no process was down, stopped or unlinked, no connection to an nsqd was lost, no disk failed, and the
  last of such was over for `Plan.recovery_ms` (a message timeout, and what a restart takes);
- the clocks of the machines agreed;
- the client answered: no publish failed since the last one that was accepted.

Everything else is promised always.
"""

from enum import StrEnum


class Invariant(StrEnum):
    """By which of them a run can fail."""

    FIN_AFTER_COMMIT = "a message is finished only when its play is committed"
    LETTER_BEFORE_FIN = "a message that is no play is finished only when nsqd has its dead letter"
    EXACT_TOTALS = "a total is the number of distinct plays that were acknowledged"
    WIDTH = "a batch carries one to twenty videos, each once"
    ONLY_CHANGED = "no total is told twice under two keys"
    NEVER_FALLS = "the client's totals never fall"
    ONE_CONTENT_A_KEY = "a key never carries other content"
    EVERY_STEP = "where every play is promised, no total under the limit is left out"
    OLDEST_ARRIVAL = "a total comes with the arrival of its oldest untold play, and tells if overdue"
    WRITTEN_FIRST = "a batch is written down before it is sent, and one is on its way at a time"
    RECORDED_AFTER = "a ledger records as published only what the client has"
    EARLIEST_FIRST = "what is due earliest is in the batch that leaves, and nothing due waits for nothing"
    DEADLINE = "no hot play is told after its deadline"
    IN_FLIGHT = "no more messages are outstanding than max_in_flight"
    DRAINED = "drained means that all that was counted is published"
    CONVERGES = "when the faults stop, everything is counted, published and recorded soon"
    NO_CRASH = "no rule raises"


class Violation(AssertionError):
    """An invariant that does not hold, with what was found."""

    def __init__(self, invariant: Invariant, found: str):
        super().__init__(f"{invariant.name}: {invariant}; {found}")
        self.invariant = invariant
