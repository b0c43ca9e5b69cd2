"""The journal of a ledger: after every commit all accounts can be read, and a start reads few rows."""

import contextlib
import random
import sqlite3

import numpy as np
import pytest

from actors.core.columns import narrow, pack_numbers
from actors.core.counter.accounts import PART_ROWS, TOTAL, AccountColumns, Accounts
from actors.core.counter.changes import Tallies
from actors.core.counter.ledger import CHANGES_A_PART, COMMITS_A_PART, Ledger
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Plays
from actors.store import SqliteLedgerStore, ledger_path
from actors.store.accounts import DELETED_A_COMMIT_MAX, JOINED_ROWS, _decoder, _joined, read_accounts
from actors.store.checksum import unseal
from actors.store.database import open_read_only

WINDOW_MS = 3_600_000


class Shard:
    """The ledger of a shard, in memory and on disk."""

    def __init__(self, state_dir):
        self.path = ledger_path(str(state_dir), 0)
        self.store = SqliteLedgerStore(str(state_dir), 0, 2, "NORMAL")
        accounts, chunks, tallies = self.store.load()
        self.ledger = Ledger(SeenIds(WINDOW_MS, chunks), accounts, tallies)
        self.videos = [video for video, _ in accounts.items()]
        self._number = tallies.counted  # each message has an id of its own

    def play(self, videos):
        """Count a play of each of these, and commit."""
        self._number += 1
        ids = b"".join((self._number << 21 | at).to_bytes(8, "big") for at in range(len(videos)))
        stamps = pack_numbers([self._number] * len(videos))
        self.ledger.apply(Plays(self._number, "a/plays", ids, b"".join(videos), stamps), 1, 10**18)
        self._commit()

    def publish(self, videos):
        """Collect a batch of these, commit, publish it, and commit."""
        totals = self.ledger.collect(self._number, videos).totals
        self._commit()
        self.ledger.publish(videos, np.frombuffer(totals, np.int64).tolist())
        self._commit()

    def new_videos(self, number):
        """Open accounts, with a play each, in one commit."""
        new = [(len(self.videos) + at).to_bytes(16, "big") for at in range(number)]
        self.videos += new
        self.play(new)

    def close(self):
        self.store.close()

    def _commit(self):
        changes = self.ledger.take_changes(1)
        if changes is not None:
            self.store.commit(changes)


@pytest.fixture
def shard(tmp_path):
    with contextlib.closing(Shard(tmp_path)) as one:
        yield one


def reopened(shard):
    """The same ledger after a restart."""
    shard.close()
    return Shard(shard.path.parent)


def stored(shard):
    """The accounts on disk, which can be read while the ledger is open."""
    with open_read_only(shard.path) as connection:
        return dict(read_accounts(shard.path, connection).items())


def in_memory(shard):
    return dict(shard.ledger._accounts.items())


def journal_rows(shard):
    """How many accounts each row of the journal has."""
    with contextlib.closing(sqlite3.connect(shard.path)) as connection:
        rows = connection.execute("SELECT accounts FROM journal").fetchall()
    return [len(_decoder.decode(unseal(content))) for (content,) in rows]


