"""The ways by which a publish can leave, and what a client can ask for: a topic, a rate, a circuit, a stdout
with a reader that is slow to the end. Real processes, real sockets.
"""

import json
import os
import pty
import signal
import threading
import time

import pytest

from actors.cli.launch import wait_for
from actors.system.exits import Failure
from tests.support.patience import PATIENCE_S
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
from tests.support.terminals import read_terminal

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 101)]
TOPIC = ("publish.url=", "publish.nsq_topic=totals")


def play(service, plays: int, *videos: str) -> None:
    bodies = [b'{"video_id": "%b"}' % video.encode() for video in videos or VIDEOS[:1]] * plays
    service.queue.put("plays", *bodies)


def told(publishes) -> dict[str, int]:
    """The client's totals after these publishes. Each total must be larger than the one before."""
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
        # A thread writes the lines, so they may come later.
        wait_for(lambda: service.publishes() == publishes, "stdout to mirror it", PATIENCE_S)
        assert status["publishes"]["failed"] == 0
        assert service.totals() == {}, "one client"
        assert "publishing to NSQ topic totals" in service.log()
        check = service.command("check")
        assert "NSQ topic totals takes connections (nothing was published)" in check.stdout


def test_publishes_are_not_between_the_lines_of_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    with open(ours, "rb", 0), open_service("embedded", tmp_path) as service:
        service.start(stdout=theirs)
        os.close(theirs)
        play(service, 3)
        wait_caught_up(service, 3)
        assert sum(service.totals().values()) == 3
        assert service.stop() == 0
        assert read_terminal(ours) == ""


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
                    service.child("nsqd")["incarnation"] >= lives
                    and service.child("nsqd")["state"] == "running"
                ),
                "the queue to come back",
            )
            play(service, 1)
            wait_caught_up(service, plays)
        newest: dict[str, dict] = {}
        for body in service.queue.take("totals", service.status()["publishes"]["total"]):
            newest[json.loads(body)["batch"]] = json.loads(body)
        # A PUB whose OK was lost is sent again under its key.
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


# A client's answers


class Audience(RecordingClient):
    """A client with answers that a test sets at any time: first each of `answers`, then `answer`."""

    def __init__(self):
        super().__init__(lambda number, publish: next(self.answers, self.answer))
        self.answers, self.answer = iter(()), Reply(200)


@pytest.fixture(scope="module")
def audience():
    with Audience() as audience:
        yield audience


@pytest.fixture(scope="module")
def served(audience, tmp_path_factory):
    """A service whose client is the audience."""
    path = tmp_path_factory.mktemp("served")
    with open_service("embedded", path, f"publish.url={audience.url}") as service:
        service.start()
        yield service


def play_and_wait(service, plays: int) -> dict:
    """Put this many more plays. Returns the status after the client got their totals."""
    before = service.status()["plays"]["counted"]
    play(service, plays)
    return wait_caught_up(service, before + plays)


def test_a_rejection_is_logged_with_its_first_line_and_counted_apart(served, audience):
    before = served.status()["publishes"]
    rejection = b"HTTP/1.1 422 No\r\n\r\nplays: too many\nsecond line\n"
    audience.answers = iter([Reply(503), Reply(0, raw=[rejection]), Reply(429)])
    after = play_and_wait(served, 3)["publishes"]
    assert after["failed"] - before["failed"] == 3
    assert after["rejected"] - before["rejected"] == 1
    assert served.log().count(": 422 No: plays: too many; its plays are counted") == 1
    assert "second line" not in served.log()
    assert audience.totals == ledger_totals(served)


def test_a_page_in_place_of_an_answer_is_warned_of_once(served, audience):
    audience.answers = iter([Reply(200, {"Content-Type": "text/html"})] * 3)
    for _ in range(3):
        play_and_wait(served, 1)
    assert served.log().count("it answered 200 OK with a page (text/html") == 1
    assert audience.totals == ledger_totals(served)


def client_of(service):
    """The circuit, and the failures in a row."""
    client = service.status()["client"]
    return client["circuit"], client["failures_in_a_row"]


def test_a_circuit_opens_probes_and_closes_and_is_seen(served, audience):
    assert client_of(served) == ("closed", 0)
    audience.answer = Reply(500)
    plays = served.status()["plays"]["counted"] + 1
    play(served, 1)
    status = wait_status(served, lambda found: found["client"]["circuit"] == "open", "the circuit")
    assert status["client"]["failures_in_a_row"] >= 5
    assert "circuit open" in served.command("status").stdout
    assert served.log().count("times in a row: the circuit is open") == 1
    audience.answer = Reply(200)
    wait_caught_up(served, plays)
    assert client_of(served) == ("closed", 0)


def test_a_rate_is_kept(tmp_path):
    """tests/unit/core/dispatcher/test_rules.py tests that deadlines are kept at any rate."""
    with (
        RecordingClient() as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", "publish.rate_max_per_s=4"
        ) as service,
    ):
        service.start()
        play(service, 1, *VIDEOS)
        wait_caught_up(service, 100)
        assert client.totals == ledger_totals(service)
        assert client.wrong == []
        # Four publishes leave per second. The first may have taken longer than the last.
        times_s = [one.at_ns / 1e9 for one in client.received]
        assert len(times_s) >= 5
        assert times_s[-1] - times_s[0] > (len(times_s) - 1) / 4 / 2


def test_what_a_slow_client_makes_late_is_told_from_our_own(tmp_path):
    """tests/unit/core/dispatcher/test_rules.py tests how much lateness counts for whom."""
    deadline_s = 1.0
    with (
        RecordingClient(lambda number, publish: Reply(200, after_s=1.5 * deadline_s)) as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            f"dispatch.deadline_s={deadline_s}",
            "dispatch.realtime_below=0",
        ) as service,
    ):
        service.start()
        play(service, 1, *VIDEOS[:3])
        publishes = wait_caught_up(service, 3)["publishes"]
        # All three, except those that a busy machine received too late.
        entries = [entry for one in client.accepted() for entry in one.publish["videos"]]
        assert publishes["late"] == sum(not entry.get("overdue") for entry in entries)
        assert publishes["late_by_client"] <= publishes["late"]
        if publishes["late"]:
            found = f"{publishes['late']} totals late, {publishes['late_by_client']} by the client"
            assert found in service.command("status").stdout


# Stdout until the end


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
        wait_for(lambda: "stopping" in service.log(), "the end", PATIENCE_S)
        time.sleep(0.5)
        while piece := os.read(reads, 65536):
            found.append(piece)

    with (
        RecordingClient() as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            f"supervisor.shutdown_timeout_s={PATIENCE_S}",  # time to read, even on a busy machine
        ) as service,
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
        reader.join(PATIENCE_S)
        assert not reader.is_alive()
        lines = [json.loads(line) for line in b"".join(found).split(b"\n") if line]
        assert [one["batch"] for one in lines] == [one.publish["batch"] for one in client.accepted()]
    os.close(reads)
