"""Several publishes at once cost nothing where the client is quick, and keep deadlines where it is slow."""

from random import Random
from uuid import UUID

import pytest

from actors.core.client.bound import Mode, Play
from bench.publishes import MS, replay
from bench.traces import TRACES, make_trace

PLAYS = 3000
START_MS = 1_700_000_000_000
MODE = Mode(deadline=60_000 * MS, realtime_linger=0, overdue_linger=1000 * MS, batch_size_max=20)


@pytest.mark.parametrize("client_ms", [0, 5])
@pytest.mark.parametrize("name", TRACES)
def test_with_a_quick_client_the_publishes_are_those_with_one_at_a_time(name, client_ms):
    trace = make_trace(name, PLAYS, 1)
    alone, several = (
        [(one.left_ms, one.batch.key) for one in replay(trace, MODE, client_ms, in_flight_max=most)]
        for most in (1, 8)
    )
    assert several == alone


@pytest.mark.parametrize(("in_flight_max", "is_late"), [(1, True), (8, False)])
def test_more_hot_videos_than_a_slow_client_takes_one_by_one_are_in_time_with_several_at_once(
    in_flight_max, is_late
):
    """5,000 videos are played within a minute; 250 publishes of 0.4 s take 100 s one after the other."""
    random = Random(1)
    arrivals = [START_MS + random.randrange(60_000) for _ in range(5000)]
    plays = [Play(UUID(int=number), at_ms * MS, at_ms * MS, 200) for number, at_ms in enumerate(arrivals, 1)]
    plays.sort(key=lambda play: play.received)
    told = replay(plays, MODE, client_ms=400, vary=0.3, in_flight_max=in_flight_max)
    late = [
        entry
        for one in told
        for entry in one.batch.entries
        if one.received_ms > (entry.arrived_ns + MODE.deadline) // MS
    ]
    assert bool(late) is is_late
