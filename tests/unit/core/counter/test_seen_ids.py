"""Seen ids: a redelivery from the same source is recognized within the window, also after restarts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from actors.core.counter import seen_ids
from actors.core.counter.seen_ids import BUCKET_SHIFT, EXPIRY_INTERVAL_MS, SeenIds

HOUR_MS = 3_600_000
A, B = "a:4150/plays", "b:4150/plays"


def column(*ids):
    return b"".join(one.to_bytes(8, "big") for one in ids)


def test_new_ids_are_all_new_and_come_again_as_redeliveries():
    seen = SeenIds(HOUR_MS)
    assert seen.admit(A, column(1, 2, 3), 0) is None
    assert seen.admit(A, column(1, 2, 3), 1) == []
    assert seen.admit(A, column(3, 4, 2, 5), 2) == [1, 3]
    assert len(seen) == 5


def test_an_id_twice_in_one_batch_is_new_once():
    seen = SeenIds(HOUR_MS)
    assert seen.admit(A, column(7, 8, 7, 7), 0) == [0, 1]


def test_equal_ids_of_two_sources_are_two_messages():
    seen = SeenIds(HOUR_MS)
    assert seen.admit(A, column(1, 2), 0) is None
    assert seen.admit(B, column(1, 2), 0) is None
    assert seen.admit("a:4150/other", column(1, 2), 0) is None


def test_an_empty_batch_changes_nothing():
    seen = SeenIds(HOUR_MS)
    assert seen.admit(A, b"", 0) is None
    assert seen.take_chunks() == []


def test_half_an_id_is_refused():
    with pytest.raises(ValueError):
        SeenIds(HOUR_MS).admit(A, b"1234567", 0)


def test_what_was_admitted_is_given_to_the_store_once():
    seen = SeenIds(HOUR_MS)
    seen.admit(A, column(1, 2, 5 << BUCKET_SHIFT), 10)
    chunks = seen.take_chunks()
    assert [(one.source, one.bucket, one.received_ms) for one in chunks] == [(A, 0, 10), (A, 5, 10)]
    assert seen.take_chunks() == []
    seen.admit(A, column(1), 11)
    assert seen.take_chunks() == []


def test_a_ledger_that_starts_again_knows_what_was_stored():
    seen = SeenIds(HOUR_MS)
    seen.admit(A, column(1, 2, 9 << BUCKET_SHIFT), 10)
    again = SeenIds(HOUR_MS, seen.take_chunks())
    assert again.admit(A, column(1, 2, 3, 9 << BUCKET_SHIFT), 11) == [2]
    assert [one.bucket for one in again.take_chunks()] == [0]


@pytest.mark.parametrize("commits", [1, 2, 3, 7, 100])
def test_a_bucket_stored_in_many_commits_is_whole_again_and_as_young_as_its_last(commits):
    seen, chunks = SeenIds(HOUR_MS), []
    for number in range(commits):
        seen.admit(A, column(number, 1000 + number), number)
        chunks += seen.take_chunks()
    again = SeenIds(HOUR_MS, reversed(chunks))
    assert len(again) == 2 * commits
    assert again.admit(A, column(*range(commits), 5000), HOUR_MS) == [commits]
    again = SeenIds(HOUR_MS, chunks)
    assert again.expire(commits - 1 + HOUR_MS) == []
    assert again.expire(commits + HOUR_MS + EXPIRY_INTERVAL_MS) == [(A, 0)]


def test_ids_are_kept_for_the_window_and_dropped_after_it():
    seen = SeenIds(HOUR_MS)
    seen.admit(A, column(1), 1000)
    seen.admit(A, column(9 << BUCKET_SHIFT), 2000)
    assert seen.expire(1000 + HOUR_MS) == []
    assert seen.expire(1000 + HOUR_MS + EXPIRY_INTERVAL_MS) == [(A, 0)]
    assert seen.admit(A, column(9 << BUCKET_SHIFT), 3000) == []
    assert seen.admit(A, column(1), 3000) is None


def test_a_bucket_in_which_ids_still_come_is_not_dropped():
    seen = SeenIds(HOUR_MS)
    seen.admit(A, column(1), 0)
    seen.admit(A, column(2), HOUR_MS)
    assert seen.expire(HOUR_MS + 5000) == []
    assert seen.admit(A, column(1), HOUR_MS + 5000) == []


def test_expiry_looks_once_in_its_interval():
    seen = SeenIds(0)
    seen.admit(A, column(1), 0)
    assert seen.expire(10) == [(A, 0)]
    seen.admit(A, column(2), 20)
    assert seen.expire(30) == []
    assert seen.expire(10 + EXPIRY_INTERVAL_MS) == [(A, 0)]


class CountedMap(BitMap64):
    """A bitmap that counts the ids that are added to bitmaps or read from them one by one."""

    handled = 0

    def __init__(self, *ids):
        super().__init__(*ids)
        CountedMap.handled += len(self)

    def __iter__(self):
        for number in super().__iter__():
            CountedMap.handled += 1
            yield number


def test_a_batch_of_old_messages_is_gone_through_as_often_however_many_buckets_it_touches(monkeypatch):
    monkeypatch.setattr(seen_ids, "BitMap64", CountedMap)
    messages = 5000

    def handled(buckets):
        ids = column(*((n % buckets << BUCKET_SHIFT) + n for n in range(messages)))
        seen, CountedMap.handled = SeenIds(HOUR_MS), 0
        assert seen.admit(A, ids, 0) is None
        assert seen.admit(A, ids, 1) == []
        assert len(seen) == messages
        return CountedMap.handled

    assert handled(messages) <= 2 * handled(10) <= 20 * messages


few = st.integers(0, 6)
ids = st.integers(0, 2**64 - 1) | few | few.map(lambda number: number << BUCKET_SHIFT)
batches = st.tuples(st.just("admit"), st.sampled_from((A, B)), st.lists(ids, max_size=12))
restarts = st.tuples(st.just("restart"), st.booleans(), st.none())


@settings(deadline=None)
@given(st.lists(batches | restarts, max_size=25))
def test_it_answers_as_a_plain_set_does_through_commits_and_kills(steps):
    seen, stored = SeenIds(HOUR_MS), []
    model, committed = set(), set()
    for now_ms, (step, first, second) in enumerate(steps):
        if step == "restart":
            if first:  # committed before it was killed
                stored += seen.take_chunks()
                committed = set(model)
            seen, model = SeenIds(HOUR_MS, stored), set(committed)
            continue
        places = seen.admit(first, column(*second), now_ms)
        expected = []
        for place, number in enumerate(second):
            if (first, number) not in model:
                model.add((first, number))
                expected.append(place)
        assert (list(range(len(second))) if places is None else places) == expected
        assert len(seen) == len(model)


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
        assert (seen.admit(A, column(one), now_ms) == []) == (one in admitted)
        admitted.setdefault(one, now_ms)
    assert all(seen.admit(A, column(one), now_ms) == [] for one in admitted)
