"""A store that is older than another store of its state says is refused, by whoever opens either."""

import contextlib
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.dispatcher.outbox import Entry, PublishTotals, make_batch
from actors.core.shards import shard_of
from actors.core.triggers import Trigger
from actors.store import SqliteLedgerStore, SqliteOutboxStore, ledger_path, outbox_path
from actors.store.folder import find
from actors.store.mark import POWER_CUT_COMMITS_MAX, UNTOLD_COMMITS, mark_path
from actors.store.older import find_older, why_behind
from actors.store.reshard import reshard
from actors.store.verify import verify
from actors.system.exits import StoreFailure

SHARDS = 2
V = next(bytes([one]) * 16 for one in range(256) if shard_of(bytes([one]) * 16, SHARDS) == 0)
BATCH = make_batch("service", Trigger.REALTIME, [Entry(V, 3, 17)])


@pytest.fixture
def state_dir(tmp_path):
    """The state of a service that has counted and published."""
    return worked(tmp_path)


def worked(path, stores=2):
    """Make a state in this folder, with the stores of a dispatcher and of counters that have done `work`."""
    state_dir = str(path / "state")
    with outbox(state_dir):
        pass
    work(state_dir, commits=3, stores=stores)
    return state_dir


def ledger(state_dir, shard=0):
    return contextlib.closing(SqliteLedgerStore(state_dir, shard, SHARDS, "NORMAL"))


def outbox(state_dir):
    return contextlib.closing(SqliteOutboxStore(state_dir, SHARDS, "NORMAL"))


def work(state_dir, commits, stores):
    """Commit and store as the actors do. Each hears of all that the other one did."""
    with outbox(state_dir) as sender, ledger(state_dir) as counter:
        made = sender.load()[1].stores
        for _ in range(stores):
            made += 1
            sender.store([BATCH], PublishTotals(stores=made, commits={0: counter.commits}))
        for _ in range(commits):
            counter.commit(plays_of(counter, made))
        sender.store([BATCH], PublishTotals(stores=made + 1, commits={0: counter.commits}))


def plays_of(counter, stores):
    """One more play of the video, from a ledger that has heard of this many stores."""
    plays = counter.commits + 1
    table = Accounts([(V, Account(plays, plays))])
    return LedgerChanges(table.columns(np.arange(1)), [], [], Tallies(plays, stores=stores))


def copied(state_dir, path, to):
    """Copy a store and its mark, as a person would."""
    Path(to).mkdir(exist_ok=True)
    for one in (path, mark_path(path)):
        shutil.copy(one, to)


def older(state_dir, path, tmp_path):
    """Put back a store and its mark as they were before the service did more."""
    copied(state_dir, path, tmp_path / "copy")
    work(state_dir, commits=2, stores=2)
    for one in (tmp_path / "copy").iterdir():
        shutil.copy(one, state_dir)


def refusals(state_dir):
    """What the openings of the dispatcher's store and of the ledger say."""
    said = []
    for opened in (outbox, ledger):
        try:
            with opened(state_dir):
                pass
        except StoreFailure as failure:
            said.append(str(failure))
    return said


def wrong(state_dir):
    return [finding.path for finding in verify(state_dir) if finding.wrong]


def test_stores_of_one_time_are_taken(state_dir):
    assert refusals(state_dir) == []
    assert wrong(state_dir) == []


def test_a_ledger_that_is_older_than_the_dispatchers_record_is_refused_by_both(state_dir, tmp_path):
    path = ledger_path(state_dir, 0)
    older(state_dir, path, tmp_path)
    before = path.read_bytes()
    texts = refusals(state_dir)
    assert len(texts) == 2
    for text in texts:
        assert text.startswith(f"{path}: ends at commit 3, and dispatcher.sqlite knows of 5: ")
        assert "put the newer files back" in text
        assert "restore DIR`; or use another supervisor.state_dir; or empty counter-0.mark" in text
    assert path.read_bytes() == before, "it is left as it is"
    assert wrong(state_dir) == [path]


