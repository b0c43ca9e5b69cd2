"""A store of an earlier format is read, and its first commit rewrites it, whole or not at all."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from actors.client.store import ClientStore
from actors.core.client.promises import Promises
from actors.core.columns import pack_numbers
from actors.core.counter.seen_ids import SeenIds, keys_of
from actors.core.dispatcher.outbox import PublishTotals
from actors.core.dispatcher.republish import Republish
from actors.core.identity import with_identities
from actors.store import SqliteLedgerStore, SqliteOutboxStore, TotalsReader, ledger_path, outbox_path
from actors.store.formats import FORMAT
from actors.store.mark import Mark
from actors.store.outbox import request_republish_of_all
from actors.store.reshard import reshard
from actors.store.verify import verify
from actors.system.exits import StoreFailure
from actors.system.installation import ROOT
from tests.formats.make import unpack
from tests.support.patience import PATIENCE_S

FORMATS = Path(__file__).parents[2] / "formats"
FIRST = 3  # the format of tests/formats/first.tar.xz
SHARDS = 2


@pytest.fixture
def state_dir(tmp_path):
    return unpacked(tmp_path)


def unpacked(path, name="first"):
    return str(unpack(name, path))


def totals_of_first():
    found = json.loads((FORMATS / "first.json").read_text())["totals"]
    return {bytes.fromhex(video): total for video, total in found.items()}


def formats(state_dir):
    paths = [*(ledger_path(state_dir, shard) for shard in range(SHARDS)), outbox_path(state_dir)]
    return [one_value(path, "SELECT value FROM meta WHERE key = 'format'") for path in paths]


def one_value(path, query):
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchone()[0]


def loaded(state_dir):
    """Open both ledgers and the outbox, close them, and return all totals and how many ids are known."""
    totals, known = {}, 0
    for shard in range(SHARDS):
        with contextlib.closing(SqliteLedgerStore(state_dir, shard, SHARDS, "NORMAL")) as store:
            accounts, chunks, _ = store.load()
            totals |= {video: account.total for video, account in accounts.items()}
            known += len(SeenIds(3_600_000, chunks))
    with contextlib.closing(SqliteOutboxStore(state_dir, SHARDS, "NORMAL")) as store:
        assert store.load()[0]  # the batch in doubt
    return totals, known


def test_a_store_of_an_earlier_format_is_read_without_being_changed(state_dir):
    before = {path: path.read_bytes() for path in Path(state_dir).glob("*.sqlite")}
    assert {video: total for video, total, _ in TotalsReader(state_dir).read()} == totals_of_first()
    assert [one.wrong for one in verify(state_dir)] == [[]] * (SHARDS + 1)
    assert {path: path.read_bytes() for path in before} == before
    assert formats(state_dir) == [FIRST] * (SHARDS + 1)


@pytest.mark.parametrize("name", ["first", "second", "third", "fourth", "fifth"])
def test_what_a_state_knows_of_an_nsqd_is_known_when_the_nsqd_has_identities_and_then_moves(tmp_path, name):
    state_dir, known = unpacked(tmp_path, name), 0
    for shard in range(SHARDS):
        with contextlib.closing(SqliteLedgerStore(state_dir, shard, SHARDS, "NORMAL")) as store:
            chunks = store.load()[1]
        seen = SeenIds(3_600_000, chunks)
        known += len(seen)
        for where in ("", "moved:4150"):
            for one in chunks:
                keys = keys_of(one).tolist()
                ids = b"".join((one.bucket << 34 | key >> 30).to_bytes(8, "big") for key in keys)
                source = with_identities(one.source, ["#417"])
                if where:
                    source = f"{where} #417/{one.source.rpartition('/')[2]}"
                stamps = pack_numbers(key & (1 << 30) - 1 for key in keys)
                assert seen.admit(source, ids, stamps, 0).places == []
    assert known


def test_the_first_opening_rewrites_it_as_the_newest(state_dir):
    assert loaded(state_dir) == (totals_of_first(), 127)  # 126 plays and a dead letter
    assert formats(state_dir) == [FORMAT] * (SHARDS + 1)
    assert loaded(state_dir) == (totals_of_first(), 127)
    assert [one.wrong for one in verify(state_dir)] == [[]] * (SHARDS + 1)


def test_its_message_ids_are_redeliveries_for_a_window_in_which_the_service_runs(state_dir):
    store = SqliteLedgerStore(state_dir, 0, SHARDS, "NORMAL")
    _, chunks, tallies = store.load()
    store.close()
    assert not any(chunk.stamped for chunk in chunks)
    assert tallies.ran_ms == max(chunk.received_ms for chunk in chunks)
    seen = SeenIds(1000, chunks)
    assert seen.expire(tallies.ran_ms) == []
    assert len(seen.expire(tallies.ran_ms + 60_000)) == len(chunks)


def test_it_can_be_divided_again(state_dir):
    assert reshard(state_dir, 3) is not None
    assert {video: total for video, total, _ in TotalsReader(state_dir).read()} == totals_of_first()
    assert [one.wrong for one in verify(state_dir)] == [[]] * 4


DIES_WHILE_IT_UPGRADES = """
import os, signal, sqlite3, sys
sys.path.insert(0, sys.argv[1])
from actors.store import SqliteLedgerStore, database

left = int(sys.argv[3])

