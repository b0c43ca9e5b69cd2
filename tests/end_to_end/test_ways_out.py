"""The ways a publish can leave, and clients that ask something of it: a topic, a rate, a circuit, a stdout
whose reader is slow to the last. Real processes, real sockets.
"""

import itertools
import json
import os
import signal
import threading
import time

import pytest

from actors.exits import Failure
from actors.launch import wait_for
from tests.support.queues import QUEUES
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 101)]
TOPIC = ("publish.url=", "publish.nsq_topic=totals")


def play(service, plays: int, *videos: str) -> None:
    bodies = [b'{"video_id": "%b"}' % video.encode() for video in videos or VIDEOS[:1]] * plays
    service.queue.put("plays", *bodies)


def told(publishes) -> dict[str, int]:
    """The totals that these publishes tell, each one more than before."""
    totals: dict[str, int] = {}
    for publish in publishes:
        assert 1 <= len(publish["videos"]) <= 20
        for video in publish["videos"]:
            assert video["plays"] > totals.get(video["video_id"], 0)
            totals[video["video_id"]] = video["plays"]
    return totals


# A topic


@pytest.mark.parametrize("kind", QUEUES)
def test_a_topic_is_told_every_total_and_stdout_mirrors_it(kind, tmp_path):
    with open_service(kind, tmp_path, *TOPIC) as service:
        service.start()
        for plays in (2, 3):
            play(service, plays, *VIDEOS[:30])
        status = wait_caught_up(service, 150)
        bodies = service.queue.take("totals", status["publishes"]["total"])
        publishes = [json.loads(body) for body in bodies]
        assert told(publishes) == ledger_totals(service) == dict.fromkeys(VIDEOS[:30], 5)
        assert service.publishes() == publishes
        assert status["publishes"]["failed"] == 0
        assert service.totals() == {}, "one client"
        assert "publishing to NSQ topic totals" in service.log()
        check = service.command("check")
        assert "NSQ topic totals takes connections (nothing was published)" in check.stdout


def test_a_queue_that_dies_in_between_loses_nothing_of_what_a_topic_is_told(tmp_path):
    with open_service("embedded", tmp_path, *TOPIC, *PATIENT) as service:
        service.start()
        play(service, 1)
        wait_caught_up(service, 1)
        for plays in (2, 3, 4):
            os.kill(service.child("nsqd")["pid"], signal.SIGKILL)
            lives = plays
            wait_status(
                service,
                lambda _, lives=lives: (
                    service.child("nsqd")["incarnation"] == lives
                    and service.child("nsqd")["state"] == "running"
                ),
                "the queue to come back",
            )
            play(service, 1)
            wait_caught_up(service, plays)
        newest: dict[str, dict] = {}
        for body in service.queue.take("totals", service.status()["publishes"]["total"]):
            newest[json.loads(body)["batch"]] = json.loads(body)
        # A PUB whose OK was lost comes again under its key.
        assert max(video["plays"] for one in newest.values() for video in one["videos"]) == 4
        assert "Traceback" not in service.log()


def test_a_url_and_a_topic_at_once_are_told_and_nothing_starts(tmp_path):
    with open_service("embedded", tmp_path, "publish.nsq_topic=totals") as service:
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == 2
        assert (
            "publish.url = 'http://127.0.0.1:8080/plays' and publish.nsq_topic = 'totals', expected one "
            'of them: set publish.url = ""'
        ) in service.log()


# What a client says


def test_a_rejection_is_logged_with_its_first_line_and_counted_apart(tmp_path):
    rejection = b"HTTP/1.1 422 No\r\n\r\nplays: too many\nsecond line\n"
    answers = [Reply(503), Reply(0, raw=[rejection]), Reply(429)]

    def answer(number, publish):
        return answers[number] if number < len(answers) else 200

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        play(service, 3)
        status = wait_caught_up(service, 3)
        assert (status["publishes"]["failed"], status["publishes"]["rejected"]) == (3, 1)
        assert service.log().count("failed: it answered 422 No: plays: too many; trying again") == 1
        assert "second line" not in service.log()
        assert client.totals == ledger_totals(service)


def test_a_page_in_place_of_an_answer_is_warned_of_once(tmp_path):
    def answer(number, publish):
        return Reply(200, {"Content-Type": "text/html"})

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        for plays in range(1, 4):
            play(service, 1)
            wait_caught_up(service, plays)
        assert service.log().count("it answered 200 OK with a page (text/html") == 1
        assert client.totals == {VIDEOS[0]: 3}


def test_a_circuit_opens_probes_and_closes_and_is_seen(tmp_path):
    out = threading.Event()
    out.set()
    with (
        RecordingClient(lambda number, publish: 500 if out.is_set() else 200) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        assert service.status()["client"] == {"circuit": "closed", "failures_in_a_row": 0}
        play(service, 1)
        status = wait_status(service, lambda found: found["client"]["circuit"] == "open", "the circuit")
        assert status["client"]["failures_in_a_row"] >= 5
        assert "circuit open" in service.command("status").stdout
        assert service.log().count("times in a row: the circuit is open") == 1
        out.clear()
        wait_caught_up(service, 1)
        assert service.status()["client"] == {"circuit": "closed", "failures_in_a_row": 0}


def test_a_rate_is_kept_and_all_that_is_due_at_once_is_in_time(tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            "publish.rate_max_per_s=2",
            "dispatch.deadline_s=6",
            "dispatch.realtime_below=0",
        ) as service,
    ):
        service.start()
        play(service, 1, *VIDEOS)
        status = wait_caught_up(service, 100)
        assert [len(one.publish["videos"]) for one in client.received] == [20] * 5
        times_s = [one.at_ns / 1e9 for one in client.received]
        # Each leaves on time; a request is on its way for some milliseconds, and so are the timers.
        assert all(b - a > 0.45 for a, b in itertools.pairwise(times_s))
        assert status["publishes"]["late"] == 0
        assert status["publishes"]["deadline"] == 5
        assert client.wrong == []


def test_what_a_slow_client_makes_late_is_told_from_our_own(tmp_path):
    with (
        RecordingClient(lambda number, publish: Reply(200, after_s=3)) as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            "dispatch.deadline_s=2",
            "dispatch.realtime_below=0",
        ) as service,
    ):
        service.start()
        play(service, 1, *VIDEOS[:3])
        status = wait_caught_up(service, 3)
        assert (status["publishes"]["late"], status["publishes"]["late_by_client"]) == (3, 3)
        assert "3 totals late, 3 by the client" in service.command("status").stdout


# Stdout to the last


def test_mirrored_lines_that_wait_for_a_slow_reader_at_the_end_are_not_lost(tmp_path):
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    filled = 0
    for piece in (b"\n" * 4096, b"\n"):
        try:
            while True:
                filled += os.write(writes, piece)
        except BlockingIOError:
            pass
    os.set_blocking(writes, True)
    found = []

    def read_late():
        wait_for(lambda: "stopping" in service.log().lower() or "stop" in service.log(), "the end", 20)
        time.sleep(0.5)
        while piece := os.read(reads, 65536):
            found.append(piece)

    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start(stdout=writes)
        os.close(writes)
        for plays in range(1, 6):
            play(service, 1)
            wait_caught_up(service, plays)
        wait_counted(service, 5)
        reader = threading.Thread(target=read_late)
        reader.start()
        assert service.stop() == 0
        reader.join(20)
        lines = [json.loads(line) for line in b"".join(found).split(b"\n") if line]
        assert [one["batch"] for one in lines] == [one.publish["batch"] for one in client.accepted()]
    os.close(reads)
