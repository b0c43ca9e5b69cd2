"""When batches would have left with a client that answers at once, compared with a plain replay."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.dispatcher.client_delays import ClientDelays

MS = st.integers(0, 100)


@given(st.lists(st.tuples(MS, MS, MS), max_size=50))
def test_offered_times_are_those_of_a_client_that_answers_at_once(batches):
    """Each batch has a gap (how long it is due after the batch before it), our time and the client's time."""
    delays = ClientDelays()
    due_ms = left_ms = free_ms = at_once_ms = 1000
    for gap_ms, ours_ms, client_ms in batches:
        due_ms += gap_ms
        at_once_ms = max(due_ms, at_once_ms) + ours_ms
        left_ms = max(due_ms, free_ms) + ours_ms
        offered_ms = delays.offered_ms(due_ms, left_ms)
        assert offered_ms == at_once_ms
        free_ms = left_ms + client_ms
        delays.accepted(offered_ms)
        delays.answered(free_ms)


def test_pauses_after_failures_are_the_clients():
    delays = ClientDelays()
    for failed_ms in range(1000, 100_000, 1000):
        delays.answered(failed_ms + 900)
    assert delays.offered_ms(1000, 99_903) == 1003


def test_an_attempt_in_a_pause_has_cost_us_nothing():
    delays = ClientDelays()
    delays.answered(60_000)
    assert delays.offered_ms(1000, 5000) == 1000


def test_a_batch_that_leaves_before_it_is_due_is_offered_when_it_leaves():
    assert ClientDelays().offered_ms(5000, 1000) == 1000
