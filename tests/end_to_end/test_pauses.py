"""No pause outlasts its reason, with real processes: a client asks for an absurd pause, the service is
stopped in a pause, a client is back.
"""

import os
import re
import signal
import time
from datetime import datetime

import pytest

from actors.cli.launch import wait_for
from actors.system.exits import EXIT_DONE
from tests.support.patience import PATIENCE_S
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import UNHURRIED, open_service, wait_caught_up, wait_counted, wait_status
from tests.support.trouble import halt

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()
HELD_S = 6
ROUNDS = 3  # a slow machine may miss some
FAILURES = 8  # then a pause is 5 s or more
SOON_S = 4.0
DEADLINE_S = 4


@pytest.mark.parametrize("asked", ["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_service_that_is_stopped_in_a_pause_tells_all_and_the_log_said_how_long_it_was(asked, tmp_path):
    def answer(number: int, publish: object) -> int | Reply:
        return 200 if number else Reply(503, {"Retry-After": asked})

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED) as service,
    ):
        service.start()
        service.queue.put("plays", PLAY, PLAY)
        wait_counted(service, 2)
        wait_status(service, lambda status: status["publishes"]["failed"] > 0, "an attempt that failed")
        assert service.stop() == EXIT_DONE
        assert client.totals == {VIDEO: 2}
        assert client.wrong == []
        (pause,) = re.findall(r".*the client asks for a pause of .*", service.log())
        assert "publish.retry_after_max_s = 60 is the most" in pause
        said = re.search(r"^(\S+) .* at ([-0-9]+ [:0-9]+), in (\d+\.\d) s", pause)
        assert said is not None, pause
        logged_s = datetime.fromisoformat(said[1]).timestamp()
        next_s = datetime.fromisoformat(said[2]).timestamp()  # a local time
        received_s = client.received[0].at_ns / 1e9
        # A machine may take long from the client's answer to the line in the log.
        assert 58 < next_s - received_s < 62 + (logged_s - received_s)
        assert float(said[3]) <= 60


@pytest.mark.parametrize("away", ["terminated", "halted"])
def test_what_is_late_because_the_client_was_away_is_the_clients_and_breaks_no_promise(away, tmp_path):
    """There are quiet and hot videos. The client is away for longer than the deadline."""
    settings = [*UNHURRIED, f"dispatch.deadline_s={DEADLINE_S}", "dispatch.realtime_below=2"]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        service.queue.put("plays", *plays(0, 30))
        wait_caught_up(service, 30)
        pid = service.child("client")["pid"]
        if away == "halted":
            halt(pid)
        else:
            assert service.command("terminate", "client").returncode == EXIT_DONE
        service.queue.put("plays", *plays(0, 60))
        wait_counted(service, 90)
        time.sleep(DEADLINE_S + 1)
        if away == "halted":
            os.kill(pid, signal.SIGCONT)
        else:
            assert service.command("restart", "client").returncode == EXIT_DONE
        publishes = wait_caught_up(service, 90)["publishes"]
        report = service.report()
        assert publishes["late"] == publishes["late_by_client"] > 0
        assert report["late"] == report["late_by_client"] > 0
        assert report["promises_broken_total"] == 0, report["promises_broken"]


def plays(first: int, end: int) -> list[bytes]:
    """One play of each video from `first` to before `end`."""
    return [b'{"video_id": "00000000-0000-4000-8000-%012d"}' % number for number in range(first, end)]


def test_a_client_that_was_terminated_and_restarted_by_command_is_used_again_at_once(tmp_path):
    def round_s(number: int) -> float:
        assert service.command("terminate", "client").returncode == EXIT_DONE
        service.queue.put("plays", PLAY)
        wait_status(service, lambda s: s["client"]["failures_in_a_row"] >= FAILURES, "failures")
        assert service.command("restart", "client").returncode == EXIT_DONE
        ready_s = time.monotonic()
        wait_for(lambda: service.totals() == {VIDEO: number}, "the total", PATIENCE_S, service.log)
        return time.monotonic() - ready_s

    with open_service("embedded", tmp_path, *UNHURRIED) as service:
        service.start()
        wait_caught_up(service, 0)
        took_s: list[float] = []
        while min(took_s, default=SOON_S) >= SOON_S and len(took_s) < ROUNDS:
            took_s.append(round_s(len(took_s) + 1))
        assert min(took_s) < SOON_S


def test_the_status_says_how_long_plays_waited_on_the_queue(tmp_path):
    with open_service("embedded", tmp_path, *UNHURRIED) as service:
        service.start()
        service.queue.put("plays", PLAY)
        assert wait_caught_up(service, 1)["plays"]["oldest_age_ms"] < 60_000
        assert service.command("terminate", "consumer").returncode == EXIT_DONE
        service.queue.put("plays", PLAY)
        time.sleep(1.5)
        assert service.command("restart", "consumer").returncode == EXIT_DONE
        assert wait_caught_up(service, 2)["plays"]["oldest_age_ms"] >= 1500
        assert "the oldest of the last minute was" in service.command("status").stdout


@pytest.mark.parametrize("child", ["dispatcher", "counter-0"])
def test_plays_that_a_halted_child_of_ours_held_are_late_and_not_the_clients(child, tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            "embedded",
            tmp_path,
            *UNHURRIED,
            "counters.shards=1",
            f"dispatch.deadline_s={DEADLINE_S}",
            f"publish.url={client.url}",
        ) as service,
    ):
        service.start()
        pid = service.child(child)["pid"]
        halt(pid)
        service.queue.put("plays", PLAY)
        time.sleep(HELD_S)
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda: client.totals == {VIDEO: 1}, "the total", PATIENCE_S)
        found = wait_status(service, lambda status: status["publishes"]["late"], "a late total")
        assert (found["publishes"]["late"], found["publishes"]["late_by_client"]) == (1, 0)
        assert "overdue" not in client.received[0].publish["videos"][0]