def test_a_dispatchers_store_that_is_older_than_a_ledgers_record_is_refused_by_both(state_dir, tmp_path):
    path = outbox_path(state_dir)
    older(state_dir, path, tmp_path)
    texts = refusals(state_dir)
    assert len(texts) == 2
    for text in texts:
        assert text.startswith(f"{path}: ends at commit 3, and counter-0.sqlite knows of 5: ")
    assert wrong(state_dir) == [path]


def test_a_dispatchers_store_that_lost_its_last_commits_is_refused(state_dir, tmp_path):
    path = outbox_path(state_dir)
    shutil.copy(path, tmp_path)
    with outbox(state_dir) as sender:
        sender.store([BATCH], PublishTotals(stores=9))
    shutil.copy(tmp_path / path.name, path)
    with pytest.raises(StoreFailure, match=r"dispatcher.mark says that 9 .* lacks publishes that the"):
        SqliteOutboxStore(state_dir, SHARDS, "NORMAL")


@pytest.mark.parametrize("folder", ["client", "nsqd"])
def test_dispatcher_and_ledgers_that_are_older_than_another_store_of_the_state_are_refused(
    state_dir, tmp_path, folder, caplog
):
    Path(state_dir, folder).mkdir()
    work(state_dir, commits=1, stores=1)
    shutil.copytree(state_dir, tmp_path / "copy")
    work(state_dir, commits=2, stores=2)
    shutil.copy(Path(state_dir, folder, "dispatcher.mark"), tmp_path / "copy" / folder)
    copy = str(tmp_path / "copy")
    before = files_of(copy)
    (text,) = refusals(copy)
    mark = tmp_path / "copy" / folder / "dispatcher.mark"
    assert text.startswith(f"{outbox_path(copy)}: ends at commit 5, and {mark} says that 8 were made")
    assert f"or empty {mark} to go on without" in text
    assert files_of(copy) == before
    mark.write_bytes(b"")
    assert refusals(copy) == []
    assert "because" not in caplog.text
    assert republish_of(copy) == "commits of dispatcher.sqlite may be lost"
    assert refusals(copy) == []


def files_of(state_dir):
    """The files that hold something: without the locks, and without what SQLite makes to read."""
    paths = [path for path in Path(state_dir).rglob("*") if path.is_file() and path.stat().st_size]
    return {path: path.read_bytes() for path in paths if not path.name.endswith((".lock", ".held", "-shm"))}


def republish_of(state_dir):
    """Why all totals are published again, or None if they are not."""
    with outbox(state_dir) as store:
        requests, _ = store.load_republishes()
    return requests[0].why if requests else None


@pytest.mark.parametrize("left", ["missing", "empty", "cut"])
@pytest.mark.parametrize("path_of", [lambda state_dir: ledger_path(state_dir, 0), outbox_path])
def test_a_mark_that_tells_nothing_is_said_once(state_dir, path_of, left, caplog):
    mark = mark_path(path_of(state_dir))
    if left == "missing":
        mark.unlink()
    else:
        mark.write_bytes(b"cut"[: 0 if left == "empty" else 3])
    assert refusals(state_dir) == []
    assert caplog.text.count(f"{mark}: missing or empty, expected how many commits were made in") == 1
    assert refusals(state_dir) == []
    assert caplog.text.count("missing or empty") == 1
    assert republish_of(state_dir) == (
        f"commits of {path_of(state_dir).name} may be lost" if left == "empty" else None
    )


def test_a_ledger_of_which_a_power_cut_took_commits_has_all_totals_published_again(state_dir):
    path = ledger_path(state_dir, 0)
    commits, _ = struct.unpack("<Q16s", mark_path(path).read_bytes())
    mark_path(path).write_bytes(struct.pack("<Q16s", commits + 2, b"another boot...."))
    assert republish_of(state_dir) == "commits of counter-0.sqlite may be lost"


