"""What must hold in a simulated run: the invariants by name, and the error for a broken one.

The deadline is promised for a play of a hot video (its total is 100 or more; here `realtime_below`) if the
play was received with at least half of its deadline left, and if from its arrival until the client had it

- no process was down, stopped or unlinked, no connection to an nsqd was lost, and no disk failed; and the
  last such fault ended at least `Plan.recovery_ms` before (a message timeout, and the time of a restart);
- nothing was paused, and no setting changed; the last pause or change ended `Plan.recovery_ms` before;
- the clocks of the machines agreed;
- the client answered: no publish failed since the last accepted one. That it refuses some videos is no
  excuse, but for the videos of a batch in which they were searched for.

Everything else is always promised.
"""

from enum import StrEnum


class Invariant(StrEnum):
    """What a run can fail by."""

    FIN_AFTER_COMMIT = "a message is finished only when its play is committed"
    LETTER_BEFORE_FIN = "a message that is not a play is finished only when nsqd has its dead letter"
    EXACT_TOTALS = "a total is the number of distinct plays that were acknowledged"
    WIDTH = "a batch carries one to twenty videos, each once"
    ONLY_CHANGED = "no total is published under two keys"
    NEVER_FALLS = "the client's totals never fall"
    ONE_CONTENT_A_KEY = "a key never carries other content"
    EVERY_STEP = "if every play is promised, no total below the limit is left out"
    OLDEST_ARRIVAL = "a total has the arrival of its oldest unpublished play, and whether it is overdue"
    WRITTEN_FIRST = "a batch is stored before it is sent, and no more are on their way than may be"
    ONE_BATCH = "a video is in one batch on its way at most"
    ATTEMPTS = "each attempt that leaves is stored before, and accepted or failed in the end"
    RATE = "no more attempts leave than the rate limit allows"
    RECORDED_AFTER = "a ledger records as published only what the client has"
    NEVER_AHEAD = "no store knows of a commit that another one has not made"
    EARLIEST_FIRST = "a batch has the videos that are due earliest, and no due video waits without a reason"
    DEADLINE = "no hot play is published after its deadline"
    IN_FLIGHT = "no more messages are outstanding than max_in_flight"
    PAUSED = "while publishing is paused no batch begins and none goes again; while consuming is, RDY is 0"
    ALONE = (
        "a video that the client refuses leaves alone, also after a restart, and no more than are refused do"
    )
    ONE_REFUSAL = "once the client refuses everything, nothing more is halved"
    NARROW = "no batch is wider than the client has said, also after a restart"
    REPUBLISHED = "a republish tells every total that the client had, and no other"
    DRAINED = "when the dispatcher is drained, every counted play is published"
    CONVERGES = "soon after the faults stop, every play is counted, published and recorded"
    NO_CRASH = "no rule raises"


class Violation(AssertionError):
    """A broken invariant, with what was found."""

    def __init__(self, invariant: Invariant, found: str):
        super().__init__(f"{invariant.name}: {invariant}; {found}")
        self.invariant = invariant
