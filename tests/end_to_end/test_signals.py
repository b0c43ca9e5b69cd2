"""SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 end no process, and SIGTERM twice starts none."""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from actors.cli.launch import Service, wait_for
from actors.supervision.signals import ONE_REQUEST_S
from actors.system.installation import ROOT
from tests.support.certificates import make_certificate
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S
from tests.support.queues import free_ports
from tests.support.recording_client import RecordingClient
from tests.support.secured_service import lines_with, secured_service
from tests.support.services import ANY_PORTS, open_service, wait_caught_up, wait_counted
from tests.support.trouble import halt

CHILDREN = ["nsqd", "client", "dispatcher", "counter-0", "counter-1", "consumer"]
VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(20)]
BODIES = [b'{"video_id": "%b"}' % video.encode() for video in VIDEOS]
WATCHED = [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
SAID = {
    signal.SIGHUP: "SIGHUP: no setting names a file to read again; a changed config.toml needs a restart",
    signal.SIGQUIT: "supervisor   SIGQUIT: the stacks of this process",
    signal.SIGUSR1: "SIGUSR1 means nothing here: ignored, now and later",
    signal.SIGUSR2: "SIGUSR2 means nothing here: ignored, now and later",
}
STACKS = "SIGQUIT: the stacks of this process, which goes on:"


@pytest.fixture
def service(tmp_path):
    # A busy machine may take long to tell all stacks. A child that is halted meanwhile is not killed.
    settings = ["dispatch.deadline_s=0.5", "supervisor.liveness_timeout_s=600"]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        yield service


def pids(service) -> dict[str, int]:
    """The pid of every process, of multiprocessing's helpers too."""
    children = {child["id"]: child["pid"] for child in service.status()["children"]}
    family = psutil.Process(service.process.pid).children(recursive=True)
    return children | {f"process {one.pid}": one.pid for one in family}


def wait_said(service, what: str, times: int = 1) -> None:
    wait_for(lambda: service.log().count(what) >= times, f"{times} of {what!r}", PATIENCE_S, service.log)


@pytest.mark.parametrize("number", WATCHED)
def test_a_signal_to_the_supervisor_ends_nothing_loses_nothing_and_is_told_once(number, service):
    before = pids(service)
    service.queue.put("plays", *BODIES)
    for _ in range(2):
        os.kill(service.process.pid, number)
        wait_said(service, SAID[number])
    service.queue.put("plays", *BODIES)
    wait_caught_up(service, 2 * len(BODIES))
    assert pids(service) == before
    assert service.totals() == dict.fromkeys(VIDEOS, 2)
    assert service.stop() == 0
    if number in (signal.SIGUSR1, signal.SIGUSR2):
        assert service.log().count(number.name) == 1


def test_sigquit_to_the_supervisor_tells_the_stacks_of_all_processes(service):
    os.kill(service.process.pid, signal.SIGQUIT)
    wait_said(service, STACKS, 1 + len(CHILDREN))
    for name in ("supervisor  ", *(f"{child}#1" for child in CHILDREN)):
        assert re.search(rf"W {name} +{STACKS} thread ", service.log()), name
    assert service.log().count("thread MainThread:") == 1 + len(CHILDREN)


@pytest.mark.parametrize("number", WATCHED)
def test_a_signal_to_every_process_of_the_service_ends_none(number, service):
    """As Ctrl-\\ in a terminal does, or the end of the terminal."""
    before = pids(service)
    os.killpg(service.process.pid, number)
    for name in ("supervisor", *(f"{child}#1" for child in CHILDREN)):
        wait_for(lambda name=name: re.search(rf"{name} +{number.name}", service.log()), name, PATIENCE_S)
    service.queue.put("plays", *BODIES)
    wait_caught_up(service, len(BODIES))
    assert pids(service) == before
    if number is not signal.SIGQUIT:  # which a child gets twice, and on a slow machine maybe not at once
        assert service.log().count(f" {number.name}") == 1 + len(CHILDREN), service.log()


def test_a_child_that_does_not_answer_tells_its_stacks(service):
    """The supervisor sends it the signal itself: a process that is halted reads no message."""
    pid = service.child("counter-0")["pid"]
    halt(pid)
    os.kill(service.process.pid, signal.SIGQUIT)
    wait_said(service, STACKS, len(CHILDREN))
    os.kill(pid, signal.SIGCONT)
    wait_said(service, STACKS, 1 + len(CHILDREN))
    assert service.child("counter-0")["pid"] == pid


def test_sighup_reads_the_authorities_again_and_a_file_that_is_none_changes_nothing(tmp_path):
    folders = [tmp_path / "right", tmp_path / "wrong"]
    for folder in folders:
        folder.mkdir()
    (key, right), (_, wrong) = (make_certificate(folder) for folder in folders)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(wrong.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(right, key)
    with (
        RecordingClient(tls=context) as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", f"publish.ca_file={ca_file}"
        ) as service,
    ):
        service.start()
        service.queue.put("plays", *BODIES)
        wait_said(service, "its certificate is not trusted")
        ca_file.write_bytes(right.read_bytes())
        os.kill(service.process.pid, signal.SIGHUP)
        wait_said(service, "SIGHUP: reading publish.ca_file again; a changed config.toml needs a restart")
        wait_caught_up(service, len(BODIES))
        ca_file.write_text("no certificate")
        os.kill(service.process.pid, signal.SIGHUP)
        wait_said(service, "can't be used (it holds no certificate)")
        wait_said(service, "what was read before stays in force")
        service.queue.put("plays", *BODIES)
        wait_caught_up(service, 2 * len(BODIES))
        assert client.totals == dict.fromkeys(VIDEOS, 2)
        assert service.log().count("it holds no certificate") == 1


def test_a_certificate_that_can_not_be_used_is_said_once_for_all_processes_that_use_it(tmp_path):
    with secured_service(tmp_path, "publish.url=", "publish.nsq_topic=totals", with_auth=False) as secured:
        service = secured.service
        service.start()
        service.queue.put("plays", *BODIES)
        wait_caught_up(service, len(BODIES))
        secured.authority.ca_file.write_text("no certificate")
        for times in (1, 2):
            result = service.command("reload")
            assert result.returncode == 1
            errors = [line for line in lines_with("it holds no certificate", service) if " E " in line]
            assert len(errors) == times
            service.status()  # the supervisor asks nsqd over https, and so do the others
        service.queue.put("plays", *BODIES)
        wait_caught_up(service, 2 * len(BODIES))
        said = re.findall(r" W (\S+) .*it holds no certificate", service.log())
        assert len(said) == len(set(said)), said  # who saw the change before it was told to read


def alone(kind: str, folder) -> tuple[list[str], str]:
    """The command that starts that part alone, and what it logs when it can be used."""
    one, other = (f"127.0.0.1:{port}" for port in free_ports(2))
    addresses = [f"--address={one}"]
    if kind == "embedded_nsqd":
        addresses = [f"--tcp-address={one}", f"--http-address={other}"]
    return [sys.executable, "-m", f"actors.{kind}", *addresses, f"--data-path={folder / 'data'}"], other


@pytest.mark.parametrize("kind", ["client", "embedded_nsqd"])
def test_the_client_and_the_queue_alone_take_every_signal_and_go_on(kind, tmp_path):
    command, _ = alone(kind, tmp_path)
    file = tmp_path / "log"
    with file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        wait_for(file.read_text, "the first line of its log", PATIENCE_S)
        for number in WATCHED:
            process.send_signal(number)
            wait_for(lambda number=number: number.name in file.read_text(), number.name, PATIENCE_S)
        assert process.poll() is None
        assert "thread MainThread:" in file.read_text()
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def wait_held(process: subprocess.Popen[bytes], folder) -> None:
    """Wait until a service that is just started is ready for signals, long before it takes them."""
    status = folder / str(process.pid) / "status"
    number = 1 << (signal.SIGHUP - 1)
    wait_for(
        lambda: int(re.search(r"SigBlk:\s*(\w+)", status.read_text())[1], 16) & number, "its mask", PATIENCE_S
    )


@pytest.fixture
def proc():
    """The folder in which Linux tells which signals a process has blocked."""
    folder = Path("/proc")
    if not (folder / "self" / "status").exists():
        lacking("this system does not tell which signals a process has blocked")
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_python_imports_ends_the_service_before_it_has_begun(number, proc, tmp_path):
    service = Service(tmp_path / "state", ANY_PORTS)
    process = subprocess.Popen([*service.program, *service.arguments], stderr=subprocess.PIPE)
    with process:
        wait_held(process, proc)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    stopped_early = said == b"stopped by a signal before anything was started\n"
    assert stopped_early or said.rstrip().endswith(b"stopped"), said  # or just after


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_while_the_forkserver_imports_ends_the_start_in_order(number, tmp_path):
    service = Service(tmp_path / "state", ANY_PORTS)
    command = [*service.program, *service.arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        family = psutil.Process(process.pid)

        def imports() -> bool:
            return any("forkserver" in " ".join(one.cmdline()) for one in family.children(recursive=True))

        wait_for(imports, "the forkserver", PATIENCE_S)
        helpers = family.children(recursive=True)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 0, said
    # The supervisor imports at the same time. While it does, nothing has begun.
    assert said.rstrip().endswith(("stopped", "stopped by a signal before anything was started")), said
    wait_for(lambda: not any(one.is_running() for one in helpers), "the helper processes to end", PATIENCE_S)
    for wrong in ("Traceback", "trying again", "no answer from"):
        assert wrong not in said, said


@pytest.mark.parametrize("number", WATCHED)
def test_another_signal_while_python_imports_is_taken_when_the_service_runs(number, proc, tmp_path):
    with open_service("embedded", tmp_path) as service:
        starting = threading.Thread(target=service.start)
        starting.start()
        wait_for(lambda: service.process, "its process", PATIENCE_S)
        wait_held(service.process, proc)
        service.process.send_signal(number)
        starting.join()
        wait_said(service, SAID[number])
        assert service.stop() == 0


def test_two_sigterms_of_one_request_stop_the_service_in_order(tmp_path):
    """`timeout` sends one to the service, and one to its group, in which the service is too."""
    with open_service("embedded", tmp_path) as service:
        service.start()
        for _ in range(2):
            os.kill(service.process.pid, signal.SIGTERM)
            time.sleep(ONE_REQUEST_S / 50)
        assert service.process.wait(PATIENCE_S) == 0
        assert "asked to stop again" not in service.log()


def test_a_second_sigterm_kills_what_is_left_and_starts_nothing(tmp_path):
    with open_service("embedded", tmp_path, "supervisor.shutdown_timeout_s=600") as service:
        service.start()
        service.queue.put("plays", *BODIES)
        wait_counted(service, len(BODIES))
        consumer = service.child("consumer")["pid"]
        halt(consumer)  # the drain waits for it
        os.kill(service.process.pid, signal.SIGTERM)
        wait_said(service, "stopping: finishing what is held")
        time.sleep(2 * ONE_REQUEST_S)
        os.kill(service.process.pid, signal.SIGTERM)
        assert service.process.wait(PATIENCE_S) == 0
        log = service.log()
        assert "asked to stop again: killing what is left" in log
        assert "#2 started" not in log, log
        assert not [line for line in log.splitlines() if "killed(SIGKILL)" in line], log
