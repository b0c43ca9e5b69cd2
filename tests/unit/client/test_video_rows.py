"""The videos in the client's file: whatever was written and when, they are read as they are in memory."""

import contextlib
import sqlite3
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.client import video_rows
from actors.client.video_rows import DELETED_A_WRITE_MAX, SCHEMA, VideoRows
from actors.core.client.videos import Video, Videos
from actors.system.transactions import Transaction

PART = 8
writes = st.lists(
    st.tuples(st.sets(st.integers(0, 9 * PART), max_size=3 * PART), st.booleans(), st.booleans()), max_size=25
)


def guid(number):
    return str(uuid.UUID(int=number))


def opened():
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(SCHEMA)
    return contextlib.closing(database)


def kept(database):
    """How many videos are in `changes`, and how many parts there are."""
    contents = database.execute("SELECT content FROM changes").fetchall()
    rows = [len(video_rows._decoder.decode(content[4:]).videos) // 16 for (content,) in contents]
    return rows, database.execute("SELECT COUNT(*) FROM parts").fetchone()[0]


@settings(max_examples=80, deadline=None)
@given(writes)
def test_what_is_written_is_read_again_also_after_restarts_and_writes_that_failed(writes):
    with pytest.MonkeyPatch.context() as patch, opened() as database:
        patch.setattr(video_rows, "PART_ROWS", PART)
        rows, videos, committed = VideoRows(), Videos(), {}
        for number, (changed, restarts, fails) in enumerate(writes, start=1):
            # a row is opened for each video in between: rows have no gaps
            new = range(len(videos), max(changed, default=0) + 1)
            videos.update({guid(one): Video(number, number, 0, 0) for one in [*new, *sorted(changed)]})
            with contextlib.suppress(ZeroDivisionError), Transaction(database):
                rows.write(database, videos, changed | set(new))
                assert not fails or 1 / 0
            if not fails:
                committed = dict(videos.items())
            if fails or restarts:
                rows = VideoRows()
                videos = rows.load(database)
            assert dict(VideoRows().load(database).items()) == committed


@pytest.mark.parametrize("width", [1, PART, 5 * PART])
def test_what_changed_is_taken_out_in_time_whatever_is_published(monkeypatch, width):
    monkeypatch.setattr(video_rows, "PART_ROWS", PART)
    with opened() as database:
        rows, videos = VideoRows(), Videos()
        count = 20 * PART
        for start in range(0, count, width):  # new ones
            some = range(start, min(start + width, count))
            videos.update({guid(one): Video(1, 1, 0, 0) for one in some})
            rows.write(database, videos, set(some))
        changes, parts = kept(database)
        assert sum(changes) <= 5 * width and parts == 20
        most = 0
        for number in range(400):  # all over the table
            some = {(number * width + one) * 61 % count for one in range(width)}
            rows.write(database, videos, some)
            most = max(most, sum(kept(database)[0]))
        assert most <= count / 4 + (DELETED_A_WRITE_MAX + 2) * width
        for number in range(40):  # the same ones: the others need nothing
            rows.write(database, videos, {0})
            if number > 25:
                assert len(kept(database)[0]) <= 1


@pytest.mark.parametrize("table", ["changes", "parts"])
@pytest.mark.parametrize("damage", ["bit", "place"])
def test_a_value_that_is_damaged_or_in_another_place_is_refused(monkeypatch, table, damage):
    monkeypatch.setattr(video_rows, "PART_ROWS", PART)
    monkeypatch.setattr(video_rows, "PARTS_A_PART_CHANGED", 0)
    with opened() as database:
        rows, videos = VideoRows(), Videos()
        for start in (0, 50, 100):
            videos.update({guid(one): Video(1, 1, 0, 0) for one in range(start, start + 50)})
            rows.write(database, videos, set(range(start, start + 50)))
        assert len(kept(database)[0]) == kept(database)[1] == 3
        key = "number" if table == "changes" else "part"
        (at, content) = database.execute(f"SELECT {key}, content FROM {table}").fetchall()[-1]
        if damage == "bit":
            changed = content[:-1] + bytes([content[-1] ^ 1])
            database.execute(f"UPDATE {table} SET content = ? WHERE {key} = ?", (changed, at))
        else:
            database.execute(f"UPDATE {table} SET {key} = {key} + 1 WHERE {key} = ?", (at,))
        with pytest.raises(ValueError, match="checksum"):
            VideoRows().load(database)
