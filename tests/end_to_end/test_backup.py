"""Backups of a running service can be used, and an older copy of one of its stores is noticed.

BACKUPS=100 makes a hundred backups under load.
"""

import os
import shutil
import stat
import subprocess

import pytest

from actors.cli.launch import COMMAND, environment
from actors.store import TotalsReader, ledger_path, outbox_path
from actors.store.folder import find
from actors.store.mark import mark_path
from actors.store.older import find_older
from actors.system.exits import EXIT_STORE, Failure
from tests.support.services import (
    PATIENT,
    Load,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)

BACKUPS = int(os.environ.get("BACKUPS", "4"))
HASTY = ["dispatch.deadline_s=1"]
VIDEO = b'{"video_id": "00000000-0000-4000-8000-%012d"}'
STORES = {"counter-0": lambda state_dir: ledger_path(state_dir, 0), "dispatcher": outbox_path}


def play(service, plays):
    service.queue.put("plays", *(VIDEO % (number % 20) for number in range(plays)))


def counted(folder):
    return sum(total for _, total, _ in TotalsReader(str(folder)).read())


def test_every_backup_of_a_running_service_can_be_used(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        service.start()
        plays = (
            500_000 + 20_000 * BACKUPS
        )  # more than the backups take; the producer draws all before it begins
        load = Load(service, tmp_path, "--plays", str(plays), "--rate", "2000")
        wait_counted(service, 1000)
        copies, before = [], 0
        for number in range(BACKUPS):
            before = service.status()["plays"]["counted"]
            copies.append(tmp_path / f"copy-{number}")
            done = service.command("backup", str(copies[-1]))
            assert done.returncode == 0, done.stderr
            assert "It was checked" in done.stderr
            assert done.stdout == ""
        produced = load.stop()["plays"]
        wait_counted(service, produced)
    for copy in copies:
        assert find_older(copy, find(copy), range(2)) == []
        assert {stat.S_IMODE(path.stat().st_mode) for path in copy.rglob("*") if path.is_file()} == {0o600}
    plays = [counted(copy) for copy in copies]
    assert plays == sorted(plays)
    assert before <= plays[-1] <= produced
    with open_service("embedded", tmp_path / "restored", *PATIENT, *HASTY) as restored:
        done = restored.command("restore", str(copies[-1]))
        assert done.returncode == 0, done.stderr
        restored.start()
        wait_caught_up(restored, plays[-1])  # what waited on the queue at that moment is counted too
        assert plays[-1] <= sum(ledger_totals(restored).values()) <= produced
        assert restored.totals() == ledger_totals(restored)


def test_a_restored_state_goes_on_and_what_was_there_is_kept(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        service.start()
        play(service, 200)
        wait_caught_up(service, 200)
        copy = tmp_path / "copy"
        assert service.command("backup", str(copy)).returncode == 0
        again = service.command("backup", str(copy))
        assert again.returncode == 1
        assert "is not empty, expected an empty or a new folder" in again.stderr
        running = service.command("restore", str(copy))
        assert running.returncode == 1
        assert "stop it with" in running.stderr
        play(service, 40)
        wait_caught_up(service, 240)
        assert service.stop() == 0
        done = service.command("restore", str(copy))
        assert done.returncode == 0, done.stderr
        assert "totals may be lower than those that the client has" in done.stderr
        assert counted(service.state_dir) == 200
        (kept,) = service.state_dir.glob("replaced-*")
        assert str(kept) in done.stderr
        assert counted(kept) == 240
        service.start()
        play(service, 20)
        wait_caught_up(service, 220)
        assert service.totals() == ledger_totals(service)
        assert service.stop() == 0
        assert service.command("backup", str(tmp_path / "of-a-stopped-one")).returncode == 0
        assert counted(tmp_path / "of-a-stopped-one") == 220


def test_a_backup_without_room_blames_no_store(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        service.queue.put(
            "plays", *(b'{"video_id": "%08x-0000-4000-8000-000000000000"}' % one for one in range(4000))
        )
        wait_caught_up(service, 4000)
        service.stop()
        words = [*COMMAND, "backup", *service.arguments, str(tmp_path / "copy")]
        limited = ["sh", "-c", 'ulimit -f 128 && exec "$0" "$@"', *words]  # blocks of 512 bytes
        result = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert result.stderr.startswith(f"{tmp_path / 'copy'}: not backed up (")
        assert "with enough space" in result.stderr
        assert "restore it" not in result.stderr
        shutil.rmtree(tmp_path / "copy")
        assert service.command("backup", str(tmp_path / "copy")).returncode == 0


@pytest.mark.parametrize("child_id", STORES)
def test_an_older_copy_of_one_store_with_its_mark_is_refused(tmp_path, child_id):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        service.start()
        play(service, 200)
        wait_caught_up(service, 200)
        assert service.stop() == 0
        path = STORES[child_id](str(service.state_dir))
        (tmp_path / "copy").mkdir()
        for one in (path, mark_path(path)):
            shutil.copy(one, tmp_path / "copy")
        service.start()
        play(service, 200)
        wait_caught_up(service, 400)
        assert service.stop() == 0
        for one in (tmp_path / "copy").iterdir():
            shutil.copy(one, path.parent)
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == EXIT_STORE
        assert f"{path}: ends at commit " in service.log()
        assert "restore the whole state from a backup with" in service.log()
        wrong = service.command("totals", "--verify")
        assert wrong.returncode == 1
        assert f"{path}: ends at commit " in wrong.stdout


def test_a_state_that_is_older_than_the_reference_clients_totals_is_refused_until_a_backup_is_restored(
    tmp_path,
):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        service.start()
        play(service, 200)
        wait_caught_up(service, 200)
        assert service.stop() == 0
        copy = tmp_path / "copy"
        shutil.copytree(service.state_dir, copy)
        service.start()
        play(service, 80)
        wait_caught_up(service, 280)
        assert service.stop() == 0
        client = tmp_path / "client"
        shutil.move(service.state_dir / "client", client)
        shutil.rmtree(service.state_dir)
        shutil.copytree(copy, service.state_dir)  # all of the service's own is older
        shutil.rmtree(service.state_dir / "client")
        shutil.copytree(client, service.state_dir / "client")
        (service.state_dir / "client" / "dispatcher.mark").unlink()  # which would tell it too
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == EXIT_STORE
        assert "has more plays of 20 videos than the ledgers; of " in service.log()
        assert " it has 14, and they have 10: all of the state is an older copy" in service.log()
        kept = tmp_path / "kept"
        settings = ["--set", "client.enabled=false"]  # so that the client's own store is not in it
        assert service.command("backup", *settings, str(kept)).returncode == 0
        assert service.command("restore", str(kept)).returncode == 0
        service.start()
        assert "because a backup was restored: all totals are published again" in service.log()
        wait_status(service, lambda status: status["publishes"]["republish"], "a republish")
        wait_caught_up(service, 200)
        assert service.totals() == ledger_totals(service)
        assert sum(service.totals().values()) == 200
        assert service.stop() == 0
        service.start()
        assert service.log().count("because a backup was restored") == 1
