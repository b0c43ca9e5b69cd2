"""Clients that fail, hang, lie or die, and readers of stdout that pause or go away: nothing is lost, nothing
is published twice, and the service goes on. Real processes, real sockets.
"""

import contextlib
import hashlib
import hmac
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.cli.launch import wait_for
from actors.system.exits import Failure
from tests.support.certificates import make_certificate
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES, free_ports
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    UNHURRIED,
    ServiceWithQueue,
    Status,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 31)]
SECRET = "a sécret"


def put(service: ServiceWithQueue, *videos: str) -> None:
    """Put one play of each video on the queue."""
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in videos])


class Job:
    """Plays for a service, and the totals that its client must have in the end."""

    def __init__(self, service: ServiceWithQueue, client: RecordingClient):
        self.service, self.client = service, client
        self.put: Counter[str] = Counter()

    def play(self, plays: int, video: str = VIDEOS[0]) -> None:
        self.put[video] += plays
        put(self.service, *[video] * plays)

    def wait_counted(self) -> Status:
        return wait_counted(self.service, self.put.total())

    def wait_caught_up(self) -> Status:
        return wait_caught_up(self.service, self.put.total())

    def wait_for(self, condition: Callable[[], object], what: str) -> Any:
        return wait_for(condition, what, PATIENCE_S, self.service.log)

    def holds(self) -> None:
        """Check that the client has the right totals, and that no promise was broken."""
        assert self.client.totals == self.put
        assert self.client.wrong == []


class Answers:
    """A client's answers, which each test sets."""

    def __init__(self) -> None:
        self.give: Callable[[int], int | Reply] = lambda number: 200
        self.publish: dict[str, Any] = {}  # the present request

    def __call__(self, number: int, publish: dict[str, Any]) -> int | Reply:
        self.publish = publish
        return self.give(number)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A job and its client's answers, for all tests that leave the service unchanged."""
    answers = Answers()
    with pytest.MonkeyPatch.context() as patch, RecordingClient(answers) as client:
        patch.setenv("PLAYTALLY_TEST_SECRET", SECRET)
        settings = [f"publish.url={client.url}", *UNHURRIED, "publish.secret_env=PLAYTALLY_TEST_SECRET"]
        with open_service("embedded", tmp_path_factory.mktemp("clients"), *settings) as service:
            service.start()
            yield Job(service, client), answers


@pytest.fixture
def job(shared):
    """The shared job; its client has forgotten what it received before."""
    job, answers = shared
    job.client.received.clear()
    yield job
    answers.give = lambda number: 200
    job.wait_caught_up()
    job.holds()


@pytest.fixture
def answers(shared):
    """The answers of the job's client: `give` returns the answer to the nth request of a test, from 0."""
    return shared[1]


# Refusals


@pytest.mark.parametrize("kind", QUEUES)
def test_an_outage_loses_nothing_and_ends_with_the_newest_totals(kind, tmp_path):
    answers = Answers()
    answers.give = lambda number: [500, 503][number % 2]
    with (
        RecordingClient(answers) as client,
        # One at a time: of two attempts at once, the answers may come in any order.
        open_service(
            kind, tmp_path, f"publish.url={client.url}", "publish.in_flight_max=1", *UNHURRIED
        ) as service,
    ):
        service.start()
        job = Job(service, client)
        for number in range(3):
            job.play(1, VIDEOS[0])
            job.play(1, VIDEOS[1 + number])
            job.wait_for(lambda n=number: len(client.received) > n, "an attempt")

        def has_all(publish: dict[str, Any]) -> bool:
            return {one["video_id"]: one["plays"] for one in publish["videos"]} == job.put

        status = job.wait_counted()
        assert status["publishes"]["total"] == 0 and not status["caught_up"]
        job.wait_for(lambda: has_all(client.received[-1].publish), "an attempt with all pending totals")
        answers.give = lambda number: 200
        status = job.wait_caught_up()

        accepted = client.accepted()
        told = [(one["video_id"], one["plays"]) for publish in accepted for one in publish.publish["videos"]]
        assert sorted(told) == sorted(job.put.items()), "each newest total, once"
        # If the circuit is open by then, on a slow machine, a video alone may have been the probe.
        assert len(accepted) <= 2, "pending totals go out together"
        assert status["publishes"]["total"] == len(accepted)
        assert status["publishes"]["failed"] == len(client.received) - len(accepted)
        log = service.log()
        assert log.count("failed: it answered 500 Internal Server Error; trying again") == 1
        assert log.count("the client takes batches again") == 1
        job.holds()
        assert ledger_totals(service) == job.put


