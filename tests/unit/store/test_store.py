"""The stores: a commit is written whole or not at all. An unusable store is refused and left unchanged."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from msgspec import structs

from actors.core.columns import pack_numbers, unpack_numbers, unpack_videos
from actors.core.counter.accounts import PART_ROWS, TOTAL, Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_chunks import SeenChunk
from actors.core.counter.seen_ids import BUCKET_SHIFT, SeenIds
from actors.core.dispatcher.lead_time import PublishTime
from actors.core.dispatcher.outbox import Entry, PublishTotals, make_batch
from actors.core.messages import Plays
from actors.core.shards import shard_of
from actors.core.triggers import Trigger
from actors.store import SqliteLedgerStore, SqliteOutboxStore, TotalsReader, folder, ledger_path, outbox_path
from actors.store.database import Database
from actors.store.formats import FORMAT, OLDEST_FORMAT
from actors.store.mark import POWER_CUT_COMMITS_MAX, Mark
from actors.store.seen import LATEST_ROWS_MAX
from actors.store.verify import verify
from actors.system.exits import StoreFailure
from actors.system.locks import lock_file
from tests.support.dying_connection import DyingConnection, Killed
from tests.support.patience import PATIENCE_S

WINDOW_MS = 3_600_000
ROOT = Path(__file__).resolve().parents[3]
V, W = b"v" * 16, b"w" * 16
BATCH = make_batch("service", Trigger.REALTIME, [Entry(V, 3, 17), Entry(W, 1, 5, True)])


@pytest.fixture
def state_dir(tmp_path):
    return str(tmp_path / "state")


@contextlib.contextmanager
def ledger(state_dir, shard=0, shards=2, synchronous="NORMAL"):
    store = SqliteLedgerStore(state_dir, shard, shards, synchronous)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def outbox(state_dir, shards=2):
    store = SqliteOutboxStore(state_dir, shards, "NORMAL")
    try:
        yield store
    finally:
        store.close()


def columns(*pairs):
    """Accounts as a commit has them, in the first rows of a ledger."""
    table = Accounts(pairs)
    return table.columns(np.arange(len(table)))


def changes(total=5, ids=(1, 2), expired=()):
    seen = SeenIds(1000)
    seen.admit("a/plays", b"".join(one.to_bytes(8, "big") for one in ids), pack_numbers(ids), 77)
    accounts = columns((V, Account(total, 2, 3, 10**18, 10**18 + 1, (7, 8))), (W, Account(1)))
    return LedgerChanges(accounts, seen.take_chunks(), list(expired), Tallies(total + 1, 6, 7))


def loaded(state_dir):
    with ledger(state_dir) as store:
        accounts, chunks, tallies = store.load()
    return dict(accounts.items()), chunks, tallies


# What is written is read


def test_a_new_ledger_is_empty(state_dir):
    assert loaded(state_dir) == ({}, [], Tallies())


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_what_was_committed_is_there_again(state_dir, synchronous):
    with ledger(state_dir, synchronous=synchronous) as store:
        store.commit(changes())
    accounts, chunks, tallies = loaded(state_dir)
    assert accounts == dict(changes().accounts.items())
    assert chunks == changes().seen
    assert tallies == Tallies(6, 6, 7)


def test_a_later_commit_replaces_accounts_and_adds_seen_ids(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
        store.commit(changes(total=9, ids=(3,)))
    accounts, chunks, tallies = loaded(state_dir)
    assert accounts[V].total == 9
    assert len(SeenIds(1000, chunks)) == 3
    assert tallies.counted == 10


def test_expired_buckets_are_deleted_of_their_source_only(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
        other = SeenChunk("b/plays", 0, 1, changes().seen[0].keys)
        store.commit(LedgerChanges(columns(), [other], [("a/plays", 0)], Tallies(6)))
    _, chunks, _ = loaded(state_dir)
    assert [one.source for one in chunks] == ["b/plays"]


def test_the_stages_of_a_batch_replace_each_other_until_it_is_forgotten(state_dir):
    with outbox(state_dir) as store:
        assert store.load() == ([], PublishTotals())
        store.store([BATCH], PublishTotals(failed=1))
        store.store([BATCH.accepted()], PublishTotals(realtime=1))
    with outbox(state_dir) as store:
        assert store.load() == ([BATCH.accepted()], PublishTotals(realtime=1))
        store.forget(BATCH.key)
        store.forget(BATCH.key)
    with outbox(state_dir) as store:
        assert store.load() == ([], PublishTotals(realtime=1))


def test_a_store_without_the_newer_fields_of_the_totals_opens_and_says_nothing_of_the_pace(state_dir):
    totals = PublishTotals(1, 2, 3, 4, 5, 6, 7, 8, 9, "http://client", PublishTime(5.5, 0.25))
    with outbox(state_dir) as store:
        store.store([BATCH], totals)
        assert store.load()[1] == totals
        with store._database.transaction() as connection:
            older = msgspec.msgpack.encode([1, 2, 3, 4, 5, 6, 7, 8, 9])
            connection.execute("UPDATE totals SET content = ?", (older,))
    with outbox(state_dir) as store:
        assert store.load()[1] == PublishTotals(1, 2, 3, 4, 5, 6, 7, 8, 9)


def test_batches_are_loaded_in_the_order_in_which_they_were_stored(state_dir):
    batches = [make_batch("s", Trigger.DRAIN, [Entry(V, n, 1)]) for n in range(1, 20)]
    with outbox(state_dir) as store:
        for batch in batches:
            store.store([batch], PublishTotals())
        assert store.load()[0] == batches


def test_a_state_keeps_the_name_of_its_service_and_another_has_another(state_dir, tmp_path):
    with outbox(state_dir) as one:
        first = one.service
    with outbox(state_dir) as again, outbox(str(tmp_path / "other")) as other:
        assert again.service == first
        assert other.service != first


def test_the_totals_can_be_read_beside_a_service_that_runs(state_dir):
    assert not TotalsReader(state_dir).found
    with ledger(state_dir, 0) as one, ledger(state_dir, 1) as two:
        one.commit(changes(total=5))
        two.commit(LedgerChanges(columns((b"x" * 16, Account(8, 8))), [], [], Tallies(8)))
        reader = TotalsReader(state_dir)
        assert reader.found
        assert sorted(reader.read()) == [(V, 5, 2), (W, 1, 0), (b"x" * 16, 8, 8)]


# Whole or not at all


def commit_and_die(store, write, statement, after):
    """Kill a write at its nth statement. Returns whether the write has that many statements."""
    database = store._database
    database.connection = DyingConnection(database.connection, statement, after)
    try:
        write()
    except Killed:
        return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_ledger_commit_that_fails_at_any_statement_is_whole_or_not_at_all(tmp_path, after):
    outcomes = []
    for statement in range(1, 99):
        state_dir = str(tmp_path / f"{statement}")
        with ledger(state_dir) as store:
            store.commit(changes())
            later = changes(total=9, ids=(3,), expired=[("a/plays", 0)])
            died = commit_and_die(store, lambda one=store, c=later: one.commit(c), statement, after)
        if not died:
            break
        accounts, chunks, tallies = loaded(state_dir)
        committed = accounts[V].total == 9
        outcomes.append(committed)
        assert tallies.counted == (10 if committed else 6)
        assert len(chunks) == (0 if committed else 1)
    assert len(outcomes) >= 6, "at least begin, four writes and commit"
    assert not any(outcomes[:-1])
    assert outcomes[-1] is after, "only the last statement, the commit, makes it durable"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_batch_is_written_with_its_totals_or_not_at_all(tmp_path, after):
    outcomes = []
    for statement in range(1, 99):
        state_dir = str(tmp_path / f"{statement}")
        with outbox(state_dir) as store:
            died = commit_and_die(
                store, lambda one=store: one.store([BATCH], PublishTotals(failed=4)), statement, after
            )
        if not died:
            break
        with outbox(state_dir) as store:
            batches, totals = store.load()
        outcomes.append(bool(batches))
        assert totals.failed == (4 if batches else 0)
    assert len(outcomes) >= 4
    assert not any(outcomes[:-1])
    assert outcomes[-1] is after


def test_a_store_works_on_after_a_write_that_failed(state_dir):
    with ledger(state_dir) as store:
        real = store._database.connection
        assert commit_and_die(store, lambda: store.commit(changes()), 3, False)
        store._database.connection = real
        store.commit(changes(total=8))
    assert loaded(state_dir)[0][V].total == 8


# Commits to new ledgers, one after another. Each commit runs in a fork that kills itself one statement later
# than the one before, until a commit has fewer statements. Prints how each fork ended.
DIES_IN_A_COMMIT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.store import SqliteLedgerStore

class Dying:
    def __init__(self, real, left):
        self.real, self.left, self.in_transaction = real, left, False
    def execute(self, *arguments):
        return self.counted(self.real.execute(*arguments))
    def executemany(self, statement, rows):
        return self.counted(self.real.executemany(statement, rows))
    def counted(self, result):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

def commit(state_dir, statements):
    store = SqliteLedgerStore(state_dir, 0, 2, "NORMAL")
    store._database.connection = Dying(store._database.connection, statements)
    accounts = Accounts((bytes([n]) * 16, Account(9)) for n in range(200))
    part = accounts.take_part()
    store.commit(LedgerChanges(part.accounts, [], [("a/plays", 0)], Tallies(1800), part))

for number in range(1, 99):
    child = os.fork()
    if child == 0:
        commit(f"{sys.argv[2]}/{number}", number)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code)
    if code == 0:
        break
"""


