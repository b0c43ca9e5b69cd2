"""When the next attempt may leave: pauses, the circuit, the rate limit."""

import pytest

from actors.core.dispatcher.attempts import (
    BACK_OFF_MS_FIRST,
    BACK_OFF_MS_MAX,
    CIRCUIT_FAILURES,
    Attempts,
    Circuit,
)

NOW_MS = 1_000_000


def failed(times, jitter=1.0):
    """An `Attempts` after `times` failures in a row, all at NOW_MS."""
    attempts = Attempts(lambda: jitter)
    for _ in range(times):
        attempts.left(NOW_MS)
        attempts.failed(NOW_MS)
    return attempts


@pytest.mark.parametrize("jitter", [0.0, 0.25, 1.0])
def test_a_pause_is_anything_between_nothing_and_a_bound_that_doubles(jitter):
    for times in range(1, CIRCUIT_FAILURES):
        pause_ms = failed(times, jitter).next_ms() - NOW_MS
        assert pause_ms == int(BACK_OFF_MS_FIRST * 2 ** (times - 1) * jitter)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_an_open_circuit_waits_at_least_half_of_a_bound_that_ends(jitter):
    for times in range(CIRCUIT_FAILURES, 40):
        bound_ms = min(BACK_OFF_MS_MAX, BACK_OFF_MS_FIRST * 2 ** (times - 1))
        pause_ms = failed(times, jitter).next_ms() - NOW_MS
        assert pause_ms == int(bound_ms * (1 + jitter) / 2)


def test_the_circuit_opens_probes_and_closes():
    attempts = failed(CIRCUIT_FAILURES - 1)
    assert attempts.circuit is Circuit.CLOSED
    attempts.left(NOW_MS)
    attempts.failed(NOW_MS)
    assert attempts.circuit is Circuit.OPEN
    attempts.left(NOW_MS)
    assert attempts.circuit is Circuit.HALF_OPEN
    attempts.failed(NOW_MS)
    assert attempts.circuit is Circuit.OPEN
    attempts.left(NOW_MS)
    attempts.accepted(NOW_MS, NOW_MS)
    assert attempts.circuit is Circuit.CLOSED
    assert attempts.may_leave(NOW_MS)


def test_a_refusal_of_what_is_in_a_batch_closes_the_circuit_and_ends_the_pause():
    attempts = failed(CIRCUIT_FAILURES)
    attempts.judged(NOW_MS, attempts.left(NOW_MS))
    assert (attempts.circuit, attempts.failures) == (Circuit.CLOSED, 0)
    assert attempts.may_leave(NOW_MS)


@pytest.mark.parametrize("rate_max_per_s", [0.1, 3, 7.5, 300, 900])
def test_the_rate_is_kept_exactly_and_never_exceeded(rate_max_per_s):
    attempts, now_ms, left_ms = Attempts(lambda: 1.0, rate_max_per_s), NOW_MS, []
    for _ in range(200):
        while not attempts.may_leave(now_ms):
            now_ms = max(now_ms + 1, attempts.next_ms())
        attempts.left(now_ms)
        left_ms.append(now_ms)
        attempts.accepted(now_ms, now_ms)
    took_s = (left_ms[-1] - left_ms[0]) / 1000
    assert 199 / rate_max_per_s <= took_s + 0.001 <= 199 / rate_max_per_s + 0.003


def test_a_rate_saves_up_nothing_while_nothing_leaves():
    attempts = Attempts(lambda: 1.0, 10, in_flight_max=3)
    for now_ms in (NOW_MS, NOW_MS + 5000):
        attempts.left(now_ms)
        attempts.departed(now_ms, late=False)
    assert not attempts.may_leave(NOW_MS + 5099)
    assert attempts.may_leave(NOW_MS + 5100)


def test_no_rate_and_no_failure_is_no_wait():
    attempts = Attempts(lambda: 1.0)
    attempts.left(NOW_MS)
    attempts.accepted(NOW_MS, NOW_MS)
    assert attempts.may_leave(NOW_MS)


@pytest.mark.parametrize(
    ("asked_ms", "pause_ms"), [(None, 100), (0, 100), (99, 100), (60_000, 60_000), (10**15, 60_000)]
)
def test_a_pause_that_the_client_asks_for_is_kept_up_to_a_limit(asked_ms, pause_ms):
    attempts = Attempts(lambda: 1.0, retry_after_max_ms=60_000)
    attempts.left(NOW_MS)
    attempts.failed(NOW_MS, asked_ms)
    assert attempts.next_ms() - NOW_MS == pause_ms


