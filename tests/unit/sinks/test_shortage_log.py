"""What the log says while too few publishes can be made for the deadlines."""

import pytest

from actors.core.dispatcher.shortage import Shortage
from actors.sinks.shortage_log import ShortageLog

BY_LIMIT = Shortage(16.65, 10.0, 50.0, by_rate_limit=True)
BY_CLIENT = Shortage(16.65, 9.43, 106.0, by_rate_limit=False)


@pytest.fixture
def told(caplog):
    """Look at these moments (ms) with the shortage of then, and return the lines."""

    def lines(*moments):
        now_ms = 0
        one = ShortageLog(lambda: now_ms)
        with caplog.at_level("INFO"):
            for now_ms, found in moments:  # noqa: B007 - the clock reads it
                one.look(lambda _, found=found: found, 8)
        return [record.getMessage() for record in caplog.records]

    return lines


def test_the_line_says_how_many_are_needed_how_many_are_allowed_and_what_to_do(told):
    (line,) = told((0, BY_LIMIT))
    assert "need 16.6 publishes/s" in line and "publish.rate_max_per_s allows 10" in line
    assert "Raise publish.rate_max_per_s" in line


def test_the_line_of_a_slow_client_names_its_time_and_how_many_are_at_once(told):
    (line,) = told((0, BY_CLIENT))
    assert "the client takes 9.4/s (a publish takes 106 ms, 8 at once)" in line
    assert "Raise publish.in_flight_max" in line


def test_it_is_one_line_a_minute_while_it_lasts_and_one_when_it_is_over(told):
    lasting = [(second * 1000, BY_LIMIT) for second in range(150)]
    lines = told(*lasting, (150_000, None), (151_000, None))
    assert len(lines) == 4
    assert lines[3] == "enough publishes can be made for the deadlines again, after 150.0 s"


def test_it_looks_once_a_second_at_most():
    looks = []
    one = ShortageLog(lambda: now_ms)
    for now_ms in range(0, 5000, 10):  # noqa: B007 - the clock reads it
        one.look(looks.append, 8)
    assert looks == [0, 1000, 2000, 3000, 4000]