def test_a_process_that_is_killed_in_a_commit_leaves_it_whole_or_not_at_all(tmp_path):
    words = [sys.executable, "-c", DIES_IN_A_COMMIT, str(ROOT), str(tmp_path)]
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_S)
    *killed, last = map(int, run.stdout.split())
    assert set(killed) == {-signal.SIGKILL} and last == 0
    outcomes = []
    for number in range(1, len(killed) + 1):
        accounts, _, tallies = loaded(str(tmp_path / f"{number}"))
        assert len(accounts) in (0, 200)
        assert tallies.counted == (1800 if accounts else 0)
        outcomes.append(bool(accounts))
    assert len(outcomes) >= 6
    assert outcomes == [False] * (len(outcomes) - 1) + [True]


# Unusable files are refused, and left unchanged


def refusal(open_store, path):
    """The text with which a store is refused. Checks that its file is unchanged."""
    before = path.read_bytes()
    with pytest.raises(StoreFailure) as caught:
        open_store()
    assert path.read_bytes() == before, "an unusable file is left unchanged"
    text = str(caught.value)
    assert str(path.with_suffix("")) in text, "the text names the file"
    return text


def contents(state_dir):
    return {path.name: path.read_bytes() for path in Path(state_dir).glob("*.sqlite*")}


