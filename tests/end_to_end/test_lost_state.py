"""The state is deleted, moved or replaced while the service runs: it ends in words, and makes none anew."""

import contextlib
import os
import shutil
import signal

import pytest

from actors.system.exits import EXIT_STORE
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.services import PATIENT, open_service, wait_caught_up

VIDEO = b'{"video_id": "00000000-0000-4000-8000-%012d"}'
STORES = ("counter-*", "dispatcher.*", "ledgers*", "nsqd.mark", "nsqd", "client")


def moved(state, away):
    state.rename(away)


def deleted(state, away):
    shutil.rmtree(state)


def replaced(state, away):
    state.rename(away)
    shutil.copytree(away, state, ignore=shutil.ignore_patterns("service.*", "run"))


def without_stores(state, away):
    away.mkdir()
    for pattern in STORES:
        for path in state.glob(pattern):
            path.rename(away / path.name)


def the_queue(state, away):
    away.mkdir()
    (state / "nsqd").rename(away / "nsqd")
    (state / "nsqd.mark").rename(away / "nsqd.mark")


def names(state):
    """The stores in a folder, with its own existence."""
    return sorted(str(path.relative_to(state)) for path in [state, *state.rglob("*.sqlite")] if path.exists())


CASES = [
    (deleted, ""),
    (moved, "counter-0"),
    (replaced, "dispatcher"),
    (without_stores, "counter-0"),
    (without_stores, "client"),
    (the_queue, "nsqd"),
]


@pytest.mark.parametrize(("lost", "killed"), CASES)
def test_a_service_whose_state_is_gone_ends_in_words_and_makes_none_anew(tmp_path, lost, killed):
    # A socket's path is shorter: so the sockets are elsewhere, and a child can be started without the state.
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with open_service("embedded", folder, *PATIENT) as service:
        service.log_file = tmp_path / "log"
        service.start()
        service.queue.put("plays", *(VIDEO % number for number in range(50)))
        wait_caught_up(service, 50)
        pid = service.child(killed)["pid"] if killed else 0
        lost(service.state_dir, folder / "away")
        left = names(service.state_dir)
        if pid:
            with contextlib.suppress(ProcessLookupError):  # it may be ending already
                os.kill(pid, signal.SIGKILL)
        assert service.process.wait(PATIENCE_S) == EXIT_STORE, service.log()
        log = service.log()
        assert "while the service ran" in log
        assert "Traceback" not in log
        assert names(service.state_dir) == left


def test_a_run_file_that_somebody_removes_is_written_again(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        facts = service.facts()
        path = service.state_dir / "service.json"
        for spoil in (path.unlink, lambda: path.write_text("{")):
            spoil()
            wait_until(lambda: service.facts() == facts, "the run file")
        assert service.command("stop").returncode == 0
        assert service.log().count("was removed or changed, and is written again") == 2
