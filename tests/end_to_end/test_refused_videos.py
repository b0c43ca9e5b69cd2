"""A client that refuses a video, or everything: all other videos go on, and nothing is lost.

Real processes.
"""

import os
import signal
from collections import Counter
from typing import Any

import pytest

from actors.cli.launch import wait_for
from actors.system.direct_http import open_directly
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    UNHURRIED,
    ServiceWithQueue,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_status,
)

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 102)]
BAD, *OTHERS = VIDEOS


class Picky:
    """A client's answers: a status, by default 422, to each batch that has a video of `refused`."""

    def __init__(self, *refused: str, status: int | Reply = 422):
        self.refused = set(refused)
        self.status = status

    def __call__(self, number: int, publish: dict[str, Any]) -> int | Reply:
        wrong = self.refused.intersection(one["video_id"] for one in publish["videos"])
        return self.status if wrong else 200


def put(service: ServiceWithQueue, *videos: str) -> None:
    """Put one play of each video on the queue."""
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in videos])


def wait_told(service: ServiceWithQueue, client: RecordingClient, totals: dict[str, int]) -> None:
    """Wait until the client has these totals, and no others."""
    wait_for(lambda: client.totals == totals, "the totals of the others", PATIENCE_S, service.log)


@pytest.mark.parametrize("kind", QUEUES)
def test_a_refused_video_holds_up_no_other_and_is_remembered_until_it_is_taken(kind, tmp_path):
    answers = Picky(BAD)
    with (
        RecordingClient(answers) as client,
        open_service(kind, tmp_path, f"publish.url={client.url}", *UNHURRIED, *PATIENT) as service,
    ):
        service.start()
        put(service, *VIDEOS)
        wait_told(service, client, dict.fromkeys(OTHERS, 1))
        status = wait_status(service, lambda found: bool(found["refused_videos"]), "the refused video")
        (refused,) = status["refused_videos"]
        assert (refused["video_id"], refused["plays"]) == (BAD, 1)
        assert refused["answer"].startswith("422 ")
        assert refused["attempts"] >= 1
        assert 0 <= refused["next_attempt_s"] <= 10 * 2 ** (refused["attempts"] - 1)
        assert not status["caught_up"]
        assert "the client refuses 1 video" in status["why_not_caught_up"]
        assert status["client"]["circuit"] == "closed"
        with open_directly(f"http://{service.address('admin_address')}/metrics", PATIENCE_S) as answer:
            assert b"\nplaytally_refused_videos 1.0\n" in answer.read()
        assert f"refused    {BAD} with 1 plays" in service.command("status").stdout

        (dispatcher,) = (one for one in status["children"] if one["id"] == "dispatcher")
        os.kill(dispatcher["pid"], signal.SIGKILL)
        put(service, *VIDEOS)
        wait_told(service, client, dict.fromkeys(OTHERS, 2))
        (again,) = service.status()["refused_videos"]
        assert again["video_id"] == BAD and again["attempts"] >= refused["attempts"]
        with_bad = [one.publish["videos"] for one in client.received[-5:] if BAD in one.body.decode()]
        assert all(len(videos) == 1 for videos in with_bad), "it was searched for once"

        answers.refused.clear()
        assert service.command("republish", BAD).returncode == 0  # which tries it at once
        status = wait_caught_up(service, 2 * len(VIDEOS))
        assert status["refused_videos"] == [] and status["refused_videos_total"] == 0
        assert client.totals == ledger_totals(service) == Counter(VIDEOS * 2)
        assert client.wrong == []
        log = service.log()
        assert log.count(f"refuses video {BAD}: 422 ") == 1
        assert log.count(f"does not refuse video {BAD} any more") == 1
        assert "circuit is open" not in log


@pytest.mark.parametrize(
    ("answer", "words"),
    [(Reply(500), "500 "), (Reply(500, raw=()), "the connection")],
    ids=["500", "closes"],
)
def test_a_video_on_which_the_client_always_fails_holds_up_no_other(answer, words, tmp_path):
    answers = Picky(BAD, status=answer)
    with (
        RecordingClient(answers) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED, *PATIENT) as service,
    ):
        service.start()
        put(service, BAD)
        wait_status(service, lambda found: found["client"]["circuit"] == "open", "an open circuit")
        told = {}
        for video in OTHERS:
            put(service, video)
            told[video] = 1
            wait_told(service, client, told)
            status = service.status()
            if status["refused_videos"]:
                break
        (refused,) = status["refused_videos"]
        assert refused["video_id"] == BAD and words in refused["answer"]
        answers.refused.clear()
        assert service.command("republish", BAD).returncode == 0  # which tries it at once
        wait_caught_up(service, len(told) + 1)
        assert client.totals == told | {BAD: 1} and client.wrong == []


@pytest.mark.parametrize("status", [404, 422])
def test_a_client_that_refuses_everything_is_told_from_one_that_refuses_a_video(status, tmp_path):
    answers = Picky(*VIDEOS, status=status)
    with (
        RecordingClient(answers) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED) as service,
    ):
        service.start()
        put(service, *VIDEOS)
        wait_status(service, lambda found: found["client"]["circuit"] == "open", "an open circuit")
        widths = [len(one.publish["videos"]) for one in client.received]
        if status == 404:
            assert min(widths) >= 1 and service.status()["refused_videos"] == []
        assert len(widths) < 60, "it would be halved to the end"
        answers.refused.clear()
        wait_caught_up(service, len(VIDEOS))
        assert client.totals == dict.fromkeys(VIDEOS, 1)
        assert client.wrong == []
        log = service.log()
        assert log.count(f"refuses everything: it answered {status} ") == 1
        assert "Check publish.url" in log
        assert "refuses video" not in log or status == 422
