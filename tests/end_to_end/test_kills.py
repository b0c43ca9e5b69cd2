"""kill -9 of any process, under load: every play is counted once and published once, and none is lost."""

import os
import signal
import time

import psutil
import pytest

from actors.cli.launch import wait_for
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES
from tests.support.recording_client import RecordingClient
from tests.support.services import (
    PATIENT,
    UNHURRIED,
    Load,
    ledger_totals,
    open_service,
    promises_broken,
    wait_caught_up,
    wait_status,
)
from tests.support.trouble import halt

CHILDREN = ["consumer", "counter-0", "counter-1", "dispatcher"]
HASTY = ["dispatch.deadline_s=0.3"]
ENDLESS = ["--plays", "300000"]  # the test stops it when it has enough


@pytest.fixture(params=QUEUES)
def kind(request):
    return request.param


def test_a_killed_child_comes_back_the_others_keep_their_pids_and_no_play_is_lost(kind, tmp_path):
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, *PATIENT, *HASTY, f"publish.url={client.url}") as service,
    ):
        service.start()
        load = Load(service, tmp_path, *ENDLESS, "--rate", "1500")
        wait_counted_more(service)
        for child_id in CHILDREN:
            before = {child["id"]: child for child in service.status()["children"]}
            result = service.command("kill", child_id)
            assert result.returncode == 0, result.stderr
            after = wait_back(service, child_id, before[child_id]["incarnation"])
            assert after[child_id]["restarts"] == before[child_id]["restarts"] + 1
            assert after[child_id]["last_exit"]["how"] == "killed(SIGKILL)"
            for other_id in set(before) - {child_id}:
                assert after[other_id]["pid"] == before[other_id]["pid"]
            wait_counted_more(service)
        totals = prove(service, load.stop())
        assert client.totals == totals
        assert client.wrong == []


def test_children_killed_again_and_again_under_a_full_load_count_exactly(kind, tmp_path):
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, *PATIENT, *HASTY, f"publish.url={client.url}") as service,
    ):
        service.start()
        load = Load(service, tmp_path, *ENDLESS, "--rate", "15000")
        wait_counted_more(service)
        kills = 0
        while kills < 20:
            for child_id in CHILDREN:
                pid = child_pid(service, child_id)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                time.sleep(0.05)
        totals = prove(service, load.stop())
        assert client.totals == totals
        assert client.wrong == []


def test_the_embedded_queue_and_the_client_killed_under_load_lose_nothing(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, *HASTY) as service:
        service.start()
        load = Load(service, tmp_path, *ENDLESS, "--rate", "3000")
        wait_counted_more(service)
        for child_id in ("nsqd", "client", "nsqd", "client"):
            incarnation = service.child(child_id)["incarnation"]
            os.kill(service.child(child_id)["pid"], signal.SIGKILL)
            wait_back(service, child_id, incarnation)
            wait_counted_more(service)
        totals = prove(service, load.stop())
        assert service.totals() == totals
        assert promises_broken(service) == {}


def test_a_killed_supervisor_leaves_no_orphan_and_its_successor_goes_on(kind, tmp_path):
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, *PATIENT, *HASTY, f"publish.url={client.url}") as service,
    ):
        service.start()
        service.queue.put("plays", *bodies(500))
        wait_counted_more(service)
        pids = [child["pid"] for child in service.status()["children"]]
        service.kill()
        wait_for(lambda: not any(map(alive, pids)), "the children to end", PATIENCE_S)
        if kind == "nsqd":  # the embedded queue ends with its supervisor; this one does not
            service.queue.put("plays", *bodies(500))
        service.start()
        if kind == "embedded":
            service.queue.put("plays", *bodies(500))
        wait_caught_up(service, 1000)

        totals = ledger_totals(service)
        assert sum(totals.values()) == 1000
        assert client.totals == totals
        assert client.wrong == []


def test_a_child_that_hangs_is_killed_and_restarted(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, "supervisor.liveness_timeout_s=5") as service:
        service.start()
        halt(service.child("counter-0")["pid"])
        service.queue.put("plays", *bodies(100))
        wait_for(lambda: service.child("counter-0")["restarts"] >= 1, "a restart", PATIENCE_S, service.log)
        assert "counter-0#1 hung (no answer for" in service.log()
        wait_caught_up(service, 100)


def test_too_many_kills_stop_everything_with_code_3_and_say_why(tmp_path):
    with open_service(
        "embedded", tmp_path, "supervisor.max_restarts=2", "supervisor.max_seconds=60"
    ) as service:
        service.start()
        pids = [child["pid"] for child in service.status()["children"]]
        for number in range(3):
            pid = wait_for(lambda: child_pid(service, "counter-1"), "the counter", PATIENCE_S)
            pids.append(pid)
            os.kill(pid, signal.SIGKILL)
            if number < 2:
                wait_back(service, "counter-1", number + 1)
        assert service.process.wait(PATIENCE_S) == 3
        log = service.log()
        assert "supervisor counters gives up, restart intensity exceeded: counter-1 killed(SIGKILL)" in log
        assert "supervisor root ends: counters shutdown" in log
        assert log.count(" counter-1#") > 3, "the log has the history of exits"
        assert not any(map(alive, pids))


