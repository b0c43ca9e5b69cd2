"""Several publishes at once cost nothing where the client is quick, and keep deadlines where it is slow."""

from random import Random
from uuid import UUID

import pytest
from msgspec import structs

from actors.core.client.bound import Mode, Play
from bench.publishes import MS, REALTIME_WAIT_MAX_MS, replay
from bench.traces import TRACES, make_trace

PLAYS = 3000
START_MS = 1_700_000_000_000
MODE = Mode(deadline=60_000 * MS, realtime_linger=0, overdue_linger=1000 * MS, batch_size_max=20)


@pytest.mark.parametrize(("client_ms", "linger_ms"), [(0, 0), (5, 0), (0, 1000)])
@pytest.mark.parametrize(("name", "count"), [*((name, PLAYS) for name in TRACES), ("all hot", 20_000)])
def test_with_a_quick_client_the_publishes_are_those_with_one_at_a_time(name, count, client_ms, linger_ms):
    """So many plays of "all hot" that the first publish of all, whose time is a guess, is one of several."""
    trace = make_trace(name, count, 1)
    mode = structs.replace(MODE, realtime_linger=linger_ms * MS)
    alone, several = (
        [(one.left_ms, one.batch.key) for one in replay(trace, mode, client_ms, in_flight_max=most)]
        for most in (1, 8)
    )
    assert several == alone


@pytest.mark.parametrize(("in_flight_max", "is_late"), [(1, True), (8, False)])
@pytest.mark.parametrize(("videos", "client_ms"), [(5000, 400), (20_000, 100)])
def test_more_hot_videos_than_a_slow_client_takes_one_by_one_are_in_time_with_several_at_once(
    videos, client_ms, in_flight_max, is_late
):
    """All are played within a minute. Their publishes take 100 s one after the other."""
    random = Random(1)
    arrivals = [START_MS + 250 * random.randrange(240) for _ in range(videos)]
    plays = [Play(UUID(int=number), at_ms * MS, at_ms * MS, 200) for number, at_ms in enumerate(arrivals, 1)]
    plays.sort(key=lambda play: play.received)
    told = replay(plays, MODE, client_ms=client_ms, vary=0.3, in_flight_max=in_flight_max)
    late = [
        entry
        for one in told
        for entry in one.batch.entries
        if one.received_ms > (entry.arrived_ns + MODE.deadline) // MS
    ]
    assert bool(late) is is_late


@pytest.mark.parametrize(("in_flight_max", "waited_ms"), [(1, 2000), (8, REALTIME_WAIT_MAX_MS)])
def test_a_client_that_hangs_once_holds_up_no_quiet_play_of_another_batch(in_flight_max, waited_ms):
    """A play of another quiet video every 10 ms, and the client hangs for 2 s in the midst of them."""
    client_ms, hung = 5, 100
    arrivals = range(START_MS, START_MS + 6000, 10)
    plays = [Play(UUID(int=number), at_ms * MS, at_ms * MS, 1) for number, at_ms in enumerate(arrivals, 1)]
    told = replay(plays, MODE, client_ms, in_flight_max=in_flight_max, hangs_ms={hung: 2000})
    waits_ms = [
        one.received_ms - entry.arrived_ns // MS
        for one in told
        for entry in one.batch.entries
        if one.received_ms - one.left_ms < 2000
    ]
    assert waited_ms // 2 < max(waits_ms) <= waited_ms + client_ms
