"""Two consumers count each play once through kills of every child. Figures, pauses and limits are of both."""

import os
import signal
import time

import pytest

from tests.support.queues import QUEUES, QueueHttp
from tests.support.recording_client import RecordingClient
from tests.support.services import (
    PATIENT,
    UNHURRIED,
    Load,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_status,
)
from tests.support.trouble import halt

TWO = "nsq.consumers=2"
CONSUMERS = ["consumer-0", "consumer-1"]
COUNTERS = ["counter-0", "counter-1"]
VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(50)]


@pytest.fixture(params=QUEUES)
def kind(request):
    return request.param


def bodies(plays):
    return [b'{"video_id": "%b"}' % VIDEOS[number % len(VIDEOS)].encode() for number in range(plays)]


def wait_connected(service, connections=2):
    what = f"{connections} connections"
    return wait_status(service, lambda found: found["nsq"]["connections"] == connections, what)


def readers(service):
    """What the queue says of each consumer of our channel."""
    return QueueHttp(service.queue.http_address()).channel("plays", "playtally")["clients"]


def kill(service, child_id):
    child = service.child(child_id)
    if child["state"] == "running":
        os.kill(child["pid"], signal.SIGKILL)


def wait_back(service, child_id, lives):
    wait_status(
        service,
        lambda _: (child := service.child(child_id))["incarnation"] > lives and child["state"] == "running",
        f"the next {child_id}",
    )


def test_each_child_killed_again_and_again_under_load_counts_and_publishes_each_play_once(kind, tmp_path):
    settings = [*PATIENT, TWO, "dispatch.deadline_s=0.3"]
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, *settings, f"publish.url={client.url}") as service,
    ):
        service.start()
        wait_connected(service)
        load = Load(service, tmp_path, "--plays", "300000", "--rate", "8000")
        for _ in range(4):
            for child_id in (*CONSUMERS, *COUNTERS, "dispatcher"):
                before = {child["id"]: child for child in service.status()["children"]}
                kill(service, child_id)
                wait_back(service, child_id, before[child_id]["incarnation"])
                after = {child["id"]: child for child in service.status()["children"]}
                assert all(after[one]["pid"] == before[one]["pid"] for one in set(before) - {child_id})
        for _ in range(5):
            for child_id in (*CONSUMERS, *COUNTERS, "dispatcher"):
                kill(service, child_id)
                time.sleep(0.05)
        manifest = load.stop()
        assert not manifest.get("unacknowledged"), "the queue was not killed"
        status = wait_caught_up(service, manifest["plays"])
        assert status["plays"]["counted"] == manifest["plays"]
        assert all(service.child(one)["restarts"] >= 5 for one in CONSUMERS)
        assert ledger_totals(service) == client.totals == manifest["totals"]
        assert client.wrong == []


