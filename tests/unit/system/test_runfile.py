"""The run file is believed only if it is ours, and only while the process that wrote it runs."""

import fcntl
import http.server
import json
import os
import threading

import pytest

from actors.cli import admin_client
from actors.config import Settings
from actors.config.sections import SupervisorSection
from actors.store.reshard import reshard
from actors.supervision import pids
from actors.system import runfile
from actors.system.exits import Failure
from tests.support.needed import need_root

FACTS = {"pid": 4711, "admin_address": "127.0.0.1:1"}


@pytest.fixture
def held(tmp_path):
    """A state folder whose lock is held, with the run file of a service."""
    runfile.write(str(tmp_path), FACTS)
    with open(runfile.lock_path(tmp_path), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert runfile.read(tmp_path)["pid"] == 4711
        yield tmp_path


def test_who_takes_the_lock_removes_the_file_of_a_killed_service(tmp_path):
    runfile.write(str(tmp_path), FACTS)
    lock = runfile.hold(str(tmp_path), 0.0)
    assert runfile.read(tmp_path) is None
    runfile.write(str(tmp_path), FACTS)
    assert runfile.read(tmp_path) is not None
    os.close(lock)


def test_a_command_that_works_on_the_state_has_no_run_file_of_a_killed_service(tmp_path):
    runfile.write(str(tmp_path), FACTS)
    with pytest.raises(Failure):  # there is nothing to redistribute
        reshard(str(tmp_path), 3)
    assert not (tmp_path / runfile.NAME).exists()


def test_another_users_file_is_not_believed_and_said(held):
    need_root()
    os.chown(held / runfile.NAME, 65534, -1)
    assert runfile.read(held) is None
    with pytest.raises(Failure, match=r"service\.json is another user's; run this as the user who runs"):
        admin_client.facts_of_service(Settings(supervisor=SupervisorSection(state_dir=str(held))))


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"supervisor": {"pid": 12}, "children": []}, "names pid 4711, but pid 12 answers at"),
        ({"children": []}, "the service does not answer at"),
        ([], "the service does not answer at"),
    ],
)
def test_another_service_at_its_address_is_not_believed(held, status, why):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(status).encode())

        def log_message(self, *_):
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            runfile.write(str(held), FACTS | {"admin_address": f"127.0.0.1:{server.server_port}"})
            with pytest.raises(Failure, match=why):
                admin_client.status(Settings(supervisor=SupervisorSection(state_dir=str(held))))
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("pid", [0, -1, -4711])
def test_no_signal_is_sent_to_many_processes(pid, monkeypatch):
    sent = []
    monkeypatch.setattr(pids.os, "kill", lambda *signal: sent.append(signal))
    assert not pids.send_signal(pid, 9)
    assert sent == []
