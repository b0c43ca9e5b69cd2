"""The figures in the status of a running service: known plays give known counts, and no figure falls."""

from functools import partial

import pytest

from actors.cli.launch import wait_for
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, open_service, wait_caught_up, wait_status

VIDEOS = [b"00000000-0000-4000-8000-%012d" % number for number in range(40)]


def plays(*videos):
    return [b'{"video_id": "%b"}' % video for video in videos]


def count(status, name):
    """How many values a histogram has."""
    found = status["histograms"][name]
    assert len(found["counts"]) == len(found["le"]) + 1 and sum(found["counts"]) == found["count"]
    return found["count"]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    settings = ["dispatch.deadline_s=1", "dispatch.realtime_below=3", "counters.shards=2"]
    with open_service("embedded", tmp_path_factory.mktemp("figures"), *PATIENT, *settings) as found:
        found.start()
        yield found


def test_known_plays_give_as_many_values_as_there_were_publishes_videos_and_commits(service):
    counted = 0
    for videos in (VIDEOS[:1], VIDEOS[:1] * 5, VIDEOS * 2, VIDEOS * 4):
        service.queue.put("plays", *plays(*videos), b"[]", b"{")
        counted += len(videos)
        wait_caught_up(service, counted)
    status = service.status()
    publishes = status["publishes"]
    assert publishes["failed"] == 0 and publishes["realtime"] and publishes["deadline"]
    assert count(status, "publish_duration_s") == count(status, "batch_width") == publishes["total"]
    assert status["histograms"]["batch_width"]["sum"] == publishes["videos"]
    assert status["answers"] == [{"status": "200", "count": publishes["total"]}]
    # Each video of a publish has one value, in the histogram of its trigger.
    told = count(status, "realtime_latency_s") + count(status, "deadline_slack_s")
    assert told == publishes["videos"]
    assert status["histograms"]["realtime_latency_s"]["sum"] > 0
    assert count(status, "commit_duration_s") == sum(one["commits"] for one in status["stores"])
    assert {one["child"] for one in status["stores"]} == {"counter-0", "counter-1"}
    assert all(one["bytes"] for one in status["stores"])
    # Every message that was received is known: plays and what is no play.
    assert sum(one["seen_ids"] for one in status["stores"]) == counted + 8
    assert status["dead_letters"] == {"the body is not a JSON object": 4, "the body is not JSON": 4}
    assert status["failures"] == [] and status["restarts"] == []
    assert [one["within_s"] for one in status["pending_by_deadline"]][-1] == 1.0
    assert sum(one["videos"] for one in status["pending_by_deadline"]) == 0


def values(status):
    """Every figure that may not fall, by a name."""
    found = {("histogram", name): count(status, name) for name in status["histograms"]}
    found |= {("answers", one["status"]): one["count"] for one in status["answers"]}
    found |= {("letters", why): letters for why, letters in status["dead_letters"].items()}
    found |= {("commits", one["child"]): one["commits"] for one in status["stores"]}
    return found | {("restarts",): len(status["restarts"])}


def test_no_figure_falls_while_children_are_killed_and_each_restart_is_told(service):
    seen = [values(service.status())]

    def is_back(child, incarnation):
        status = service.status()
        now, before = values(status), seen[-1]
        assert {key: (value, now.get(key)) for key, value in before.items() if now.get(key, -1) < value} == {}
        seen.append(now)
        found = service.child(child)
        return found["state"] == "running" and found["incarnation"] > incarnation

    for child in ("dispatcher", "counter-0", "consumer"):
        before = service.child(child)
        assert service.command("kill", child).returncode == 0
        wait_for(partial(is_back, child, before["incarnation"]), f"{child} to be back", PATIENCE_S)
        after = service.child(child)
        assert after["last_exit"]["how"] == "killed(SIGKILL)" and after["last_exit"]["ago_s"] >= 0
    told = service.status()["restarts"]
    assert [(one["child"], one["how"], one["incarnation"]) for one in told] == [
        (child, "killed(SIGKILL)", 2) for child in ("dispatcher", "counter-0", "consumer")
    ]
    assert sorted(one["at"] for one in told) == [one["at"] for one in told]
    before = service.status()
    service.queue.put("plays", *plays(*VIDEOS))
    after = wait_caught_up(service, before["plays"]["counted"] + 40)
    assert count(after, "batch_width") > count(before, "batch_width")


def test_a_client_that_is_down_is_told_with_reasons_and_what_waits_by_when_it_is_due(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT, "dispatch.deadline_s=60") as service:
        service.start()
        service.queue.put("plays", *plays(*VIDEOS[:3]))
        wait_caught_up(service, 3)
        assert service.command("terminate", "client").returncode == 0
        service.queue.put("plays", *plays(*VIDEOS[:30]))
        status = wait_status(service, lambda one: one["failures"] and one["pending_videos"] == 30, "failures")
        [failure] = status["failures"]
        assert "nobody listens there" in failure["reason"] and failure["first_at"] <= failure["last_at"]
        assert failure["first_at"].endswith("Z")
        assert {"status": "not sent", "count": failure["count"]} in status["answers"]
        # The batch that is tried again is on its way; the others are due now: each has fewer than 100 plays.
        waiting = [one["videos"] for one in status["pending_by_deadline"]]
        assert status["pending_by_deadline"][0]["within_s"] == 0
        assert waiting[0] == sum(waiting) >= 10


def test_the_cpu_share_and_the_memory_of_each_child_are_told(service):
    shares = {one["id"]: one["cpu_share"] for one in service.status()["children"]}
    assert all(0 <= share < 3 for share in shares.values()), shares
    assert all(one["memory_bytes"] > 1_000_000 for one in service.status()["children"])
