"""The log of broken promises: one line a minute, however many there are."""

import pytest

from actors.client.broken_log import BrokenLog
from actors.core.client.promises import Broken, Promise


@pytest.fixture
def told(caplog):
    """Note broken promises at these moments: (ms, how many videos are late). Returns the lines."""

    def lines(*moments):
        one = BrokenLog()
        for now_ms, late in moments:
            broken = [Broken(Promise.DEADLINE, f"k{now_ms}", f"v{n}", "60 s", "61 s") for n in range(late)]
            one.note(broken, now_ms)
        return [record.getMessage() for record in caplog.records]

    return lines


def test_a_publish_of_twenty_late_videos_is_one_line_that_shows_the_first(told):
    assert told((0, 20)) == [
        "client: broken promises: 20 deadline; first: deadline, batch k0, video v0, expected 60 s, found 61 s"
    ]


def test_a_thousand_late_publishes_are_a_line_a_minute_and_all_are_counted(told):
    lines = told(*((ms, 20) for ms in range(0, 120_000, 120)), (180_000, 0))
    counts = [int(line.split()[3]) for line in lines]
    assert len(lines) == 3 and sum(counts) == 1000 * 20


def test_where_nothing_is_broken_nothing_is_said(told):
    assert told((0, 0), (60_000, 0), (120_000, 0)) == []
