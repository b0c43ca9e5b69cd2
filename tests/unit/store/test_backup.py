"""A backup is of one moment, private and checked; a restore replaces a state whole, or not at all."""

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from actors.core.dispatcher.outbox import PublishTotals
from actors.store import SqliteLedgerStore, SqliteOutboxStore, TotalsReader, ledger_path
from actors.store.backup import MANIFEST, backup
from actors.store.folder import QUEUE, LedgerSetStage, find
from actors.store.mark import mark_path, read_mark
from actors.store.older import find_older
from actors.store.restore import REPLACED, STAGED, restore
from actors.store.verify import verify
from actors.system import runfile
from actors.system.exits import Failure, StoreFailure
from actors.system.installation import ROOT
from actors.system.locks import lock_file
from tests.support.patience import PATIENCE_S
from tests.unit.store.test_older import BATCH, SHARDS, V, ledger, outbox, plays_of, work, worked

OTHER = f"{QUEUE}/journal.sqlite"


@pytest.fixture
def state_dir(tmp_path):
    """The state of a service that has counted and published, with a queue of its own."""
    state_dir = worked(tmp_path)
    Path(state_dir, QUEUE).mkdir()
    write_other(state_dir, 1)
    mark_path(Path(state_dir, QUEUE)).write_bytes(b"a mark of 9 commits")
    return state_dir


def write_other(state_dir, value):
    with contextlib.closing(sqlite3.connect(Path(state_dir, OTHER))) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value)")
        connection.execute("INSERT INTO kept VALUES (?)", (value,))


def others(state_dir):
    with contextlib.closing(sqlite3.connect(Path(state_dir, OTHER))) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept")]


def totals(state_dir):
    return {video: total for video, total, _ in TotalsReader(str(state_dir)).read()}


def files(folder):
    return {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}


def opened(state_dir):
    """Open all stores as the actors do, and close them."""
    with outbox(state_dir) as store:
        store.load()
    for shard in range(SHARDS):
        SqliteLedgerStore(str(state_dir), shard, SHARDS, "NORMAL").close()


# Backup


def test_a_backup_is_a_state_folder_of_its_own_that_can_be_read(state_dir, tmp_path):
    copy = tmp_path / "new" / "copy"
    manifest = backup(state_dir, copy, [OTHER, "client/client.sqlite"])
    assert set(files(copy)) == {*manifest.files, MANIFEST}
    assert set(manifest.files) == {
        "counter-0.sqlite",
        "counter-1.sqlite",
        "dispatcher.sqlite",
        "ledgers.json",
        OTHER,
    }
    assert (manifest.plays, manifest.shards) == (3, SHARDS)
    assert totals(copy) == totals(state_dir) == {V: 3}
    assert others(copy) == [1]
    assert [finding.wrong for finding in verify(str(copy))] == [[]] * (SHARDS + 1)


def test_a_backup_is_for_its_user_alone(state_dir, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o755)
    own = os.umask(0o022)
    try:
        backup(state_dir, copy, [OTHER])
    finally:
        after = os.umask(own)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files(copy).values()}
    assert modes == {0o600}
    assert [stat.S_IMODE(one.stat().st_mode) for one in (copy, copy / QUEUE)] == [0o700] * 2
    assert after == 0o022, "the rest of the process makes files as before"