def test_both_have_no_more_in_flight_than_one_and_a_killed_ones_messages_are_counted_once(kind, tmp_path):
    # nsqd gives what a killed consumer had again after the timeout, and the embedded queue does so at once.
    settings = [*PATIENT, *UNHURRIED, TWO, "nsq.max_in_flight=41"]
    settings += ["nsq.msg_timeout_s=5"] if kind == "nsqd" else []
    with open_service(kind, tmp_path, *settings) as service:
        service.start()
        plays, redelivered = 0, 0
        while (
            not redelivered
        ):  # a counter may hear of the next consumer before it has read the killed one's plays
            plays += 1000
            kill_with_all_in_flight(service)
            status = wait_caught_up(service, plays)
            assert status["plays"]["counted"] == plays
            redelivered = status["plays"]["redelivered"]
            assert plays < 10_000, "what the counters had from the killed one never came again"
        if kind == "embedded":  # where no timeout ends
            assert redelivered <= 21, "what the other one had did not"
        assert ledger_totals(service) == dict.fromkeys(VIDEOS, plays // len(VIDEOS))


def kill_with_all_in_flight(service):
    """Put 1,000 plays, and kill a consumer while the counters have not answered for any of them."""
    wait_connected(service)
    counters = [service.child(one)["pid"] for one in COUNTERS]
    for pid in counters:
        halt(pid)
    service.queue.put("plays", *bodies(1000))
    # The consumers are asked first. Then the counters do not answer for a second: all is in their pipes.
    wait_status(service, lambda found: found["in_flight_messages"] == 41, "all that may be in flight")
    assert sorted(one["in_flight_count"] for one in readers(service)) == [20, 21]
    lives = service.child("consumer-1")["incarnation"]
    kill(service, "consumer-1")
    wait_back(service, "consumer-1", lives)
    for pid in counters:
        os.kill(pid, signal.SIGCONT)


def test_figures_are_of_both_and_no_connection_of_ours_is_taken_for_anothers(kind, tmp_path):
    with open_service(kind, tmp_path, *PATIENT, TWO) as service:
        service.start()
        wait_connected(service)
        for number in range(20):
            service.queue.put("plays", *bodies(50), b"no play %d" % number)
        status = wait_caught_up(service, 1000)
        assert sum(status["dead_letters"].values()) == status["plays"]["dead_lettered"] == 20
        assert status["plays"]["received"] == 1020
        [nsqd] = status["nsq"]["nsqds"]
        assert nsqd["connected"] and nsqd["rdy"] == sum(one["ready_count"] for one in readers(service)) > 1
        assert nsqd["messages"] == 1020
        assert status["nsq"]["others_on_channel"] == 0
        assert "nobody else reads it" in service.command("check").stdout
        for child_id in CONSUMERS:
            before = service.status()
            lives = service.child(child_id)["incarnation"]
            kill(service, child_id)
            found = []

            def is_back(status, child_id=child_id, lives=lives, found=found):
                found.append(status)
                return service.child(child_id)["incarnation"] > lives and status["nsq"]["connections"] == 2

            after = wait_status(service, is_back, "both again")
            assert {one["nsq"]["others_on_channel"] for one in found} == {0}
            assert all(one["healthy"] or one["why_not_healthy"] for one in found)
            assert not any("no nsqd is connected" in one for each in found for one in each["why_not_healthy"])
            assert after["nsq"]["reads"] >= before["nsq"]["reads"]
            assert after["dead_letters"] == before["dead_letters"]
        status = wait_caught_up(service, 1000)
        assert status["plays"]["received"] >= 1020
        assert "consumers of others" not in service.log() and "consumer of another" not in service.log()


def test_a_pause_is_of_both_through_kills_and_a_stop_publishes_all(kind, tmp_path):
    settings = [*PATIENT, *UNHURRIED, TWO, "dispatch.deadline_s=3600"]
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, *settings, f"publish.url={client.url}") as service,
    ):
        service.start()
        wait_connected(service)
        assert service.command("pause", "consuming").returncode == 0
        service.queue.put("plays", *bodies(1000))
        for child_id in CONSUMERS:
            lives = service.child(child_id)["incarnation"]
            kill(service, child_id)
            wait_back(service, child_id, lives)
            status = wait_connected(service)
            assert (status["nsq"]["depth"], status["plays"]["received"]) == (1000, 0)
            assert {one["ready_count"] for one in readers(service)} == {0}
        for child_id in CONSUMERS:
            assert service.command("terminate", child_id).returncode == 0
        why_not = service.status()["why_not_caught_up"]
        assert [f"{child_id} did not answer" for child_id in CONSUMERS] == why_not[:2]
        assert service.command("restart", "consumer-1").returncode == 0
        told = service.command("resume", "consuming")
        assert "consumer-0 is stopped just now" in told.stderr + told.stdout
        wait_status(service, lambda found: found["plays"]["counted"] == 1000, "one counts alone")
        assert service.stop() == 0
        assert client.totals == dict.fromkeys(VIDEOS, 20)
