"""A backup that somebody else made, or that is broken in odd ways, is refused in words and soon.

The state stays as it was, and nothing is left in it. So it is with the files of a state that are none.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from actors.store import SqliteLedgerStore
from actors.store.backup import MANIFEST, backup
from actors.store.folder import NAME, read
from actors.store.restore import STAGED, restore
from actors.system import temporary
from actors.system.exits import Failure, StoreFailure
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.unit.store.test_older import worked


@pytest.fixture
def state_dir(tmp_path):
    return worked(tmp_path)


@pytest.fixture
def copy(state_dir, tmp_path):
    backup(state_dir, tmp_path / "copy")
    return tmp_path / "copy"


def changed(copy, **more):
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes())
    manifest["files"] |= more.pop("files", {})
    (copy / MANIFEST).write_bytes(msgspec.json.encode(manifest | more))


def named(copy, name):
    """The manifest names another file, which is there."""
    path = copy / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    changed(copy, files={name: {"bytes": 0, "sha256": empty}})


def replaced(path, kind):
    path.unlink()
    kind(path)


def nested(copy):
    text = (copy / MANIFEST).read_text().rstrip().removesuffix("}")
    (copy / MANIFEST).write_text(f'{text}, "more": {"[" * 200_000}{"]" * 200_000}}}')


HOSTILE = {
    "manifest a pipe": (lambda copy: replaced(copy / MANIFEST, os.mkfifo), "a pipe, expected a file"),
    "manifest nested": (nested, "backup.json: cannot be read"),
    "ledger a device": (
        lambda copy: replaced(copy / "counter-0.sqlite", lambda path: path.symlink_to("/dev/zero")),
        "counter-0.sqlite: cannot be read (it is a device, expected a file)",
    ),
    "ledger a pipe": (
        lambda copy: replaced(copy / "counter-0.sqlite", os.mkfifo),
        "counter-0.sqlite: cannot be read (it is a pipe, expected a file)",
    ),
    "ledger a folder": (
        lambda copy: replaced(copy / "counter-0.sqlite", Path.mkdir),
        "counter-0.sqlite: cannot be read (it is a folder, expected a file)",
    ),
    "many shards": (lambda copy: changed(copy, shards=10**12), "backup.json: cannot be read"),
    "other shards": (lambda copy: changed(copy, shards=3), "names other files than those of 3 ledgers"),
    "no shards": (lambda copy: changed(copy, shards=0), "backup.json: cannot be read"),
    "shards below 0": (lambda copy: changed(copy, shards=-5), "backup.json: cannot be read"),
    "other plays": (lambda copy: changed(copy, plays=10**15), "its ledgers have 3"),
    "a name with NUL": (lambda copy: changed(copy, files={"a\0b": {"bytes": 0, "sha256": ""}}), "names "),
    "a lock": (lambda copy: named(copy, "service.lock"), "names "),
    "a file of run": (lambda copy: named(copy, "run/x.sqlite"), "names "),
    "another ledger": (lambda copy: named(copy, "counter-2.sqlite"), "names other files"),
}


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize(("spoil", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_backup_is_refused_in_words_and_the_state_left_as_it_is(state_dir, copy, spoil, words):
    before = {path: path.read_bytes() for path in Path(state_dir).rglob("*.sqlite")}
    spoil(copy)
    with pytest.raises(Failure) as caught:
        restore(copy, state_dir)
    assert words in str(caught.value)
    assert "run restore again" not in str(caught.value)
    assert {path: path.read_bytes() for path in Path(state_dir).rglob("*.sqlite")} == before
    assert not Path(state_dir, STAGED).exists()


ODD = {
    "a number of ledgers that nobody has": (
        lambda state: (state / NAME).write_text('{"state": "s", "shards": 100000000000}'),
        "ledgers.json: cannot be read",
    ),
    "a pipe for what says which ledgers there are": (
        lambda state: replaced(state / NAME, os.mkfifo),
        "ledgers.json: cannot be read (it is a pipe, expected a file)",
    ),
}


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize(("spoil", "words"), ODD.values(), ids=ODD)
def test_what_says_which_ledgers_there_are_is_read_with_bounds(state_dir, spoil, words):
    spoil(Path(state_dir))
    with pytest.raises(StoreFailure) as caught:
        read(state_dir)
    assert words in str(caught.value)


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("command", [["totals"], ["totals", "--verify"], ["backup", "copy"]])
def test_a_pipe_in_the_place_of_a_ledger_holds_up_no_command(state_dir, tmp_path, command):
    replaced(Path(state_dir, "counter-0.sqlite"), os.mkfifo)
    run = subprocess.run(
        [sys.executable, ROOT / "supervisor.py", *command, "--set", f"supervisor.state_dir={state_dir}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode != 0
    assert "(it is a pipe, expected a file)" in run.stdout + run.stderr
    with pytest.raises(StoreFailure, match=r"\(it is a pipe"):
        SqliteLedgerStore(state_dir, 0, 2, "NORMAL")


def test_a_folder_for_a_backup_that_is_another_users_or_in_use_is_said(state_dir, tmp_path, monkeypatch):
    target = tmp_path / "target"
    target.mkdir()
    held = temporary.hold(target)
    with pytest.raises(Failure, match="target: is in use by another process"):
        backup(state_dir, target)
    os.close(held)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Failure, match="link: is a link that leads nowhere"):
        backup(state_dir, tmp_path / "link")
    if os.geteuid() == 0:  # nobody else can give a folder away
        os.chown(target, 65534, -1)
        with pytest.raises(Failure, match=r"target: belongs to the user .*, expected the user "):
            backup(state_dir, target)
