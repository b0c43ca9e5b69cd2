"""A lost nsqd is tried again after a second, then less often, with some luck."""

from random import Random

from producer.retries import JITTER, Retries


def waits(retries, failures):
    """How long each wait is, in whole milliseconds."""
    found, now_ms = [], 0
    for _ in range(failures):
        retries.failed("a:1", now_ms / 1000)
        began_ms = now_ms
        while not retries.is_due("a:1", now_ms / 1000):
            now_ms += 1
        found.append(now_ms - began_ms)
    return found


def test_an_address_that_never_failed_is_due():
    assert Retries(Random(1)).is_due("a:1", 0)


def test_the_waits_grow_from_one_second_to_four_and_differ():
    found = waits(Retries(Random(1)), 50)
    for wait_ms, least_ms in zip(found, [1000, 2000, *[4000] * 48], strict=True):
        assert least_ms <= wait_ms <= (1 + JITTER) * least_ms + 1
    assert len(set(found)) > 25


def test_after_a_connection_that_worked_the_first_wait_is_short_again():
    retries = Retries(Random(1))
    waits(retries, 5)
    retries.worked("a:1")
    assert waits(retries, 1)[0] <= 1000 * (1 + JITTER) + 1
