"""The operator's page in the terminal: it takes the room that is there, and leaves out what is calm."""

import io

import pytest
from rich.cells import cell_len

from actors.cli.page import Page
from actors.cli.rates import BARS, Rates
from actors.cli.watch_page import Seen, watch_page
from tests.support.hostile_text import HOSTILE
from tests.unit.cli.test_status_page import child, everything, nsqd, status

NOW_S = 1_000_000.0
SIZES = [(60, 20), (80, 24), (200, 60), (40, 12), (20, 5)]


def shown(seen, size):
    """The lines on a page of that size, as a terminal of it shows them."""

    class Sized(Page):
        def __init__(self):
            super().__init__()
            self.file, self._width, self._height = io.StringIO(), *size

    page = Sized()
    page.print(watch_page(seen, NOW_S, page))
    return [line.rstrip() for line in page.file.getvalue().splitlines()]


def seen(found, failure="", rates=None):
    return Seen(found, NOW_S - 12, failure, rates or Rates())


def many(counters=64, **facts):
    children = [child(f"counter-{number}", **facts) for number in range(counters)]
    return status(child("nsqd"), child("client"), child("dispatcher"), *children, child("consumer"))


def in_trouble():
    found = status(
        child("nsqd"),
        child("client"),
        child("dispatcher"),
        child("counter-0", last_exit={"how": "killed(SIGKILL)"}, state="starting", incarnation=9, pid=None),
        child("counter-1"),
        child("consumer"),
        caught_up=False,
        why_not_caught_up=[
            "consumer did not answer",
            "20 videos to publish",
            "1,234 messages on nsqd a:4150",
        ],
        client={"circuit": "half_open", "failures_in_a_row": 12},
        refused_videos_total=3,
        log_lines_dropped=5,
        disks=[{"place": "state", "free_bytes": 1e9, "full": 0.93, "nearly_full": True}],
    )
    nsqds = [nsqd("an-nsqd:4150", connected=False), nsqd()]
    found["nsq"] = {"connections": 1, "depth": 1234, "others_on_channel": 2, "nsqds": nsqds}
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("found", [status(), many(), in_trouble()], ids=["usual", "many", "trouble"])
def test_no_line_is_wider_than_the_page(found, size):
    lines = shown(seen(found), size)
    assert max(map(cell_len, lines)) <= size[0]


@pytest.mark.parametrize("found", [status(), many(), in_trouble()], ids=["usual", "many", "trouble"])
def test_all_of_it_is_on_a_terminal_of_60_by_20_or_what_is_left_out_is_calm(found):
    lines = shown(seen(found), (60, 20))
    text = "\n".join(lines)
    assert len(lines) <= 20
    for label in ("plays/s", "publishes/min", "plays ", "publishes ", "pending", "queue"):
        assert any(line.startswith(label) for line in lines), label
    assert all(one["id"] in text for one in found["children"] if one["last_exit"])
    shown_children = sum(f"─ {one['id']} " in text for one in found["children"])
    if shown_children < len(found["children"]):
        assert f"and {len(found['children']) - shown_children} more, all running" in lines


def test_what_is_wrong_is_told_before_the_tree():
    lines = shown(seen(in_trouble()), (80, 40))
    text = "\n".join(lines[: next(place for place, line in enumerate(lines) if line.startswith("child"))])
    assert "not caught up: consumer did not answer, 20 videos to publish" in text
    for line in (
        "nsqd          not connected: an-nsqd:4150",
        "channel       2 consumers of others take a part of the plays",
        "client        failed 12 times in a row; circuit half open",
        "client        refuses 3 videos",
        "disk          of state: 93% full, 1,000.0 MB free",
        "so far        2 late, 1 late by the client, 3 attempts failed, 1 rejected,",
    ):
        assert line in text, line


def test_a_counter_that_ended_is_in_the_tree_however_many_are_calm():
    found = many()
    found["children"][40]["last_exit"] = {"how": "killed(SIGKILL)"}
    name = found["children"][40]["id"]
    lines = shown(seen(found), (60, 20))
    assert any(f"{name} " in line for line in lines)
    assert len(lines) <= 20


def test_the_bars_and_the_present_rates_are_there():
    rates = Rates()
    for second in range(30):
        rates.note(NOW_S - 30 + second, 469 * second, second)
    plays, publishes = [line for line in shown(seen(status(), rates=rates), (60, 20)) if "/" in line[:14]]
    assert plays.startswith("plays/s") and plays.endswith(" 469") and BARS[7] in plays
    assert publishes.startswith("publishes/min") and publishes.endswith(" 60")


def test_without_a_service_it_says_why_and_shows_what_it_knew():
    lines = shown(seen(None, "no service runs on /a/state; start one with `playtally`"), (60, 20))
    assert lines[1:3] == ["trying again", "no service runs on /a/state; start one with `playtally`"]
    lines = shown(seen(status(), "the service does not answer"), (60, 20))
    assert lines[1:3] == ["trying again; below is what it said 12.0 s ago", "the service does not answer"]
    assert any("counter-0" in line for line in lines)


def test_hostile_text_steers_nothing():
    found = everything(HOSTILE)
    found["nsq"]["nsqds"][0]["connected"] = False
    for line in shown(seen(found, HOSTILE), (80, 40)):
        assert line.isprintable()
