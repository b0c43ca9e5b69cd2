"""Clients that fail, hang, lie or die, and readers of stdout that sleep or go: nothing is lost, nothing is
told twice, and the service goes on. Real processes, real sockets.
"""

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from actors.exits import Failure
from actors.launch import wait_for
from tests.support.queues import QUEUES
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 31)]


def play(service, plays: int, video: str = VIDEOS[0]) -> None:
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode()] * plays)


def wait_requests(client, count: int, service) -> None:
    wait_for(lambda: len(client.received) >= count, f"{count} requests", 20, service.log)


def gaps_s(client) -> list[float]:
    """The times between requests."""
    times_s = [one.at_ns / 1e9 for one in client.received]
    return [later - earlier for earlier, later in zip(times_s, times_s[1:], strict=False)]


def holds(client, service) -> None:
    """Whatever happened: the client was told the ledgers' totals, and none of its rules was broken."""
    assert client.totals == ledger_totals(service)
    assert client.wrong == []


# Answers that say no


@pytest.mark.parametrize("kind", QUEUES)
def test_an_outage_loses_nothing_and_ends_with_the_newest_totals(kind, tmp_path):
    out = threading.Event()
    out.set()

    def answer(number, publish):
        return ([500, 503][number % 2]) if out.is_set() else 200

    with (
        RecordingClient(answer) as client,
        open_service(kind, tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        for number in range(4):
            play(service, 1, VIDEOS[0])
            play(service, 1, VIDEOS[1 + number])
            wait_requests(client, number + 1, service)
        status = wait_counted(service, 8)
        assert status["publishes"]["total"] == 0 and not status["caught_up"]
        wait_requests(client, len(client.received) + 1, service)  # what is made from now on has all
        out.clear()
        status = wait_caught_up(service, 8)

        first, *_ = client.accepted()
        assert {one["video_id"]: one["plays"] for one in first.publish["videos"]}[VIDEOS[0]] == 4
        assert len(first.publish["videos"]) == 5, "what waits goes out together"
        assert len(client.accepted()) == status["publishes"]["total"] == 1
        assert status["publishes"]["failed"] == len(client.received) - 1
        # Up to 100 ms, doubled with each failure; of that at least a half once the circuit is open.
        for number, gap_s in enumerate(gaps_s(client)[:6]):
            least_s = 0.05 * 2**number if number >= 4 else 0
            assert least_s - 0.02 <= gap_s <= 0.1 * 2**number + 1.0, gaps_s(client)
        log = service.log()
        assert log.count("failed: it answered 500 Internal Server Error; trying again") == 1
        assert log.count("the client takes batches again") == 1
        holds(client, service)


def test_a_client_that_asks_for_a_pause_gets_it(tmp_path):
    def answer(number, publish):
        return Reply(503, {"Retry-After": "2"}) if number == 0 else 200

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start()
        play(service, 3)
        wait_caught_up(service, 3)
        assert 1.95 <= gaps_s(client)[0] <= 4
        holds(client, service)


def test_a_redirect_is_not_followed_and_accepts_nothing(tmp_path):
    moved = threading.Event()
    moved.set()
    with RecordingClient() as other:

        def answer(number, publish):
            return Reply(302, {"Location": other.url}) if moved.is_set() else 200

        with (
            RecordingClient(answer) as client,
            open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
        ):
            service.start()
            play(service, 3)
            wait_requests(client, 2, service)
            assert service.status()["publishes"]["total"] == 0
            moved.clear()
            wait_caught_up(service, 3)
            assert other.received == []
            assert f"(to {other.url}); redirects are not followed: set publish.url" in service.log()
            holds(client, service)


# Answers that do not come


@pytest.mark.parametrize(
    "silence",
    [Reply(0), Reply(200, after_s=1.0), Reply(0, raw=[b"HTTP/1.1 200 OK\r\nContent-Le"])],
    ids=["closes", "is late", "dies in its answer"],
)
def test_a_batch_without_an_answer_comes_again_as_it_was_before_anything_else(silence, tmp_path):
    first = threading.Event()

    def answer(number, publish):
        if number == 0:
            first.set()
            return silence
        return 200

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", "publish.timeout_s=0.5") as service,
    ):
        service.start()
        play(service, 3)
        assert first.wait(20), service.log()
        play(service, 2)
        play(service, 4, VIDEOS[1])
        wait_caught_up(service, 9)
        one, again, *later = client.received
        assert again.body == one.body
        assert again.headers["Idempotency-Key"] == one.headers["Idempotency-Key"]
        assert later and all(request.body != one.body for request in later)
        holds(client, service)


def test_nobody_listens_at_first_and_then_somebody_does(tmp_path):
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        client = RecordingClient(port=reserved.getsockname()[1])
        with open_service("embedded", tmp_path, f"publish.url={client.url}") as service:
            service.start()
            play(service, 5)
            wait_status(service, lambda status: status["publishes"]["failed"] >= 3, "attempts")
            play(service, 5, VIDEOS[1])
            wait_counted(service, 10)
            reserved.close()
            with client:
                wait_caught_up(service, 10)
                assert len(client.received) <= 2, "what waited did not go out together"
                assert "nobody listens there (connection refused); trying again" in service.log()
                holds(client, service)


def test_answers_without_end_and_garbage_take_no_memory_and_stop_nobody(tmp_path):
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

    def answer(number, publish):
        return replies[number] if number < len(replies) else 200

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", "publish.timeout_s=3") as service,
    ):
        service.start()
        before_kb = peak_memory_kb(service.child("dispatcher")["pid"])
        play(service, 1)
        status = wait_caught_up(service, 1)
        assert len(client.received) == len(replies)
        assert status["publishes"]["total"] == 1
        assert status["publishes"]["failed"] == len(replies) - 1
        dispatcher = service.child("dispatcher")
        assert dispatcher["incarnation"] == 1
        assert peak_memory_kb(dispatcher["pid"]) - before_kb < 20_000
        # Nothing new came in: whether unknown or refused, it is the same content under the same key.
        assert len({request.body for request in client.received}) == 1
        play(service, 5)
        wait_caught_up(service, 6)
        assert "Traceback" not in service.log()
        holds(client, service)


