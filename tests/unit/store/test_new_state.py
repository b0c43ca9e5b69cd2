"""A state begins with empty ledgers only if it is new: nothing is there that is made after them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from actors.config import Settings
from actors.config.sections import SupervisorSection
from actors.store import (
    SqliteLedgerStore,
    SqliteOutboxStore,
    begin_state,
    folder,
    open_ledger,
    open_outbox,
)
from actors.system.exits import StoreFailure
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S

LEFT = [
    "counter-0.mark",
    "counter-0.lock",
    "counter-1.sqlite-wal",
    "dispatcher.mark",
    "dispatcher.sqlite-shm",
    "ledgers-1/counter-0.mark",
    "nsqd.mark",
    "nsqd/journal.sqlite",
    "nsqd/journal.sqlite-wal",
    "client/client.sqlite",
]
OPENERS = [
    lambda state_dir: folder.begin(state_dir, 2),
    lambda state_dir: SqliteOutboxStore(state_dir, 2, "NORMAL"),
    lambda state_dir: SqliteLedgerStore(state_dir, 1, 2, "NORMAL"),
]


def contents(path):
    return {one: one.read_bytes() for one in path.rglob("*") if one.is_file() and one.name != "ledgers.lock"}


@pytest.mark.parametrize("opener", OPENERS, ids=["queue or client", "dispatcher", "counter"])
@pytest.mark.parametrize("left", LEFT)
def test_where_anything_of_a_state_is_left_no_new_ledgers_are_made(tmp_path, left, opener):
    path = tmp_path / left
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"content")
    before = contents(tmp_path)
    with pytest.raises(StoreFailure) as caught:
        opener(str(tmp_path))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}: has {Path(left).parts[0]}"), text
    assert "restore DIR`; or, to begin at zero, move all of" in text
    assert contents(tmp_path) == before


@pytest.mark.parametrize("left", ["nsqd/journal.sqlite", "client/client.sqlite"])
def test_half_made_ledgers_beside_a_store_that_is_made_after_them_are_not_made_again(tmp_path, left):
    folder.write(tmp_path, folder.LedgerSet("an id", 2, stage=folder.LedgerSetStage.MAKING))
    path = tmp_path / left
    path.parent.mkdir()
    path.write_bytes(b"content")
    with pytest.raises(StoreFailure, match=f"has {left}, but no ledgers"):
        folder.begin(str(tmp_path), 2)


@pytest.mark.parametrize("left", ["service.lock", "service.log", "nsqd/journal.lock", "client/client.lock"])
def test_a_folder_with_what_holds_no_plays_is_new(tmp_path, left):
    path = tmp_path / left
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    SqliteOutboxStore(str(tmp_path), 2, "NORMAL").close()


def test_full_ledgers_under_a_file_that_says_they_are_half_made_are_not_replaced(tmp_path):
    SqliteLedgerStore(str(tmp_path), 0, 2, "NORMAL").close()
    folder.write(tmp_path, folder.LedgerSet("s", 2, stage=folder.LedgerSetStage.MAKING))
    before = contents(tmp_path)
    with pytest.raises(StoreFailure, match=r"has counter-0\.lock, counter-0\.mark, but no ledgers"):
        SqliteLedgerStore(str(tmp_path), 0, 2, "NORMAL")
    assert contents(tmp_path) == before


KEPT = {
    "nothing is left": shutil.rmtree,
    "an empty folder is in its place": lambda state: (shutil.rmtree(state), state.mkdir()),
    "all stores are gone": lambda state: [path.unlink() for path in state.glob("*.*")],
}


@pytest.mark.parametrize("lost", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize(
    "opener",
    [
        lambda settings, store: begin_state(settings, store, may_make=False),
        lambda settings, store: open_outbox(settings, may_make=False),
        lambda settings, store: open_ledger(settings, 0, may_make=False),
    ],
    ids=["queue or client", "dispatcher", "counter"],
)
def test_what_a_service_has_made_is_not_made_anew(tmp_path, lost, opener):
    state = tmp_path / "state"
    settings = Settings(supervisor=SupervisorSection(state_dir=str(state)))
    store = state / "nsqd" / "journal.sqlite"
    begin_state(settings, store, may_make=True)
    with pytest.raises(StoreFailure, match="while the service ran"):
        begin_state(settings, store, may_make=False)
    open_ledger(settings, 0, may_make=False).close()
    lost(state)
    left = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreFailure, match="while the service ran"):
        opener(settings, store)
    assert sorted(tmp_path.rglob("*")) == left


def test_a_folder_that_can_not_be_written_is_said_in_a_line(tmp_path):
    (tmp_path / "ledgers.draft").mkdir()
    with pytest.raises(StoreFailure, match=r"cannot be written .*see supervisor.state_dir"):
        folder.begin(str(tmp_path), 2)


# Starts on new folders, as the children do. Each start runs in a fork that kills itself some lines of our
# code later than the one before. Prints how many were killed. Every second start on each folder is whole.
FIRST_STARTS = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from actors.client.store import ClientStore
from actors.core.client.promises import Promises
from actors.embedded_nsqd.journal import QueueJournal
from actors.config import Settings
from actors.config.sections import SupervisorSection
from actors.store import (
    SqliteLedgerStore,
    SqliteOutboxStore,
    begin_state,
    folder,
    open_ledger,
    open_outbox,
)

WATCHED = ("actors/store/folder", "actors/store/database", "actors/store/mark", "actors/store/ledger",
           "actors/store/outbox", "actors/embedded_nsqd/journal_file", "actors/client/store",
           "actors/system/locks")

def start(state_dir):
    folder.begin(state_dir, 2)
    queue = QueueJournal(Path(state_dir, "nsqd"), marked=Path(state_dir, "nsqd"))
    folder.begin(state_dir, 2)
    client = ClientStore(Path(state_dir, "client"))
    client.load(Promises())
    stores = [SqliteOutboxStore(state_dir, 2, "NORMAL")]
    stores += [SqliteLedgerStore(state_dir, shard, 2, "NORMAL") for shard in range(2)]
    for one in (queue, client, *stores):
        one.close()

def dying(lines):
    left = lines
    def traced(frame, event, argument):
        nonlocal left
        if not any(name in frame.f_code.co_filename for name in WATCHED):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return traced
    return traced

def ended(run):
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def killed(state_dir, lines):
    sys.settrace(dying(lines))
    start(state_dir)

kills = 0
while True:
    state_dir = f"{sys.argv[2]}/{kills}"
    code = ended(lambda: killed(state_dir, 23 * kills))
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    assert ended(lambda: start(state_dir)) == 0, f"refused what was killed after {23 * kills} lines"
    kills += 1
print(kills)
"""


def test_what_a_first_start_leaves_that_is_killed_at_any_moment_is_a_new_state(tmp_path):
    words = [sys.executable, "-c", FIRST_STARTS, str(ROOT), str(tmp_path)]
    run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=4 * PATIENCE_S)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 15
