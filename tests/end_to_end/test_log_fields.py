"""The log in real trouble: each line of a batch has its key, each line of a connection its nsqd.

The client is down, busy and strict, takes no gzip that it asked for, and asks for pauses; nsqd is killed,
comes back, and refuses a FIN. Both forms of the log have the same messages.
"""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from actors.cli.launch import COMMAND
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import QUEUES, QueueHttp, open_queue, require_nsqd
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import ANY_PORTS, PATIENT, Queue, ServiceWithQueue, open_service, reading
from tests.support.trouble import halt

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(60)]
PLAYS = [b'{"video_id": "%b"}' % video.encode() for video in VIDEOS]
# What the trouble below makes the service say, by the field that such a line has.
OF_A_BATCH = [
    "failed: it answered 503",
    "asks for a pause of 1 s",
    "times in a row: the circuit is open",
    "takes batches again",
    "refused a body in gzip",
    "refuses everything: it answered 401",
    "failed: .*refused",
]
OF_AN_NSQD = [
    "connected to nsqd",
    "lost nsqd .*; trying again until it answers",
    "connected to nsqd .* again",
    "(is not a play|are not plays) ",
    "nsqd .* refused [0-9]+ FIN",
]
OF_BATCHES = ("actors.sinks.publish_log", "actors.sinks.packing", "actors.sinks.stdout")
OF_NSQDS = ("actors.sources.nsqd", "actors.sources.troubles")


TEXT = re.compile(r"\d{4}-\d\d-\d\dT\S+[+-]\d\d:\d\d [A-Z] (\S+) +\S")
KEY = re.compile("[0-9a-f]{32,}(-[0-9]+)?")


ASKS_FOR_GZIP = {"Accept-Encoding": "gzip", "Connection": "close"}


class Moody(RecordingClient):
    """A client with the mood that a test gives it. It asks for gzip in each answer."""

    def __init__(self) -> None:
        self.mood = 200
        super().__init__(self._reply)

    def _reply(self, number: int, publish: dict[str, Any]) -> Reply:
        pause = {"Retry-After": "1"} if self.mood == 503 else {}
        return Reply(200 if self.mood == 415 else self.mood, ASKS_FOR_GZIP | pause)

    def _take(self, headers: dict[str, str], body: bytes) -> Reply:
        if headers.get("Content-Encoding") != "gzip":
            return super()._take(headers, body)
        if self.mood == 415:
            return Reply(415, ASKS_FOR_GZIP)
        return super()._take(headers, gzip.decompress(body))


def records(service) -> list[dict[str, Any]]:
    """The lines of a log in JSON: every line is one."""
    return [json.loads(line) for line in service.log().splitlines()]


def said(service, *texts: str) -> bool:
    found = [one["message"] for one in records(service)]
    return all(any(re.search(text, one) for one in found) for text in texts)


@pytest.fixture(params=QUEUES)
def troubled(request, tmp_path) -> Iterator[ServiceWithQueue]:
    """A service that has had every trouble, and has ended."""
    client = Moody()
    with open_queue(request.param, tmp_path / "queue") as nsqd:
        settings = [
            *ANY_PORTS,
            *PATIENT,
            reading(nsqd.tcp_address),
            f'nsq.nsqd_http_addresses=["{nsqd.http_address}"]',
            "nsq.msg_timeout_s=1",
            "client.enabled=false",
            f"publish.url={client.url}",
            "dispatch.realtime_below=1000",
            "supervisor.liveness_timeout_s=600",
            "log.format=json",
        ]
        service = ServiceWithQueue(tmp_path / "state", settings)
        service.queue = Queue(lambda: (nsqd.tcp_address, nsqd.http_address))
        try:
            with client:
                service.start()
                trouble_with_the_client(service, client)
            service.queue.put("plays", PLAYS[1])  # nobody listens now
            wait_until(lambda: said(service, OF_A_BATCH[-1]), "a client that is down to be told")
            with client:
                trouble_with_nsqd(service, nsqd)
                assert service.stop() == 0
            yield service
        finally:
            service.end()


def trouble_with_the_client(service, client) -> None:
    service.queue.put("plays", PLAYS[0])
    wait_until(lambda: client.received, "the first publish")
    for mood, line in ((415, OF_A_BATCH[4]), (503, OF_A_BATCH[2]), (401, OF_A_BATCH[5])):
        client.mood = mood
        before = len(client.received)
        service.queue.put("plays", *PLAYS)
        wait_until(lambda line=line: said(service, line), f"a client that answers {mood} to be told")
        client.mood = 200
        wait_until(lambda before=before: is_back(client, before), "the client to be back", 2 * PATIENCE_S)
    wait_until(lambda: said(service, *OF_A_BATCH[:-1]), "all of the client to be told")


def is_back(client, before: int) -> bool:
    return any(one.status == 200 for one in client.received[before:])


