"""Readers beside a store's process: they hold nothing for long, and read where nothing can be written."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from actors.client.store import ClientStore
from actors.core.client.promises import Promises
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.dispatcher.outbox import Entry, PublishTotals, make_batch
from actors.core.shards import shard_of
from actors.core.triggers import Trigger
from actors.store import SqliteLedgerStore, SqliteOutboxStore, TotalsReader, ledger_path, outbox_path
from actors.store import accounts as stored_accounts
from actors.store import verify as verifying
from actors.store.reshard import reshard
from actors.store.verify import verify
from actors.system.exits import StoreFailure
from actors.system.transactions import WAL_BYTES_MAX
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]
VIDEOS = [video for video in (bytes([n]) * 16 for n in range(20)) if shard_of(video, 2) == 0]
BATCH = make_batch("service", Trigger.REALTIME, [Entry(VIDEOS[0], 3, 17)])


def wal(path):
    return Path(f"{path}-wal")


def changes(total):
    table = Accounts((video, Account(total, total)) for video in VIDEOS)
    return LedgerChanges(table.take_part().accounts, [], [], Tallies(total * len(VIDEOS)))


@pytest.fixture
def state_dir(tmp_path):
    """A state folder with a few commits."""
    folder = str(tmp_path / "state")
    with contextlib.closing(SqliteLedgerStore(folder, 0, 2, "NORMAL")) as store:
        for total in range(1, 5):
            store.commit(changes(total))
    with contextlib.closing(SqliteOutboxStore(folder, 2, "NORMAL")) as store:
        store.store([BATCH], PublishTotals())
    return folder


# The -wal shrinks again


def writes_of_ledger(state_dir):
    store, total = SqliteLedgerStore(state_dir, 0, 2, "NORMAL"), 4

    def write():
        nonlocal total
        total += 1
        store.commit(changes(total))

    return store, write, ledger_path(state_dir, 0)


def writes_of_outbox(state_dir):
    store = SqliteOutboxStore(state_dir, 2, "NORMAL")
    return store, lambda: store.store([BATCH], PublishTotals()), outbox_path(state_dir)


@pytest.mark.parametrize("kind", [writes_of_ledger, writes_of_outbox])
def test_a_wal_that_a_reader_held_shrinks_again(state_dir, kind):
    store, write, path = kind(state_dir)
    store._database.connection.execute("CREATE TABLE filler (content BLOB)")
    with contextlib.closing(store), contextlib.closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        while wal(path).stat().st_size < 2 * WAL_BYTES_MAX:
            store._database.connection.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
        write()
        assert wal(path).stat().st_size > 2 * WAL_BYTES_MAX, "a reader holds it"
        reader.execute("ROLLBACK")
        for _ in range(3):
            write()
        assert wal(path).stat().st_size <= WAL_BYTES_MAX


@pytest.mark.parametrize("kind", [writes_of_ledger, writes_of_outbox])
def test_what_is_deleted_is_not_overwritten_with_zeros(state_dir, kind):
    store, _, _ = kind(state_dir)
    with contextlib.closing(store):
        assert store._database.connection.execute("PRAGMA secure_delete").fetchone() == (0,)


def test_the_reference_clients_wal_has_the_same_limit(tmp_path):
    with contextlib.closing(ClientStore(tmp_path)) as store:
        store.load(Promises())
        assert store._database.execute("PRAGMA journal_size_limit").fetchone() == (WAL_BYTES_MAX,)


@pytest.mark.parametrize(
    "read", [lambda folder: TotalsReader(folder).read(), verify], ids=["totals", "verify"]
)
def test_a_reader_of_ours_holds_no_wal_while_it_works(state_dir, monkeypatch, read):
    """In the middle of each reader's work, another connection can write all of the -wal back and empty it."""
    busy = []
    real = Accounts.load

    def load(accounts, columns):
        with contextlib.closing(sqlite3.connect(ledger_path(state_dir, 0))) as writer:
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("UPDATE tallies SET commits = commits + 1")
            writer.commit()
            busy.append(writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        real(accounts, columns)

    monkeypatch.setattr(Accounts, "load", load)
    monkeypatch.setattr(stored_accounts, "JOINED_ROWS", 1)
    assert read(state_dir)
    assert len(busy) > 2 and not any(busy)


def test_a_snapshot_is_of_one_commit_though_the_store_is_written_meanwhile(state_dir, monkeypatch):
    store, write, _ = writes_of_ledger(state_dir)
    real = verifying.read_tallies
    monkeypatch.setattr(verifying, "read_tallies", lambda *arguments: (write(), real(*arguments))[1])
    with contextlib.closing(store):
        assert [finding.wrong for finding in verify(state_dir)] == [[], [], []]


# Where nothing can be written

READ = """
import sys
sys.path.insert(0, sys.argv[1])
from actors.store import TotalsReader
from actors.store.verify import verify
print(len(TotalsReader(sys.argv[2]).read()), [finding.wrong for finding in verify(sys.argv[2])])
"""
MOUNT = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


def on_a_read_only_mount(folder, *command):
    """Run a command that sees `folder` as a read-only mount."""
    mounted = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", folder]
    try:
        subprocess.run([*mounted, "true"], check=True, capture_output=True, timeout=PATIENCE_S)
    except (OSError, subprocess.CalledProcessError):
        lacking("mounting is not permitted: a read-only mount can't be tried")
    return subprocess.run([*mounted, *command], capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.parametrize("left", ["closed in order", "killed", "running"])
@pytest.mark.parametrize("named", [True, False], ids=["with ledgers.json", "without"])
def test_totals_and_verify_read_a_read_only_mount(state_dir, tmp_path, left, named):
    copy = str(tmp_path / "copy")
    store, write, _ = writes_of_ledger(state_dir)
    with contextlib.closing(store):
        write()
        if left != "closed in order":
            shutil.copytree(state_dir, copy)
    if left == "closed in order":
        shutil.copytree(state_dir, copy)
    elif left == "killed":
        for path in Path(copy).glob("*-shm"):  # a copy may lack it: SQLite makes it when it is needed
            path.unlink()
    if not named:
        (Path(copy) / "ledgers.json").unlink()
    before = {path.name: path.read_bytes() for path in Path(copy).iterdir()}
    run = on_a_read_only_mount(copy, sys.executable, "-c", READ, str(ROOT), copy)
    assert run.stdout == f"{len(VIDEOS)} [[], [], []]\n", run.stderr
    assert {path.name: path.read_bytes() for path in Path(copy).iterdir()} == before


BACK_UP = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from actors.store.backup import backup
from actors.system.exits import Failure
try:
    print(backup(sys.argv[2], Path(sys.argv[3])).plays)
except Failure as failure:
    print(failure)
"""


@pytest.mark.parametrize("left", ["closed in order", "killed", "in use"])
def test_a_backup_of_a_read_only_mount_is_made_unless_it_is_in_use(state_dir, tmp_path, left):
    copy = str(tmp_path / "copy")
    store, write, _ = writes_of_ledger(state_dir)
    with contextlib.closing(store):
        write()
        if left == "killed":
            shutil.copytree(state_dir, copy)
    if left != "killed":
        shutil.copytree(state_dir, copy)
    with contextlib.ExitStack() as stack:
        if left == "in use":
            stack.enter_context(contextlib.closing(writes_of_ledger(copy)[0]))
        command = [sys.executable, "-c", BACK_UP, str(ROOT), copy, str(tmp_path / "backup")]
        run = on_a_read_only_mount(copy, *command)
    if left == "in use":
        assert "is in use, and its folder" in run.stdout, run.stderr
        assert "run backup where the service runs" in run.stdout
    else:
        assert run.stdout == f"{sum(t for _, t, _ in TotalsReader(copy).read())}\n", run.stderr


def test_a_file_that_may_not_be_read_is_not_called_damaged(state_dir, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StoreFailure, match=r"cannot be read .Permission denied.") as caught:
        TotalsReader.read(TotalsReader(state_dir))
    assert "backup" not in str(caught.value)


def test_reshard_says_that_a_folder_can_not_be_written_not_that_a_service_runs(state_dir, monkeypatch):
    def refuse(*arguments):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreFailure, match=r"cannot be written .Read-only file system."):
        reshard(state_dir, 3)
