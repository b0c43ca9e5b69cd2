"""A trouble that lasts is logged at once, once a minute, and when it is over."""

from actors.core.recurring import Recurring


def lines(trouble, *times_ms):
    """The times at which a line was due, of those at which the trouble was seen."""
    return [now_ms for now_ms in times_ms if trouble.seen(now_ms)]


def test_it_is_said_at_once_then_once_a_minute_and_once_when_it_is_over():
    trouble = Recurring()
    assert lines(trouble, *range(1_000, 181_000, 500)) == [1_000, 61_000, 121_000]
    assert trouble.over(181_000) == 180_000
    assert trouble.over(181_500) is None


def test_the_first_moment_of_the_clock_is_a_moment_too():
    trouble = Recurring()
    assert lines(trouble, 0, 500) == [0]
    assert trouble.over(1_000) == 1_000


def test_without_trouble_there_is_no_end_to_say():
    assert Recurring().over(7) is None


def test_a_minute_after_its_last_line_the_next_trouble_is_said_at_once():
    trouble = Recurring()
    assert lines(trouble, 0) == [0]
    assert trouble.over(500) == 500
    assert lines(trouble, 60_000) == [60_000]
    assert trouble.over(60_500) == 500


def test_a_trouble_that_comes_and_goes_twice_a_second_is_said_once_a_minute():
    trouble, said, ends = Recurring(), [], []
    for now_ms in range(0, 120_000, 500):
        said += lines(trouble, now_ms)
        ends += [now_ms + 250] if trouble.over(now_ms + 250) is not None else []
    assert (said, ends) == ([0, 60_000], [250, 60_250])


def test_a_trouble_that_comes_and_goes_within_one_millisecond_is_said_once():
    trouble = Recurring()
    assert [(trouble.seen(7), trouble.over(7)) for _ in range(3)] == [(True, 0), (False, None), (False, None)]


def test_a_trouble_that_comes_back_to_stay_is_said_after_five_seconds():
    trouble = Recurring()
    assert lines(trouble, 0) == [0]
    assert trouble.over(1_000) == 1_000
    assert lines(trouble, *range(2_000, 80_000, 1_000)) == [7_000, 67_000]
    assert trouble.over(80_000) == 78_000