def test_a_client_that_keeps_its_first_answer_to_a_key_gets_the_batch_under_another(job, answers):
    kept: dict[str, int] = {}

    def give(number):
        # The answer to a key for ever: a 500 to the first key, a 200 to every other.
        key = answers.publish["batch"]
        return kept.setdefault(key, 200 if kept else 500)

    answers.give = give
    job.play(1)
    job.wait_caught_up()
    assert list(kept.values()) == [500, 200]
    first, second = kept
    keys = [one.publish["batch"] for one in job.client.received]
    assert keys == [first] * 5 + [second]


def test_a_client_that_asks_for_a_pause_gets_it(job, answers):
    answers.give = lambda number: Reply(503, {"Retry-After": "1"}) if number == 0 else 200
    job.play(3)
    job.wait_caught_up()
    first, second, *_ = job.client.received
    assert second.at_ns - first.at_ns >= 0.99e9


def test_a_redirect_is_not_followed_and_accepts_nothing(job, answers):
    with RecordingClient() as other:
        before = job.wait_caught_up()["publishes"]["total"]
        answers.give = lambda number: Reply(302, {"Location": other.url})
        job.play(3)
        job.wait_for(lambda: len(job.client.received) >= 2, "two attempts")
        assert job.service.status()["publishes"]["total"] == before
        answers.give = lambda number: 200
        job.wait_caught_up()
        assert other.received == []
        assert f"(to {other.url}); redirects are not followed: set publish.url" in job.service.log()


# Missing answers


@pytest.mark.parametrize(
    ("silence", "timeout_s"),
    [
        (Reply(0), PATIENCE_S),
        (Reply(0, raw=[b"HTTP/1.1 200 OK\r\nContent-Le"]), PATIENCE_S),
        (Reply(200, after_s=1.0), 0.5),
    ],
    ids=["closes", "dies during its answer", "is late"],
)
def test_a_batch_without_an_answer_comes_again_as_it_was_before_anything_else(silence, timeout_s, tmp_path):
    """One at a time: others may leave while the first is on its way, if the client takes long to hang up."""
    first = threading.Event()

    def answer(number: int, publish: dict[str, Any]) -> int | Reply:
        if number == 0:
            first.set()
            return silence
        return 200

    one_at_a_time = ["publish.in_flight_max=1", f"publish.timeout_s={timeout_s}"]
    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *one_at_a_time) as service,
    ):
        service.start()
        job = Job(service, client)
        job.play(3)
        assert first.wait(PATIENCE_S), service.log()
        job.play(2)
        job.play(4, VIDEOS[1])
        job.wait_caught_up()
        one, again, *_ = client.received
        assert again.body == one.body
        assert again.headers["Idempotency-Key"] == one.headers["Idempotency-Key"]
        bodies = [body for body, _ in itertools.groupby(request.body for request in client.received)]
        assert len(bodies) == len(set(bodies)) >= 2, "it came between other batches"
        job.holds()


def test_a_publish_that_hangs_holds_up_no_other_video(tmp_path):
    hangs = threading.Event()
    goes_on = threading.Event()

    def at_last() -> Iterator[bytes]:
        hangs.set()
        goes_on.wait(PATIENCE_S)
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def answer(number: int, publish: dict[str, Any]) -> int | Reply:
        if publish["videos"][0]["video_id"] == VIDEOS[0] and not hangs.is_set():
            return Reply(200, raw=at_last())
        return 200

    with (
        RecordingClient(answer) as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", f"publish.timeout_s={2 * PATIENCE_S}"
        ) as service,
    ):
        service.start()
        job = Job(service, client)
        job.play(1)
        assert hangs.wait(PATIENCE_S)
        job.play(1)  # waits for the answer: a video is in one batch at a time
        job.play(2, VIDEOS[1])
        job.wait_for(lambda: client.totals.get(VIDEOS[1]) == 2, "the other video")
        assert client.totals[VIDEOS[0]] == 1
        goes_on.set()
        job.wait_caught_up()
        job.holds()


