"""A service in a container: it is pid 1, and only its state can be written."""

import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support.containers import Container, need_containers
from tests.support.hostile_text import assert_log, assert_plain
from tests.support.patience import wait_until
from tests.support.services import ANY_PORTS, HURRIED, PATIENT, wait_caught_up, wait_status

VIDEO = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def folder():
    """A folder with a short path: sockets are in the state, as nothing else can be written."""
    with tempfile.TemporaryDirectory(prefix="playtally-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def container(folder):
    path = folder / "one"
    path.mkdir()
    need_containers(path)
    service = Container(path / "ein Zustand ☃", [*ANY_PORTS, *HURRIED, *PATIENT])
    try:
        service.start()
        yield service
    finally:
        service.end()


def test_the_first_process_of_a_container_counts_and_publishes(container):
    container.queue.put("plays", *[f'{{"video_id": "{VIDEO}"}}'.encode()] * 50)
    status = wait_caught_up(container, 50)
    assert status["supervisor"]["pid"] == 1
    assert container.totals() == {VIDEO: 50}
    assert "Traceback" not in container.log()


def test_commands_in_the_container_reach_it(container):
    assert container.command_inside("status").returncode == 0
    checked = container.command_inside("check")  # it compares the host name with that of who reads
    assert_plain(checked.stdout + checked.stderr, seen="")
    assert_log(container.log(), seen="")
    before = container.child("counter-0")
    ran = container.command_inside("kill", "counter-0")
    assert (ran.returncode, ran.stderr) == (0, f"sent SIGKILL to counter-0 (pid {before['pid']})\n")
    wait_status(
        container,
        lambda status: is_back(status, before),
        "counter-0 to come back",
    )


def is_back(status, before) -> bool:
    """Whether a child runs in another life than `before`."""
    [now] = [one for one in status["children"] if one["id"] == before["id"]]
    return now["incarnation"] > before["incarnation"] and now["state"] == "running"


def test_a_command_outside_of_it_signals_no_process_itself(container):
    ran = container.command("stop")
    assert ran.returncode == 1
    assert "the service runs in a container (or this command does)" in ran.stderr
    assert container.command("status").returncode == 0
    before = container.child("consumer")
    assert before["restarts"] == 0
    assert container.command("kill", "consumer").returncode == 0  # the service sends the signal
    wait_status(container, lambda status: is_back(status, before), "the consumer to come back")


def test_zombies_of_others_are_reaped_and_no_status_of_ours_is_lost(container):
    ran = container.inside("sh", "-c", "(sleep 0.1; exit 7) &")  # its parent ends first
    assert ran.returncode == 0, ran
    before = container.child("counter-1")
    [forkserver] = [one for one in container.first().children() if is_forkserver(one.pid)]
    forkserver.kill()  # its children are the first process's from now on
    ran = container.command_inside("kill", "counter-1")
    assert ran.returncode == 0, ran
    wait_status(container, lambda status: is_back(status, before), "counter-1 to come back")
    before = container.child("counter-1")
    assert container.command_inside("kill", "counter-1", "--signal", "TERM").returncode == 0
    status = wait_status(container, lambda status: is_back(status, before), "counter-1 to come back")
    assert [one["last_exit"]["how"] for one in status["children"] if one["id"] == "counter-1"] == [
        "exited(0)"
    ]
    wait_until(lambda: no_zombie_is_left(container), "all zombies to be reaped")


def is_forkserver(pid: int) -> bool:
    """Whether a process is multiprocessing's forkserver. A zombie has no command line."""
    return b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()


def no_zombie_is_left(container) -> bool:
    """Whether the first process waits for nobody, but for a forkserver: its next start needs that status."""
    children = container.first().children()
    return all(child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_it_ends_in_order_with_sigterm_and_leaves_nothing_outside_of_its_state(container):
    assert container.stop() == 0
    assert container.log().endswith("stopped\n")
    assert not (container.state_dir / "run").exists()


BLOCKS_SIGTERM = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.execv(sys.argv[1], sys.argv[1:])
"""
MOMENTS = {
    # Python needs some milliseconds to our first line. A starter that blocks SIGTERM meanwhile loses none.
    "as it is started, by a starter that blocks it": lambda service: has_sigterm("SigBlk", service),
    "as soon as it is handled": lambda service: has_sigterm("SigCgt", service),
    "as it has its lock": lambda service: (service.state_dir / "service.lock").exists(),
    "as its children start": lambda service: (service.state_dir / "ledgers.json").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigterm_ends_the_first_process_from_the_first_moment(moment, folder, tmp_path):
    need_containers(tmp_path)
    service = Container(folder / f"{list(MOMENTS).index(moment)}", ANY_PORTS)
    if "blocks" in moment:
        service.program = [sys.executable, "-c", BLOCKS_SIGTERM, *service.program]
    try:
        service.launch()
        wait_until(lambda: service.ended or MOMENTS[moment](service), moment)
        assert not service.ended, service.log()
        assert service.stop() == 0, service.log()
        if "blocks" in moment:
            assert "stopped by a signal before anything was started" in service.log()
    finally:
        service.end()


def has_sigterm(what: str, service: Container) -> bool:
    """Whether the first process is Python and blocks SIGTERM ("SigBlk"), or has a handler ("SigCgt")."""
    lines = Path(f"/proc/{service.first().pid}/status").read_text().splitlines()
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not fields["Name"].startswith("python"):  # what starts it has other handlers
        return False
    signals = fields[what]
    return bool(int(signals, 16) >> (signal.SIGTERM - 1) & 1)