def parts_of(shard):
    return -(-len(shard.videos) // PART_ROWS)


def test_after_each_commit_all_accounts_can_be_read_also_while_parts_were_never_written(shard):
    chance = random.Random(1)
    shard.new_videos(3 * PART_ROWS)  # this commit writes the first part only
    for number in range(16):
        some = chance.sample(shard.videos, PART_ROWS // 2)
        shard.play(some)
        assert stored(shard) == in_memory(shard)
        if number == 9:
            shard.new_videos(2 * PART_ROWS)
            assert stored(shard) == in_memory(shard)
        shard.publish(some[: chance.choice([1, 20, 500])])
        assert stored(shard) == in_memory(shard)


@pytest.mark.parametrize("videos", [100, PART_ROWS + 1, 3 * PART_ROWS])
@pytest.mark.parametrize("width", [1, 100])
def test_a_start_reads_few_rows_whatever_the_number_of_commits_was(shard, videos, width):
    chance = random.Random(videos)
    shard.new_videos(videos)
    most_rows = most_changes = 0
    plays_a_part = min(COMMITS_A_PART, CHANGES_A_PART // width) // 3  # a round makes three commits
    for number in range(2 * (parts_of(shard) + 1) * plays_a_part):
        some = chance.sample(shard.videos, width)
        shard.play(some)
        shard.publish(some)
        if number % 25:
            continue
        rows = journal_rows(shard)
        most_rows, most_changes = max(most_rows, len(rows)), max(most_changes, sum(rows))
    # the rows since the oldest part, until that is written again; then some commits delete them
    assert most_rows <= COMMITS_A_PART * (parts_of(shard) + 1) + DELETED_A_COMMIT_MAX
    assert most_changes <= (CHANGES_A_PART + width) * (parts_of(shard) + 2) + videos
    assert stored(shard) == in_memory(shard)


@pytest.mark.parametrize("seed", range(3))
def test_a_start_reads_few_rows_while_videos_come_and_the_counter_is_killed(tmp_path, seed):
    chance, shard = random.Random(seed), Shard(tmp_path)
    for _ in range(25):
        match chance.choice(["new", "lone", "lone", "wide", "restart"]):
            case "new":
                shard.new_videos(chance.choice([1, 50, PART_ROWS]))
            case "lone" if shard.videos:
                for _ in range(chance.randrange(2 * COMMITS_A_PART)):
                    shard.play([chance.choice(shard.videos)])
            case "wide" if shard.videos:
                some = chance.sample(shard.videos, len(shard.videos) // 2)
                shard.play(some)
                shard.publish(some[:20])
            case _:
                shard = reopened(shard)
        # twice as many rows: while the table grows, a new part may have to wait for all others
        assert len(journal_rows(shard)) <= 2 * COMMITS_A_PART * (parts_of(shard) + 1)
    assert stored(shard) == in_memory(shard)
    shard.close()


@pytest.mark.parametrize("width", [50, PART_ROWS // 2, 3 * PART_ROWS])
def test_while_new_videos_come_the_journal_is_no_longer_than_a_part_or_two(shard, width):
    """Only the last parts change. The others need no row of the journal, however old they are."""
    most = 0
    for _ in range(-(-6 * PART_ROWS // width)):
        shard.new_videos(width)
        most = max(most, sum(journal_rows(shard)))
    for _ in range(8):  # a wide commit has several parts, and writes one; so do the commits after it
        shard.play([shard.videos[-1]] * 20)
        shard.play(shard.videos[-PART_ROWS:])
    assert most <= 2 * PART_ROWS + (DELETED_A_COMMIT_MAX + 2) * width
    assert sum(journal_rows(shard)) <= 2 * PART_ROWS + 2 * width
    assert stored(shard) == in_memory(shard)


def test_after_a_restart_the_parts_that_were_changed_longest_ago_are_written_first(tmp_path):
    shard = Shard(tmp_path)
    shard.new_videos(6 * PART_ROWS)
    for first in (3, 1, 5, 0, 2, 4):
        for _ in range(4):
            shard.play(shard.videos[first * PART_ROWS :][: PART_ROWS // 8])
    before = sum(journal_rows(shard))
    known = shard.store._journal._stale
    shard = reopened(shard)
    assert list(shard.store._journal._stale._since.items()) == list(known._since.items()) != []
    for _ in range(12):
        shard.play(shard.videos[:PART_ROWS])
    assert sum(journal_rows(shard)) < before
    assert stored(shard) == in_memory(shard)
    shard.close()


def test_rows_of_the_journal_are_joined_before_they_are_loaded(shard, monkeypatch):
    shard.new_videos(100)
    for number in range(COMMITS_A_PART - 6):
        shard.play([shard.videos[number % 100]])
    assert len(journal_rows(shard)) > COMMITS_A_PART - 20
    loads = []
    real = Accounts.load
    monkeypatch.setattr(Accounts, "load", lambda self, one: (loads.append(len(one)), real(self, one)))
    assert stored(shard) == in_memory(shard)
    assert len(loads) == 1, "numpy is called once for thousands of accounts, not once per commit"
    assert sum(loads) < JOINED_ROWS


@pytest.mark.parametrize("commits", [COMMITS_A_PART, 2 * COMMITS_A_PART])
def test_a_part_is_due_after_some_commits_and_after_some_changes(commits):
    ledger = Ledger(SeenIds(WINDOW_MS), tallies=Tallies())
    parts = []
    for number in range(commits + 1):
        ledger.apply(Plays(1, "a", number.to_bytes(8, "big"), bytes(16), pack_numbers([1])), 1, 10**18)
        parts.append(ledger.take_changes(1).part is not None)
    assert [at for at, part in enumerate(parts) if part] == list(range(0, commits + 1, COMMITS_A_PART))
    many = CHANGES_A_PART // 2
    for number in range(commits + 1, commits + 3):
        videos = [at.to_bytes(16, "big") for at in range(many)]
        ids = b"".join((number << 21 | at).to_bytes(8, "big") for at in range(many))
        ledger.apply(Plays(1, "a", ids, b"".join(videos), pack_numbers([1] * many)), 1, 10**18)
        parts.append(ledger.take_changes(1).part is not None)
    assert parts[-2:] == [False, True]
    assert ledger._accounts.cells[:, TOTAL].sum() == commits + 1 + 2 * many


@pytest.mark.parametrize("short", ["rows", "videos", "totals", "published", "arrived_ns"])
def test_columns_of_different_lengths_are_refused(short):
    whole = {name: narrow(pack_numbers([1, 2])) for name in ("rows", "totals", "published", "arrived_ns")}
    whole["videos"] = bytes(32)
    assert len(_joined([AccountColumns(**whole)])[0]) == 2
    cut = {"videos": bytes(16)} if short == "videos" else {short: narrow(pack_numbers([1]))}
    with pytest.raises(ValueError, match="different lengths"):
        _joined([AccountColumns(**whole), AccountColumns(**(whole | cut))])
