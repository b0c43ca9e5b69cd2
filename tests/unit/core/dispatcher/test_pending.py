"""The due times of pending videos, compared with a dict; and how much one call does."""

import random

import numpy as np
import pytest

from actors.core.columns import GUID, unpack_videos, video_words
from actors.core.dispatcher import pending as module
from actors.core.dispatcher.calendar import Calendar
from actors.core.dispatcher.pending import TRIGGERS, Due, DueColumns, PendingVideos
from actors.core.table import VideoTable
from actors.core.triggers import Trigger

DEADLINE = TRIGGERS.index(Trigger.DEADLINE)


def due(number, **more):
    return Due(1000 + number, Trigger.DEADLINE, 100 + number, number % 2 > 0, **more)


def columns(numbers):
    numbers = np.array(numbers, np.int64)
    return DueColumns(1000 + numbers, np.full(len(numbers), DEADLINE), 100 + numbers, numbers % 2 > 0)


def add(one, videos, numbers):
    """Add a column. Returns which of the videos were added."""
    return [videos[place] for place in one.add(b"".join(videos), columns(numbers)).tolist()]


@pytest.fixture
def little(monkeypatch):
    """Tables give way to others early, and are moved a few rows at a time."""
    monkeypatch.setattr(module, "ROWS_SPARE", 8)
    monkeypatch.setattr(module, "MOVED_ROWS", 4)
    monkeypatch.setattr(module, "LONE_MAX", 40)
    monkeypatch.setattr(module, "LONE_FEW", 10)


@pytest.mark.parametrize("seed", range(20))
def test_it_has_what_a_dict_has_whichever_tables_there_are(little, seed):
    chance, one, model, between = random.Random(seed), PendingVideos(bytes(16)), {}, 0
    videos = [chance.randbytes(16) for _ in range(150)]
    for number in range(200):
        free = [each for each in videos if each not in model]
        match chance.choice(["add", "add", "put", "pop", "pop all", "pop all", "keep"]):
            case "add":
                some = chance.sample(videos, chance.choice([1, 20, 100]))
                numbers = list(range(number, number + len(some)))
                added = add(one, some + some[:1], [*numbers, 7])
                assert added == [each for each in some if each not in model]
                for each, its in zip(some, numbers, strict=True):
                    model.setdefault(each, due(its))
            case "put" if free:
                each = chance.choice(free)
                one.put(each, due(number))
                model[each] = due(number)
            case "pop" if model:
                each = chance.choice(sorted(model))
                assert one.pop(each) == model.pop(each)
            case "pop all" if model:
                some = chance.sample(sorted(model), chance.randint(1, len(model)))
                assert one.pop_all(some) == [model.pop(each) for each in some]
            case "keep" if not number % 5:
                kept = chance.sample(sorted(model), len(model) // 2)
                one.keep(b"".join(kept))
                model = {each: model[each] for each in kept}
        between += one._former is not None
        assert [one.get(each) for each in videos] == [model.get(each) for each in videos]
        assert one.which(videos) == [each for each in videos if each in model]
        assert one.which(videos[:3]) == [each for each in videos[:3] if each in model]
        assert one._in_rows + len(one._lone) == len(model)
    assert between > 20, "a former table was there for a while"


def test_no_call_touches_all_rows_of_a_table_that_has_become_sparse(monkeypatch):
    one, chance = PendingVideos(bytes(16)), np.random.default_rng(1)
    videos = unpack_videos(chance.bytes(16 * 100_000))
    add(one, videos, list(range(len(videos))))
    opened = []

    class Counted(VideoTable):
        def _put_in(self, start, at):
            opened.append(len(at))
            return super()._put_in(start, at)

        def _put_all_in(self, start):
            opened.append(super()._put_all_in(start))
            return opened[-1]

    monkeypatch.setattr(module, "VideoTable", Counted)
    monkeypatch.setattr(module, "MOVED_ROWS", 1000)
    formers = set()
    for start in range(0, len(videos), 20):
        opened.clear()
        popped = one.pop_all(videos[start : start + 20])
        assert popped == [due(number) for number in range(start, start + 20)]
        assert sum(opened) <= 1000 + 1000 * 16 + 8192, "its rows, and what is due for larger slots"
        formers.add(one._former)
        if start % 2000 == 0 and start + 20 < len(videos):
            assert one.get(videos[start + 20]) == due(start + 20)
    assert len(formers) > 2
    assert (len(one._table), one._former, one._in_rows) == (0, None, 0)


def test_a_video_that_waits_alone_keeps_its_total_when_a_column_comes():
    one, videos = PendingVideos(bytes(16)), [bytes([number]) * 16 for number in range(1, 101)]
    quiet = due(5, total=6, arrived_ns=7)
    one.put(bytes(16), quiet)
    assert add(one, videos, range(100)) == videos
    assert one.get(bytes(16)) == quiet
    assert one.pop(bytes(16)) == quiet
    one.put(bytes(16), quiet)
    assert add(one, [bytes(16), b"x" * 16], [8, 9]) == [b"x" * 16], "it is pending"
    assert one.get(bytes(16)) == due(5)


def test_videos_whose_first_half_is_alike_are_told_apart():
    one, alike = PendingVideos(bytes(16)), [bytes(15) + bytes([number]) for number in range(60)]
    one.put(alike[0], due(0))
    assert add(one, alike[1:], range(1, 60)) == alike[1:]
    assert [one.get(each) for each in alike] == [due(number) for number in range(60)]


def test_what_lingers_is_due_later_in_both_tables(little, monkeypatch):
    monkeypatch.setattr(module, "MOVED_ROWS", 90)
    one, lingering = PendingVideos(bytes(16)), Calendar()
    videos = [bytes([number]) * 16 for number in range(1, 101)]
    columns_ = columns(range(100))
    columns_.triggers[:] = TRIGGERS.index(Trigger.REALTIME)
    one.add(b"".join(videos), columns_)
    one.pop_all(videos[:80])
    one.pop_all(videos[80:81])
    assert one._former is not None and len(one._table), "some are in each"
    lingering.add_all(columns_.latest_ms[81:], np.frombuffer(b"".join(videos[81:]), GUID))
    moved = one.linger_longer(lingering, {Trigger.REALTIME: 50})
    assert moved.first(100) == [(1050 + number, videos[number]) for number in range(81, 100)]
    assert [one.get(each).latest_ms for each in videos[81:]] == [1050 + number for number in range(81, 100)]


def test_nothing_is_found_where_nothing_is():
    one = PendingVideos(bytes(16))
    assert one.get(bytes(16)) is None
    assert one.which([bytes(16)] * 50) == []
    assert module._kinds(VideoTable(2), VideoTable(2).rows_of(video_words(bytes(32)))).tolist() == [0, 0]
