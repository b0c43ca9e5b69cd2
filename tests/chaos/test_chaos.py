"""A small fire each on the embedded queue and on a real nsqd; `make chaos` is the large one."""

import random

import pytest

from tests.support.queues import QUEUES, require_nsqd

from .faults import Kind, Mood, draw
from .run import PLAYS_MIN, run

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


def test_one_seed_draws_the_same_faults_and_every_kind_comes():
    one, other = random.Random(5), random.Random(5)
    faults = [draw(one) for _ in range(2000)]
    assert faults == [draw(other) for _ in range(2000)]
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.target for fault in faults if fault.kind is Kind.CLIENT} == set(Mood) - {Mood.FINE}
