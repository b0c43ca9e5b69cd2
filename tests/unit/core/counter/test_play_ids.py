"""Plays that name their identity: each is counted once in the window, whichever message brings it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import pack_numbers
from actors.core.counter import play_ids
from actors.core.counter.ledger import Ledger
from actors.core.counter.play_ids import BUCKET_MS, FEW, GENERATIONS, PlayIds, joined_rows
from actors.core.counter.seen_chunks import PLAY_IDS, SeenChunk
from actors.core.counter.seen_ids import EXPIRY_INTERVAL_MS, SeenIds, merged
from actors.core.messages import Plays

HOUR_MS = 3_600_000
MANY = 4 * FEW
SPAN_MS = HOUR_MS // GENERATIONS


def columns(messages):
    """The columns of these messages: (number of the play, number of the message)."""
    return (
        b"".join(play.to_bytes(16, "big") for play, _ in messages),
        b"".join(id.to_bytes(8, "big") for _, id in messages),
        pack_numbers(10**18 + id for _, id in messages),
    )


def admit(seen, messages, now_ms=0):
    """The places of the new plays, and how many of the others are duplicates."""
    found = seen.admit(*columns(messages), now_ms)
    assert found.reused == 0
    return list(range(len(messages))) if found.places is None else found.places, found.duplicates


def alone(numbers):
    """A message for each play, which has the play's number."""
    return [(number, number) for number in numbers]


@pytest.mark.parametrize("plays", [1, FEW, MANY])
def test_a_play_is_new_once_and_the_same_message_is_no_duplicate(plays):
    seen, messages = PlayIds(HOUR_MS), alone(range(plays))
    assert admit(seen, messages) == (list(range(plays)), 0)
    assert admit(seen, messages) == ([], 0)
    others = [(play, id + 1000) for play, id in messages]
    assert admit(seen, others) == ([], plays)
    assert admit(seen, [*others, *alone([5000])]) == ([plays], plays)
    assert len(seen) == plays + 1


@pytest.mark.parametrize("plays", [2, MANY])
def test_a_play_twice_in_one_batch_is_new_once(plays):
    messages = alone(range(plays))
    for again, duplicates in ((messages, 0), ([(play, 99) for play, _ in messages], plays)):
        seen = PlayIds(HOUR_MS)
        assert admit(seen, [*messages, *again]) == (list(range(plays)), duplicates)
        (chunk,) = seen.take_chunks()
        assert chunk.ids == plays == len(seen)


def test_a_play_is_found_in_every_generation_and_among_the_new():
    seen = PlayIds(HOUR_MS)
    for number in range(GENERATIONS):
        admit(seen, alone(range(100 * number, 100 * number + MANY)), number * SPAN_MS)
    assert len(seen._generations) == GENERATIONS
    for few in (1, MANY):
        known = [100 * number for number in range(GENERATIONS)] * few
        fresh = list(range(9000 + 100 * few, 9000 + 101 * few))
        now_ms = (GENERATIONS - 1) * SPAN_MS + few
        assert admit(seen, alone([*known, *fresh]), now_ms) == ([len(known) + at for at in range(few)], 0)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_columns_of_other_lengths_are_refused_and_change_nothing(wrong):
    seen, several = PlayIds(HOUR_MS), list(columns(alone([1, 2])))
    several[wrong] = several[wrong][:-3]
    with pytest.raises(ValueError, match="bytes of play ids"):
        seen.admit(*several, 0)
    assert len(seen) == 0
    assert admit(seen, []) == ([], 0)
    assert seen.take_chunks() == []


def test_what_was_admitted_is_given_to_the_store_once_in_18_bytes_a_play():
    seen = PlayIds(HOUR_MS)
    admit(seen, alone([1, 2]), BUCKET_MS + 5)
    admit(seen, alone(range(MANY)), BUCKET_MS + 6)
    (chunk,) = seen.take_chunks()
    assert (chunk.source, chunk.bucket, chunk.received_ms, chunk.ids) == (PLAY_IDS, 1, BUCKET_MS + 6, MANY)
    assert len(chunk.keys) == 18 * MANY
    assert seen.take_chunks() == []
    for known in ([(1, 99)], [(number, 99) for number in range(MANY)]):
        admit(seen, known, BUCKET_MS + 7)
        assert seen.take_chunks() == []


