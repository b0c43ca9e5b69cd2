"""Seen ids: a redelivery is recognized by source, id and stamp, within the window, through restarts."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import pack_numbers
from actors.core.counter import seen_ids
from actors.core.counter.seen_chunks import SeenChunk
from actors.core.counter.seen_ids import BUCKET_SHIFT, EXPIRY_INTERVAL_MS, FEW, SeenIds

HOUR_MS = 3_600_000
A, B = "a:4150/plays", "b:4150/plays"
MANY = 4 * FEW


def column(*ids):
    return b"".join(one.to_bytes(8, "big") for one in ids)


def admit(seen, source, ids, now_ms=0, stamps=None):
    """The places of the new ones; all are [0, 1, 2, …]. Without `stamps` an id always has the same one."""
    stamps = [id % 1_000_003 for id in ids] if stamps is None else stamps
    places = seen.admit(source, column(*ids), pack_numbers(stamps), now_ms).places
    return list(range(len(ids))) if places is None else places


def test_new_ids_are_all_new_and_come_again_as_redeliveries():
    seen = SeenIds(HOUR_MS)
    assert admit(seen, A, [1, 2, 3]) == [0, 1, 2]
    assert admit(seen, A, [1, 2, 3]) == []
    assert admit(seen, A, [3, 4, 2, 5]) == [1, 3]
    assert len(seen) == 5


def test_messages_that_came_alone_are_known_when_they_come_again_among_many():
    seen = SeenIds(HOUR_MS)
    admit(seen, A, [3, 5])
    assert admit(seen, A, range(MANY)) == [one for one in range(MANY) if one not in (3, 5)]


def test_an_id_twice_in_one_batch_is_new_once():
    assert admit(SeenIds(HOUR_MS), A, [7, 8, 7, 7]) == [0, 1]
    assert admit(SeenIds(HOUR_MS), A, [*range(MANY), *range(MANY)]) == list(range(MANY))


@pytest.mark.parametrize("messages", [2, MANY])
def test_of_what_two_consumers_read_of_one_nsqd_in_turn_each_message_is_new_once(messages):
    seen = SeenIds(HOUR_MS)
    for start in range(0, 10 * messages, messages):
        for consumer in (0, 1):
            ids = range(2 * start + consumer, 2 * (start + messages), 2)
            assert admit(seen, A, ids) == list(range(messages))
    assert len(seen) == 20 * messages
    # One is killed: the other one gets what it had in flight, among new ones.
    again = [*range(18 * messages, 20 * messages, 2), *range(20 * messages, 21 * messages)]
    assert admit(seen, A, again) == list(range(messages, 2 * messages))
    assert admit(seen, A, again) == []


@pytest.mark.parametrize("messages", [1, FEW, MANY])
@pytest.mark.parametrize("together", [True, False])
def test_an_id_with_another_stamp_is_another_message(messages, together):
    seen, ids = SeenIds(HOUR_MS), list(range(1, messages + 1))
    again = [10**18 + id for id in ids]
    if together:
        found = seen.admit(A, column(*ids, *ids), pack_numbers([*ids, *again]), 0)
        assert (found.places, found.reused) == (None, messages)
    else:
        assert seen.admit(A, column(*ids), pack_numbers(ids), 0).reused == 0
        found = seen.admit(A, column(*ids), pack_numbers(again), 0)
        assert (found.places, found.reused) == (None, messages)
    for stamps in (ids, again):
        found = seen.admit(A, column(*ids), pack_numbers(stamps), 0)
        assert (found.places, found.reused) == ([], 0)
    assert len(seen) == 2 * messages


def test_equal_messages_of_two_sources_are_two():
    seen = SeenIds(HOUR_MS)
    for source in (A, B, "a:4150/other"):
        assert admit(seen, source, [1, 2]) == [0, 1]


@pytest.mark.parametrize("messages", [2, MANY])
def test_two_texts_that_share_a_name_are_one_source(messages):
    seen, ids = SeenIds(HOUR_MS), list(range(messages))
    admit(seen, "localhost:4150/plays", ids)
    admit(seen, "10.0.0.7:4150/plays", [number + messages for number in ids])
    assert admit(seen, "10.0.0.7:4150 host:4150 localhost:4150/plays", range(2 * messages + 1)) == [
        2 * messages
    ]
    for text in ("host:4150/plays", "localhost:4150/plays", "10.0.0.7:4150/plays"):
        assert admit(seen, text, range(2 * messages + 1)) == []
    assert len(seen) == 2 * messages + 1
    assert len(admit(seen, "host:4150/other", ids)) == messages


def test_ids_of_sources_that_are_joined_are_kept_for_the_window_of_the_younger():
    seen = SeenIds(HOUR_MS)
    admit(seen, "localhost:1/plays", [1], 0)
    admit(seen, "1.2.3.4:1/plays", [2], 5000)
    admit(seen, "1.2.3.4:1 localhost:1/plays", [9 << BUCKET_SHIFT], 5000)
    assert seen.expire(HOUR_MS + 5000) == []
    assert admit(seen, "localhost:1/plays", [1, 2], HOUR_MS + 5000) == []


def test_sources_stay_joined_in_what_is_stored_and_expire_under_every_text():
    seen = SeenIds(HOUR_MS)
    admit(seen, "localhost:1/plays", [1])
    admit(seen, "1.2.3.4:1 localhost:1/plays", [2])
    again = SeenIds(HOUR_MS, seen.take_chunks())
    assert admit(again, "1.2.3.4:1/plays", [1, 2, 3]) == [2]
    assert set(again.expire(3 * HOUR_MS)) == {
        ("localhost:1/plays", 0),
        ("1.2.3.4:1 localhost:1/plays", 0),
        ("1.2.3.4:1/plays", 0),
    }


def test_a_message_stored_without_a_stamp_is_a_redelivery_whatever_its_stamp():
    keys = b"".join((id << 30).to_bytes(8, "little") for id in range(MANY))
    seen = SeenIds(HOUR_MS, [SeenChunk(A, 0, 5, keys, stamped=False)])
    assert len(seen) == MANY
    assert admit(seen, A, [3], stamps=[77]) == []
    assert admit(seen, A, range(MANY + 1), stamps=[7] * (MANY + 1)) == [MANY]
    assert admit(seen, A, [MANY], stamps=[8]) == [0]


def test_an_empty_batch_changes_nothing():
    seen = SeenIds(HOUR_MS)
    assert admit(seen, A, []) == []
    assert seen.take_chunks() == []


@pytest.mark.parametrize(("ids", "stamps"), [(b"1234567", bytes(8)), (bytes(16), bytes(8)), (b"", bytes(8))])
def test_columns_of_other_lengths_are_refused(ids, stamps):
    with pytest.raises(ValueError, match="8 per message"):
        SeenIds(HOUR_MS).admit(A, ids, stamps, 0)


def test_what_was_admitted_is_given_to_the_store_once():
    seen = SeenIds(HOUR_MS)
    admit(seen, A, [1, 2, 5 << BUCKET_SHIFT], 10)
    chunks = seen.take_chunks()
    assert [(one.source, one.bucket, one.received_ms) for one in chunks] == [(A, 0, 10), (A, 5, 10)]
    assert seen.take_chunks() == []
    admit(seen, A, [1], 11)
    assert seen.take_chunks() == []


def test_a_ledger_that_starts_again_knows_what_was_stored():
    seen = SeenIds(HOUR_MS)
    admit(seen, A, [1, 2, 9 << BUCKET_SHIFT], 10)
    again = SeenIds(HOUR_MS, seen.take_chunks())
    assert admit(again, A, [1, 2, 3, 9 << BUCKET_SHIFT], 11) == [2]
    assert [one.bucket for one in again.take_chunks()] == [0]


@pytest.mark.parametrize("commits", [1, 2, 3, 7, 100])
def test_a_bucket_stored_in_many_commits_is_whole_again_and_as_young_as_its_last(commits):
    seen, chunks = SeenIds(HOUR_MS), []
    for number in range(commits):
        admit(seen, A, [number, 1000 + number], number)
        chunks += seen.take_chunks()
    again = SeenIds(HOUR_MS, reversed(chunks))
    assert len(again) == 2 * commits
    assert admit(again, A, [*range(commits), 5000], HOUR_MS) == [commits]
    again = SeenIds(HOUR_MS, chunks)
    assert again.expire(commits - 1 + HOUR_MS) == []
    assert again.expire(commits + HOUR_MS + EXPIRY_INTERVAL_MS) == [(A, 0)]


def test_ids_are_kept_for_the_window_and_dropped_after_it():
    seen = SeenIds(HOUR_MS)
    admit(seen, A, [1], 1000)
    admit(seen, A, [9 << BUCKET_SHIFT], 2000)
    assert seen.expire(1000 + HOUR_MS) == []
    assert seen.expire(1000 + HOUR_MS + EXPIRY_INTERVAL_MS) == [(A, 0)]
    assert admit(seen, A, [9 << BUCKET_SHIFT], 3000) == []
    assert admit(seen, A, [1], 3000) == [0]


def test_a_bucket_in_which_ids_still_come_is_not_dropped():
    seen = SeenIds(HOUR_MS)
    admit(seen, A, [1], 0)
    admit(seen, A, [2], HOUR_MS)
    assert seen.expire(HOUR_MS + 5000) == []
    assert admit(seen, A, [1], HOUR_MS + 5000) == []


def test_expiry_looks_once_in_its_interval():
    seen = SeenIds(0)
    admit(seen, A, [1], 0)
    assert seen.expire(10) == [(A, 0)]
    admit(seen, A, [2], 20)
    assert seen.expire(30) == []
    assert seen.expire(10 + EXPIRY_INTERVAL_MS) == [(A, 0)]


def test_a_bucket_has_few_runs_however_its_messages_come():
    seen = SeenIds(HOUR_MS)
    for first in range(0, 2000, 2):
        admit(seen, A, [first, 4001 - first])
    (bucket,) = seen._buckets.values()
    lengths = [len(run) for run in bucket.runs]
    assert all(long >= 2 * short for long, short in itertools.pairwise(lengths))
    assert len(bucket.latest) <= seen_ids.LATEST_MAX
    assert sum(lengths) + len(bucket.latest) == len(seen) == 2000


def test_messages_that_came_one_by_one_take_little_more_than_8_bytes_in_the_end():
    messages, apart_ms = 645, 4295  # of a bucket, at 150 a second
    seen = SeenIds(HOUR_MS)
    tracemalloc.start()
    for number in range(20):
        for one in range(messages):
            admit(seen, A, [number << BUCKET_SHIFT | one << 12], number * apart_ms)
        seen.take_chunks()
        seen.expire((number + 1) * apart_ms)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(seen) == 20 * messages
    assert taken / len(seen) < 12


few = st.integers(0, 6)
ids = st.integers(0, 2**64 - 1) | few | few.map(lambda number: number << BUCKET_SHIFT)
batches = st.tuples(
    st.just("admit"), st.sampled_from((A, B)), st.lists(st.tuples(ids, st.integers(0, 2)), max_size=40)
)
restarts = st.tuples(st.just("restart"), st.booleans(), st.none())


@pytest.mark.parametrize("one_by_one", [0, 1000])
def test_it_answers_as_a_plain_set_does_through_commits_and_kills(one_by_one, monkeypatch):
    monkeypatch.setattr(seen_ids, "FEW", one_by_one)

    @settings(deadline=None)
    @given(st.lists(batches | restarts, max_size=25))
    def check(steps):
        seen, stored = SeenIds(HOUR_MS), []
        model, committed = set(), set()
        for now_ms, (step, first, second) in enumerate(steps):
            if step == "restart":
                if first:  # committed before it was killed
                    stored += seen.take_chunks()
                    committed = set(model)
                seen, model = SeenIds(HOUR_MS, stored), set(committed)
                continue
            expected, reused = [], 0
            for place, (number, stamp) in enumerate(second):
                if (first, number, stamp) not in model:
                    reused += any(one[:2] == (first, number) for one in model)
                    model.add((first, number, stamp))
                    expected.append(place)
            stamps = pack_numbers(stamp for _, stamp in second)
            found = seen.admit(first, column(*(number for number, _ in second)), stamps, now_ms)
            assert (list(range(len(second))) if found.places is None else found.places) == expected
            assert found.reused == reused
            assert len(seen) == len(model)

    check()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4000)), max_size=30))
def test_no_id_is_dropped_within_the_window(steps):
    window_ms = 3000
    seen, admitted, now_ms = SeenIds(window_ms), {}, 0
    for bucket, pause_ms in steps:
        now_ms += pause_ms
        for source, number in seen.expire(now_ms):
            old = [at for one, at in admitted.items() if one >> BUCKET_SHIFT == number]
            assert source == A
            assert all(at + window_ms < now_ms for at in old)
            admitted = {o: at for o, at in admitted.items() if o >> BUCKET_SHIFT != number}
        one = bucket << BUCKET_SHIFT
        assert (admit(seen, A, [one], now_ms) == []) == (one in admitted)
        admitted.setdefault(one, now_ms)
    assert all(admit(seen, A, [one], now_ms) == [] for one in admitted)


def test_rows_that_have_keys_in_common_are_merged_into_one_with_each_key_once():
    rows = [
        SeenChunk(A, 1, received_ms, np.array(keys, "<u8").tobytes())
        for received_ms, keys in ((5, [1, 4, 9]), (8, [4, 6]), (3, [6, 9, 9]))
    ]
    assert seen_ids.merged(rows) == SeenChunk(A, 1, 8, np.array([1, 4, 6, 9], "<u8").tobytes())