def test_a_rate_limit_that_is_too_low_for_the_deadlines_is_told_with_by_how_much(tmp_path):
    """2,000 videos need 100 publishes in a minute."""
    settings = ("dispatch.realtime_below=1", "publish.rate_max_per_s=1", "supervisor.shutdown_timeout_s=1")
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        put(service, *[f"00000000-0000-4000-8000-{number:012d}" for number in range(2000)])
        line = wait_for(
            lambda: next((one for one in service.log().splitlines() if "publishes/s" in one), None),
            "the log to say that the limit is too low",
            PATIENCE_S,
            service.log,
        )
    needed = re.search(r"need ([\d.]+) publishes/s, and publish.rate_max_per_s allows 1:", line)
    assert needed and float(needed[1]) > 1, line


def test_nobody_listens_at_first_and_then_somebody_does(tmp_path):
    client = RecordingClient(port=free_ports(1)[0])
    with open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED) as service:
        service.start()
        job = Job(service, client)
        job.play(5)
        wait_status(service, lambda status: status["publishes"]["failed"] >= 3, "attempts")
        job.play(5, VIDEOS[1])
        job.wait_counted()
        with client:
            job.wait_caught_up()
            assert len(client.received) <= 2, "pending totals did not go out together"
            assert "nobody listens there (connection refused); trying again" in service.log()
            job.holds()


