"""The client's videos as columns, compared with a dict that keeps an object for each."""

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core import guids
from actors.core.client.audit import Audit
from actors.core.client.promises import Promises, Publish, PublishedVideo
from actors.core.client.videos import FEW, PLAYS, Video, Videos
from actors.core.columns import guids_of
from actors.core.table import EMPTY, VideoTable
from actors.core.triggers import Trigger

PLAYS_MAX = 2**53 - 1
many = st.integers(0, 60).map(lambda number: str(uuid.UUID(int=number << 64 | number)))
numbers = st.tuples(st.integers(0, PLAYS_MAX), st.integers(1, 2**62), st.integers(0, 2**31))
asked = st.lists(many, max_size=FEW) | st.lists(many, min_size=FEW + 1, max_size=3 * FEW)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(asked, numbers), max_size=8), st.binary(min_size=16, max_size=16))
def test_videos_are_those_of_a_dict_that_numbers_what_comes_first(steps, salt):
    videos, model = Videos(salt), {}
    for ids, (plays, received_at_ns, window) in steps:
        rows = videos.rows_of(ids)
        for one in ids:
            model.setdefault(one, Video(0, 0, 0, len(model) + 1))
        assert rows == [model[one].number - 1 for one in ids]
        for row, one in zip(rows, ids, strict=True):
            videos.put(row, plays, received_at_ns, window)
            model[one] = Video(plays, received_at_ns, window, row + 1)
        assert dict(videos.items()) == model and list(videos) == list(model)
        assert videos.plays() == sum(video.plays for video in model.values())
        assert guids_of(videos.cells[:, :PLAYS]) == list(model)
    for number in range(62):
        one = str(uuid.UUID(int=number << 64 | number))
        assert (one in videos, videos.get(one)) == (one in model, model.get(one))


def test_rows_that_are_loaded_in_any_order_are_all_there_and_a_gap_is_noticed():
    videos = Videos()
    videos.update({str(uuid.UUID(int=number)): Video(number, 1, 0, 0) for number in range(1, 8)})
    rows, cells = np.arange(7), videos.cells.copy()
    loaded = Videos()

    def load(videos, part):
        videos.load(part, cells[part, :PLAYS], list(cells[part, PLAYS:].T))

    for part in (rows[4:], rows[:0], rows[:4:2], rows[1:4:2]):
        load(loaded, part)
    loaded.loaded()
    assert dict(loaded.items()) == dict(videos.items())
    gap = Videos()
    load(gap, rows[1:])
    with pytest.raises(ValueError, match="missing"):
        gap.loaded()
    with pytest.raises(ValueError, match="negative row -1"):
        load(Videos(), np.array([-1]))


def test_the_sum_of_totals_is_exact_where_it_has_more_than_63_bits():
    videos = Videos()
    videos.update({str(uuid.UUID(int=number)): Video(PLAYS_MAX, 1, 0, 0) for number in range(3000)})
    assert videos.plays() == 3000 * PLAYS_MAX > 2**63


@pytest.mark.parametrize("written", ["", "x", "8f14e45f-ceea-467f-a9d2", "é" * 36])
def test_what_is_no_guid_is_no_video(written):
    videos = Videos()
    assert written not in videos and videos.row_of(written) == EMPTY
    if written:
        with pytest.raises(ValueError, match=r"hexadecimal|bytes for 2 videos"):
            videos.rows_of([str(uuid.UUID(int=1)), written])
    assert len(videos) == 0


def test_a_video_takes_less_than_80_bytes():
    audit = Audit(Promises())
    width = 4000
    for number in range(50):
        made = np.random.default_rng(number).bytes(16 * width)
        ids = [guids.text(made[at : at + 16]) for at in range(0, len(made), 16)]
        entries = tuple(PublishedVideo(one, 1, 1) for one in ids)
        audit.receive(Publish(str(number), Trigger.DEADLINE, entries), 10)
    table = audit.videos._table
    held = table._words.buffer_info()[1] * table._words.itemsize * 17 / 16 + table._slots.nbytes
    assert held / len(audit.videos) < 80


@given(st.lists(st.binary(min_size=16, max_size=16) | st.integers(0, 30).map(lambda n: bytes([n]) * 16)))
def test_rows_that_are_opened_one_by_one_are_those_that_are_opened_together(videos):
    one_by_one, together = VideoTable(1), VideoTable(1)
    rows = [one_by_one.open_row(video) for video in videos]
    words = np.frombuffer(b"".join(videos), np.int64).reshape(-1, 2)
    assert rows == together.rows_of(words, open_new=True).tolist()
    assert (one_by_one.cells == together.cells).all()
    assert one_by_one.rows_of(words).tolist() == rows == [one_by_one.row(video) for video in videos]


def test_a_table_grows_while_rows_are_opened_one_by_one():
    table, videos = VideoTable(2), [number.to_bytes(16, "big") for number in range(50_000)]
    assert [table.open_row(video) for video in videos] == list(range(50_000))
    assert [table.row(video) for video in videos] == list(range(50_000))
    assert table.reindex()
    assert [table.row(video) for video in videos] == list(range(50_000))
