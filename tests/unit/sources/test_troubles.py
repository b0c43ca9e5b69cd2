"""What is wrong is said once a minute for each cause, and its end is said once."""

import logging

import pytest

from actors.sources.troubles import LINES_MAX, REPEAT_S, Troubles


class Said:
    """Troubles with a clock of the test, and the lines that they logged."""

    def __init__(self, caplog):
        self.now_s = 1000.0
        self.troubles = Troubles(lambda: self.now_s)
        self._caplog = caplog

    @property
    def lines(self):
        return [(one.levelname, one.getMessage()) for one in self._caplog.records]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return Said(caplog)


def test_what_lasts_is_said_once_a_minute_and_its_end_once(said):
    for _ in range(4 * 150):  # every quarter of a second
        said.troubles.wrong("a", "no nsqd")
        said.now_s += 0.25
    assert said.lines == [("WARNING", "no nsqd (said once a minute)")] * 3
    said.troubles.over("a", "connected")
    said.troubles.over("a", "connected")
    assert said.lines[3:] == [("INFO", "connected")]


def test_what_comes_and_goes_is_said_once_a_minute_too(said):
    for _ in range(100):
        said.troubles.wrong("a", "lost")
        said.troubles.over("a", "connected")
        said.now_s += 0.1
    assert [level for level, _ in said.lines] == ["WARNING", "INFO"]
    said.now_s += REPEAT_S
    said.troubles.wrong("a", "lost")
    assert len(said.lines) == 3


def test_each_cause_is_said_and_none_that_did_not_come_is_over(said):
    said.troubles.wrong("a", "one")
    said.troubles.wrong("b", "two")
    said.troubles.over("c", "three")
    assert [text for _, text in said.lines] == ["one (said once a minute)", "two (said once a minute)"]


def test_a_cause_that_is_forgotten_is_said_at_once_when_it_comes_again(said):
    said.troubles.wrong("a", "one")
    said.troubles.forget("a")
    said.troubles.over("a", "over")
    said.troubles.wrong("a", "one")
    assert len(said.lines) == 2


def test_a_crowd_of_causes_is_a_hundred_lines_a_minute_and_one_that_says_so(said):
    for number in range(10_000):
        said.troubles.wrong(str(number), f"no nsqd at {number}")
    assert len(said.lines) == LINES_MAX + 1
    assert said.lines[-1] == ("WARNING", "more than 100 troubles within a minute: the others are not said")
    said.now_s += REPEAT_S
    said.troubles.wrong("1", "no nsqd at 1")
    assert len(said.lines) == LINES_MAX + 2
