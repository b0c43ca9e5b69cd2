"""Plays with an id of their own (`nsq.play_id`) count once, by whichever nsqds they come. Real processes."""

import contextlib
import json
import random
import subprocess
import sys
import uuid
from collections import Counter

import pytest

from actors.cli.launch import Service
from actors.system.exits import EXIT_DONE, EXIT_STORE, EXIT_USAGE, Failure
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES, RawClient, open_queue
from tests.support.recording_client import RecordingClient
from tests.support.services import (
    ANY_PORTS,
    HURRIED,
    PATIENT,
    Load,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)

VIDEOS = [str(uuid.UUID(int=1000 + number)) for number in range(20)]
PLAYS, AT_ONCE = 6000, 200
VICTIMS = ["counter-0", "consumer", "dispatcher", "counter-1", "consumer"]


def body(video, play_id, spaces=""):
    return b'{"video_id":%s"%b", "event":%b}' % (
        spaces.encode(),
        video.encode(),
        json.dumps(play_id).encode(),
    )


@pytest.mark.parametrize("kind", QUEUES)
def test_each_play_that_two_nsqds_have_counts_once_through_kills(kind, tmp_path):
    chance = random.Random(1)
    plays = [(chance.choice(VIDEOS), str(uuid.UUID(int=chance.getrandbits(128)))) for _ in range(PLAYS)]
    with contextlib.ExitStack() as stack:
        queues = [stack.enter_context(open_queue(kind, tmp_path / name)) for name in "ab"]
        client = stack.enter_context(RecordingClient())
        addresses = json.dumps([queue.tcp_address for queue in queues])
        settings = [
            *ANY_PORTS,
            *HURRIED,
            *PATIENT,
            f"nsq.nsqd_tcp_addresses={addresses}",
            "nsq.play_id=event",
        ]
        settings += ["dispatch.deadline_s=0.5", f"publish.url={client.url}", "nsq.max_in_flight=500"]
        service = stack.enter_context(Service(tmp_path / "state", settings))
        for number in range(0, PLAYS, AT_ONCE):
            some = plays[number : number + AT_ONCE]
            for queue in queues:
                # Each nsqd gets each play once, in an order of its own; the second writes it another way.
                chance.shuffle(some)
                with RawClient(queue.tcp_address) as producer:
                    spaces = " " * queues.index(queue)
                    producer.publish("plays", *(body(*play, spaces) for play in some))
            if number // AT_ONCE % 5 == 2:
                victim = VICTIMS[number // AT_ONCE // 5 % len(VICTIMS)]
                assert service.command("kill", victim).returncode == 0
            if number == PLAYS // 2:
                queues[1].restart()
        expected = Counter(video for video, _ in plays)
        wait_caught_up(service, PLAYS)
        assert ledger_totals(service) == expected
        status = service.status()["plays"]
        assert status["counted"] == PLAYS and status["duplicates"] > 0 and status["dead_lettered"] == 0
        assert service.stop() == 0
        assert client.totals == expected
        assert client.wrong == []
        # The ledgers know the plays after the end, too.
        with RawClient(queues[0].tcp_address) as producer:
            producer.publish("plays", *(body(*play) for play in plays[:AT_ONCE]), body(VIDEOS[0], "one more"))
        service.start()
        wait_caught_up(service, PLAYS + 1)
        wait_status(service, lambda s: s["plays"]["received"] >= PLAYS + 1 + AT_ONCE, "all received")
        assert ledger_totals(service) == expected + Counter([VIDEOS[0]])


@pytest.mark.parametrize("kind", QUEUES)
def test_wrong_ids_go_to_the_dead_letters_with_their_reasons_and_nothing_is_lost(kind, tmp_path):
    wrong = {
        "the object has no event": b'{"video_id":"%b"}' % VIDEOS[0].encode(),
        "event is not a string": body(VIDEOS[0], 7),
        "event is empty": body(VIDEOS[0], ""),
        "event has more than 64 bytes": body(VIDEOS[0], "x" * 65),
        "event is not valid text": body(VIDEOS[0], "\ud83d"),
    }
    with open_service(kind, tmp_path, "nsq.play_id=event") as service:
        service.start()
        right = [body(video, f"{number}") for video in VIDEOS for number in range(3)]
        service.queue.put("plays", *right[:30], *wrong.values(), *right[30:], *right)
        wait_caught_up(service, len(right))
        status = wait_status(service, lambda s: s["plays"]["duplicates"] == len(right), "all duplicates")
        plays = status["plays"]
        assert (plays["counted"], plays["redelivered"], plays["dead_lettered"]) == (len(right), 0, len(wrong))
        assert plays["received"] == 2 * len(right) + len(wrong)
        letters = [json.loads(one) for one in service.queue.take("plays.dead", len(wrong))]
        assert {one["reason"]: one["body"].encode() for one in letters} == wrong
        shown = service.command("status").stdout
        assert f"0 redeliveries and {len(right)} duplicates dropped, {len(wrong)} dead letters" in shown
        assert ledger_totals(service) == dict.fromkeys(VIDEOS, 3)


def test_a_changed_play_id_is_refused_until_it_is_accepted(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        service.queue.put("plays", body(VIDEOS[0], "a"))
        wait_caught_up(service, 1)
        service.stop()
    with open_service("embedded", tmp_path, "nsq.play_id=event") as service:
        with pytest.raises(Failure, match=r"(?s)ended with code 4.*nsq.play_id = '', and now it is 'event'"):
            service.start()
        assert service.process.wait() == EXIT_STORE
        words = [sys.executable, "supervisor.py", "accept-topic", *service.arguments]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stdout) == (EXIT_DONE, ""), done.stderr
        assert "by nsq.play_id = 'event' from now on" in done.stderr
        again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
        assert again.returncode == EXIT_DONE and "nothing to do" in again.stderr
        service.start()
        service.queue.put("plays", *[body(VIDEOS[0], "b")] * 3)
        wait_caught_up(service, 2)
        assert ledger_totals(service) == {VIDEOS[0]: 2}


def test_the_producer_writes_ids_that_no_other_run_has(tmp_path):
    with open_service("embedded", tmp_path, "nsq.play_id=id") as service:
        service.start()
        manifests = []
        for number in (1, 2):
            folder = tmp_path / str(number)
            folder.mkdir()
            load = Load(service, folder, "--plays", "500", "--videos", "10", "--seed", "7")
            manifests.append(load.wait())
            wait_counted(service, 500 * number)
        assert manifests[0]["totals"] == manifests[1]["totals"]
        expected = Counter(manifests[0]["totals"]) + Counter(manifests[1]["totals"])
        assert ledger_totals(service) == expected
        assert service.status()["plays"]["dead_lettered"] == 0


@pytest.mark.parametrize("name", ["video_id", "an id", "meta.id", "größe", "x" * 65])
def test_a_name_that_can_not_be_is_refused_in_words(name, tmp_path):
    words = [sys.executable, "supervisor.py", "config", "--set", f"nsq.play_id={json.dumps(name)}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == EXIT_USAGE
    assert "nsq.play_id" in done.stderr and "expected" in done.stderr
