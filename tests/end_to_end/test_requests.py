"""Every request that left is counted in the publishes: accepted, or failed. A request of unknown outcome has
failed. Real processes; the client counts what it gets.
"""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.support.patience import wait_until
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    Load,
    ServiceWithQueue,
    Status,
    open_service,
    wait_caught_up,
    wait_status,
)

VIDEO = "00000000-0000-4000-8000-000000000001"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Held:
    """The answers of a client that takes every request at once, and answers when it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.refuses = False

    def __call__(self, number: int, publish: object) -> int | Reply:
        return Reply(429, {"Retry-After": "60"}) if self.refuses else Reply(0, raw=self)

    def __iter__(self) -> Iterator[bytes]:
        self.may_answer.wait()
        yield OK


def requests_in(status: Status) -> int:
    """How many requests left, as the service says."""
    publishes: dict[str, int] = status["publishes"]
    return publishes["total"] + publishes["failed"]


def arrived(client: RecordingClient, requests: int) -> None:
    """Wait until the client has that many requests."""
    wait_until(lambda: len(client.received) >= requests, f"{requests} requests")


def play(service: ServiceWithQueue) -> None:
    """Put a play on the queue."""
    service.queue.put("plays", b'{"video_id": "%b"}' % VIDEO.encode())


def kill_dispatcher(service: ServiceWithQueue) -> None:
    """Kill the dispatcher, and wait until the next one runs."""
    before = service.child("dispatcher")["incarnation"]
    assert service.command("kill", "dispatcher").returncode == 0
    next_dispatcher(service, before)


def next_dispatcher(service: ServiceWithQueue, before: int) -> None:
    """Wait until a later incarnation of the dispatcher than that runs."""
    wait_status(
        service,
        lambda status: any(
            one["id"] == "dispatcher" and one["incarnation"] > before and one["state"] == "running"
            for one in status["children"]
        ),
        "the next dispatcher",
    )


@pytest.fixture
def answers():
    """The answers of the client."""
    held = Held()
    yield held
    held.may_answer.set()


def test_a_request_without_an_answer_counts_as_failed_once_whoever_ends_before_it(tmp_path, answers):
    settings = [*PATIENT, "client.enabled=false", "publish.timeout_s=600", "supervisor.shutdown_timeout_s=1"]
    with (
        RecordingClient(answers) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *settings) as service,
    ):
        service.start()
        play(service)
        arrived(client, 1)
        for kills in (1, 2):
            kill_dispatcher(service)
            arrived(client, 1 + kills)
            wait_status(service, lambda status, kills=kills: requests_in(status) == kills, f"{kills} failed")
        answers.may_answer.set()
        status = wait_caught_up(service, 1)
        assert (status["publishes"]["total"], status["publishes"]["failed"]) == (1, 2)

        answers.may_answer.clear()
        play(service)
        arrived(client, 4)
        assert service.stop() == 0  # it waits for the answer, and not for ever
        service.start()
        arrived(client, 5)
        answers.may_answer.set()
        status = wait_caught_up(service, 2)
        assert (status["publishes"]["total"], status["publishes"]["failed"]) == (2, 3)

        answers.refuses = True
        play(service)
        wait_status(service, lambda status: status["publishes"]["failed"] == 4, "the refusal")
        answers.refuses = False
        kill_dispatcher(service)
        status = wait_caught_up(service, 3)
        assert (status["publishes"]["total"], status["publishes"]["failed"]) == (3, 4)
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        service.start()
        status = wait_caught_up(service, 3)
        assert requests_in(status) == len(client.received) == 7


def test_killed_whenever_it_is_no_request_that_left_is_missing(tmp_path):
    """A kill after an attempt was stored and before it left counts one too many. Nothing counts too few."""
    kills, in_flight_max = 8, 4
    settings = [*PATIENT, "client.enabled=false", "dispatch.realtime=every_play", "dispatch.deadline_s=1"]
    settings.append(f"publish.in_flight_max={in_flight_max}")
    with (
        RecordingClient(lambda number, publish: 503 if number % 5 == 4 else 200) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *settings) as service,
    ):
        service.start()
        load = Load(service, tmp_path, "--plays", "100000", "--videos", "50", "--rate", "200")
        for number in range(1, kills + 1):
            arrived(client, 3 * number)
            kill_dispatcher(service)
        plays = load.stop()["plays"]
        status = wait_caught_up(service, plays)
        assert len(client.received) <= requests_in(status) <= len(client.received) + kills * in_flight_max
        assert sum(client.totals.values()) == plays


def test_an_accepted_publish_counts_once_though_the_dispatcher_is_killed_before_it_is_stored(tmp_path):
    """What was accepted is stored a moment later. The status does not tell it before."""
    settings = [*PATIENT, "client.enabled=false"]
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *settings) as service,
    ):
        service.start()
        for number in range(1, 9):
            incarnation, pid = (service.child("dispatcher")[name] for name in ("incarnation", "pid"))
            before = len(client.received)
            play(service)
            arrived(client, before + 1)
            service.status()  # it asks the dispatcher
            os.kill(pid, signal.SIGKILL)
            next_dispatcher(service, incarnation)
            status = wait_caught_up(service, number)
            assert (status["publishes"]["total"], len(client.keys)) == (number, number)
            assert requests_in(status) == len(client.received)
