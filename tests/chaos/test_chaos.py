"""A small run on the embedded queue, and one on a real nsqd. `make chaos` is the large one."""

import random

import pytest

from tests.support.queues import QUEUES, require_nsqd

from .faults import Kind, Mood, draw
from .run import PLAYS_MIN, is_at_rest, run

KILLS = {"embedded": 12, "nsqd": 8}
SEED = 1


@pytest.mark.parametrize("kind", QUEUES)
def test_every_play_is_counted_and_told_once_under_kills_and_every_other_fault(kind, tmp_path):
    if kind == "nsqd":
        require_nsqd()
    outcome = run(kind, KILLS[kind], SEED, tmp_path)
    assert outcome.exact, outcome
    assert outcome.kills == KILLS[kind]
    assert outcome.plays >= PLAYS_MIN
    assert outcome.redelivered > 0


class ServiceThatReadsOnePlay:
    """A service with one play on its queue. Between the two questions, the play is counted."""

    def __init__(self) -> None:
        self.queue = self
        self._asked = 0

    def unfinished(self, *_: str) -> int:
        self._asked += 1
        return 1 if self._asked == 1 else 0

    def status(self) -> dict[str, bool]:
        self._asked += 1
        return {"caught_up": self._asked == 1}  # asked second: the play is counted, not published


def test_a_play_that_is_read_while_the_parts_are_asked_is_not_at_rest():
    assert not is_at_rest(ServiceThatReadsOnePlay())


def test_one_seed_draws_the_same_faults_and_every_kind_comes():
    one, other = random.Random(5), random.Random(5)
    faults = [draw(one) for _ in range(2000)]
    assert faults == [draw(other) for _ in range(2000)]
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.target for fault in faults if fault.kind is Kind.CLIENT} == set(Mood) - {Mood.FINE}