def count(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def upgrade(connection, real=database.upgrade):
    connection.set_trace_callback(count if connection_is_a_file(connection) else None)
    real(connection)

def connection_is_a_file(connection):
    return bool(connection.execute("PRAGMA database_list").fetchone()[2])

database.upgrade = upgrade
SqliteLedgerStore(sys.argv[2], 0, 2, "NORMAL").close()
"""


def test_a_process_that_is_killed_while_it_upgrades_leaves_the_old_format_or_the_new_one(tmp_path):
    found = []
    for number in range(1, 99):
        state_dir = unpacked(tmp_path / f"{number}")
        words = [sys.executable, "-c", DIES_WHILE_IT_UPGRADES, str(ROOT), state_dir, str(number)]
        code = subprocess.run(words, check=False, timeout=PATIENCE_S).returncode
        found.append(formats(state_dir)[0])
        assert loaded(state_dir) == (totals_of_first(), 127)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert found.count(FIRST) > 8
    assert found == sorted(found)


@pytest.mark.parametrize("number", [FORMAT + 1, FIRST - 1, "many"])
def test_another_format_is_refused_by_name_and_left_as_it_is(state_dir, number):
    path = ledger_path(state_dir, 0)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (number,))
    before = path.read_bytes()
    with pytest.raises(StoreFailure, match=f"has format {number}, expected {FIRST} to {FORMAT}"):
        SqliteLedgerStore(state_dir, 0, SHARDS, "NORMAL")
    assert path.read_bytes() == before


def test_an_earlier_store_that_is_damaged_is_refused_and_left_as_it_is(state_dir):
    path = ledger_path(state_dir, 0)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE seen SET bucket = bucket + 1")
    before = path.read_bytes()
    with pytest.raises(StoreFailure, match="ids of another bucket"):
        SqliteLedgerStore(state_dir, 0, SHARDS, "NORMAL")
    assert path.read_bytes() == before
    assert formats(state_dir)[0] == FIRST


def test_a_store_of_an_earlier_format_takes_requests_to_publish_again(state_dir):
    with contextlib.closing(SqliteOutboxStore(state_dir, SHARDS, "NORMAL")) as store:
        assert store.load_republishes() == ([], 0)


def test_a_republish_can_be_requested_while_no_service_runs(state_dir):
    with contextlib.closing(SqliteOutboxStore(state_dir, SHARDS, "NORMAL")) as store:
        store.store_republish(Republish(7, "asked for", b"v" * 16), PublishTotals())
    with contextlib.closing(sqlite3.connect(outbox_path(state_dir))) as connection, connection:
        assert request_republish_of_all(connection, "the state was restored") == 8
    with contextlib.closing(SqliteOutboxStore(state_dir, SHARDS, "NORMAL")) as store:
        assert store.load_republishes() == ([Republish(8, "the state was restored")], 8)


STATES = sorted(path.stem for path in FORMATS.glob("*.json"))


def schemas(state_dir):
    """The columns of each table, and the indexes, by store."""
    found = {}
    for path in sorted(Path(state_dir).rglob("*.sqlite")):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            kinds = sorted(connection.execute("SELECT type, name FROM sqlite_master"))
            columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for _, name in kinds}
        found[path.relative_to(state_dir).as_posix()] = {
            (kind, name): [column[1:3] for column in columns[name]] for kind, name in kinds
        }
    return found


@pytest.mark.parametrize("name", STATES)
def test_every_stored_state_gets_the_tables_and_columns_of_a_new_one(tmp_path, name):
    state_dir = unpacked(tmp_path / "stored", name)
    assert [one.wrong for one in verify(state_dir)] == [[]] * (SHARDS + 1)  # before, and after it was opened
    loaded(state_dir)
    assert [one.wrong for one in verify(state_dir)] == [[]] * (SHARDS + 1)
    with contextlib.closing(ClientStore(Path(state_dir) / "client")) as client:
        assert client.load(Promises()).statistics.publishes_total() > 0
    new = str(tmp_path / "new")
    Path(new).mkdir()
    for shard in range(SHARDS):
        SqliteLedgerStore(new, shard, SHARDS, "NORMAL").close()
    SqliteOutboxStore(new, SHARDS, "NORMAL").close()
    ClientStore(Path(new) / "client").close()
    found = schemas(state_dir)
    del found["nsqd/journal.sqlite"]  # a journal that lacks anything is refused
    assert found == schemas(new)


def test_a_state_of_the_present_format_is_kept(tmp_path):
    # A change of the schema without a new number is noticed by it, in the test above.
    assert FORMAT in {formats(unpacked(tmp_path / name, name))[-1] for name in STATES}


@pytest.mark.parametrize("table", ["republishes", "refused_videos", "batches", "totals"])
def test_what_the_start_refuses_verify_calls_wrong(state_dir, table):
    loaded(state_dir)  # it has the present format now
    path = outbox_path(state_dir)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"DROP TABLE {table}")
    with pytest.raises(StoreFailure, match=f"no such table: {table}"):
        SqliteOutboxStore(state_dir, SHARDS, "NORMAL")
    (wrong,) = verify(state_dir)[-1].wrong
    assert f"no such table: {table}" in wrong


@pytest.mark.parametrize("folder", ["", "client"])
def test_verify_calls_a_dispatchers_store_wrong_that_is_behind_a_mark(state_dir, folder):
    path = outbox_path(state_dir)
    mark = Mark(Path(state_dir) / folder / "dispatcher")
    mark.write(1000)
    mark.close()
    with pytest.raises(StoreFailure, match=r"dispatcher\.mark says that 1000 were made"):
        SqliteOutboxStore(state_dir, SHARDS, "FULL")
    assert verify(state_dir)[-1].path == path
    (wrong,) = verify(state_dir)[-1].wrong
    assert "dispatcher.mark says 1000" in wrong