def test_an_older_copy_of_everything_agrees_with_itself(state_dir, tmp_path):
    shutil.copytree(state_dir, tmp_path / "copy")
    work(state_dir, commits=2, stores=2)
    assert refusals(str(tmp_path / "copy")) == []


@pytest.mark.parametrize("path_of", [lambda state_dir: ledger_path(state_dir, 0), outbox_path])
def test_who_empties_the_mark_goes_on_and_the_stores_agree_from_then_on(state_dir, tmp_path, path_of, caplog):
    older(state_dir, path_of(state_dir), tmp_path)
    mark_path(path_of(state_dir)).write_bytes(b"")
    assert refusals(state_dir) == []
    assert "goes on without" in caplog.text
    assert refusals(state_dir) == []
    work(state_dir, commits=1, stores=1)
    assert refusals(state_dir) == []
    assert wrong(state_dir) == []


@pytest.mark.parametrize("path_of", [lambda state_dir: ledger_path(state_dir, 0), outbox_path])
def test_a_missing_mark_accepts_nothing(state_dir, tmp_path, path_of):
    older(state_dir, path_of(state_dir), tmp_path)
    mark_path(path_of(state_dir)).unlink()
    assert len(refusals(state_dir)) == 2


def test_what_a_power_cut_took_is_said_and_more_is_refused(state_dir, tmp_path, caplog):
    path = ledger_path(state_dir, 0)
    older(state_dir, path, tmp_path)
    newer = mark_path(outbox_path(state_dir))
    newer.write_bytes(newer.read_bytes()[:8] + b"another boot....")
    assert refusals(state_dir) == []
    assert "counter-0.sqlite: ends at commit 3" in caplog.text
    with outbox(state_dir) as sender:
        sender.store([BATCH], PublishTotals(stores=6, commits={0: 4 + POWER_CUT_COMMITS_MAX}))
    newer.write_bytes(struct.pack("<Q16s", 6, b"another boot...."))
    assert len(refusals(state_dir)) == 2


def test_ledgers_that_were_divided_again_agree(state_dir):
    reshard(state_dir, 3)
    assert wrong(state_dir) == []
    with contextlib.closing(SqliteOutboxStore(state_dir, 3, "NORMAL")):
        pass


def test_a_store_that_can_not_be_read_is_left_to_its_own_refusal(state_dir):
    path = ledger_path(state_dir, 0)
    path.write_bytes(b"no store")
    with outbox(state_dir):
        pass
    with pytest.raises(StoreFailure, match="expected a store of playtally"):
        SqliteLedgerStore(state_dir, 0, SHARDS, "NORMAL")


def test_where_no_ledger_can_be_read_none_is_known_to_be_newer(tmp_path):
    state_dir = str(tmp_path)
    with outbox(state_dir):
        pass
    for shard in range(SHARDS):
        ledger_path(state_dir, shard).write_bytes(b"")
    assert find_older(state_dir, find(state_dir), range(SHARDS)) == []


def test_commits_that_may_be_lost_are_told_of_each_ledger_that_can_be_read(tmp_path):
    state_dir = worked(tmp_path)
    other = SqliteLedgerStore(state_dir, 1, SHARDS, "NORMAL")
    other.load()
    for plays in range(1, UNTOLD_COMMITS + 2):
        table = Accounts([(V, Account(plays, plays))])
        other.commit(LedgerChanges(table.columns(np.arange(1)), [], [], Tallies(plays)))
    other.close()
    ledger_path(state_dir, 0).write_bytes(b"")
    mark_path(ledger_path(state_dir, 1)).write_bytes(b"")
    why = why_behind(state_dir, find(state_dir), [], "NORMAL", 1)
    assert why == f"commits of {ledger_path(state_dir, 1).name} may be lost"
