"""Stores that can't be used: the process ends with the exit code for it, and says which file it is, what is
wrong and what to do. If a store only can't be written for now, the process waits."""

import contextlib
import os
import re
import resource
import shutil
import sqlite3
import time

import pytest

from actors.cli.launch import wait_for
from actors.embedded_nsqd.journal_file import FILE_NAME
from actors.store import ledger_path, outbox_path
from actors.supervision.effect_queue import RETRY_S
from actors.system.exits import EXIT_STORE, Failure
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, ledger_totals, open_service, wait_caught_up

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(40)]
HASTY = ["dispatch.deadline_s=0.3", f"supervisor.liveness_timeout_s={PATIENCE_S}"]
STORES = {"counter-0": lambda state_dir: ledger_path(state_dir, 0), "dispatcher": outbox_path}
# A killed service leaves its sockets, in `run`, and those can't be copied.
NOT_COPIED = shutil.ignore_patterns("service.*", "run")


def play(service, plays: int) -> None:
    bodies = [b'{"video_id": "%b"}' % VIDEOS[number % len(VIDEOS)].encode() for number in range(plays)]
    service.queue.put("plays", *bodies)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The state of a service that has counted and published 200 plays."""
    with open_service("embedded", tmp_path_factory.mktemp("counted"), *PATIENT, *HASTY) as service:
        service.start()
        play(service, 200)
        wait_caught_up(service, 200)
        assert service.stop() == 0
        yield service.state_dir


@pytest.fixture
def service(counted, tmp_path):
    """A service with a copy of that state, not started yet."""
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        shutil.copytree(counted, service.state_dir, ignore=shutil.ignore_patterns("service.log"))
        yield service


@pytest.mark.parametrize("child_id", STORES)
@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda content: os.urandom(len(content))],
    ids=["truncated", "garbled"],
)
def test_a_service_with_a_damaged_store_does_not_start_and_says_what_to_do(service, child_id, damage):
    path = STORES[child_id](str(service.state_dir))
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(Failure):
        service.start()
    assert service.process.returncode == EXIT_STORE
    assert path.read_bytes() == before, "it is left as it is"
    (line,) = (line for line in service.log().splitlines() if f" E {child_id}#1" in line)
    assert f"{path}: cannot be used (" in line
    assert "expected a store of playtally" in line
    assert "restore it from a backup, or use another supervisor.state_dir" in line
    assert f"{child_id}#1 exited({EXIT_STORE})" in service.log()
    assert "Traceback" not in service.log()


@pytest.mark.parametrize(("child_id", "table"), [("counter-0", "journal"), ("dispatcher", "batches")])
def test_a_store_that_breaks_under_its_process_ends_it_and_is_not_tried_for_ever(service, child_id, table):
    service.start()
    path = STORES[child_id](str(service.state_dir))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {table}")
    play(service, 40)
    said = f"{child_id}#1 exited({EXIT_STORE})"
    wait_for(lambda: said in service.log(), said, PATIENCE_S, service.log)
    line = re.search(f"E {child_id}#1 .*", service.log())[0]
    assert f"{path}: cannot be used (no such table: {table})" in line
    assert "restore it from a backup, or use another supervisor.state_dir" in line
    service.kill()  # it would try for long to finish what it holds


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """The state of a service that was killed while 500 plays waited in the embedded queue."""
    with open_service("embedded", tmp_path_factory.mktemp("waiting"), *PATIENT, *HASTY) as service:
        service.start()
        service.queue.put("later", *[b"%d" % number for number in range(500)])
        service.kill()
        yield service.state_dir


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (FILE_NAME, os.unlink),
        (f"{FILE_NAME}-wal", os.unlink),
        (f"{FILE_NAME}-wal", cut_in_half),
        (f"{FILE_NAME}-wal", change_a_byte),
        ("", shutil.rmtree),
    ],
    ids=["journal removed", "wal removed", "wal cut", "byte changed", "folder removed"],
)
def test_a_queue_that_lacks_acknowledged_messages_does_not_start_and_says_what_to_do(
    waiting, tmp_path, name, damage
):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        shutil.copytree(waiting, service.state_dir, ignore=NOT_COPIED)
        damage(service.state_dir / "nsqd" / name)
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == EXIT_STORE
        (line,) = (line for line in service.log().splitlines() if " E nsqd#1" in line)
        assert f"{service.state_dir / 'nsqd' / FILE_NAME}: cannot be used (" in line
        assert "restore the journal from a backup; or, to begin with an empty queue, move" in line
        assert "Traceback" not in service.log()


def test_a_queue_that_was_killed_has_all_acknowledged_messages(waiting, tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        shutil.copytree(waiting, service.state_dir, ignore=NOT_COPIED)
        service.start()
        assert len(service.queue.take("later", 500)) == 500


def test_a_journal_that_breaks_under_its_process_ends_it(service):
    service.start()
    with contextlib.closing(sqlite3.connect(service.state_dir / "nsqd" / FILE_NAME)) as connection:
        connection.execute("DROP TABLE segments")
    with contextlib.suppress(OSError, EOFError, AssertionError):
        service.queue.put("later", b"x")
    said = f"nsqd#1 exited({EXIT_STORE})"
    wait_for(lambda: said in service.log(), said, PATIENCE_S, service.log)
    line = re.search("E nsqd#1 .*", service.log())[0]
    assert f"{service.state_dir / 'nsqd' / FILE_NAME}: cannot be used (no such table: " in line
    service.kill()


def test_a_service_that_cannot_say_where_it_is_ends_with_its_children(tmp_path):
    with open_service("embedded", tmp_path) as service:
        (service.state_dir / "service.draft").mkdir(parents=True)
        with pytest.raises(Failure, match="ended with code 1") as caught:
            service.start()
        assert "service.json: cannot be written (Is a directory)" in str(caught.value)
        assert "Traceback" not in str(caught.value)
        assert service.ended, "it still waits for its children"


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux, to fill a running process's disk")
@pytest.mark.parametrize("child_id", STORES)
def test_a_store_that_can_not_be_written_for_now_is_waited_for(service, child_id):
    """tests/supervision/test_effect_queue.py and test_supervisor.py test that a child that waits for its disk
    still answers and is not taken for hung.
    """
    service.start()
    play(service, 40)
    wait_caught_up(service, 240)
    child, path = service.child(child_id), STORES[child_id](str(service.state_dir))
    size = path.with_name(f"{path.name}-wal").stat().st_size  # the log is shorter, so it can be written
    _, most = resource.prlimit(child["pid"], resource.RLIMIT_FSIZE)
    resource.prlimit(child["pid"], resource.RLIMIT_FSIZE, (size, most))
    play(service, 200)
    said = f"{path}: cannot be written for now ("
    began_s = time.monotonic()
    wait_for(lambda: said in service.log(), "a write to fail", PATIENCE_S, service.log)
    time.sleep(5 * RETRY_S)
    minutes = (time.monotonic() - began_s) // 60
    assert service.log().count(said) <= 1 + minutes, "a line for each try"
    resource.prlimit(child["pid"], resource.RLIMIT_FSIZE, (most, most))
    wait_caught_up(service, 440)
    assert service.log().count("the store can be written again, after ") == 1
    assert service.child(child_id)["pid"] == child["pid"]
    assert sum(ledger_totals(service).values()) == 440
    assert service.totals() == ledger_totals(service)
