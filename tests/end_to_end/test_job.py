"""The whole job on real processes: the client gets exactly the totals of what was produced.

How soon is tested in virtual time: tests/simulation/test_lateness.py.
"""

import base64
import json
import re
import uuid

import pytest

from actors.cli.launch import wait_for
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES
from tests.support.recording_client import RecordingClient
from tests.support.services import (
    Load,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)

DEADLINE_S = 1.0


@pytest.fixture(params=QUEUES, scope="module")
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def client(kind):
    with RecordingClient() as client:
        yield client


@pytest.fixture(scope="module")
def service(kind, client, tmp_path_factory):
    """A service on a queue of that kind, for all tests that leave it unchanged."""
    settings = [
        f"publish.url={client.url}",
        f"dispatch.deadline_s={DEADLINE_S}",
        f"nsq.msg_timeout_s={PATIENCE_S}",  # so that nothing is redelivered, however busy this machine is
    ]
    with open_service(kind, tmp_path_factory.mktemp("job"), *settings) as service:
        service.start()
        yield service


def counted(service) -> int:
    return service.status()["plays"]["counted"]


def test_a_message_that_is_alone_is_told_at_once(service, client):
    already = len(client.accepted())
    video = str(uuid.uuid4())
    for number in range(1, 11):
        service.queue.put("plays", play_of(video))
        wait_for(lambda n=number: client.totals.get(video) == n, "its total", PATIENCE_S, service.log)
    assert [one.publish["trigger"] for one in client.accepted()[already:]] == ["realtime"] * 10


def test_a_paced_load_is_told_exactly_and_no_deadline_early(service, client, tmp_path):
    before = counted(service)
    load = Load(service, tmp_path, "--plays", "9000", "--seconds", "2", "--seed", "3")
    expected = load.wait()["totals"]
    wait_caught_up(service, before + 9000)
    assert told(client, expected) == expected
    assert sum(total < 100 for total in expected.values()) >= 15

    already = len(client.accepted())
    hot = [video for video, total in expected.items() if total >= 100][:30]
    service.queue.put("plays", *(play_of(video) for video in hot))
    expected |= {video: expected[video] + 1 for video in hot}
    wait_caught_up(service, before + 9000 + len(hot))
    assert told(client, expected) == expected
    assert client.totals == ledger_totals(service)
    assert client.wrong == []
    accepted = client.accepted()
    batches = [one.publish["batch"] for one in accepted]
    # A thread writes the lines, so they may come later.
    wait_for(
        lambda: sorted(one["batch"] for one in service.publishes()) == sorted(batches),
        "stdout to mirror it",
        PATIENCE_S,
    )
    # Plays are overdue if this machine was too busy to receive them in time.
    assert {one.publish["trigger"] for one in accepted[already:]} <= {"deadline", "overdue"}
    for one in accepted:
        if one.publish["trigger"] == "deadline":
            oldest_ns = min(video["arrived_at_ns"] for video in one.publish["videos"])
            assert (one.at_ns - oldest_ns) / 1e9 >= DEADLINE_S / 2, "a deadline batch left too early"


def test_bodies_that_are_no_plays_are_dead_lettered_and_counted_once(service):
    guid = str(uuid.uuid4()).upper()
    plays = [guid, guid.lower(), "{" + guid + "}", guid.replace("-", "")]
    bad = {
        b"no JSON at all": "the body is not JSON",
        b'["a", "list"]': "the body is not a JSON object",
        b'{"video": "x"}': "the object has no video_id",
        b'{"video_id": 7}': "video_id is not a string",
        b'{"video_id": "7"}': "video_id is not a GUID",
        b"\xff\xfe\x00garbage": "the body is not JSON",
        b"\x00" * (1024 * 1024): "the body is not a JSON object",
    }
    queue, before = service.queue, counted(service)
    for body in [*bad, *map(play_of, plays)]:
        queue.put("plays", body)
    wait_counted(service, before + len(plays))
    wait_status(service, lambda found: found["plays"]["dead_lettered"] == len(bad), "the bad ones counted")
    assert ledger_totals(service)[guid.lower()] == len(plays)
    letters = [json.loads(body) for body in queue.take("plays.dead", len(bad) + 1)]
    reasons = sorted(letter["reason"] for letter in letters if letter.get("part", 1) == 1)
    assert reasons == sorted(bad.values())
    assert letters_to_bodies(letters) == set(bad)
    said = re.findall(r"(?:is not a play|are not plays) \(the body is not JSON\)", service.log())
    assert len(said) == 1
    # Nothing is in flight any more, so no message comes again.
    wait_status(service, lambda _: queue.unfinished("plays", "playtally") == 0, "all finished")


def test_what_is_pending_is_published_when_the_service_is_stopped(kind, tmp_path):
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, "dispatch.deadline_s=3600", f"publish.url={client.url}") as service,
    ):
        service.start()
        words = ("--plays", "9000", "--videos", "60", "--distribution", "uniform", "--quiet-videos", "2")
        expected = Load(service, tmp_path, *words).wait()["totals"]
        wait_counted(service, 9000)
        wait_for(
            lambda: all(client.totals.get(video, 0) >= min(99, total) for video, total in expected.items()),
            "all realtime totals to be published",
            PATIENCE_S,
        )
        hot = [video for video, total in expected.items() if total >= 100][:25]
        service.queue.put("plays", *(play_of(video) for video in hot))
        expected |= {video: expected[video] + 1 for video in hot}
        status = wait_counted(service, 9000 + len(hot))
        assert status["pending_videos"] >= len(hot)
        already = len(client.accepted())

        assert service.stop() == 0
        assert client.totals == expected
        assert client.wrong == []
        drains = [received.publish for received in client.accepted()[already:]]
        assert {publish["trigger"] for publish in drains} == {"drain"}
        # The fewest batches that can carry what was pending.
        assert all(len(publish["videos"]) == 20 for publish in drains[:-1])


def test_every_play_of_a_quiet_video_is_told_on_its_own_when_asked(tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            "dispatch.realtime=every_play",
            "dispatch.deadline_s=0.5",
        ) as service,
    ):
        service.start()
        words = ("--plays", "600", "--videos", "6", "--quiet-videos", "2", "--distribution", "uniform")
        manifest = Load(service, tmp_path, *words).wait()
        wait_caught_up(service, manifest["plays"])
        told: dict[str, list[int]] = {}
        for received in client.accepted():
            for video in received.publish["videos"]:
                told.setdefault(video["video_id"], []).append(video["plays"])
        for video, total in manifest["totals"].items():
            steps = [plays for plays in told[video] if plays < 100]
            assert steps == list(range(1, min(total, 99) + 1))
            assert told[video][-1] == total
        assert client.wrong == []


def told(client, videos):
    """The totals of these videos that the client has."""
    return {video: client.totals.get(video) for video in videos}


def play_of(video):
    return json.dumps({"video_id": video}).encode()


def letters_to_bodies(letters):
    parts: dict[str, dict[int, bytes]] = {}
    for letter in letters:
        body = letter["body"].encode() if "body" in letter else base64.b64decode(letter["body_base64"])
        parts.setdefault(letter["id"], {})[letter.get("part", 1)] = body
    return {b"".join(body for _, body in sorted(one.items())) for one in parts.values()}