def open_ledger(state_dir, shard=0, shards=2):
    def open_and_load():
        with contextlib.closing(SqliteLedgerStore(state_dir, shard, shards, "NORMAL")) as store:
            store.load()

    return open_and_load


def set_meta(path, key, value):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("open_store", [SqliteLedgerStore, SqliteOutboxStore])
@pytest.mark.parametrize("shards", [1, 3])
def test_another_number_of_shards_is_refused_and_says_how_to_divide_anew(state_dir, open_store, shards):
    with ledger(state_dir) as store:
        store.commit(changes())
    before = contents(state_dir)
    shard = (0,) if open_store is SqliteLedgerStore else ()
    with pytest.raises(StoreFailure) as caught:
        open_store(state_dir, *shard, shards, "NORMAL")
    assert contents(state_dir) == before
    assert f"counters.shards = 2, and now it is {shards}" in str(caught.value)
    assert "python supervisor.py reshard" in str(caught.value)
    assert "counters.shards back to 2" in str(caught.value)


def test_another_format_is_refused_and_says_both(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 0)
    set_meta(path, "format", 99)
    text = refusal(open_ledger(state_dir), path)
    assert "format 99" in text
    assert f"expected {OLDEST_FORMAT} to {FORMAT}: a newer version" in text
    assert "supervisor.state_dir" in text


def test_the_ledger_of_another_shard_is_refused(state_dir):
    with ledger(state_dir, shard=0) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 1)
    path.write_bytes(ledger_path(state_dir, 0).read_bytes())
    assert "shard = 0" in refusal(open_ledger(state_dir, shard=1), path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"this is no database, but it is long enough to be one " * 100,
        lambda content: content[: len(content) // 2],
        lambda content: content[:-100],
        lambda content: content[:16] + os.urandom(len(content) - 16),
        lambda content: content[:1000] + os.urandom(3000) + content[4000:],
    ],
    ids=["garbage", "truncated", "cut in a page", "garbage behind the head", "garbage in the schema"],
)
@pytest.mark.parametrize("kind", ["ledger", "outbox"])
def test_a_damaged_file_is_refused_says_what_to_do_and_is_left_as_it_is(state_dir, kind, damage):
    if kind == "ledger":
        with ledger(state_dir) as store:
            store.commit(changes())
        path, opener = ledger_path(state_dir, 0), open_ledger(state_dir)
    else:
        with outbox(state_dir) as store:
            store.store([BATCH], PublishTotals())
        path = outbox_path(state_dir)

        def opener():
            SqliteOutboxStore(state_dir, 2, "NORMAL").load()

    path.write_bytes(damage(path.read_bytes()))
    text = refusal(opener, path)
    assert "supervisor.state_dir" in text