@pytest.mark.parametrize("busy_s", [0.0, 1.0], ids=["", "while the supervisor is busy"])
def test_sigterm_to_every_process_of_the_service_still_publishes_what_is_pending(busy_s, tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            "embedded", tmp_path, "dispatch.deadline_s=3600", f"publish.url={client.url}"
        ) as service,
    ):
        service.start()
        service.queue.put("plays", *bodies(150, videos=1))
        wait_status(service, lambda status: status["plays"]["counted"] == 150, "all counted")
        wait_for(lambda: client.totals.get(VIDEOS[0], 0) >= 99, "all realtime totals", PATIENCE_S)
        service.queue.put("plays", *bodies(1, videos=1))
        wait_status(service, lambda status: status["pending_videos"] == 1, "one pending")
        if busy_s:
            halt(service.process.pid)
        os.killpg(service.process.pid, signal.SIGTERM)
        time.sleep(busy_s)
        os.kill(service.process.pid, signal.SIGCONT)
        assert service.process.wait(PATIENCE_S) == 0
        assert client.totals == {VIDEOS[0]: 151}
        assert client.received[-1].publish["trigger"] == "drain"


@pytest.mark.parametrize("words", [["republish", "--all"], ["reload"]])
def test_a_command_to_a_service_that_hangs_ends_in_words_and_is_not_carried_out_later(tmp_path, words):
    with open_service("embedded", tmp_path, *UNHURRIED) as service:
        service.start()
        halt(service.process.pid)
        result = service.command(*words)
        os.kill(service.process.pid, signal.SIGCONT)
        assert result.returncode == 1
        assert "does not answer" in result.stderr
        wait_status(service, lambda status: status["caught_up"], "it goes on")
        assert "republish" not in service.log()
        assert "again" not in service.log()


VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(50)]


def bodies(plays: int, videos: int = 50) -> list[bytes]:
    return [b'{"video_id": "%b"}' % VIDEOS[number % videos].encode() for number in range(plays)]


def alive(pid: int) -> bool:
    """Whether a process still runs. A process that waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def child_pid(service, child_id: str) -> int | None:
    child = service.child(child_id)
    return child["pid"] if child["state"] == "running" else None


def wait_counted_more(service) -> None:
    """Wait until more plays are counted: work goes on."""
    before = service.status()["plays"]["counted"]
    wait_status(service, lambda status: status["plays"]["counted"] > before, "more plays to be counted")


def prove(service, manifest: dict) -> dict[str, int]:
    """Wait until all is counted and published. Returns the ledgers' totals, which must be the manifest's."""
    # If the queue had no time to acknowledge a play, the play may be on it or not. The manifest says how many
    # such plays there are.
    unknown = manifest.get("unacknowledged", {})
    wait_status(
        service,
        lambda status: (
            status["plays"]["counted"] >= manifest["plays"]
            and service.queue.unfinished("plays", "playtally") == 0
            and service.status()["caught_up"]
        ),
        "all to be counted and published",
    )
    totals = ledger_totals(service)
    assert set(totals) <= set(manifest["totals"]) | set(unknown)
    for video in set(manifest["totals"]) | set(totals):
        least = manifest["totals"].get(video, 0)
        assert least <= totals.get(video, 0) <= least + unknown.get(video, 0)
    return totals


def wait_back(service, child_id: str, incarnation: int) -> dict[str, dict]:
    """The children by id, once this one is back in this incarnation."""
    status = wait_status(
        service,
        lambda status: any(
            child["id"] == child_id and child["state"] == "running" and child["incarnation"] > incarnation
            for child in status["children"]
        ),
        f"{child_id} to come back",
    )
    return {child["id"]: child for child in status["children"]}


def test_the_loss_of_the_only_helper_process_of_multiprocessing_harms_nobody(tmp_path):
    helper = "multiprocessing.forkserver"
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start()
        before = {child["id"]: child["pid"] for child in service.status()["children"]}
        assert [one.pid for one in psutil.Process(service.process.pid).children()] == [
            helper_pid(service, helper)
        ]
        os.kill(helper_pid(service, helper), signal.SIGKILL)
        service.queue.put("plays", *bodies(100))
        wait_caught_up(service, 100)
        assert {child["id"]: child["pid"] for child in service.status()["children"]} == before
        for child_id in ["counter-0", "nsqd", "dispatcher"]:
            os.kill(service.child(child_id)["pid"], signal.SIGKILL)
            wait_back(service, child_id, 1)
        service.queue.put("plays", *bodies(100))
        wait_caught_up(service, 200)
        assert sum(ledger_totals(service).values()) == 200
        assert service.log().count("the forkserver has ended") == 1
        how = "ended (how is not known, as the forkserver that started it is gone)"
        assert service.log().count(f"counter-0#1 {how}") == 1
        assert "UserWarning" not in service.log()
        assert service.stop() == 0


def helper_pid(service, helper: str) -> int:
    """The pid of a helper process of multiprocessing that serves this service."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as cmdline:
                parent = int(stat.read().rpartition(")")[2].split()[1])
                if parent == service.process.pid and helper in cmdline.read():
                    return pid
        except FileNotFoundError:
            continue
    raise AssertionError(f"no {helper} of {service.process.pid}")