def trouble_with_nsqd(service, nsqd) -> None:
    service.queue.put("plays", b"no play", b"neither")
    wait_until(lambda: said(service, "are not plays|is not a play"), "the dead letters")
    refuse_a_fin(service)
    nsqd.kill()
    wait_until(lambda: said(service, OF_AN_NSQD[1]), "the lost nsqd to be told", 2 * PATIENCE_S)
    nsqd.start()
    wait_until(lambda: said(service, OF_AN_NSQD[2]), "the nsqd that is back to be told", 2 * PATIENCE_S)


def refuse_a_fin(service) -> None:
    """Have a counter answer later than nsqd waits. The line is due once a second at the latest."""
    counters = [service.child(name)["pid"] for name in ("counter-0", "counter-1")]
    for pid in counters:
        halt(pid)
    queue = QueueHttp(service.queue.http_address())

    def timed_out() -> bool:
        channel = queue.channel("plays", "playtally")
        return channel is not None and channel["timeout_count"] >= 4

    service.queue.put("plays", *PLAYS[:4])
    wait_until(timed_out, "the messages to time out", 2 * PATIENCE_S)
    for pid in counters:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: said(service, OF_AN_NSQD[-1]), "a refused FIN to be told", 2 * PATIENCE_S)


def test_each_line_of_a_batch_has_its_key_and_each_line_of_a_connection_its_nsqd(troubled):
    found = records(troubled)
    for one in found:
        assert datetime.fromisoformat(one["time"]).tzinfo is not None, one
        assert one["level"] in ("INFO", "WARNING", "ERROR") and one["who"] and one["message"], one
    for text in OF_A_BATCH:
        lines = [one for one in found if re.search(text, one["message"])]
        assert lines, text
        assert all(one["batch"] in one["message"] for one in lines), lines
    for one in found:
        if one["logger"] in OF_BATCHES:
            assert one["batch"] in one["message"], one
            assert KEY.fullmatch(one["batch"]), one
        if one["logger"] in OF_NSQDS:
            assert one["nsqd"] == troubled.queue.address() and one["nsqd"] in one["message"], one
        if re.search(r"\bbatch [0-9a-f]{8}", one["message"]):
            assert one["batch"] in one["message"], one
    for text in OF_AN_NSQD:
        lines = [one for one in found if re.search(text, one["message"])]
        assert lines, text
        assert all(one["nsqd"] in one["message"] for one in lines), lines


CHILDREN = ["nsqd", "client", "dispatcher", "counter-0", "counter-1", "consumer"]


def test_every_process_writes_json_and_says_who_it_is(tmp_path):
    with open_service("embedded", tmp_path, "log.format=json", *PATIENT) as service:
        service.start()
        os.kill(service.process.pid, signal.SIGQUIT)  # each logs its stacks
        everybody = {"supervisor", *(f"{child}#1" for child in CHILDREN)}
        wait_until(lambda: who_said(service, "SIGQUIT: the stacks") == everybody, "all stacks")
        os.kill(service.child("counter-0")["pid"], signal.SIGKILL)
        os.kill(service.child("dispatcher")["pid"], signal.SIGQUIT)
        wait_until(lambda: said(service, "counter-0#2 started"), "the next incarnation")
        os.kill(service.child("counter-0")["pid"], signal.SIGQUIT)
        wait_until(lambda: "counter-0#2" in who_said(service, "SIGQUIT"), "its stacks")
        assert service.stop() == 0
    assert all(one["time"] and one["level"] for one in records(service))


def who_said(service, text: str) -> set[str]:
    return {one["who"] for one in records(service) if text in one["message"]}


ALONE = {
    "client": ["--data-path", "{path}", "--address", "127.0.0.1:0"],
    "embedded_nsqd": [
        "--data-path",
        "{path}",
        "--http-address",
        "127.0.0.1:0",
        "--tcp-address",
        "127.0.0.1:0",
    ],
}


@pytest.mark.parametrize("module", ALONE)
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_runs_alone_has_both_forms_too(module, form, tmp_path):
    words = [one.format(path=tmp_path) for one in ALONE[module]]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"actors.{module}", *words, "--log-format", form], cwd=ROOT, stderr=log
        )
        try:
            wait_until((tmp_path / "log").read_text, "its first line")
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
    name = "client" if module == "client" else "nsqd"
    lines = (tmp_path / "log").read_text().splitlines()
    for line in lines:
        assert json.loads(line)["who"] == name if form == "json" else TEXT.match(line)[1] == name


def test_a_cluster_logs_as_json_with_its_nodes_lines(tmp_path):
    require_nsqd()
    words = ["cluster", "--port", "0", "--data-dir", str(tmp_path / "data"), "--set", "log.format=json"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([*COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None and process.stdout.readline()  # it prints its addresses
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.wait()
    found = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {one["who"] for one in found} == {"cluster", "nsqd-0#1"}
