"""A refused state is left byte for byte as it was, whatever the refusal, whether it was killed or stopped."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from actors.core.dispatcher.outbox import PublishTotals
from actors.core.total_columns import TotalColumns
from actors.store import SqliteLedgerStore, SqliteOutboxStore, ledger_path, outbox_path
from actors.store.client_check import check_client
from actors.store.folder import claim
from actors.store.mark import mark_path
from actors.system.exits import StoreFailure
from tests.unit.store.test_older import BATCH, V, ledger, outbox, plays_of, work

STATES = ["stopped", "killed"]


@pytest.fixture(params=STATES)
def state_dir(tmp_path, request):
    """A state that was stopped, or killed: then the last commits are in the -wal files only."""
    made = str(tmp_path / "made")
    with outbox(made):
        pass
    Path(made, "client").mkdir()
    work(made, commits=3, stores=2)
    if request.param == "stopped":
        shutil.copytree(made, tmp_path / "state")
    else:
        with outbox(made) as sender, ledger(made) as counter, ledger(made, 1):
            counter.commit(plays_of(counter, 3))
            sender.store([BATCH], PublishTotals(stores=4, commits={0: counter.commits}))
            shutil.copytree(made, tmp_path / "state")
    return str(tmp_path / "state")


def contents(state_dir):
    """All files but the locks, which hold nothing."""
    paths = [path for path in Path(state_dir).rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in paths if path.suffix not in (".lock", ".held", ".draft")}


def changed(state_dir, path, statement):
    """The same state, changed by a statement, in the same condition: with a -wal or without one."""
    is_killed = Path(f"{path}-wal").exists()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
        if is_killed:
            shutil.copytree(state_dir, f"{state_dir}-copy")
    if is_killed:
        shutil.rmtree(state_dir)
        Path(f"{state_dir}-copy").rename(state_dir)


LEDGER = [
    "UPDATE journal SET accounts = x'00'",
    "UPDATE tallies SET counted = counted + 1",
    "UPDATE tallies SET commits = 1",
    "UPDATE tallies SET stores = 99",
    "UPDATE meta SET value = 99 WHERE key = 'format'",
    "UPDATE meta SET value = 'another' WHERE key = 'state'",
    "INSERT INTO seen VALUES ('nsqd', 1, 1, 1, x'00')",
    "DROP TABLE parts",
]
OUTBOX = [
    "UPDATE batches SET content = x'00'",
    "UPDATE totals SET content = NULL",
    "UPDATE totals SET content = 'text'",
    "UPDATE meta SET value = 99 WHERE key = 'format'",
    "INSERT INTO meta VALUES ('topic', 'another')",
    "INSERT INTO republishes VALUES (1, x'00')",
]


def open_outbox(state_dir, compare=lambda why: None):
    SqliteOutboxStore(state_dir, 2, "NORMAL", "plays", compare).close()


def open_ledger(state_dir):
    SqliteLedgerStore(state_dir, 0, 2, "NORMAL").close()


@pytest.mark.parametrize("statement", LEDGER)
def test_a_refused_ledger_is_left_as_it_was(state_dir, statement):
    changed(state_dir, ledger_path(state_dir, 0), statement)
    before = contents(state_dir)
    with pytest.raises(StoreFailure):
        open_ledger(state_dir)
    assert contents(state_dir) == before


@pytest.mark.parametrize("statement", OUTBOX)
def test_a_refused_dispatchers_store_is_left_as_it_was(state_dir, statement):
    changed(state_dir, outbox_path(state_dir), statement)
    before = contents(state_dir)
    with pytest.raises(StoreFailure):
        open_outbox(state_dir)
    assert contents(state_dir) == before


@pytest.mark.parametrize("statement", ["UPDATE tallies SET commits = 1", "UPDATE tallies SET stores = 99"])
def test_ledgers_that_the_dispatcher_refuses_are_left_as_they_were(state_dir, statement):
    changed(state_dir, ledger_path(state_dir, 0), statement)
    before = contents(state_dir)
    with pytest.raises(StoreFailure):
        open_outbox(state_dir)
    assert contents(state_dir) == before


def test_a_state_that_the_client_is_ahead_of_is_left_as_it_was(state_dir):
    before = contents(state_dir)
    with pytest.raises(StoreFailure, match="has more plays"):
        open_outbox(
            state_dir, lambda why: check_client(state_dir, "a client", TotalColumns.of({V: 99}), why) and None
        )
    assert contents(state_dir) == before


def test_a_state_that_is_older_than_a_mark_elsewhere_is_left_as_it_was(state_dir):
    Path(state_dir, "client", "dispatcher.mark").write_bytes((99).to_bytes(8, "little") + b"\xff" * 16)
    before = contents(state_dir)
    with pytest.raises(StoreFailure, match="99 were made"):
        open_outbox(state_dir)
    assert contents(state_dir) == before


@pytest.mark.parametrize("opened", [open_outbox, open_ledger])
@pytest.mark.parametrize("named", [True, False], ids=["with ledgers.json", "without"])
def test_a_state_that_is_not_whole_is_left_as_it_was(state_dir, opened, named):
    if not named:
        Path(state_dir, "ledgers.json").unlink()
    ledger_path(state_dir, 1).unlink()
    before = contents(state_dir)
    with pytest.raises(StoreFailure, match="missing"):
        opened(state_dir)
    assert contents(state_dir) == before


@pytest.mark.parametrize("named", [True, False], ids=["with ledgers.json", "without"])
def test_a_state_of_another_number_of_shards_is_left_as_it_was(state_dir, named):
    if not named:
        Path(state_dir, "ledgers.json").unlink()
    before = contents(state_dir)
    with pytest.raises(StoreFailure, match=r"counters\.shards = 2"):
        claim(state_dir, 3)
    after = contents(state_dir)
    assert after.pop("ledgers.json")  # which says what the ledgers say themselves
    before.pop("ledgers.json", None)
    assert after == before


@pytest.mark.parametrize("opened", [open_outbox, open_ledger])
def test_where_the_mark_can_not_be_written_nothing_is_changed_and_a_line_says_so(state_dir, opened):
    path = outbox_path(state_dir) if opened is open_outbox else ledger_path(state_dir, 0)
    mark_path(path).unlink()
    mark_path(path).mkdir()
    before = contents(state_dir)
    with pytest.raises(StoreFailure) as caught:
        opened(state_dir)
    assert str(caught.value).startswith(f"{mark_path(path)}: cannot be written (Is a directory), expected")
    assert contents(state_dir) == before


def test_a_ledger_that_only_the_dispatcher_looked_at_is_left_as_it_was(state_dir):
    before = contents(state_dir)
    open_outbox(state_dir)
    after = contents(state_dir)
    assert {name: after.get(name) for name in before if name.startswith("counter")} == {
        name: content for name, content in before.items() if name.startswith("counter")
    }
    assert {name for name in after if name.startswith("counter")} <= set(before)


def test_stores_that_a_process_has_open_are_left_alone(state_dir):
    with ledger(state_dir) as counter:
        mark_path(outbox_path(state_dir)).write_bytes((99).to_bytes(8, "little") + b"\xff" * 16)
        index = Path(f"{ledger_path(state_dir, 0)}-shm")
        with pytest.raises(StoreFailure):
            open_outbox(state_dir)
        assert index.exists()
        counter.commit(plays_of(counter, 3))
