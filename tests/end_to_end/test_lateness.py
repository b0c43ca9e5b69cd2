"""Deadlines are used up, and kept: a real service, real clients that take their time, side by side."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.lateness import CLIENTS_MS, LIVE_REALTIME_BELOW, Sent, judge, live

DEADLINE_S = 30.0
SECONDS = 36.0  # the first deadlines of all videos


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """What each client saw, by how long it takes. Before the deadlines the dispatchers of the quick ones are
    killed; the slow one has answered too few publishes by then for them to be known as steady.
    """
    with ThreadPoolExecutor(len(CLIENTS_MS)) as pool:
        runs = {
            client_ms: pool.submit(
                live,
                client_ms,
                DEADLINE_S,
                SECONDS,
                tmp_path_factory.mktemp("service"),
                restart=client_ms < 2000,
            )
            for client_ms in CLIENTS_MS
        }
        return {client_ms: run.result() for client_ms, run in runs.items()}


@pytest.mark.parametrize("client_ms", CLIENTS_MS)
def test_batches_of_deadlines_leave_as_late_as_possible_and_none_too_late(sent, client_ms):
    found = judge(sent[client_ms], DEADLINE_S, LIVE_REALTIME_BELOW)
    assert len(found.used) >= 3, "hardly a batch left for a deadline"
    assert found.late == 0
    # What is left of it: a hundredth of slack, and what publish times vary by on a busy machine.
    assert found.used[0] >= 0.97, found


def batch(left, answered, *arrived, plays=100, trigger="deadline"):
    videos = [{"video_id": str(at), "plays": plays, "arrived_at_ns": int(at * 1e9)} for at in arrived]
    return Sent(int(left * 1e9), int(answered * 1e9), {"trigger": trigger, "videos": videos})


def test_a_batch_that_had_to_make_way_for_the_next_has_used_all_of_its_deadline():
    found = judge([batch(6, 8, 0), batch(8, 10, 0)], 10)
    assert (found.ages, found.used, found.late) == ([0.8, 1.0], [1.0, 1.0], 0)


def test_a_pause_after_a_batch_could_have_been_used():
    found = judge([batch(5, 7, 0), batch(8, 10, 0)], 10)
    assert found.used == [0.9, 1.0]


def test_a_batch_that_leaves_early_or_late_is_found_out():
    found = judge([batch(2, 3, 0), batch(19, 21, 10, 10.5)], 10)
    assert (found.used, found.late) == (pytest.approx([0.3, 1.1]), 2)


def test_realtime_is_in_the_way_and_is_not_judged():
    found = judge([batch(8, 9, 0), batch(9, 10, 8, plays=3, trigger="realtime")], 10)
    assert (found.used, found.late) == ([0.9], 0)
