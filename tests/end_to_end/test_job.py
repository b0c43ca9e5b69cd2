"""The whole job on real processes: what was produced is what the client was told, and how."""

import base64
import json

import pytest

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

DEADLINE_S = 2.5
# A machine that is busy with other tests may be late; a schedule that is wrong is later by far.
LENIENCE_S = 2.0


@pytest.fixture(params=QUEUES)
def kind(request):
    return request.param


def test_a_paced_load_is_told_exactly_and_every_promise_holds(kind, tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            kind, tmp_path, f"dispatch.deadline_s={DEADLINE_S}", f"publish.url={client.url}"
        ) as service,
    ):
        service.start()
        load = Load(service, tmp_path, "--plays", "9000", "--seconds", "3", "--seed", "3")
        manifest = load.wait()
        status = wait_caught_up(service, manifest["plays"])

        assert client.totals == manifest["totals"]
        assert ledger_totals(service) == manifest["totals"]
        assert client.wrong == []
        assert status["publishes"]["late"] == 0
        assert sum(total < 100 for total in manifest["totals"].values()) >= 15
        accepted = client.accepted()
        for received in accepted:
            for video in received.publish["videos"]:
                age_s = (received.at_ns - video["arrived_at_ns"]) / 1e9
                patience_s = DEADLINE_S if video["plays"] >= 100 else 0.0
                assert age_s <= patience_s + LENIENCE_S, (received.publish["trigger"], video)
        deadline_ages_s = [
            (received.at_ns - received.publish["videos"][0]["arrived_at_ns"]) / 1e9
            for received in accepted
            if received.publish["trigger"] == "deadline"
        ]
        assert deadline_ages_s, "no batch left for a deadline"
        assert min(deadline_ages_s) > DEADLINE_S / 2, "a deadline's batch left early"
        assert len(accepted) < manifest["plays"] / 3
        assert [one["batch"] for one in service.publishes()] == [
            received.publish["batch"] for received in accepted
        ]


def test_what_is_pending_is_published_when_the_service_is_stopped(kind, tmp_path):
    with (
        RecordingClient() as client,
        open_service(kind, tmp_path, "dispatch.deadline_s=3600", f"publish.url={client.url}") as service,
    ):
        service.start()
        words = ("--plays", "9000", "--videos", "60", "--distribution", "uniform", "--quiet-videos", "2")
        expected = Load(service, tmp_path, *words).wait()["totals"]
        wait_counted(service, 9000)
        hot = [video for video, total in expected.items() if total >= 100][:25]
        service.queue.put("plays", *(json.dumps({"video_id": video}).encode() for video in hot))
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
            "dispatch.deadline_s=2",
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


def test_bodies_that_are_no_plays_are_dead_lettered_and_counted_once(kind, tmp_path):
    guid = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    plays = [guid, guid.lower(), "{" + guid + "}", guid.replace("-", "")]
    bad = {
        b"no JSON at all": "the body is not JSON",
        b'["a", "list"]': "the body is not a JSON object",
        b'{"video": "x"}': "the object has no video_id",
        b'{"video_id": 7}': "video_id is not a text",
        b'{"video_id": "7"}': "video_id is not a GUID",
        b"\xff\xfe\x00garbage": "the body is not JSON",
        b"\x00" * (1024 * 1024): "the body is not JSON",
    }
    with open_service(kind, tmp_path) as service:
        service.start()
        queue = service.queue
        for body in [*bad, *(json.dumps({"video_id": one}).encode() for one in plays)]:
            queue.put("plays", body)
        status = wait_counted(service, len(plays))
        status = wait_status(
            service, lambda found: found["plays"]["dead_lettered"] == len(bad), "the bad ones counted"
        )

        assert ledger_totals(service) == {guid.lower(): len(plays)}
        assert status["plays"]["dead_lettered"] == len(bad)
        letters = [json.loads(body) for body in queue.take("plays.dead", len(bad) + 1)]
        reasons = sorted(letter["reason"] for letter in letters if letter.get("part", 1) == 1)
        assert reasons == sorted(bad.values())
        assert letters_to_bodies(letters) == set(bad)
        assert service.log().count("messages are no plays (the body is not JSON)") == 1
        # Nothing is in flight any more, so none of it comes again.
        wait_status(service, lambda _: queue.unfinished("plays", "playtally") == 0, "all finished")


def test_a_message_that_is_alone_is_told_at_once(kind, tmp_path):
    with RecordingClient() as client, open_service(kind, tmp_path, f"publish.url={client.url}") as service:
        service.start()
        queue = service.queue
        for number in range(1, 11):
            queue.put("plays", b'{"video_id": "6f9619ff-8b86-d011-b42d-00c04fc964ff"}')
            wait_status(service, lambda found, n=number: found["publishes"]["total"] >= n, "a publish")
        ages_ms = sorted(
            (one.at_ns - one.publish["videos"][0]["arrived_at_ns"]) / 1e6 for one in client.accepted()
        )
        assert ages_ms[0] < 1000
        assert [one.publish["trigger"] for one in client.accepted()] == ["realtime"] * 10


def letters_to_bodies(letters):
    parts: dict[str, dict[int, bytes]] = {}
    for letter in letters:
        body = letter["body"].encode() if "body" in letter else base64.b64decode(letter["body_base64"])
        parts.setdefault(letter["id"], {})[letter.get("part", 1)] = body
    return {b"".join(body for _, body in sorted(one.items())) for one in parts.values()}