def test_a_damaged_ledger_is_a_store_failure_for_a_reader_of_totals_too(state_dir):
    with ledger(state_dir):
        pass
    path = ledger_path(state_dir, 0)
    path.write_bytes(b"no database " * 1000)
    assert "is left as it is" in refusal(TotalsReader(state_dir).read, path)


def test_a_folder_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(StoreFailure, match=r"supervisor\.state_dir"):
        SqliteLedgerStore(str(tmp_path / "state"), 0, 2, "NORMAL")


@pytest.fixture
def holder():
    """Processes that hold a lock until they are killed."""
    running = []

    def hold(path):
        script = (
            "import fcntl, sys, time; file = open(sys.argv[1], 'a'); "
            "fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_store_that_another_process_holds_is_refused(state_dir, holder, monkeypatch):
    with ledger(state_dir) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 0)
    holder(path.with_suffix(".lock"))
    monkeypatch.setattr(lock_file, "__defaults__", (0.1,))
    text = refusal(open_ledger(state_dir), path)
    assert "held by another process" in text


def test_a_lock_is_free_again_when_its_holder_is_killed(tmp_path, holder):
    path = tmp_path / "x.lock"
    process = holder(path)
    with pytest.raises(StoreFailure):
        lock_file(path, timeout_s=0.0)
    process.send_signal(signal.SIGKILL)
    os.close(lock_file(path, timeout_s=PATIENCE_S))


def test_a_store_that_was_closed_can_be_opened_again_at_once(state_dir):
    for _ in range(3):
        with ledger(state_dir) as one, outbox(state_dir) as two:
            one.load()
            two.load()


# Lost commits are not lost in silence


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.store import SqliteLedgerStore, SqliteOutboxStore
SqliteOutboxStore(sys.argv[2], 2, "NORMAL").close()
stores = [SqliteLedgerStore(sys.argv[2], shard, 2, "NORMAL") for shard in (0, 1)]
for store in stores:
    for total in range(1, 51):
        accounts = Accounts([(b"v" * 16, Account(total))])
        store.commit(LedgerChanges(accounts.take_part().accounts, [], [], Tallies(total)))
os._exit(0)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Ledgers of a process killed after 50 commits: all commits but the first are only in the -wal."""
    folder = tmp_path_factory.mktemp("killed") / "state"
    words = [sys.executable, "-c", KILLED, str(ROOT), str(folder)]
    subprocess.run(words, check=True, timeout=PATIENCE_S)
    return folder


@pytest.fixture
def killed_ledger(killed, state_dir):
    """The path of the first of these ledgers, copied into the test's own folder."""
    shutil.copytree(killed, state_dir)
    return ledger_path(state_dir, 0)


def wal(path):
    return Path(f"{path}-wal")


def test_a_killed_process_leaves_what_it_committed(state_dir, killed_ledger):
    assert loaded(state_dir)[2].counted == 50


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip], ids=["missing", "truncated", "a flipped bit"])
def test_a_wal_that_lost_commits_is_refused_and_left_as_it_is(state_dir, killed_ledger, damage):
    path = killed_ledger
    damage(wal(path))
    left = wal(path).read_bytes() if wal(path).exists() else None
    text = refusal(open_ledger(state_dir), path)
    assert "counter-0.mark says that 50 were made" in text
    assert "empty counter-0.mark to go on without them" in text
    if left is not None:
        assert wal(path).read_bytes() == left, "the rest of the -wal must stay, because it may be saved"
    path.with_suffix(".mark").write_bytes(b"")
    assert loaded(state_dir)[2].counted < 50, "with an empty mark the ledger opens, with fewer plays"


def test_a_ledger_from_an_older_backup_is_refused(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 0)
    backup = path.read_bytes()
    with ledger(state_dir) as store:
        store.commit(changes(total=9, ids=(3,)))
    path.write_bytes(backup)
    assert "from an older backup" in refusal(open_ledger(state_dir), path)


def test_commits_that_a_power_cut_took_are_refused_with_full_and_said_with_normal(
    state_dir, killed_ledger, caplog
):
    wal(killed_ledger).unlink()
    mark = killed_ledger.with_suffix(".mark")
    mark.write_bytes(mark.read_bytes()[:8] + b"another boot....")
    with pytest.raises(StoreFailure):
        SqliteLedgerStore(state_dir, 0, 2, "FULL")
    with ledger(state_dir) as store:
        assert store.load()[2].counted < 50
    assert "a power cut took them" in caplog.text


