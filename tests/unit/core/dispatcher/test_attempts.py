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
    attempts.accepted()
    assert attempts.circuit is Circuit.CLOSED
    assert attempts.may_leave(NOW_MS)


@pytest.mark.parametrize("rate_max_per_s", [0.1, 3, 7.5, 300, 900])
def test_the_rate_is_kept_exactly_and_never_exceeded(rate_max_per_s):
    attempts, now_ms, left_ms = Attempts(lambda: 1.0, rate_max_per_s), NOW_MS, []
    for _ in range(200):
        while not attempts.may_leave(now_ms):
            now_ms = max(now_ms + 1, attempts.next_ms())
        attempts.left(now_ms)
        left_ms.append(now_ms)
        attempts.accepted()
    took_s = (left_ms[-1] - left_ms[0]) / 1000
    assert 199 / rate_max_per_s <= took_s + 0.001 <= 199 / rate_max_per_s + 0.003


def test_a_rate_saves_up_nothing_while_nothing_leaves():
    attempts = Attempts(lambda: 1.0, 10)
    attempts.left(NOW_MS)
    attempts.left(NOW_MS + 5000)
    assert not attempts.may_leave(NOW_MS + 5099)
    assert attempts.may_leave(NOW_MS + 5100)


def test_no_rate_and_no_failure_is_no_wait():
    attempts = Attempts(lambda: 1.0)
    attempts.left(NOW_MS)
    attempts.accepted()
    assert attempts.may_leave(NOW_MS)


def test_a_clock_that_is_set_back_makes_no_wait_longer():
    attempts = Attempts(lambda: 1.0, 0.01)
    attempts.left(NOW_MS)
    assert not attempts.may_leave(NOW_MS)
    assert attempts.may_leave(NOW_MS - 1)
