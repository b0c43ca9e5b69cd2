"""The seen messages on disk: their rows are merged, and each source keeps all of its own ids."""

import contextlib
import random
import sqlite3

import pytest

from actors.core.columns import pack_numbers
from actors.core.counter.accounts import AccountColumns
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.seen_chunks import PLAY_IDS
from actors.core.counter.seen_ids import BUCKET_SHIFT, SeenIds
from actors.store import SqliteLedgerStore, ledger_path
from actors.store.checksum import seal
from actors.store.seen import COMMITS_A_COMPACTION, LATEST_ROWS_MAX, about, chunk_of, in_buckets

SOURCES = ("a:4150/plays", "b:4150/plays", "c:4150/plays")
NOTHING = AccountColumns(b"", b"", b"", b"", b"")


class Writer:
    """Commits messages of several sources to a ledger, and knows which those were."""

    def __init__(self, store):
        self._store, self._seen = store, SeenIds(10**9)
        self.written = set()

    def commit(self, *messages):
        """One commit with these messages: (source, bucket, the low bits of the id)."""
        for source, bucket, number in messages:
            id = (bucket << BUCKET_SHIFT | number).to_bytes(8, "big")
            self._seen.admit(source, id, pack_numbers([number]), 1)
            self.written.add((source, bucket, number))
        self._store.commit(LedgerChanges(NOTHING, self._seen.take_chunks(), [], Tallies()))


@pytest.fixture
def path(tmp_path):
    return ledger_path(str(tmp_path), 0)


@contextlib.contextmanager
def ledger(path):
    with contextlib.closing(SqliteLedgerStore(str(path.parent), 0, 2, "NORMAL")) as store:
        store.load()
        yield store


def stored(path):
    """The messages on disk, as (source, bucket, low bits), and how many rows they take."""
    found, rows = set(), 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for chunks in in_buckets(connection):
            for one in chunks:
                rows += 1
                for at in range(0, len(one.keys), 8):
                    key = int.from_bytes(one.keys[at : at + 8], "little")
                    found.add((one.source, one.bucket, key >> 30))
    return found, rows


def test_rows_of_one_bucket_are_merged_per_source_and_no_source_loses_an_id(path):
    with ledger(path) as store:
        writer = Writer(store)
        for number in range(2 * LATEST_ROWS_MAX + 1):
            writer.commit(*((source, 0, 10 * number + at) for at, source in enumerate(SOURCES)))
            assert stored(path)[0] == writer.written
        assert stored(path)[1] < 3 * LATEST_ROWS_MAX, "rows were merged"


def test_a_bucket_that_gets_no_more_messages_is_merged_per_source(path):
    with ledger(path) as store:
        writer = Writer(store)
        for bucket in range(8):
            for number in range(COMMITS_A_COMPACTION // 2):
                writer.commit(*((source, bucket, 10 * number + at) for at, source in enumerate(SOURCES)))
                assert stored(path)[0] == writer.written
        for number in range(8 * len(SOURCES) * COMMITS_A_COMPACTION):
            writer.commit((SOURCES[0], 99, number))
        assert stored(path)[0] == writer.written
        assert stored(path)[1] < 8 * len(SOURCES) + 2 * LATEST_ROWS_MAX, (
            "one row per closed bucket and source"
        )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_merged_and_whenever_it_is_loaded_each_source_has_all_its_ids(path, seed):
    chance, written = random.Random(seed), set()
    for life in range(3):
        with ledger(path) as store:
            assert stored(path)[0] == written
            writer = Writer(store)
            for number in range(150):
                some = [(source, chance.randrange(3), 1000 * life + number) for source in SOURCES]
                writer.commit(*chance.sample(some, chance.randrange(1, 4)))
            written |= writer.written
            assert stored(path)[0] == written


@pytest.mark.parametrize("commits", [3, 5 * LATEST_ROWS_MAX])
def test_plays_that_name_their_identity_are_kept_through_merges_and_starts(path, commits):
    seen = SeenIds(10**9)

    def play(number):
        return number.to_bytes(16, "big"), number.to_bytes(8, "big"), pack_numbers([number])

    with ledger(path) as store:
        for number in range(commits):
            seen.plays.admit(*play(number), number)
            store.commit(LedgerChanges(NOTHING, seen.take_chunks(), [], Tallies()))
    assert stored_rows(path) <= commits // LATEST_ROWS_MAX + LATEST_ROWS_MAX
    for _ in range(2):
        with contextlib.closing(SqliteLedgerStore(str(path.parent), 0, 2, "NORMAL")) as store:
            again = SeenIds(10**9, store.load()[1]).plays
        assert len(again) == commits
        for number in range(commits):
            assert again.admit(*play(number), commits).places == []
    assert stored_rows(path) == 1


def stored_rows(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM seen").fetchone()[0]


def test_a_row_of_plays_that_is_not_whole_is_damaged():
    with pytest.raises(ValueError, match="16 bytes of keys, expected 18 per message"):
        chunk_of(PLAY_IDS, 7, 0, 1, seal(bytes(16), about(PLAY_IDS, 7, True)))


@pytest.mark.parametrize("keys", [b"", b"1234567", b"123456789"])
def test_a_row_whose_keys_are_not_whole_is_damaged(keys):
    with pytest.raises(ValueError, match=f"{len(keys)} bytes of keys, expected 8 per message"):
        chunk_of("a:4150/plays", 7, 0, 1, seal(keys, about("a:4150/plays", 7, True)))


def test_nothing_is_kept_in_memory_of_buckets_that_expired(path):
    with ledger(path) as store:
        writer = Writer(store)
        writer.commit(*((source, 0, 1) for source in SOURCES))
        assert len(store._seen._rows) == len(SOURCES)
        store.commit(LedgerChanges(NOTHING, [], [(source, 0) for source in SOURCES], Tallies()))
        assert store._seen._rows == {}
    assert stored(path) == (set(), 0)