@pytest.mark.parametrize("failures", [1, CIRCUIT_FAILURES])
def test_one_attempt_may_leave_in_a_pause_and_after_it_pauses_go_on(failures):
    attempts = failed(failures)
    assert not attempts.may_leave(NOW_MS)
    attempts.once_more()
    assert attempts.may_leave(NOW_MS)
    attempts.left(NOW_MS)
    attempts.failed(NOW_MS, 60_000)
    assert not attempts.may_leave(NOW_MS + 59_999)


def test_an_attempt_that_is_on_its_way_does_not_use_up_the_one_that_may_leave():
    attempts = failed(0)
    attempts.left(NOW_MS)
    attempts.once_more()
    attempts.failed(NOW_MS, 60_000)
    assert attempts.may_leave(NOW_MS)


def test_a_pause_after_a_success_is_not_cut_short_by_what_was_before():
    attempts = failed(1)
    attempts.left(NOW_MS)
    attempts.once_more()
    attempts.accepted(NOW_MS, NOW_MS)
    attempts.left(NOW_MS)
    attempts.failed(NOW_MS)
    assert not attempts.may_leave(NOW_MS)


def test_one_attempt_in_a_pause_keeps_the_rate():
    attempts = Attempts(lambda: 1.0, 10)
    attempts.left(NOW_MS)
    attempts.failed(NOW_MS, 60_000)
    attempts.once_more()
    assert attempts.next_ms() == NOW_MS + 100


@pytest.mark.parametrize(("longest_ms", "wait_ms"), [(999, 0), (1000, 1000)])
def test_the_wait_that_a_rate_causes_can_be_bounded_for_one_attempt(longest_ms, wait_ms):
    attempts = Attempts(lambda: 1.0, 1)
    attempts.left(NOW_MS)
    attempts.accepted(NOW_MS, NOW_MS)
    attempts.bound_rate_wait(NOW_MS, longest_ms)
    assert attempts.next_ms() - NOW_MS == wait_ms
    attempts.left(NOW_MS + wait_ms)
    assert attempts.next_ms() - NOW_MS == wait_ms + 1000


def several(left, in_flight_max=8):
    """Attempts of which so many are on their way at once, and their numbers."""
    attempts = Attempts(lambda: 0.0, in_flight_max=in_flight_max)
    return attempts, [attempts.left(NOW_MS) for _ in range(left)]


def test_attempts_that_had_left_before_a_failure_and_fail_too_are_one_failure():
    attempts, numbers = several(8)
    for number in numbers:
        attempts.failed(NOW_MS, attempt=number)
    assert (attempts.failures, attempts.circuit) == (1, Circuit.CLOSED)
    for _ in range(CIRCUIT_FAILURES - 1):
        attempts.failed(NOW_MS, attempt=attempts.left(NOW_MS))
    assert attempts.circuit is Circuit.OPEN


def test_one_that_had_left_before_a_failure_and_is_accepted_does_not_end_the_pause():
    attempts, (first, second) = several(2)
    attempts.failed(NOW_MS, 60_000, first)
    attempts.accepted(NOW_MS + 1, NOW_MS, second)
    assert attempts.next_ms() == NOW_MS + 60_000


def test_a_pause_that_a_second_of_them_asks_for_is_kept_and_is_the_clients():
    attempts, (first, second) = several(2)
    attempts.failed(NOW_MS, attempt=first)
    attempts.failed(NOW_MS + 10, 60_000, second)
    assert attempts.next_ms() == NOW_MS + 60_010
    assert attempts.delays.offered_ms(NOW_MS + 20, NOW_MS + 60_010) == NOW_MS + 20


def test_a_busy_client_gets_one_at_a_time_and_each_that_it_accepts_allows_one_more():
    attempts, numbers = several(3, in_flight_max=3)
    assert attempts.room <= 0
    attempts.failed(NOW_MS, attempt=numbers[0], busy=True)
    for number in numbers[1:]:
        attempts.failed(NOW_MS, attempt=number, busy=True)
    for allowed in (1, 2, 3):
        left = []
        while attempts.room > 0:
            left.append(attempts.left(NOW_MS))
        assert len(left) == allowed
        for number in left:
            attempts.accepted(NOW_MS, NOW_MS, number)


def test_while_a_disk_holds_an_attempt_up_a_rate_limit_allows_no_other():
    """Else all of them would leave at once when the disk works again."""
    attempts, unlimited = Attempts(lambda: 1.0, 1, in_flight_max=8), Attempts(lambda: 1.0, in_flight_max=8)
    for one in (attempts, unlimited):
        one.left(NOW_MS)
    assert unlimited.may_leave(NOW_MS + 15_000)
    assert not attempts.may_leave(NOW_MS + 15_000)
    attempts.departed(NOW_MS + 15_000, late=True)
    assert not attempts.may_leave(NOW_MS + 15_999)
    assert attempts.may_leave(NOW_MS + 16_000)
