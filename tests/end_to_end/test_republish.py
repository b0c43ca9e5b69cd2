"""Totals that are published again, on real processes: asked for, after another client, through kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    UNHURRIED,
    action_headers,
    facts_of,
    ledger_totals,
    open_service,
    promises_broken,
    wait_caught_up,
    wait_status,
)
from tests.support.trouble import halt

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 46)]


def command(service, *words):
    """Run a command for a running service."""
    return subprocess.run(
        [sys.executable, "supervisor.py", *words, *service.arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def play(service, videos=VIDEOS, plays=1):
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in videos] * plays)


def republished(publishes):
    return [one for one in publishes if one["trigger"] == "republish"]


def totals_of(publishes):
    return {video["video_id"]: video["plays"] for one in publishes for video in one["videos"]}


def test_everything_is_told_again_in_full_batches_each_time_under_new_keys(tmp_path):
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        play(service)
        play(service, VIDEOS[:1], 150)
        wait_caught_up(service, 195)
        keys = set()
        for number in (1, 2):
            client.received.clear()
            done = command(service, "republish", "--all")
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            assert done.stderr == f"republish {number} (all videos) begins\n"
            status = wait_caught_up(service, 195)
            publishes = [one.publish for one in client.received]
            assert [len(one["videos"]) for one in publishes] == [20, 20, 5]
            assert {one["trigger"] for one in publishes} == {"republish"}
            assert not any("arrived_at_ns" in video for one in publishes for video in one["videos"])
            assert totals_of(publishes) == ledger_totals(service)
            keys |= {one["batch"] for one in publishes}
            assert status["publishes"]["republish"] == 3 * number
        assert len(keys) == 6
        assert client.wrong == []
        assert "republish 2 is done: 45 videos in 3 batches" in service.log()


def test_named_videos_are_told_again_and_nothing_else(tmp_path):
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        play(service)
        wait_caught_up(service, len(VIDEOS))
        client.received.clear()
        named = VIDEOS[3:5]
        assert command(service, "republish", *named, named[0]).returncode == 0
        wait_caught_up(service, len(VIDEOS))
        assert totals_of(one.publish for one in client.received) == dict.fromkeys(named, 1)
        unknown = "00000000-0000-4000-8000-00000000ffff"
        refused = command(service, "republish", unknown)
        assert (refused.returncode, unknown in refused.stderr) == (1, True)
        for words in ([], ["--all", VIDEOS[0]], ["no-guid"]):
            assert command(service, "republish", *words).returncode == 2


@pytest.mark.parametrize("child", ["dispatcher", "counter-0"])
def test_a_republish_survives_a_kill_in_the_middle_of_it(child, tmp_path):
    hold = []

    def answer(number, publish):
        if publish["trigger"] == "republish" and not hold:
            hold.append(publish["batch"])
            pids = {one["id"]: one["pid"] for one in service.status()["children"]}
            os.kill(pids[child], signal.SIGKILL)
            return Reply(200, after_s=0.2)
        return 200

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, *PATIENT, f"publish.url={client.url}") as service,
    ):
        service.start()
        play(service)
        wait_caught_up(service, len(VIDEOS))
        assert command(service, "republish", "--all").returncode == 0
        wait_status(service, lambda status: status["caught_up"] and hold, "all to be told again")
        again = {one.publish["batch"]: one.publish for one in client.received}
        again = republished(again.values())
        assert totals_of(again) == ledger_totals(service)
        assert sum(len(one["videos"]) for one in again) == len(VIDEOS)
        assert client.wrong == []
        if child == "dispatcher":
            assert "republish 1 (all videos) " in service.log()


def test_the_reference_client_counts_a_republish_as_no_broken_promise(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        play(service)
        wait_caught_up(service, len(VIDEOS))
        assert command(service, "republish", "--all").returncode == 0
        wait_caught_up(service, len(VIDEOS))
        assert service.report()["publishes"]["republish"] == 3
        assert promises_broken(service) == {}


def test_another_client_is_told_everything_once_and_the_first_one_too_when_it_is_back(tmp_path):
    with RecordingClient() as first, RecordingClient() as second:

        def live(client, plays=len(VIDEOS)):
            with open_service("embedded", tmp_path, f"publish.url={client.url}") as service:
                service.start()
                if plays != len(VIDEOS):
                    play(service, VIDEOS[:1])
                wait_caught_up(service, plays)
                client.totals_now = ledger_totals(service)
                log = service.log()
                service.stop()
            told = [one.publish for one in client.received]
            client.received.clear()
            return told, log

        with open_service("embedded", tmp_path, f"publish.url={first.url}") as service:
            service.start()
            play(service)
            wait_caught_up(service, len(VIDEOS))
            service.stop()
        first.received.clear()
        told, log = live(second)
        assert (len(republished(told)), totals_of(told)) == (3, second.totals_now)
        assert f"publishes went to {first.url} before, and go to {second.url} now" in log
        assert republished(live(second, len(VIDEOS) + 1)[0]) == []
        told, _ = live(first, len(VIDEOS) + 2)
        assert len(republished(told)) == 3
        assert first.totals == first.totals_now
        assert first.wrong == second.wrong == []


def test_a_reference_client_that_lost_its_store_is_told_everything_and_another_port_changes_nothing(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        play(service)
        wait_caught_up(service, len(VIDEOS))
        service.stop()
        service.start()  # on another port
        assert wait_caught_up(service, len(VIDEOS))["publishes"]["republish"] == 0
        service.stop()
        shutil.rmtree(service.state_dir / "client")
        service.start()
        assert wait_caught_up(service, len(VIDEOS))["publishes"]["republish"] == 3
        assert service.totals() == ledger_totals(service)
        assert "the client has less of 45 videos than was published to it" in service.log()
        service.stop()
        service.start()
        assert wait_caught_up(service, len(VIDEOS))["publishes"]["republish"] == 3


def post(service, body, **headers):
    """POST /republish to admin. Returns the status and the answer."""
    request = urllib.request.Request(
        f"http://{facts_of(service)['admin_address']}/republish", body, headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_admin_takes_a_republish_only_with_its_header_and_says_what_it_expects(tmp_path):
    with open_service("embedded", tmp_path, *UNHURRIED) as service:  # a halted child is not killed
        service.start()
        header = action_headers(service, "republish")
        assert post(service, b'{"all": true}', **header | {"X-Playtally-Action": "reload"})[0] == 403
        both = json.dumps({"all": True, "videos": VIDEOS[:1]}).encode()
        for body in (b"", b"{}", b"[]", b'{"videos": ["x"]}', b'{"all": 1}', b'{"x": 1}', both):
            status, answer = post(service, body, **header)
            assert (status, 'expected {"all": true} or' in answer["error"]) == (400, True), body
        assert post(service, b'{"all": true}', **header) == (200, {"done": "republish 1 (all videos)"})
        pids = {one["id"]: one["pid"] for one in service.status()["children"]}
        halt(pids["dispatcher"])
        try:
            assert post(service, b'{"all": true}', **header)[0] == 503
        finally:
            os.kill(pids["dispatcher"], signal.SIGCONT)


def test_a_stopped_service_takes_no_command(tmp_path):
    with open_service("embedded", tmp_path) as service:
        refused = command(service, "republish", "--all")
        assert refused.returncode == 1
        assert "no service runs" in refused.stderr


def test_without_a_dispatcher_a_republish_says_what_to_do(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        assert service.command("terminate", "dispatcher").returncode == 0
        for words in (["republish", "--all"], ["kill", "dispatcher"]):
            result = service.command(*words)
            assert (result.returncode, result.stdout) == (1, ""), result
            assert result.stderr.startswith("dispatcher is stopped"), result
            assert "`python supervisor.py restart dispatcher`" in result.stderr
            assert result.stderr.count("\n") == 1
        assert service.command("restart", "dispatcher").returncode == 0
        assert service.command("republish", "--all").returncode == 0