def test_more_commits_than_a_power_cut_can_take_are_refused_with_normal_too(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 0)
    path.with_suffix(".mark").write_bytes(
        struct.pack("<Q16s", 1 + POWER_CUT_COMMITS_MAX, b"another boot....")
    )
    with ledger(state_dir):
        pass  # as many as a power cut can take
    path.with_suffix(".mark").write_bytes(
        struct.pack("<Q16s", 2 + POWER_CUT_COMMITS_MAX, b"another boot....")
    )
    assert f"says that {2 + POWER_CUT_COMMITS_MAX} were made" in refusal(open_ledger(state_dir), path)


def test_a_client_that_was_told_more_than_the_ledger_has_is_said(state_dir, caplog):
    with ledger(state_dir) as store:
        store.commit(LedgerChanges(columns((V, Account(3, 7))), [], [], Tallies(3)))
    with ledger(state_dir) as store:
        store.load()
    assert "the client was told more plays of 1 video " in caplog.text


@pytest.mark.parametrize("lost", ["counter-0", "counter-1", "dispatcher"])
@pytest.mark.parametrize("marker", [True, False], ids=["with ledgers.json", "without"])
def test_a_ledger_that_is_gone_is_not_begun_anew(state_dir, killed_ledger, lost, marker):
    gone = Path(state_dir) / f"{lost}.sqlite"
    gone.unlink()
    if not marker:
        (Path(state_dir) / "ledgers.json").unlink()
    for open_store in (open_ledger(state_dir), lambda: SqliteOutboxStore(state_dir, 2, "NORMAL")):
        with pytest.raises(StoreFailure) as caught:
            open_store()
        assert f"{gone}: missing" in str(caught.value)
    with pytest.raises(StoreFailure, match="missing"):
        TotalsReader(state_dir).read()
    assert not gone.exists()


def test_an_empty_file_is_no_new_ledger(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 0)
    path.write_bytes(b"")
    assert "left as it is" in refusal(open_ledger(state_dir), path)