def test_a_ledger_that_starts_again_knows_plays_and_messages():
    seen, messages = PlayIds(HOUR_MS), alone(range(MANY))
    chunks = []
    for number, message in enumerate(messages):
        admit(seen, [message], number * SPAN_MS // 8)
        chunks += seen.take_chunks()
    again = PlayIds(HOUR_MS, reversed(chunks))
    assert len(again) == MANY
    now_ms = MANY * SPAN_MS // 8
    assert admit(again, messages, now_ms) == ([], 0)
    assert admit(again, [(play, id + 1) for play, id in messages], now_ms) == ([], MANY)
    assert again.take_chunks() == []


def test_what_is_loaded_is_divided_into_quarters_of_the_window_as_what_comes_is():
    seen, chunks = PlayIds(HOUR_MS), []
    for number, received_ms in enumerate((0, 1, SPAN_MS, SPAN_MS + 1, SPAN_MS + 2, 2 * SPAN_MS)):
        admit(seen, alone([number]), received_ms)
        chunks += seen.take_chunks()
    again = PlayIds(HOUR_MS, chunks)
    began_ms = [one.began_ms for one in seen._generations]
    assert began_ms == [one.began_ms for one in again._generations] == [0, SPAN_MS, 2 * SPAN_MS]
    assert [len(one.table) for one in again._generations] == [2, 3, 1]


def test_plays_are_known_for_the_window_and_dropped_soon_after_it():
    seen = PlayIds(HOUR_MS)
    admit(seen, alone([1]), 1000)
    seen.take_chunks()
    admit(seen, alone([2]), 1000 + SPAN_MS)
    seen.take_chunks()
    assert seen.expire(1000 + HOUR_MS) == []
    assert admit(seen, alone([1]), 1000 + HOUR_MS) == ([], 0)
    assert seen.expire(1001 + HOUR_MS) == [(PLAY_IDS, 0)]
    assert seen.expire(1001 + HOUR_MS) == []
    assert admit(seen, alone([1, 2]), 1001 + HOUR_MS) == ([0], 0)


def test_seen_ids_store_and_expire_them_with_the_others():
    seen = SeenIds(HOUR_MS)
    seen.admit("a:4150/plays", (7).to_bytes(8, "big"), pack_numbers([7]), 10)
    admit(seen.plays, alone([7]), 10)
    chunks = seen.take_chunks()
    assert {chunk.source for chunk in chunks} == {"a:4150/plays", PLAY_IDS}
    again = SeenIds(HOUR_MS, chunks)
    assert len(again) == len(seen) == 2
    assert admit(again.plays, alone([7]), 11) == ([], 0)
    assert again.expire(HOUR_MS + 2 * EXPIRY_INTERVAL_MS) == [("a:4150/plays", 0), (PLAY_IDS, 0)]
    assert len(again) == 0


def test_rows_of_the_store_are_joined_and_of_several_ledgers_each_play_is_kept_once():
    seen, rows = [PlayIds(HOUR_MS), PlayIds(HOUR_MS)], []
    for one, numbers in zip(seen, ([1, 2, 3], [3, 4]), strict=True):
        admit(one, alone(numbers))
        rows += one.take_chunks()
    assert merged(rows[:1]) == rows[0]
    assert merged(rows).ids == 5
    united = merged(rows, of_several_ledgers=True)
    assert united.ids == 4
    again = PlayIds(HOUR_MS, [united])
    assert admit(again, alone([1, 2, 3, 4, 5])) == ([4], 0)
    assert joined_rows([]) == b""


def test_a_table_begins_as_large_as_the_one_before_so_that_none_grows_at_a_steady_rate():
    seen, plays = PlayIds(HOUR_MS), 1000
    for number in range(3):
        for first in range(0, plays, 100):
            some = range(number * plays + first, number * plays + first + 100)
            admit(seen, alone(some), number * SPAN_MS)
    slots = [len(one.table._slots) for one in seen._generations]
    assert slots[0] == slots[1] == slots[2]
    (salted,) = PlayIds(HOUR_MS, [merged(seen.take_chunks())], bytes(range(16)))._generations
    assert len(salted.table) == 3 * plays


plays_of = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=30)
steps = st.tuples(st.just("admit"), plays_of, st.integers(0, 2500))
kills = st.tuples(st.just("kill"), st.booleans(), st.integers(0, 10))


@pytest.mark.parametrize("one_by_one", [0, 1000])
def test_it_answers_as_a_plain_dict_does_through_commits_kills_and_the_window(one_by_one, monkeypatch):
    monkeypatch.setattr(play_ids, "FEW", one_by_one)
    window_ms = 3000

    @settings(deadline=None, max_examples=300)
    @given(st.lists(steps | kills, max_size=25))
    def check(several):
        seen, stored, model, committed, now_ms = PlayIds(window_ms), [], {}, {}, 0
        for step, first, pause_ms in several:
            now_ms += pause_ms
            if step == "kill":
                if first:  # committed before it was killed
                    stored += seen.take_chunks()
                    committed = dict(model)
                    gone = seen.expire(now_ms)
                    stored = [one for one in stored if (one.source, one.bucket) not in gone]
                assert all(one.ids for one in stored), "no row is empty"
                seen, model = PlayIds(window_ms, stored), dict(committed)
                continue
            places, duplicates = admit(seen, first, now_ms)
            expected, others = [], 0
            for place, (play, id) in enumerate(first):
                at_ms, message = model.get(play, (None, None))
                if at_ms is None or (at_ms < now_ms - window_ms and place in places):
                    expected.append(place)  # after the window it may be known still, or not
                    model[play] = now_ms, id
                else:
                    others += id != message
            assert (places, duplicates) == (expected, others)

    check()


def plays_message(messages, source="a:4150/plays", number=1):
    named, ids, stamps = columns(messages)
    return Plays(number, source, ids, b"v" * 16 * len(messages), stamps, 0, named)


@pytest.mark.parametrize("plays", [1, MANY])
def test_a_ledger_counts_a_play_once_whichever_nsqds_bring_it_and_tells_duplicates_from_redeliveries(plays):
    one, wall_ns = Ledger(SeenIds(HOUR_MS)), 2 * 10**18
    messages = alone(range(plays))
    one.apply(plays_message(messages), 1, wall_ns)
    one.apply(plays_message(messages), 1, wall_ns)
    one.apply(plays_message([(play, 77) for play, _ in messages], "b:4150/plays"), 1, wall_ns)
    tallies = one.take_changes(2).tallies
    assert (tallies.counted, tallies.redelivered, tallies.duplicates, tallies.reused) == (
        plays,
        plays,
        plays,
        0,
    )


def test_marks_are_the_same_one_by_one_and_together(monkeypatch):
    messages = [(number, np.random.default_rng(number).integers(2**62).item()) for number in range(MANY)]
    rows = []
    for few in (0, MANY):
        monkeypatch.setattr(play_ids, "FEW", few)
        seen = PlayIds(HOUR_MS)
        admit(seen, messages)
        rows += seen.take_chunks()
    assert rows[0] == rows[1]
    assert isinstance(rows[0], SeenChunk)
