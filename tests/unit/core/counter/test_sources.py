"""Which messages a ledger knows of an nsqd that comes back under other names."""

import pytest

from actors.core.columns import pack_numbers
from actors.core.counter.seen_ids import BUCKET_SHIFT, FEW, SeenIds
from actors.core.counter.sources import Sources

WINDOW_MS = 60_000
OLD, NEW = "a:4150 #5/plays", "b:4150 #5/plays"


def ids(*numbers):
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def admitted(seen, source, numbers, stamps=None, now_ms=0):
    """The numbers that are new."""
    stamps = pack_numbers(number if stamps is None else stamps for number in numbers)
    places = seen.admit(source, ids(*numbers), stamps, now_ms).places
    return list(numbers) if places is None else [numbers[place] for place in places]


@pytest.mark.parametrize("size", [1, FEW, FEW + 1, 3000])
def test_what_came_from_the_old_address_is_known_at_the_new_one_and_what_is_new_is_not(size):
    seen, known = SeenIds(WINDOW_MS), list(range(100, 100 + size))
    admitted(seen, OLD, known)
    mixed = [1, *known, 2, 1 << BUCKET_SHIFT, *known, 1]
    assert admitted(seen, NEW, mixed) == [1, 2, 1 << BUCKET_SHIFT]
    assert admitted(seen, NEW, mixed) == []
    assert admitted(seen, OLD, [1, 2, 3]) == [3], "it works both ways"
    assert len(seen) == size + 4


@pytest.mark.parametrize("each", [1, FEW, 500])
def test_what_came_over_a_long_time_is_known_at_the_new_address(each):
    """The ids of some seconds, in as many buckets."""
    seen = SeenIds(WINDOW_MS)
    known = [(bucket << BUCKET_SHIFT) + number for bucket in range(5) for number in range(each)]
    admitted(seen, OLD, known)
    assert admitted(seen, NEW, [*known, 9 << BUCKET_SHIFT]) == [9 << BUCKET_SHIFT]
    assert len(seen) == len(known) + 1


def test_it_is_known_after_a_restart_and_each_row_can_be_deleted():
    seen = SeenIds(WINDOW_MS)
    admitted(seen, OLD, range(100))
    admitted(seen, NEW, range(50, 150))
    chunks = seen.take_chunks()
    following = SeenIds(WINDOW_MS, chunks)
    assert admitted(following, "c:4150 #5/plays", range(200)) == list(range(150, 200))
    assert admitted(following, "c:4150/plays", range(200)) == list(range(150))
    expired = following.expire(WINDOW_MS + 2)
    assert {(one.source, one.bucket) for one in chunks} <= set(expired)
    assert len(following) == 0


def test_a_text_without_the_identity_is_looked_for_under_its_names_alone():
    """Two nsqds have that identity, as it turned out."""
    seen = SeenIds(WINDOW_MS)
    admitted(seen, OLD, range(100))
    assert admitted(seen, "b:4150/plays", range(100)) == list(range(100))
    assert admitted(seen, "a:4150/plays", range(100)) == [], "its own"


def test_messages_of_a_ledger_that_knew_no_identities_are_the_nsqds_as_soon_as_it_gives_one():
    seen = SeenIds(WINDOW_MS)
    admitted(seen, "a:4150/plays", range(100))
    stored = SeenIds(WINDOW_MS, seen.take_chunks())
    assert admitted(stored, OLD, [*range(100), 100]) == [100]
    assert admitted(stored, NEW, [*range(101), 101]) == [101]


def test_the_same_id_with_another_stamp_is_another_message():
    seen = SeenIds(WINDOW_MS)
    admitted(seen, OLD, range(100), stamps=1)
    assert admitted(seen, NEW, range(100), stamps=2) == list(range(100))


def test_another_topic_is_another_source():
    seen = SeenIds(WINDOW_MS)
    admitted(seen, OLD, range(100))
    assert admitted(seen, "b:4150 #5/other", range(100)) == list(range(100))


def test_sources_that_turn_out_to_be_one_keep_what_each_shares():
    joins = []
    sources = Sources(lambda *pair: joins.append(pair))
    first, second, third = sources.of("a:1 #5/t"), sources.of("b:1 #6/t"), sources.of("c:1 #5 #6/t")
    assert sources.others("c:1 #5 #6/t") == (first, second)
    assert sources.of("a:1 b:1/t") == first
    assert joins == [(second, first)]
    assert sources.others("c:1 #5 #6/t") == (first,)
    assert sources.others("b:1 #6/t") == (third,)
    assert sources.others("a:1/t") == ()


def test_sources_without_messages_are_forgotten():
    sources = Sources(lambda *pair: None)
    for number in range(100):
        sources.of(f"a{number}:1 #5/t")
    sources.keep({"a7:1 #5/t", "a8:1 #5/t"})
    assert sources.others("a7:1 #5/t") == ("a8:1 #5/t",)
    assert sources.others("a9:1 #5/t") == ("a7:1 #5/t", "a8:1 #5/t")
    assert sources.texts_of({"a7:1 #5/t"}) == {"a7:1 #5/t": ["a7:1 #5/t"]}
