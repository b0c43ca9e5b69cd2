"""`check` refuses a state that the next start will refuse, and leaves it as it is."""

import shutil
from pathlib import Path

from actors.cli.checks.state import check_store
from actors.config import CountersSection, Settings
from actors.config.sections import SupervisorSection
from actors.store import ledger_path, outbox_path
from actors.system import runfile
from tests.unit.store.test_older import SHARDS, copied, files_of, work, worked


def found_in(state_dir):
    settings = Settings(
        counters=CountersSection(shards=SHARDS), supervisor=SupervisorSection(state_dir=state_dir)
    )
    found = check_store(settings)
    return str(found.verdict), found.found


def test_a_state_of_one_time_works(tmp_path):
    verdict, found = found_in(worked(tmp_path))
    assert verdict == "works" and found.startswith("2 ledgers of topic plays are there")


def test_an_older_ledger_is_refused_as_by_a_start_and_left_as_it_is(tmp_path):
    state_dir = worked(tmp_path)
    copied(state_dir, Path(ledger_path(state_dir, 0)), tmp_path / "kept")
    work(state_dir, commits=2, stores=0)
    shutil.copytree(tmp_path / "kept", state_dir, dirs_exist_ok=True)
    before = files_of(state_dir)
    verdict, found = found_in(state_dir)
    assert verdict == "fails" and f"{ledger_path(state_dir, 0)}: " in found
    assert files_of(state_dir) == before


def test_ledgers_that_are_older_than_the_client_are_refused_as_by_a_start(tmp_path):
    state_dir = worked(tmp_path)
    Path(state_dir, "client").mkdir()
    shutil.copytree(state_dir, tmp_path / "copy")
    work(state_dir, commits=2, stores=2)
    copy = str(tmp_path / "copy")
    shutil.copytree(Path(state_dir, "client"), Path(copy, "client"), dirs_exist_ok=True)
    verdict, found = found_in(copy)
    assert verdict == "fails" and found.startswith(f"{outbox_path(copy)}: ends at commit ")


def test_nothing_is_compared_while_a_service_goes_on_writing(tmp_path):
    state_dir = worked(tmp_path)
    copied(state_dir, Path(ledger_path(state_dir, 0)), tmp_path / "kept")
    work(state_dir, commits=2, stores=0)
    shutil.copytree(tmp_path / "kept", state_dir, dirs_exist_ok=True)
    runfile.hold(state_dir, timeout_s=0)
    assert found_in(state_dir)[0] == "works"