def test_client_and_dispatcher_die_in_the_middle_of_an_answer_and_both_come_back(tmp_path):
    pids, dead = [], threading.Event()

    def half_an_answer():
        yield b"HTTP/1.1 200 OK\r\nConte"
        os.kill(pids[0], signal.SIGKILL)
        dead.set()

    def answer(number, publish):
        return Reply(0, raw=half_an_answer()) if number == 0 else 200

    client = RecordingClient(answer)
    with open_service("embedded", tmp_path, *PATIENT, f"publish.url={client.url}") as service:
        with client:
            service.start()
            pids.append(service.child("dispatcher")["pid"])
            play(service, 3)
            assert dead.wait(20), service.log()
        wait_for(
            lambda: "W dispatcher#2 batch " in service.log(),
            "the next dispatcher to try",
            20,
            service.log,
        )
        play(service, 2)
        wait_counted(service, 5)
        with client:
            wait_caught_up(service, 5)
            first, again, *_ = client.received
            assert again.body == first.body
            holds(client, service)


# Secrets and certificates


def test_the_signature_is_the_hmac_of_the_body(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAYTALLY_TEST_SECRET", "a sécret")
    with (
        RecordingClient() as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", "publish.secret_env=PLAYTALLY_TEST_SECRET"
        ) as service,
    ):
        service.start()
        play(service, 3)
        wait_caught_up(service, 3)
        for request in client.received:
            digest = hmac.new("a sécret".encode(), request.body, hashlib.sha256).hexdigest()
            assert request.headers["X-Playtally-Signature"] == f"sha256={digest}"
        assert "sécret" not in service.log()


def test_a_secret_that_is_not_there_is_told_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("PLAYTALLY_TEST_SECRET", raising=False)
    with open_service("embedded", tmp_path, "publish.secret_env=PLAYTALLY_TEST_SECRET") as service:
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == 1
        assert "publish.secret_env = 'PLAYTALLY_TEST_SECRET', but that environment variable" in service.log()
        assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that nobody trusts, in one file; the certificate alone."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    key, certificate = (tmp_path_factory.mktemp("tls") / name for name in ("key.pem", "certificate.pem"))
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


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
        play(service, 3)
        wait_status(service, lambda status: status["publishes"]["failed"] >= 2, "attempts")
        assert client.received == []
        assert "its certificate is not trusted (self-signed certificate); trying again" in service.log()
        assert "Traceback" not in service.log()
        check = service.command("check")
        assert check.returncode == 1
        assert "its certificate is not trusted (self-signed certificate)" in check.stdout
        assert service.stop() == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        service.start()
        wait_caught_up(service, 3)
        holds(client, service)


