"""Plays that are received together are published together: a backlog at the start, in virtual time.

It runs the rules of a counter and of the dispatcher, as `bench/publishes.py` does. A read of 2,500 plays
takes 10 ms, and the client takes 2 ms.
"""

import functools
from collections import Counter

import pytest

from actors.core.client.bound import Mode
from bench.publishes import BATCH_SIZE_MAX, DEADLINE_MS, OVERDUE_LINGER_MS, replay
from bench.traces import MS, make_trace

BATCHES = 5  # of 100 videos
CLIENT_MS = 2


@functools.cache
def publishes(name, linger_ms):
    """The number of publishes by trigger, and the seconds in which the plays were received."""
    trace = make_trace(name)
    mode = Mode(
        deadline=DEADLINE_MS * MS,
        realtime_linger=linger_ms * MS,
        overdue_linger=OVERDUE_LINGER_MS * MS,
        batch_size_max=BATCH_SIZE_MAX,
    )
    told = replay(trace, mode, CLIENT_MS)
    newest = {entry.video: entry.plays for one in told for entry in one.batch.entries}
    assert Counter(newest.values()) == Counter(Counter(play.video for play in trace).values())
    drain_s = (trace[-1].received - trace[0].received) / 1e9
    return Counter(one.batch.trigger.value for one in told), drain_s


@pytest.mark.parametrize(("linger_ms", "most"), [(0, 400), (100, 60)])
def test_a_backlog_goes_out_in_few_publishes(linger_ms, most):
    found, _ = publishes("backlog", linger_ms)
    assert BATCHES <= found.total() <= most
    assert found["overdue"] == 0


@pytest.mark.parametrize("linger_ms", [0, 1000])
def test_one_that_is_too_old_already_lingers_and_goes_out_in_full_batches(linger_ms):
    found, drain_s = publishes("old backlog", linger_ms)
    most = (drain_s * 1000 / OVERDUE_LINGER_MS + 2) * BATCHES
    assert found["deadline"] <= 1  # the last plays of the backlog are not too old
    # First plays are realtime, however old they are.
    assert (found["overdue"] if linger_ms == 0 else found.total()) <= most
    assert found.total() >= BATCHES
