"""What can go wrong, and how often: faults drawn from a seed. Pure: nothing is harmed here.

A kill is SIGKILL; a halt is SIGSTOP and later SIGCONT. If the target is being restarted, the fault is
skipped. So a seed fixes which faults are drawn in which order, but not what they meet: real processes are not
repeatable. To find the cause of a failure, use the simulation, which is repeatable.
"""

from enum import StrEnum
from random import Random
from typing import NamedTuple

CONSUMER, SERVICE, FORKSERVER, QUEUE = "consumer", "service", "forkserver", "queue"


class Kind(StrEnum):
    """Kinds of faults."""

    KILL = "kill"
    HALT = "halt"
    CLIENT = "client"
    DISK = "disk full"


class Mood(StrEnum):
    """A client's behaviour for a while."""

    FINE = "fine"
    DOWN = "is down"
    FAILS = "answers 500"
    BUSY = "answers 429, Retry-After: 1"
    SLOW = "takes a batch, answers too late"
    TORN = "takes a batch, closes in mid-answer"
    LOST = "takes a batch, its answer is lost"


class Fault(NamedTuple):
    """One fault: its kind, its target or mood, and its length in s. A kill has no end."""

    kind: Kind
    target: str
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name for the report. All counters share one line."""
        target = "counter" if self.target.startswith("counter-") else self.target
        return f"{self.kind} {target}".strip()


# Out of a hundred faults. Within kills and halts: out of the targets that exist.
KINDS = {Kind.KILL: 74, Kind.HALT: 10, Kind.CLIENT: 13, Kind.DISK: 3}
TARGETS = {
    CONSUMER: 20,
    "counter-0": 12,
    "counter-1": 12,
    "counter-2": 12,
    "dispatcher": 20,
    QUEUE: 8,
    FORKSERVER: 4,
    SERVICE: 4,
}
HALT_S = (0.05, 0.8)
LONG_HALT_S = 3.5  # longer than a child may be silent, so the supervisor kills the child
LONG_HALT_SHARE = 0.15
MOOD_S = (0.2, 1.5)
DISK_S = (0.3, 4.0)  # some are longer than a child may be silent
PAUSE_S = (0.02, 0.6)  # short, so that the next fault meets the recovery from the last one
AT_ONCE_SHARE = 0.35  # the share of faults that come together with the one before


def draw(chance: Random) -> Fault:
    """Draw the next fault."""
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    match kind:
        case Kind.CLIENT:
            mood = chance.choice([mood for mood in Mood if mood is not Mood.FINE])
            return Fault(kind, mood, chance.uniform(*MOOD_S))
        case Kind.DISK:
            return Fault(kind, "", chance.uniform(*DISK_S))
    target = chance.choices(list(TARGETS), list(TARGETS.values()))[0]
    if kind is Kind.KILL:
        return Fault(kind, target)
    is_long = target not in (SERVICE, FORKSERVER, QUEUE) and chance.random() < LONG_HALT_SHARE
    return Fault(kind, target, LONG_HALT_S if is_long else chance.uniform(*HALT_S))


def pause_s(chance: Random) -> float:
    """Draw the time until the next fault."""
    return 0.0 if chance.random() < AT_ONCE_SHARE else chance.uniform(*PAUSE_S)