def test_answers_without_end_and_garbage_take_no_memory_and_stop_nobody(job, answers):
    def without_end(head, piece):
        yield head
        while True:
            yield piece

    replies = [
        Reply(0, raw=[b"SSH-2.0-OpenSSH_9.2p1\r\n", os.urandom(5000)]),
        Reply(0, raw=without_end(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n" * 5000)),
        Reply(0, raw=without_end(b"", b"x" * 100_000)),
        Reply(500, raw=without_end(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 100_000)),
        Reply(200, raw=without_end(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 100_000)),
    ]
    service, client = job.service, job.client
    before = job.wait_caught_up()["publishes"]
    before_kb = peak_memory_kb(service.child("dispatcher")["pid"])
    answers.give = lambda number: replies[number] if number < len(replies) else 200
    job.play(1)
    publishes = job.wait_caught_up()["publishes"]
    assert len(client.received) == len(replies)
    assert publishes["total"] - before["total"] == 1
    assert publishes["failed"] - before["failed"] == len(replies) - 1
    dispatcher = service.child("dispatcher")
    assert dispatcher["incarnation"] == 1
    assert peak_memory_kb(dispatcher["pid"]) - before_kb < 20_000
    # No play arrived since: unknown or refused, the batch has the same content under the same key.
    assert len({request.body for request in client.received}) == 1
    job.play(5)
    job.wait_caught_up()
    assert "Traceback" not in service.log()


def test_client_and_dispatcher_die_in_the_middle_of_an_answer_and_both_come_back(tmp_path):
    pids, dead, is_back = [], threading.Event(), threading.Event()

    def half_an_answer():
        yield b"HTTP/1.1 200 OK\r\nConte"
        os.kill(pids[0], signal.SIGKILL)
        dead.set()

    answers = Answers()
    # The next dispatcher may start before the client is gone.
    answers.give = lambda number: (
        Reply(0, raw=half_an_answer()) if number == 0 else 200 if is_back.is_set() else 503
    )
    client = RecordingClient(answers)
    with open_service("embedded", tmp_path, *PATIENT, f"publish.url={client.url}", *UNHURRIED) as service:
        job = Job(service, client)
        with client:
            service.start()
            pids.append(service.child("dispatcher")["pid"])
            job.play(3)
            assert dead.wait(PATIENCE_S), service.log()
        job.wait_for(lambda: "W dispatcher#2 batch " in service.log(), "the next dispatcher to try")
        job.play(2)
        job.wait_counted()
        is_back.set()
        with client:
            job.wait_caught_up()
            first, again, *_ = client.received
            assert again.body == first.body
            job.holds()


def test_what_leaves_is_what_is_counted_if_the_client_ends_every_second_request_without_an_answer(tmp_path):
    answers, rate_per_s, plays = Answers(), 20, 12
    answers.give = lambda number: Reply(0) if number % 2 else Reply(200)
    with (
        RecordingClient(answers) as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", f"publish.rate_max_per_s={rate_per_s}"
        ) as service,
    ):
        service.start()
        job = Job(service, client)
        for number in range(plays):
            job.play(1, VIDEOS[number])
            job.wait_for(lambda n=number: len(client.received) > n, "a publish")
        publishes = job.wait_caught_up()["publishes"]
        assert publishes["total"] + publishes["failed"] == len(client.received)
        assert publishes["failed"] > 0
        took_s = (client.received[-1].at_ns - client.received[0].at_ns) / 1e9
        assert took_s >= (len(client.received) - 2) / rate_per_s
        job.holds()


# Secrets and certificates


def test_the_signature_is_the_hmac_of_the_body(job):
    job.play(3)
    job.wait_caught_up()
    assert job.client.received
    for request in job.client.received:
        digest = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
        assert request.headers["X-Playtally-Signature"] == f"sha256={digest}"
    assert "sécret" not in job.service.log()


def test_a_secret_that_is_not_there_is_told_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("PLAYTALLY_TEST_SECRET", raising=False)
    with open_service("embedded", tmp_path, "publish.secret_env=PLAYTALLY_TEST_SECRET") as service:
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == 2
        assert service.log() == (
            "the settings are not right:\npublish.secret_env = 'PLAYTALLY_TEST_SECRET', but the environment "
            "variable PLAYTALLY_TEST_SECRET is not set or is empty; set it where the service is started\n"
        )
        assert {one.name for one in service.state_dir.iterdir()} == {"publishes.jsonl", "service.log"}


@pytest.mark.parametrize("signature", ["timestamp", "standard"])
def test_a_secret_is_replaced_while_the_service_runs_and_no_publish_is_refused(signature, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("an old secret\n")
    second.write_text("a new secret\n")
    settings = [f"publish.secret_file={first},{second}", f"publish.signature={signature}", *UNHURRIED]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        plays = 0

        def both_have_read(times: int) -> bool:
            nonlocal plays
            plays += 1
            put(service, VIDEOS[0])  # they look at the file when a publish leaves and when it comes
            wait_caught_up(service, plays)
            told = rf"(\S+)#1 +{re.escape(f'{first}, {second}')} changed and was read again"
            readers = Counter(re.findall(told, service.log()))
            return min(readers["dispatcher"], readers["client"]) >= times

        for times in (1, 2, 3):
            # The two read it at different times. The other secret fits meanwhile.
            first.write_text(f"a newer secret, {times}\n")
            wait_for(lambda n=times: both_have_read(n), "two readings", PATIENCE_S, service.log)
        status = wait_caught_up(service, plays)
        assert status["publishes"]["failed"] == 0
        assert service.totals() == {VIDEOS[0]: plays}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed key and certificate for 127.0.0.1 in one file, and the certificate alone."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_a_certificate_that_is_not_trusted_gets_no_publish_until_it_is(certificate, tmp_path, monkeypatch):
    key, trusted = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    with (
        RecordingClient(tls=context) as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", "supervisor.shutdown_timeout_s=0.3"
        ) as service,
    ):
        service.start()
        job = Job(service, client)
        job.play(3)
        wait_status(service, lambda status: status["publishes"]["failed"] >= 2, "attempts")
        assert client.received == []
        assert (
            "its certificate is not trusted (self-signed certificate); set publish.ca_file" in service.log()
        )
        assert "Traceback" not in service.log()
        check = service.command("check")
        assert check.returncode == 1
        assert "its certificate is not trusted (self-signed certificate)" in check.stdout
        assert service.stop() == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        service.start()
        job.wait_caught_up()
        job.holds()


# Stdout


class Pipe:
    """A pipe as the stdout of a service. The test decides when it is read."""

    def __init__(self):
        self.reads, self.writes = os.pipe()
        self._read = b""

    def fill(self) -> None:
        """Write until the pipe takes no more."""
        os.set_blocking(self.writes, False)
        for piece in (b"\n" * 4096, b"\n"):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.writes, piece)
        os.set_blocking(self.writes, True)

    def give_away(self) -> None:
        """Close our copy of the end that the service writes to."""
        os.close(self.writes)
        self.writes = -1

    def lines(self) -> list[dict]:
        """The lines so far, without waiting."""
        os.set_blocking(self.reads, False)
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.reads, 65536):
                self._read += piece
        return [json.loads(line) for line in self._read.split(b"\n")[:-1] if line]

    def close(self) -> None:
        """Close both ends."""
        for end in (self.reads, self.writes):
            if end >= 0:
                with contextlib.suppress(OSError):
                    os.close(end)
        self.reads = self.writes = -1


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_without_a_url_stdout_is_told_everything_and_the_client_nothing(tmp_path):
    with open_service("embedded", tmp_path, "publish.url=") as service:
        service.start()
        put(service, *VIDEOS * 3)
        wait_caught_up(service, 90)
        told: dict[str, int] = {}
        for publish in service.publishes():
            assert 1 <= len(publish["videos"]) <= 20
            for video in publish["videos"]:
                assert video["plays"] > told.get(video["video_id"], 0)
                told[video["video_id"]] = video["plays"]
        assert told == ledger_totals(service) == dict.fromkeys(VIDEOS, 3)
        assert service.totals() == {}
        page = f"http://{service.address('client_address')}/"
        assert f"publishes do not go to the reference client: its page at {page} stays empty" in service.log()