# Stdout


class Pipe:
    """A pipe to be the stdout of a service, read as slowly as a test likes."""

    def __init__(self):
        self.reads, self.writes = os.pipe()
        self._read = b""

    def fill(self) -> None:
        """Write until it takes no byte more."""
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
        """What came out so far, without waiting."""
        os.set_blocking(self.reads, False)
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.reads, 65536):
                self._read += piece
        return [json.loads(line) for line in self._read.split(b"\n")[:-1] if line]

    def close(self) -> None:
        """Both ends."""
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
        for video in VIDEOS:
            play(service, 3, video)
        wait_caught_up(service, 90)
        told: dict[str, int] = {}
        for publish in service.publishes():
            assert 1 <= len(publish["videos"]) <= 20
            for video in publish["videos"]:
                assert video["plays"] > told.get(video["video_id"], 0)
                told[video["video_id"]] = video["plays"]
        assert told == ledger_totals(service) == dict.fromkeys(VIDEOS, 3)
        assert service.totals() == {}


def test_a_reader_of_stdout_that_goes_is_told_once_and_publishing_goes_on(pipe, tmp_path):
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}") as service,
    ):
        service.start(stdout=pipe.writes)
        pipe.give_away()
        play(service, 1)
        wait_for(pipe.lines, "a line on stdout", 20, service.log)
        pipe.close()  # as `head -1` does
        for number in range(2, 5):
            play(service, 1)
            wait_caught_up(service, number)
        assert service.log().count("stdout can't be written (Broken pipe)") == 1
        assert service.child("dispatcher")["incarnation"] == 1
        holds(client, service)


def test_a_stdout_that_nobody_reads_does_not_stop_publishing_nor_the_end(pipe, tmp_path):
    pipe.fill()
    with (
        RecordingClient() as client,
        open_service(
            "embedded", tmp_path, f"publish.url={client.url}", "supervisor.liveness_timeout_s=0.5"
        ) as service,
    ):
        service.start(stdout=pipe.writes)
        for number in range(1, 6):
            play(service, 1)
            wait_caught_up(service, number)
        # It still answers pings, long after one that hangs would have been killed.
        wait_for(lambda: service.child("dispatcher")["uptime_s"] > 1.5, "time to pass", 20)
        assert service.child("dispatcher")["incarnation"] == 1
        holds(client, service)
        wait_for(lambda: len(pipe.lines()) >= 5, "the lines that waited", 20, service.log)
        assert [one["batch"] for one in pipe.lines()] == [one.publish["batch"] for one in client.accepted()]
        pipe.fill()
        play(service, 1)
        wait_caught_up(service, 6)
        assert service.stop() == 0


def test_without_a_url_a_stdout_that_nobody_reads_is_waited_for(pipe, tmp_path):
    pipe.fill()
    with open_service(
        "embedded",
        tmp_path,
        "publish.url=",
        "supervisor.liveness_timeout_s=0.5",
        "supervisor.shutdown_timeout_s=0.5",
    ) as service:
        service.start(stdout=pipe.writes)
        play(service, 1)
        wait_for(lambda: "nobody reads stdout: publishing waits" in service.log(), "a warning", 20)
        play(service, 4)
        status = wait_status(service, lambda found: found["supervisor"]["uptime_s"] > 2, "time to pass")
        assert (status["plays"]["counted"], status["publishes"]["total"]) == (5, 0)
        assert service.child("dispatcher")["incarnation"] == 1
        pipe.lines()
        wait_caught_up(service, 5)
        told = [video["plays"] for line in pipe.lines() for video in line["videos"]]
        assert told[0] == 1 and told[-1] == 5 and told == sorted(set(told))

        pipe.fill()
        play(service, 1)
        wait_status(service, lambda found: found["plays"]["counted"] == 6, "the last play counted")
        started_s = time.monotonic()
        assert service.stop() == 0, "who does not read does not keep it from ending"
        assert time.monotonic() - started_s < 10
        service.start()
        wait_caught_up(service, 6)
        assert [video["plays"] for line in service.publishes() for video in line["videos"]] == [6]


def peak_memory_kb(pid: int) -> int:
    """The most memory that a process ever had; what it has now where the system keeps no record of it."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)
