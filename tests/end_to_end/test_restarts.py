"""The real tree under every signal, and the ways in which restarts can cross each other."""

import os
import signal
import time

import psutil
import pytest

from actors.launch import wait_for
from tests.support.services import PATIENT, Load, ledger_totals, open_service, wait_caught_up

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(40)]
CHILDREN = ["nsqd", "client", "dispatcher", "counter-0", "counter-1", "consumer"]
ENDS = {
    signal.SIGKILL: "killed(SIGKILL)",
    signal.SIGTERM: "exited(0)",
    signal.SIGSEGV: "killed(SIGSEGV)",
    signal.SIGABRT: "killed(SIGABRT)",
    signal.SIGHUP: "killed(SIGHUP)",
    signal.SIGUSR1: "killed(SIGUSR1)",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    path = tmp_path_factory.mktemp("restarts")
    settings = ["supervisor.liveness_timeout_s=2", "dispatch.deadline_s=1"]
    with open_service("embedded", path, *PATIENT, *settings) as service:
        service.start()
        yield service


def play(service, plays: int) -> None:
    bodies = [b'{"video_id": "%b"}' % VIDEOS[number % len(VIDEOS)].encode() for number in range(plays)]
    service.queue.put("plays", *bodies)


def prove_that_it_works(service, plays: int = 200) -> None:
    """New plays are counted once and told, whatever has happened before."""
    before = sum(ledger_totals(service).values())
    play(service, plays)
    wait_caught_up(service, before + plays)
    totals = ledger_totals(service)
    assert sum(totals.values()) == before + plays
    assert service.totals() == totals
    assert service.report()["promises_broken_total"] == 0


def children(service) -> dict[str, dict]:
    return {child["id"]: child for child in service.status()["children"]}


def wait_running(service, lives: dict[str, int]) -> dict[str, dict]:
    """The children, once each of these is in that life or a later one, and all run."""

    def found():
        now = children(service)
        reached = all(now[name]["incarnation"] >= life for name, life in lives.items())
        return now if reached and all(child["state"] == "running" for child in now.values()) else None

    return wait_for(found, f"{lives} to be reached", 20, service.log)


@pytest.mark.parametrize("child_id", CHILDREN)
def test_a_child_comes_back_after_every_signal_and_says_how_it_ended(service, child_id):
    for number, ended in ENDS.items():
        before = children(service)
        os.kill(before[child_id]["pid"], number)
        after = wait_running(service, {child_id: before[child_id]["incarnation"] + 1})
        assert after[child_id]["last_exit"] == ended
        others = set(CHILDREN) - {child_id}
        assert {after[one]["pid"] for one in others} == {before[one]["pid"] for one in others}
    prove_that_it_works(service)


def test_a_stopped_child_that_goes_on_in_time_is_left_alone(service):
    before = children(service)
    os.kill(before["counter-0"]["pid"], signal.SIGSTOP)
    time.sleep(0.8)  # well below liveness_timeout_s, and more than one ping
    os.kill(before["counter-0"]["pid"], signal.SIGCONT)
    prove_that_it_works(service)
    time.sleep(2.5)  # as long as it would have taken to be killed
    assert {one: child["pid"] for one, child in children(service).items()} == {
        one: child["pid"] for one, child in before.items()
    }


@pytest.mark.parametrize(
    "pair",
    [
        ("counter-0", "counter-1"),
        ("consumer", "dispatcher"),
        ("counter-1", "consumer"),
        ("dispatcher", "counter-0"),
        ("nsqd", "consumer"),
        ("client", "dispatcher"),
    ],
)
def test_two_children_killed_at_once_both_come_back(service, pair):
    before = children(service)
    for child_id in pair:
        os.kill(before[child_id]["pid"], signal.SIGKILL)
    wait_running(service, {one: before[one]["incarnation"] + 1 for one in pair})
    prove_that_it_works(service)


@pytest.mark.parametrize("child_id", ["counter-0", "dispatcher", "consumer"])
def test_a_child_killed_again_while_it_starts_comes_back(service, child_id):
    before = children(service)
    os.kill(before[child_id]["pid"], signal.SIGKILL)
    again = wait_for(lambda: starting(service, before[child_id]["pid"], child_id), "its next life", 10)
    os.kill(again, signal.SIGKILL)
    wait_running(service, {child_id: before[child_id]["incarnation"] + 2})
    prove_that_it_works(service)


def test_everybody_killed_in_a_row_while_the_one_before_restarts(service):
    lives = {one: child["incarnation"] + 1 for one, child in children(service).items()}
    for _ in range(3):
        for pid in list(actor_pids(service)):
            kill_if_there(pid)
            time.sleep(0.005)
    wait_running(service, lives)
    prove_that_it_works(service)


def test_two_hundred_restarts_under_load_leave_descriptors_and_memory_where_they_were(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, "dispatch.deadline_s=1") as service:
        service.start()
        load = Load(service, tmp_path, "--plays", "100000", "--rate", "2500")

        def restart(times: int) -> None:
            for _ in range(times):
                child = service.child("counter-0")
                os.kill(child["pid"], signal.SIGKILL)
                wait_running(service, {"counter-0": child["incarnation"] + 1})

        def sizes() -> dict[str, tuple[int, int]]:
            pids = {one: child["pid"] for one, child in children(service).items() if one != "counter-0"}
            pids["supervisor"] = service.process.pid
            processes = {one: psutil.Process(pid) for one, pid in pids.items()}
            return {one: (it.num_fds(), it.memory_info().rss) for one, it in processes.items()}

        restart(15)  # what grows once has grown
        before = sizes()
        restart(200)
        after = sizes()
        load.process.send_signal(signal.SIGINT)
        load.wait()
        for name, (fds, rss) in after.items():
            assert fds <= before[name][0] + 2, name  # a connection may be open at that moment
            assert rss <= before[name][1] + 4_000_000, name


def test_a_drill_of_its_own_proves_that_nothing_was_lost(tmp_path):
    with open_service("embedded", tmp_path) as service:
        result = service.command("drill", "--kills", "6", "--seed", "3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "lost 0, counted twice 0, totals that the client does not have 0" in result.stdout
    assert result.stderr.count(" killed ") == 6


def actor_pids(service) -> list[int]:
    """The pids of all actors, whether the supervisor knows them as running yet or not."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    return [one.pid for one in family if title(one).startswith("playtally: ")]


def starting(service, old_pid: int, child_id: str) -> int | None:
    """The pid of a child's next life, as early as the operating system shows it."""
    for process in psutil.Process(service.process.pid).children(recursive=True):
        if process.pid != old_pid and title(process) == f"playtally: {child_id}":
            return process.pid
    return None


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def kill_if_there(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