def test_a_folder_that_is_not_empty_is_refused_and_left(state_dir, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine").write_text("a text")
    with pytest.raises(Failure, match="is not empty, expected an empty or a new folder"):
        backup(state_dir, tmp_path / "copy")
    assert list(files(tmp_path / "copy")) == ["mine"]


@pytest.mark.parametrize("target", [".", "backup", "deep/in/it", "../state/backup", ".."])
def test_no_backup_is_made_in_the_state_or_around_it(state_dir, target):
    before = files(state_dir)
    with pytest.raises(Failure, match=r"is no place for a backup of .*: expected a folder elsewhere"):
        backup(state_dir, Path(state_dir, target))
    assert files(state_dir) == before


def test_a_link_into_the_state_is_no_place_for_a_backup_either(state_dir, tmp_path):
    (tmp_path / "link").symlink_to(state_dir)
    with pytest.raises(Failure, match="is no place for a backup of"):
        backup(state_dir, tmp_path / "link" / "backup")


def test_a_backup_in_the_place_where_restore_copies_is_not_deleted(state_dir, tmp_path):
    backup(state_dir, tmp_path / "copy")
    (tmp_path / "copy").rename(Path(state_dir, STAGED))
    before = files(state_dir)
    with pytest.raises(Failure, match="is where restore makes its copy"):
        restore(Path(state_dir, STAGED), state_dir)
    assert files(state_dir) == before


def test_without_ledgers_there_is_nothing_to_back_up(tmp_path):
    with pytest.raises(Failure, match="no ledgers in"):
        backup(str(tmp_path / "state"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_state_whose_stores_are_not_of_one_time_is_no_backup(state_dir, tmp_path):
    shutil.copytree(state_dir, tmp_path / "older")
    work(state_dir, commits=2, stores=2)
    for path in (ledger_path(state_dir, 0), mark_path(ledger_path(state_dir, 0))):
        shutil.copy(tmp_path / "older" / path.name, path)
    with pytest.raises(StoreFailure, match=r"ends at commit 3, and dispatcher.sqlite knows of 5"):
        backup(state_dir, tmp_path / "copy")
    assert not (tmp_path / "copy" / MANIFEST).exists()


def test_every_backup_of_stores_that_are_written_is_of_one_moment(state_dir, tmp_path):
    """Two threads say to each other what they have committed, as the actors do."""
    over = threading.Event()
    writer = threading.Thread(target=keep_working, args=(state_dir, over))
    writer.start()
    try:
        for number in range(8):
            backup(state_dir, tmp_path / f"copy-{number}", [OTHER])
    finally:
        over.set()
        writer.join()
    plays = [totals(tmp_path / f"copy-{number}")[V] for number in range(8)]
    assert plays == sorted(plays)
    assert plays[-1] > plays[0], "nothing was written meanwhile"
    assert find_older(state_dir, find(state_dir), range(SHARDS)) == []


def keep_working(state_dir, over):
    with outbox(state_dir) as sender, ledger(state_dir) as counter:
        stores = sender.load()[1].stores
        while not over.is_set():
            counter.commit(plays_of(counter, stores))
            stores += 1
            sender.store([BATCH], PublishTotals(stores=stores, commits={0: counter.commits}))


# Restore


@pytest.fixture
def copy(state_dir, tmp_path):
    """A backup; the service has gone on after it."""
    backup(state_dir, tmp_path / "copy", [OTHER])
    work(state_dir, commits=4, stores=4)
    write_other(state_dir, 2)
    return tmp_path / "copy"


def test_a_restored_state_is_that_of_the_backup_under_a_new_id_and_keeps_what_was_there(state_dir, copy):
    before, state = totals(state_dir), find(state_dir).state
    with outbox(state_dir) as store:
        service = store.service
    done = restore(copy, state_dir)
    assert totals(state_dir) == {V: 3}
    assert others(state_dir) == [1]
    opened(state_dir)
    assert find(state_dir).state not in {state, done.manifest.state}
    with outbox(state_dir) as store:
        assert store.service != service, "keys of the new state are others"
        assert [batch.key for batch in store.load()[0]] == [BATCH.key], "what is in doubt keeps its key"
    assert totals(done.replaced) == before == {V: 7}
    assert others(done.replaced) == [1, 2]
    assert not Path(state_dir, STAGED).exists()
    assert read_mark(Path(state_dir, QUEUE))[0] == 0, "a mark of what was replaced"
    assert [finding.wrong for finding in verify(state_dir)] == [[]] * (SHARDS + 1)


def test_a_backup_can_be_restored_where_nothing_was(copy, tmp_path):
    elsewhere = tmp_path / "deep" / "elsewhere"
    done = restore(copy, str(elsewhere))
    assert done.replaced is None
    assert totals(elsewhere) == {V: 3}
    opened(elsewhere)
    restore(copy, str(elsewhere))
    restore(copy, str(elsewhere))
    assert len(list(elsewhere.glob(f"{REPLACED}*"))) == 2


def test_a_restored_state_asks_for_everything_to_be_published_again(state_dir, copy):
    restore(copy, state_dir)
    with outbox(state_dir) as store:
        ((request,), _) = store.load_republishes()
    assert (request.why, request.videos) == ("a backup was restored", b"")


def test_a_restored_state_has_marks_and_none_of_what_it_replaced(state_dir, copy, caplog):
    for folder in ("client", "nsqd"):
        Path(state_dir, folder).mkdir(exist_ok=True)
    opened(state_dir)
    assert Path(state_dir, "client", "dispatcher.mark").exists()
    restore(copy, state_dir)
    assert not Path(state_dir, "client", "dispatcher.mark").exists()
    opened(state_dir)
    assert "missing or empty" not in caplog.text


@pytest.mark.parametrize("name", ["counter-0.sqlite", "dispatcher.sqlite", OTHER, "ledgers.json"])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    ],
    ids=["missing", "cut", "changed"],
)
def test_a_damaged_backup_is_refused_by_name_and_the_state_left_as_it_is(state_dir, copy, name, damage):
    damage(copy / name)
    before = {name: path.read_bytes() for name, path in files(state_dir).items()}
    with pytest.raises(StoreFailure, match=f"{name}: "):
        restore(copy, state_dir)
    now = {name: path.read_bytes() for name, path in files(state_dir).items() if STAGED not in name}
    assert {name: content for name, content in now.items() if not name.endswith((".lock", ".held"))} == {
        name: content for name, content in before.items() if not name.endswith((".lock", ".held"))
    }


def test_a_backup_that_was_not_finished_is_refused(state_dir, copy):
    (copy / MANIFEST).unlink()
    with pytest.raises(Failure, match=r"backup.json: cannot be read .* the folder of a finished backup"):
        restore(copy, state_dir)


@pytest.mark.parametrize("name", ["../x", "/x"])
def test_a_manifest_names_only_files_of_its_folder(state_dir, copy, name):
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": 0, "sha256": ""}
    (copy / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(Failure, match="names other files than those of 2 ledgers"):
        restore(copy, state_dir)


def test_a_copy_whose_stores_are_not_of_one_time_is_not_restored(state_dir, copy, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(copy, older)
    shutil.rmtree(copy)
    manifest = backup(state_dir, copy, [OTHER])
    shutil.copy(older / "counter-0.sqlite", copy)
    first = msgspec.json.decode((older / MANIFEST).read_bytes())
    changed = msgspec.to_builtins(manifest)
    changed["files"]["counter-0.sqlite"] = first["files"]["counter-0.sqlite"]
    (copy / MANIFEST).write_bytes(msgspec.json.encode(changed))
    with pytest.raises(StoreFailure, match=r"ends at commit 3, and dispatcher.sqlite knows of 7"):
        restore(copy, state_dir)
    assert totals(state_dir) == {V: 7}


def test_nothing_is_restored_under_a_running_service(state_dir, copy):
    lock = lock_file(runfile.lock_path(state_dir))
    try:
        with pytest.raises(Failure, match=r"uses .*: stop it with"):
            restore(copy, state_dir)
    finally:
        os.close(lock)


@pytest.mark.parametrize("name", ["a.lock", "b.lock"])
def test_nothing_is_replaced_while_an_actor_holds_a_store_of_a_folder(state_dir, copy, name, monkeypatch):
    for one in ("a.lock", "b.lock"):
        Path(state_dir, QUEUE, one).touch()
    held = lock_file(Path(state_dir, QUEUE, name))
    monkeypatch.setattr(lock_file, "__defaults__", (0.1,))
    before = files(state_dir).keys()
    try:
        with pytest.raises(StoreFailure, match="held by another process"):
            restore(copy, state_dir)
    finally:
        os.close(held)
    assert before <= files(state_dir).keys()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from actors.store import folder, restore

steps = int(sys.argv[4])
def step(function):
    def counted(*arguments, **words):
        global steps
        steps -= 1
        if not steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **words)
    return counted

Path.rename = step(Path.rename)
restore.write = step(restore.write)
restore.sync = step(restore.sync)
restore.restore(Path(sys.argv[2]), sys.argv[3])
print("done")
"""


def test_killed_at_any_step_the_old_state_is_there_or_every_start_is_refused_and_the_next_run_ends_it(
    state_dir, copy, tmp_path
):
    outcomes = set()
    for step in range(1, 100):
        work_dir = tmp_path / f"state-{step}"
        shutil.copytree(state_dir, work_dir)
        words = [sys.executable, "-c", KILLED, str(ROOT), str(copy), str(work_dir), str(step)]
        ended = subprocess.run(words, capture_output=True, timeout=PATIENCE_S, check=False)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        try:
            found = find(work_dir)
        except StoreFailure as failure:
            assert "a restore was not finished" in str(failure)
            with pytest.raises(StoreFailure, match="a restore was not finished"):
                SqliteOutboxStore(str(work_dir), SHARDS, "NORMAL")
            outcomes.add("refused")
        else:
            assert found.stage is LedgerSetStage.MADE
            outcomes.add(totals(work_dir)[V])
        restore(copy, str(work_dir))
        assert totals(work_dir) == {V: 3}
        opened(work_dir)
        kept = {path.parent for path in work_dir.glob(f"{REPLACED}*/dispatcher.sqlite")}
        assert {V: 7} in map(totals, kept) or 3 in outcomes, "what was replaced is kept"
    else:
        raise AssertionError("it is never done")
    assert {7, "refused"} <= outcomes
