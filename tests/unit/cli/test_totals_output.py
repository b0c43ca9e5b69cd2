"""Totals on the screen, as CSV and as JSON: every total once, the greatest first, the first ones at once."""

import argparse
import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cli import totals, totals_output
from actors.cli.page import Page
from actors.core import guids
from actors.core.columns import video_words
from actors.store.totals import TotalColumns

videos_drawn = st.binary(min_size=16, max_size=16) | st.sampled_from(
    [bytes([*range(14), first, second]) for first in range(2) for second in range(5)]
)
drawn = st.dictionaries(
    videos_drawn, st.tuples(st.integers(1, 4) | st.integers(1, 2**62), st.integers(0, 3)), max_size=20
)


def columns_of(rows):
    """`rows`: videos, totals, published."""
    videos = video_words(b"".join(row[0] for row in rows))
    totals, published = (np.array([row[place] for row in rows], np.int64) for place in (1, 2))
    return TotalColumns(videos, totals, published)


def shown(capsys, rows):
    totals_output.show([columns_of(rows)], max((row[1] for row in rows), default=0))
    return capsys.readouterr().out.splitlines()


def test_totals_show_what_the_client_was_told_and_the_sum(capsys):
    one, other = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2))
    rows = [(guids.parse(one), 1500, 1499), (guids.parse(other), 7, 7)]
    assert shown(capsys, rows) == [
        "video                                    plays published",
        f"{one}     1,500     1,499",
        f"{other}         7         7",
        "1,507 plays of 2 videos; the latest total of 1 is not published yet",
    ]
    assert shown(capsys, rows[1:])[-1] == "7 plays of 1 video"
    assert shown(capsys, [])[-1] == "0 plays of 0 videos"


def test_totals_drop_what_was_published_on_a_page_that_is_too_narrow_and_cut_no_number(capsys, monkeypatch):
    class Narrow(Page):
        def __init__(self):
            super().__init__()
            self.width = 60

    monkeypatch.setattr(totals_output, "Page", Narrow)
    video = "00000000-0000-4000-8000-000000000001"
    assert "published" in shown(capsys, [(guids.parse(video), 999_999_999, 1)])[0]
    lines = shown(capsys, [(guids.parse(video), 1_000_000_000, 1)])
    assert lines[0].split() == ["video", "plays"]
    assert lines[1] == f"{video} 1,000,000,000"


@pytest.mark.parametrize("prints", [lambda parts: totals_output.show(parts, 9), totals_output.print_csv])
def test_each_part_of_the_totals_is_printed_before_the_next_is_made(monkeypatch, prints):
    """There may be millions. A table of them took minutes, in which nothing was seen."""
    out, printed = io.StringIO(), []

    def parts():
        for number in range(5):
            printed.append(out.getvalue().count("\n"))
            yield columns_of([(number.to_bytes(16, "big"), 1, 1)] * 2)

    monkeypatch.setattr(sys, "stdout", out)
    prints(parts())
    assert printed == [1, 3, 5, 7, 9]


@given(drawn, st.integers(1, 25) | st.none(), st.integers(1, 6))
def test_every_total_comes_once_and_the_greatest_first_however_they_are_divided(drawn, top, first):
    rows = [(video, *numbers) for video, numbers in drawn.items()]
    expected = sorted(rows, key=lambda row: (-row[1], row[0]))[:top]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(totals, "FIRST_VIDEOS", first)
        patch.setattr(totals, "PART_VIDEOS", 3)
        parts = list(totals._greatest_first(columns_of(rows), len(rows) if top is None else top))
        patch.setattr(sys, "stdout", io.StringIO())
        totals._print(iter(parts), 0, argparse.Namespace(json=True))
        printed = sys.stdout.getvalue()
    found = [
        (words.tobytes(), total, published)
        for part in parts
        for words, total, published in zip(part.videos, part.totals, part.published, strict=True)
    ]
    assert found == expected
    by_guid = {guids.text(video): total for video, total, _ in expected}
    assert printed == json.dumps(by_guid, indent=2) + "\n"
    assert list(json.loads(printed)) == list(by_guid)


@given(drawn, st.lists(videos_drawn, min_size=1, max_size=8, unique=True))
def test_videos_that_are_asked_for_come_in_that_order_and_the_unknown_are_named(drawn, wanted):
    rows = [(video, *numbers) for video, numbers in drawn.items()]
    wanted += list(drawn)[:3]
    wanted = list(dict.fromkeys(wanted))
    found, unknown = totals._only(columns_of(rows), wanted)
    assert [words.tobytes() for words in found.videos] == [video for video in wanted if video in drawn]
    assert found.totals.tolist() == [drawn[video][0] for video in wanted if video in drawn]
    assert unknown == [video for video in wanted if video not in drawn]