def test_a_damaged_file_of_names_is_refused_and_the_ledgers_name_themselves_without_it(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    names = Path(state_dir) / "ledgers.json"
    names.write_text("{}")
    with pytest.raises(StoreFailure, match="delete it"):
        SqliteLedgerStore(state_dir, 0, 2, "NORMAL")
    names.unlink()
    assert loaded(state_dir)[0][V].total == 5
    assert names.exists()


def test_ledgers_without_a_file_of_names_whose_number_is_damaged_are_refused(state_dir):
    with ledger(state_dir), outbox(state_dir):
        pass
    (Path(state_dir) / "ledgers.json").unlink()
    set_meta(outbox_path(state_dir), "shards", "two")
    with pytest.raises(StoreFailure, match=r"dispatcher.sqlite.*its number of shards is two"):
        SqliteLedgerStore(state_dir, 0, 2, "NORMAL")


def test_a_process_killed_while_it_makes_the_first_ledgers_is_no_loss(state_dir):
    Path(state_dir).mkdir()
    folder.write(state_dir, folder.LedgerSet("s", 2, stage=folder.LedgerSetStage.MAKING))
    (Path(state_dir) / "counter-0.sqlite").write_bytes(b"")
    assert not TotalsReader(state_dir).found
    assert loaded(state_dir) == ({}, [], Tallies())


@pytest.mark.parametrize("steps", range(5))
def test_a_process_killed_after_any_step_of_making_the_first_ledgers_is_no_loss(
    state_dir, monkeypatch, steps
):
    """The steps are: write MAKING, make three files, write MADE."""
    done = []

    def dying(step):
        def run(*arguments):
            if len(done) == steps:
                raise Killed
            done.append(step)
            step(*arguments)

        return run

    with monkeypatch.context() as patched:
        for name in ("write", "make"):
            patched.setattr(folder, name, dying(getattr(folder, name)))
        with pytest.raises(Killed):
            SqliteLedgerStore(state_dir, 0, 2, "NORMAL")
    assert len(done) == steps
    assert not TotalsReader(state_dir).found
    assert loaded(state_dir) == ({}, [], Tallies())
    assert [finding.wrong for finding in verify(state_dir)] == [[], [], []]


@pytest.mark.parametrize("content", [b"", b"short", bytes(25)])
def test_a_mark_that_a_full_disk_cut_short_promises_nothing(state_dir, content):
    with ledger(state_dir) as store:
        store.commit(changes())
    ledger_path(state_dir, 0).with_suffix(".mark").write_bytes(content)
    assert not any("mark" in one for one in verify(state_dir)[0].wrong)
    assert loaded(state_dir)[2].counted == 6


def test_a_mark_that_can_not_be_written_stays_behind_and_holds_up_no_commit(state_dir, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with ledger(state_dir) as store:
        store.commit(changes())
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full)
            store.commit(changes(total=9, ids=(3,)))
    assert loaded(state_dir)[2].counted == 10
    with ledger(state_dir) as store:
        store.commit(changes(total=11, ids=(4,)))
    path = ledger_path(state_dir, 0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE tallies SET commits = commits - 1")
    assert "says that 3 were made" in refusal(open_ledger(state_dir), path), "it promises again"


@pytest.mark.parametrize(("synchronous", "value"), [("NORMAL", 1), ("FULL", 2)])
def test_a_store_syncs_as_its_setting_says(state_dir, synchronous, value):
    with ledger(state_dir, synchronous=synchronous) as store:
        assert store._database.query("PRAGMA synchronous") == [(value,)]
        assert store._database.query("PRAGMA journal_mode") == [("wal",)]
    with contextlib.closing(SqliteOutboxStore(state_dir, 2, synchronous)) as store:
        assert store._database.query("PRAGMA synchronous") == [(value,)]
        assert store._database.query("PRAGMA journal_mode") == [("wal",)]


def test_a_ledger_of_another_state_is_refused(state_dir, tmp_path):
    other = str(tmp_path / "other")
    for one in (state_dir, other):
        with ledger(one) as store:
            store.commit(changes())
    path = ledger_path(state_dir, 0)
    path.write_bytes(ledger_path(other, 0).read_bytes())
    assert "another state folder" in refusal(open_ledger(state_dir), path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tallies SET counted = counted - 1",
        "UPDATE tallies SET commits = 'many'",
        "UPDATE journal SET accounts = x'00'",
        "UPDATE journal SET accounts = NULL",
        "UPDATE journal SET accounts = 'text'",
        "UPDATE journal SET accounts = substr(accounts, 1, length(accounts) - 1)",
        "INSERT INTO parts VALUES (0, 1, x'')",
        "DELETE FROM journal",
        "DELETE FROM tallies",
        "UPDATE seen SET keys = x'00'",
        "UPDATE seen SET keys = 'text'",
        "UPDATE seen SET keys = substr(keys, 1, length(keys) - 1)",
        "UPDATE seen SET stamped = 0",
        "UPDATE seen SET bucket = 7",
    ],
)
def test_values_that_are_damaged_are_refused(state_dir, statement):
    with ledger(state_dir) as store:
        store.commit(LedgerChanges(columns((V, Account(5))), changes().seen, [], Tallies(5)))
    path = ledger_path(state_dir, 0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
    assert "cannot be used" in refusal(open_ledger(state_dir), path)
    assert [finding.path for finding in verify(state_dir) if finding.wrong] == [path]


def test_an_account_of_which_one_byte_became_another_is_refused(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    path = ledger_path(state_dir, 0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ((content,),) = connection.execute("SELECT accounts FROM journal WHERE instr(accounts, ?)", (V,))
        connection.execute("UPDATE journal SET accounts = ?", (content.replace(V, b"x" + V[1:]),))
    assert "a checksum does not match" in refusal(open_ledger(state_dir), path)


@pytest.mark.parametrize(
    "changed",
    [
        {"totals": pack_numbers([5, 1])},
        {"totals": b""},
        {"totals": b"123"},
        {"videos": b"short"},
        {"published": pack_numbers([-1])},
        {"arrived_ns": pack_numbers([-1])},
        {"rows": pack_numbers([-1])},
        {"rows": pack_numbers([1])},
        {
            "rows": pack_numbers([0, 0]),
            "videos": V + W,
            "totals": pack_numbers([5, 0]),
            "published": pack_numbers([0, 0]),
            "arrived_ns": pack_numbers([0, 0]),
        },
        {
            "rows": pack_numbers([0, 1]),
            "videos": V + V,
            "totals": pack_numbers([5, 0]),
            "published": pack_numbers([0, 0]),
            "arrived_ns": pack_numbers([0, 0]),
        },
    ],
)
def test_columns_that_contradict_one_another_are_refused(state_dir, changed):
    good = columns((V, Account(5)))
    with ledger(state_dir) as store:
        store.commit(LedgerChanges(structs.replace(good, **changed), [], [], Tallies(5)))
    path = ledger_path(state_dir, 0)
    assert "its accounts" in refusal(open_ledger(state_dir), path)
    assert any(finding.wrong for finding in verify(state_dir))


# The journal of accounts


def plays(number, videos):
    """One play of each video, with ids that differ for every `number`."""
    ids = b"".join((number << 20 | at).to_bytes(8, "big") for at in range(len(videos)))
    return Plays(number, "a", ids, b"".join(videos), pack_numbers([number] * len(videos)))


@pytest.mark.parametrize("videos", [3, PART_ROWS, 3 * PART_ROWS - 5])
def test_in_parts_and_opened_again_at_any_time_all_accounts_are_there(state_dir, videos):
    chance, number, journal_rows = random.Random(videos), 0, []
    every = (n.to_bytes(16, "big") for n in range(9 * videos))
    shard_videos = list(islice((one for one in every if shard_of(one, 2) == 0), videos))
    known = {}
    for _ in range(4):
        with ledger(state_dir) as store:
            accounts, _, _ = store.load()
            assert dict(accounts.items()) == known
            one = Ledger(SeenIds(WINDOW_MS), accounts, Tallies(int(accounts.cells[:, TOTAL].sum())))
            for _ in range(4):
                number += 1
                drawn = chance.choices(shard_videos, k=videos // 2 + 1)
                one.apply(plays(number, drawn), 10**9, 10**18)
                some = drawn[: videos // 4 + 1]
                one.collect(number, some)
                store.commit(one.take_changes(10**9))
                one.publish(some, [accounts[video].taken for video in some])
                store.commit(one.take_changes(10**9))
            known = dict(accounts.items())
        expected = {(video, one.total, one.published) for video, one in known.items()}
        assert set(TotalsReader(state_dir).read()) == expected
        with ledger(state_dir) as store:
            recalled = Ledger(SeenIds(WINDOW_MS), store.load()[0]).recall()[0]
        pending = {(video, one.published + 1) for video, one in known.items() if one.pending}
        assert {
            (video, ordinal)
            for one in recalled
            for video, ordinal in zip(unpack_videos(one.videos), unpack_numbers(one.ordinals), strict=True)
        } == pending
        with contextlib.closing(sqlite3.connect(ledger_path(state_dir, 0))) as connection:
            journal_rows.append(connection.execute("SELECT count(*) FROM journal").fetchone()[0])
    assert next(finding.wrong for finding in verify(state_dir)) == []
    if videos > 3:
        assert journal_rows[-1] < 32, "journal rows that all parts cover are deleted"


def test_the_journal_of_few_videos_is_bounded(state_dir):
    with ledger(state_dir) as store:
        accounts, _, _ = store.load()
        one = Ledger(SeenIds(WINDOW_MS), accounts)
        for number in range(1, 400):
            one.apply(plays(number, [bytes([n]) * 16 for n in range(100)]), 10**9, 10**18)
            store.commit(one.take_changes(10**9))
    with contextlib.closing(sqlite3.connect(ledger_path(state_dir, 0))) as connection:
        rows = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
    assert rows < 3 * PART_ROWS / 100
    accounts = loaded(state_dir)[0]
    assert len(accounts) == 100
    assert all(one == Account(399, 0, 0, 1) for one in accounts.values())


def test_a_folder_with_any_name_can_be_read(tmp_path):
    state_dir = str(tmp_path / "100% of? #it")
    with ledger(state_dir) as store:
        store.commit(changes())
    assert len(TotalsReader(state_dir).read()) == 2


# Verification


def test_what_is_right_is_a_line_each_and_what_is_wrong_says_what(state_dir):
    assert verify(state_dir) == []
    videos = [bytes([n]) * 16 for n in range(40)]
    with ledger(state_dir, 0) as zero, ledger(state_dir, 1) as one, outbox(state_dir):
        for shard, store in enumerate((zero, one)):
            own = [(video, Account(3, 3)) for video in videos if shard_of(video, 2) == shard]
            store.commit(LedgerChanges(columns(*own), changes().seen, [], Tallies(3 * len(own))))
        found = verify(state_dir)  # while a service runs
    assert [one.path.name for one in found] == ["counter-0.sqlite", "counter-1.sqlite", "dispatcher.sqlite"]
    assert not any(one.wrong for one in found), found
    assert sum(int(one.holds.split()[0]) for one in found[:2]) == 120
    with ledger(state_dir, 0) as zero:
        stranger = next(video for video in videos if shard_of(video, 2) == 1)
        accounts, _, tallies = zero.load()
        accounts = Accounts([*accounts.items(), (stranger, Account(2, 5, 9))])
        added = accounts.columns(np.array([len(accounts) - 1]))
        zero.commit(LedgerChanges(added, [], [], Tallies(tallies.counted + 2)))
    outbox_path(state_dir).unlink()
    found = verify(state_dir)
    assert "belongs to shard 1" in str(found[0])
    assert "5 plays published of 2 counted" in str(found[0])
    assert "9 plays in a batch of 2 counted" in str(found[0])
    assert not found[1].wrong
    assert "missing" in str(found[2])


def test_a_ledger_that_lacks_commits_which_its_mark_promises_is_wrong(state_dir):
    with ledger(state_dir) as store:
        store.commit(changes())
    mark = Mark(ledger_path(state_dir, 0))
    mark.write(5)
    mark.close()
    [finding] = [one for one in verify(state_dir) if one.path.name == "counter-0.sqlite"]
    assert "ends at commit 1, and counter-0.mark says 5" in finding.wrong


@pytest.mark.parametrize("left", [{"taken": 2}, {"arrived_ns": 9}, {"later_ns": 9}], ids=str)
def test_a_video_with_nothing_to_publish_that_keeps_an_arrival_or_a_batch_is_wrong(state_dir, left):
    video = next(bytes([n]) * 16 for n in range(40) if shard_of(bytes([n]) * 16, 2) == 0)
    with ledger(state_dir) as store:
        store.commit(LedgerChanges(columns((video, Account(3, 3, **left))), [], [], Tallies(3)))
    [finding] = [one for one in verify(state_dir) if one.path.name == "counter-0.sqlite"]
    assert "no plays to publish, but an arrival or a batch" in str(finding)


@pytest.mark.parametrize("seed", range(8))
def test_a_page_that_is_overwritten_anywhere_is_found_or_harmless(state_dir, seed):
    chance = random.Random(seed)
    with ledger(state_dir) as store:
        accounts = [(n.to_bytes(16, "big"), Account(n, n)) for n in range(1, 4000)]
        own = [one for one in accounts if shard_of(one[0], 2) == 0]
        store.commit(
            LedgerChanges(columns(*own), changes().seen, [], Tallies(sum(one.total for _, one in own)))
        )
    path = ledger_path(state_dir, 0)
    content = bytearray(path.read_bytes())
    page = chance.randrange(1, len(content) // 4096) * 4096
    content[page : page + 4096] = chance.randbytes(4096)
    path.write_bytes(content)
    assert verify(state_dir)[0].wrong


# Seen ids do not pile up


def seen_commit(number, shift=0):
    seen = SeenIds(10**9)
    id = (number | shift << BUCKET_SHIFT).to_bytes(8, "big")
    seen.admit("a/plays", id, pack_numbers([number]), 77 + number)
    return LedgerChanges(columns(), seen.take_chunks(), [], Tallies())


def rows_of(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM seen").fetchone()[0]


def test_rows_of_a_bucket_become_one_and_no_id_is_lost(state_dir):
    with ledger(state_dir) as store:
        for number in range(1000):
            store.commit(seen_commit(number))
        assert rows_of(ledger_path(state_dir, 0)) <= 256
    with ledger(state_dir) as store:
        _, chunks, _ = store.load()
        assert rows_of(ledger_path(state_dir, 0)) == 1
    assert len(SeenIds(10**9, chunks)) == 1000
    assert chunks[0].received_ms == 77 + 999


def test_a_bucket_that_still_gets_messages_is_not_merged_as_a_whole(state_dir):
    with ledger(state_dir) as store:
        for number in range(10 * LATEST_ROWS_MAX):
            store.commit(seen_commit(number))
        with contextlib.closing(sqlite3.connect(ledger_path(state_dir, 0))) as connection:
            sizes = [size for (size,) in connection.execute("SELECT length(keys) FROM seen ORDER BY rowid")]
    assert len(sizes) == 10
    assert max(sizes) < 9 * LATEST_ROWS_MAX  # a checksum is less than a byte per message


def test_buckets_that_nothing_comes_into_become_one_row_each_in_time(state_dir):
    with ledger(state_dir) as store:
        for number in range(2000):
            store.commit(seen_commit(number, shift=number // 50))
        assert rows_of(ledger_path(state_dir, 0)) < 40 + 3 * 50
        store.commit(LedgerChanges(columns(), [], [("a/plays", bucket) for bucket in range(39)], Tallies()))
    with ledger(state_dir) as store:
        assert [one.bucket for one in store.load()[1]] == [39]


def test_a_file_that_turns_out_to_be_no_store_is_not_left_open(tmp_path):
    path = tmp_path / "counter-0.sqlite"
    path.write_bytes(b"no store" * 1000)
    process = psutil.Process()
    before = process.num_fds()
    with pytest.raises(StoreFailure) as failure:  # its traceback keeps all objects
        Database(path, "NORMAL", 0)
    assert process.num_fds() == before, failure
    assert sorted(tmp_path.iterdir()) == [path]