def test_a_reader_of_stdout_that_goes_is_told_once_and_publishing_goes_on(pipe, tmp_path):
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED) as service,
    ):
        service.start(stdout=pipe.writes)
        pipe.give_away()
        job = Job(service, client)
        job.play(1)
        job.wait_for(pipe.lines, "a line on stdout")
        pipe.close()  # as `head -1` does
        for _ in range(3):
            job.play(1)
            job.wait_caught_up()
        assert service.log().count("stdout can't be written (Broken pipe)") == 1
        assert service.child("dispatcher")["incarnation"] == 1
        job.holds()


def test_a_stdout_that_nobody_reads_does_not_stop_publishing_nor_the_end(pipe, tmp_path):
    pipe.fill()
    with (
        RecordingClient() as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            *UNHURRIED,
            "supervisor.shutdown_timeout_s=1",
        ) as service,
    ):
        service.start(stdout=pipe.writes)
        job = Job(service, client)
        for _ in range(5):
            job.play(1)
            job.wait_caught_up()
        assert service.child("dispatcher")["incarnation"] == 1
        job.holds()
        job.wait_for(lambda: len(pipe.lines()) >= 5, "the lines that waited")
        assert [one["batch"] for one in pipe.lines()] == [one.publish["batch"] for one in client.accepted()]
        pipe.fill()
        job.play(1)
        job.wait_caught_up()
        assert service.stop() == 0


def test_without_a_url_a_stdout_that_nobody_reads_is_waited_for(pipe, tmp_path):
    pipe.fill()
    with open_service("embedded", tmp_path, "publish.url=", "supervisor.shutdown_timeout_s=0.5") as service:
        service.start(stdout=pipe.writes)
        put(service, VIDEOS[0])
        wait_for(lambda: "nobody reads stdout: publishing waits" in service.log(), "a warning", PATIENCE_S)
        put(service, *VIDEOS[:1] * 4)
        status = wait_counted(service, 5)
        assert status["publishes"]["total"] == 0
        assert service.child("dispatcher")["incarnation"] == 1
        pipe.lines()
        wait_caught_up(service, 5)
        told = [video["plays"] for line in pipe.lines() for video in line["videos"]]
        assert told[0] == 1 and told[-1] == 5 and told == sorted(set(told))

        pipe.fill()
        put(service, VIDEOS[0])
        wait_counted(service, 6)
        assert service.stop() == 0, "a reader that does not read must not keep the service from ending"
        service.start()
        wait_caught_up(service, 6)
        assert [video["plays"] for line in service.publishes() for video in line["videos"]] == [6]


def peak_memory_kb(pid: int) -> int:
    """The peak memory of a process, or its present memory if the system keeps no peak."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)
