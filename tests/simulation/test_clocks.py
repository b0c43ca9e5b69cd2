"""The wall clock is set, in virtual time: nothing waits longer because of that."""

import pytest

from tests.simulation.plan import Fault, Kind, Plan, Play
from tests.simulation.simulate import simulate

HOUR_MS = 3_600_000
DEADLINE_MS = 3000
SET_MS = 2000  # when the clock is set; the plays before it are pending then
CLIENT_MS = 5


def told_after_ms(jump_ms, *faults):
    """How long after their plays two totals are published: one play before the clock is set, one after it."""
    plays = (Play(1000, 0, 0), Play(SET_MS + 500, 0, 1))
    clock = Fault(Kind.CLOCK, SET_MS, lasts_ms=2 * HOUR_MS, amount=jump_ms)
    settings = {"luck": 1, "shards": 1, "videos": 2, "every_play": False, "linger_ms": 0}
    settings |= {"window_ms": 2 * HOUR_MS, "max_in_flight": 100, "latency_ms": CLIENT_MS, "drains": False}
    result = simulate(
        Plan(**settings, plays=plays, faults=(clock, *faults), realtime_below=0, deadline_ms=DEADLINE_MS)
    )
    videos = [entry.video for one in result.accepted for entry in one.batch.entries]
    assert len(videos) == len(set(videos)) == 2
    answered_ms = [one.answered_ms for one in result.accepted for _ in one.batch.entries]
    return [told_ms - play.at_ms for told_ms, play in zip(answered_ms, plays, strict=True)]


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, -5000, 0, 5000, HOUR_MS])
def test_a_deadline_is_kept_whatever_the_clock_is_set_to(jump_ms):
    assert max(told_after_ms(jump_ms)) <= DEADLINE_MS


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, -5000, 5000, HOUR_MS])
def test_a_deadline_is_kept_when_the_dispatcher_starts_again_after_the_clock_was_set(jump_ms):
    killed = Fault(Kind.KILL, SET_MS + 1000, "dispatcher")
    assert max(told_after_ms(jump_ms, killed)) <= DEADLINE_MS


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_a_client_that_fails_is_tried_again_as_soon_as_ever_when_the_clock_is_set_meanwhile(jump_ms):
    refuses = Fault(Kind.CLIENT_REFUSES, 0, lasts_ms=10_000)
    set_ms, right_ms = told_after_ms(jump_ms, refuses), told_after_ms(0, refuses)
    assert max(set_ms) <= max(right_ms) + 10_000
