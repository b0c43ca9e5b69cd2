"""Commands, crashes and a stop that cross each other, on real processes: no child twice, none forgotten."""

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from actors.supervision.restarts import Strategy
from tests.end_to_end.test_kills import alive, bodies, helper_pid, prove, wait_back
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.recording_client import RecordingClient
from tests.support.services import (
    PATIENT,
    Load,
    ServiceWithQueue,
    action_headers,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_status,
)
from tests.support.trouble import halt

ACTION_LIMIT_S = 120.0  # what a command waits for an answer
CHILDREN = ["nsqd", "client", "dispatcher", "counter-0", "counter-1", "consumer"]
WALK_STEPS = int(os.environ.get("WALK_STEPS", "30"))


def post(service: ServiceWithQueue, child: str, action: str) -> tuple[int, str]:
    """Ask a supervisor for an action. Returns the status and the text of the answer."""
    url = f"http://{service.address('admin_address')}/children/{child}/{action}"
    request = urllib.request.Request(url, method="POST", headers=action_headers(service, action))
    try:
        with urllib.request.urlopen(request, timeout=ACTION_LIMIT_S) as answer:
            return answer.status, json.load(answer)["done"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def processes(service: ServiceWithQueue) -> dict[int, str]:
    """The pids and ids of all actors' processes that live, those that the supervisor does not know too.

    The forkserver is no actor. A process whose forkserver was killed is nobody's child, and is in the session
    of the service still.
    """
    found = {}
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == service.process.pid:
                title = " ".join(psutil.Process(pid).cmdline()).strip()
                is_actor = title.startswith("playtally: ") and not title.endswith("forkserver")
                if is_actor and alive(pid):
                    found[pid] = title.removeprefix("playtally: ")
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def ids(service: ServiceWithQueue) -> list[str]:
    return sorted(processes(service).values())


def all_run(service: ServiceWithQueue) -> bool:
    return all(child["state"] == "running" for child in service.status()["children"])


def test_a_child_under_a_stopped_supervisor_can_not_be_started_and_is_never_there_twice(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        assert post(service, "counters", "terminate") == (200, "terminate counters")
        assert ids(service) == sorted(set(CHILDREN) - {"counter-0", "counter-1"})
        assert post(service, "counter-0", "restart")[0] == 409
        assert post(service, "counters", "restart") == (200, "restart counters")
        code, why = post(service, "counters", "restart")
        afresh = "to start it afresh, `python supervisor.py terminate"
        assert (code, why) == (409, f"counters is running, expected stopped; {afresh} counters` first")
        code, why = post(service, "counter-0", "restart")
        assert (code, why) == (409, f"counter-0 is running, expected stopped; {afresh} counter-0` first")
        assert ids(service) == sorted(CHILDREN)
        service.queue.put("plays", *bodies(400))
        wait_caught_up(service, 400)
        os.kill(service.child("counter-0")["pid"], signal.SIGKILL)
        wait_back(service, "counter-0", 2)
        assert post(service, "root", "terminate")[0] == 404


def test_a_supervisor_is_commanded_as_a_child_and_has_no_process_to_kill(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        killed = service.command("kill", "counters")
        assert killed.returncode == 1
        assert "counters is a supervisor and has no process of its own" in killed.stderr
        assert "counter-0, counter-1" in killed.stderr
        assert service.command("terminate", "counters").stderr == "terminate counters\n"
        found = service.status()
        assert [(one["id"], one["state"]) for one in found["supervisors"]] == [
            ("root", "running"),
            ("counters", "stopped"),
        ]
        assert [child["id"] for child in found["children"]] == CHILDREN
        assert service.command("restart", "counters").returncode == 0
        assert all_run(service)
        assert "'counter-' is more than one child, expected one of counter-0, counter-1" in (
            service.command("kill", "counter-").stderr
        )


def test_one_stall_of_all_counters_is_one_restart(tmp_path):
    settings = [
        "counters.shards=8",
        "supervisor.liveness_timeout_s=6",  # so that no child of a busy machine is taken for hung
        "counters_supervisor.max_restarts=2",
        "counters_supervisor.max_seconds=600",
    ]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        counters = [f"counter-{number}" for number in range(8)]
        pids = [child["pid"] for child in service.status()["children"] if child["id"] in counters]
        for pid in pids:
            halt(pid)
        wait_status(
            service,
            lambda status: all(
                child["incarnation"] > 1 and child["state"] == "running"
                for child in status["children"]
                if child["id"] in counters
            ),
            "all counters to be restarted",
        )
        service.queue.put("plays", *bodies(100))
        wait_caught_up(service, 100)


def test_nothing_is_started_once_a_stop_has_begun(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        address, headers = service.address("admin_address"), action_headers(service, "restart")
        service.process.send_signal(signal.SIGTERM)
        obeyed, end_s = 0, time.monotonic() + PATIENCE_S
        while not service.ended and time.monotonic() < end_s:
            url = f"http://{address}/children/consumer/restart"
            request = urllib.request.Request(url, method="POST", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=ACTION_LIMIT_S):
                    obeyed += 1
            except OSError:
                time.sleep(0.002)
        assert service.ended
        assert (service.process.returncode, obeyed) == (0, 0)
        service.start()  # nobody holds the state folder


def test_a_halted_forkserver_holds_up_no_restart_and_no_command(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        halt(helper_pid(service, "multiprocessing.forkserver"))
        os.kill(service.child("counter-0")["pid"], signal.SIGKILL)
        wait_until(lambda: service.child("counter-0")["incarnation"] == 2, "the next counter-0")
        wait_until(lambda: all_run(service), "all children")
        halt(helper_pid(service, "multiprocessing.forkserver"))
        assert post(service, "counter-1", "terminate") == (200, "terminate counter-1")
        assert post(service, "counter-1", "restart") == (200, "restart counter-1")
        assert ids(service) == sorted(CHILDREN)
        service.queue.put("plays", *bodies(400))
        wait_caught_up(service, 400)
        assert service.log().count("the forkserver is halted") == 2
        assert service.stop() == 0


@pytest.mark.parametrize("name", ["x", "x" * 80])
def test_the_folder_of_the_sockets_is_made_again_if_somebody_removes_it(name):
    with (
        tempfile.TemporaryDirectory(prefix="playtally-") as folder,
        open_service("embedded", Path(folder) / name) as service,
    ):
        service.start()
        sockets = sockets_folder(service)
        assert (sockets == service.state_dir / "run") is (len(name) == 1)  # a longer path takes no socket
        shutil.rmtree(sockets)
        for incarnation in (2, 3):
            os.kill(service.child("counter-0")["pid"], signal.SIGKILL)
            wait_until(lambda: service.child("counter-0")["incarnation"] == incarnation, "counter-0")  # noqa: B023
            wait_until(lambda: all_run(service), "all children")
        service.queue.put("plays", *bodies(400))
        wait_caught_up(service, 400)
        assert service.log().count("was removed, so it starts nothing") == 1
        new = sockets_folder(service)
        assert service.stop() == 0
        assert not new.exists()
        assert "Traceback" not in service.log()


def sockets_folder(service) -> Path:
    """Where the forkserver listens."""
    forkserver = psutil.Process(helper_pid(service, "multiprocessing.forkserver"))
    [listener] = {one.laddr for one in forkserver.net_connections("unix") if "listener-" in one.laddr}
    return Path(listener).parent


# The first forkserver says who it is and waits, before its imports. All other processes start as always.
DELAY_THE_FIRST = """
import os, time
fork = os.fork
def fork_and_wait():
    pid = fork()
    if pid == 0:
        try:
            file = os.open("{file}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            pass
        else:
            os.write(file, b"%d." % os.getpid())
            time.sleep(3600)
    return pid
os.fork = fork_and_wait
"""


def test_the_forkserver_killed_during_the_first_start_does_not_end_the_service(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(DELAY_THE_FIRST.format(file=tmp_path / "forkserver"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with open_service("embedded", tmp_path) as service:
        said = tmp_path / "forkserver"
        threading.Thread(target=kill_when_it_says, args=(said,)).start()
        service.start()
        assert ids(service) == sorted(CHILDREN)
        assert "Traceback" not in service.log()
        assert helper_pid(service, "multiprocessing.forkserver") != int(said.read_text().rstrip("."))


def kill_when_it_says(file: Path) -> None:
    """Kill the process that writes its number into this file."""
    wait_until(lambda: file.exists() and file.read_text().endswith("."), "the forkserver")
    os.kill(int(file.read_text().rstrip(".")), signal.SIGKILL)


@pytest.mark.parametrize("killed", ["dispatcher", "counter-0", "client"])
def test_a_stop_tells_what_is_pending_though_a_child_is_in_its_back_off(killed, tmp_path):
    settings = ["dispatch.deadline_s=3600", "supervisor.back_off_ms=60000", "supervisor.max_seconds=60"]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        service.queue.put("plays", *bodies(5000))
        wait_status(service, lambda status: status["plays"]["counted"] == 5000, "all to be counted")
        wait_status(service, lambda status: status["publishes"]["total"] > 0, "what is hot to be published")
        service.queue.put("plays", *bodies(50))
        wait_status(service, lambda status: status["pending_videos"] >= 50, "some to be pending")
        pid = service.child(killed)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: service.child(killed)["state"] == "stopped", "its back-off")
        assert post(service, killed, "restart")[0] == 409, "it is being restarted"
        assert service.stop() == 0
        assert "not published" not in service.log()
        service.start()
        assert service.totals() == ledger_totals(service)
        assert service.status()["plays"]["counted"] == 5050


def test_a_stop_says_how_many_totals_wait_when_nobody_can_tell_them(tmp_path):
    with open_service(
        "embedded", tmp_path, "dispatch.deadline_s=3600", "dispatch.realtime_below=1"
    ) as service:
        service.start()
        assert post(service, "dispatcher", "terminate")[0] == 200
        service.queue.put("plays", *bodies(50))
        wait_status(service, lambda status: status["plays"]["counted"] == 50, "all to be counted")
        assert service.stop() == 0
        assert "50 totals are not published, and kept in the ledgers for the next start" in service.log()


@pytest.mark.parametrize("strategy", Strategy)
def test_whatever_is_commanded_and_killed_no_process_is_twice_and_no_play_is_lost(strategy, tmp_path):
    """A random walk: WALK_STEPS=1000 for a long one. Nothing waits for the step before."""
    chance = random.Random(7)
    settings = [
        *PATIENT,
        f"supervisor.strategy={strategy}",
        f"counters_supervisor.strategy={strategy}",
        "supervisor.back_off_ms=20",
        "dispatch.deadline_s=0.3",
    ]
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, *settings, f"publish.url={client.url}") as service,
    ):
        service.start()
        load = Load(service, tmp_path, "--plays", "300000", "--rate", "1000")
        wait_status(service, lambda status: status["plays"]["counted"] > 0, "plays to be counted")
        walk = Walk(service, chance)
        for _ in range(WALK_STEPS):
            walk.step()
        walk.end()
        wait_until(lambda: all_up(service), "all to run again")
        assert ids(service) == sorted(CHILDREN)
        totals = prove(service, load.stop())
        assert client.totals == totals
        assert client.wrong == []
        assert service.stop() == 0


class Walk:
    """Steps of a random walk: kills and commands, each command in a thread of its own."""

    def __init__(self, service: ServiceWithQueue, chance: random.Random):
        self._service, self._chance = service, chance
        self._threads: list[threading.Thread] = []
        self._wrong: list[str] = []

    def step(self) -> None:
        chance = self._chance
        match chance.choices(["kill", "command", "forkserver"], [10, 12, 1])[0]:
            case "kill":
                self._kill(chance.choice(CHILDREN))
            case "command":
                child = chance.choice(["counters", *CHILDREN[1:]])
                action = chance.choice(["terminate", "restart", "restart"])
                thread = threading.Thread(target=self._command, args=(child, action))
                thread.start()
                self._threads.append(thread)
            case "forkserver":
                try:
                    os.kill(helper_pid(self._service, "multiprocessing.forkserver"), signal.SIGKILL)
                except (AssertionError, ProcessLookupError):
                    pass
        time.sleep(chance.choice([0, 0, 0.01, 0.05, 0.2]))
        names = ids(self._service)
        if len(names) != len(set(names)):
            self._wrong.append(f"a child is there twice: {names}")

    def end(self) -> None:
        """Wait for all answers."""
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a command was not answered"
        assert not self._wrong

    def _kill(self, child: str) -> None:
        for pid, name in processes(self._service).items():
            if name == child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _command(self, child: str, action: str) -> None:
        code, why = post(self._service, child, action)
        if code not in (200, 409):
            self._wrong.append(f"{action} {child}: {code} {why}")


def all_up(service: ServiceWithQueue) -> bool:
    """Whether all children run. Those that are stopped are asked to start."""
    status = service.status()
    down = [one["id"] for one in (*status["supervisors"], *status["children"]) if one["state"] == "stopped"]
    for child in down:
        post(service, child, "restart")
    return not down and all_run(service)
