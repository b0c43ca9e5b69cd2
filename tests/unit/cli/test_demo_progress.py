"""What the demo says while it works: what it waits for, and no line twice."""

import pytest

from actors.cli.demo_progress import Figures, PlainLines, waits_for
from actors.cli.page import Page


def at(counted, pending, left_s=0.0):
    return Figures(plays=1000, counted=counted, videos=100, pending=pending, publishes=56, left_s=left_s)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (at(999, 54), "counting plays"),
        (at(1000, 54, 41.2), "waiting for the deadline of 54 videos: at most 42 s more"),
        (at(1000, 1, 0.2), "waiting for the deadline of 1 video: at most 1 s more"),
        (at(1000, 3, -1.0), "waiting for the deadline of 3 videos"),
        (at(1000, 0), "waiting until the last publish is recorded"),
    ],
)
def test_the_demo_says_what_it_waits_for(now, text):
    assert waits_for(now, countdown=True) == text


def test_without_a_terminal_a_wait_is_one_line_however_long_it_is(capsys):
    with PlainLines(Page(stderr=True)) as lines:
        for now_s in range(12):
            lines.show(at(min(1000, 100 * now_s), 40), float(now_s))
        for now_s in range(12, 70):
            lines.show(at(1000, max(0, 72 - now_s), 70.0 - now_s), float(now_s))
    assert capsys.readouterr().err.splitlines() == [
        "500 of 1,000 plays counted, 56 publishes so far",
        "1,000 of 1,000 plays counted, 56 publishes so far; waiting for the deadline of 40 videos",
    ]
