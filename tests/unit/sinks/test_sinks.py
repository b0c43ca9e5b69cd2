"""What an attempt to publish means: every way in which a client can answer, or fail to, on real sockets;
and stdout as a real pipe whose reader sleeps, comes back, or goes. How long a sink waits is told by the
clock of a loop of its own (`virtual_time.py`).
"""

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import itertools
import json
import logging
import os
import re
import resource
import select
import socket
import ssl
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from actors.config import PublishSection, Settings
from actors.core.dispatcher.attempts import About, Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks import Delivery, MirroredSink, StdoutSink, answers, connection, open_sink, stdout
from actors.sinks.connection import ANSWER_BODY_BYTES_MAX, ANSWER_HEAD_BYTES_MAX
from actors.sinks.stdout import STDOUT_LINES_MAX
from actors.system.exits import Failure
from tests.support.acting_clients import (
    BATCH,
    OK,
    answering,
    client_that,
    delivered,
    deliveries_to,
    http_sink,
    outcome_of,
    read_request,
    recording,
    reset,
    timed,
)
from tests.support.certificates import make_certificate
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.virtual_time import run_virtually

ACCEPTED = Delivery(Outcome.ACCEPTED, status="200")


def peak_memory_kb():
    """The most memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak  # bytes there, kilobytes elsewhere


# What was answered


@pytest.mark.parametrize("status", [b"200 OK", b"201 Created", b"202 Accepted", b"204 No Content", b"299 X"])
def test_any_2xx_accepts(status):
    delivery = outcome_of(answering(b"HTTP/1.1 " + status + b"\r\n\r\n"))
    assert delivery == Delivery(Outcome.ACCEPTED, status=status[:3].decode())


@pytest.mark.parametrize(
    "status",
    [
        b"400 Bad Request",
        b"401 Unauthorized",
        b"404 Not Found",
        b"413 Too Large",
        b"429 Too Many Requests",
        b"500 Internal Server Error",
        b"501 No",
        b"502 Bad Gateway",
        b"503 Unavailable",
        b"504 Gateway Timeout",
        b"408 Request Timeout",
    ],
)
def test_an_answer_that_says_no_refuses(status):
    delivery = outcome_of(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno"))
    assert delivery.outcome is Outcome.REFUSED
    assert delivery.why == f"it answered {status.decode()}: no"
    assert delivery.rejected == (status[:1] == b"4" and status[:3] not in (b"408", b"429"))
    assert delivery.server_error is status.startswith(b"5")


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 X", b"308 Y"])
def test_a_redirect_is_refused_and_says_where_it_leads(status):
    asked = []

    async def act(reader, writer):
        asked.append(await read_request(reader))
        writer.write(b"HTTP/1.1 " + status + b"\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")

    delivery = outcome_of(act)
    assert delivery.outcome is Outcome.REFUSED
    assert "(to /other); redirects are not followed: set publish.url" in delivery.why
    assert len(asked) == 1


def test_interim_answers_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert outcome_of(answering(interim + OK)).outcome is Outcome.ACCEPTED
    assert outcome_of(answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)).outcome is Outcome.UNKNOWN


def test_an_answer_in_single_bytes_is_put_together():
    async def act(reader, writer):
        await read_request(reader)
        for position in range(len(OK)):
            writer.write(OK[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0)

    assert outcome_of(act).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("value", "pause_ms"),
    [
        ("2", 2000),
        ("0", 0),
        ("3600", 3_600_000),
        ("7200", 7_200_000),
        (" 5 ", 5000),
        ("999999999", 999_999_999_000),
        ("9" * 18, 10**12),
        ("5, 7", None),
        ("Wed, 21 Oct", None),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 0),
        ("-1", None),
        ("1.5", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 10**12),
        ("Fri, 01 Jan 99999 00:00:00 GMT", None),
        ("Fri, 99 Jan 2100 00:00:00 GMT", None),
        ("9" * 5000, 10**12),
        ("0" * 30 + "2", 2000),
        ("0" * 5000, 0),
        ("²", None),
        ("", None),
    ],
)
def test_the_pause_that_a_client_asks_for_is_taken_within_bounds(value, pause_ms):
    answer = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\n\r\n".encode()
    assert outcome_of(answering(answer)) == Delivery(
        Outcome.REFUSED,
        "it answered 503 Busy",
        pause_ms,
        busy=True,
        server_error=True,
        answer="503 Busy",
        status="503",
    )


# When there was no answer


def test_nobody_listens_is_refused_since_nothing_was_sent():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sink = http_sink(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        delivery = asyncio.run(sink.deliver(BATCH))
    assert delivery == Delivery(Outcome.REFUSED, "nobody listens there (connection refused)")


def test_no_connection_in_time_is_refused():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        try:
            for _ in range(4):  # whoever comes after these is not let in
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(full.getsockname())
                waiting.append(one)
            sink = http_sink(f"http://127.0.0.1:{full.getsockname()[1]}/", 0.1)
            delivery = asyncio.run(sink.deliver(BATCH))
        finally:
            for one in waiting:
                one.close()
    assert delivery == Delivery(Outcome.REFUSED, "no connection within 0.1 s")


def test_no_answer_in_time_is_unknown():
    async def act(reader, writer):
        await read_request(reader)
        await reader.read()

    assert timed(act, timeout_s=10) == ([Delivery(Outcome.UNKNOWN, "no answer within 10 s")], 10)


def test_an_answer_that_comes_a_byte_at_a_time_does_not_stretch_the_timeout():
    async def act(reader, writer):
        await read_request(reader)
        for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(ord("x"))):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.75)

    assert timed(act, timeout_s=10) == ([Delivery(Outcome.UNKNOWN, "no answer within 10 s")], 10)


@pytest.mark.parametrize("said", [b"", b"HT", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nLength: 0\r\n"])
def test_a_connection_that_closes_before_the_answer_is_complete_is_unknown(said):
    delivery = outcome_of(answering(said))
    assert delivery.outcome is Outcome.UNKNOWN
    assert "the connection closed" in delivery.why


def test_a_connection_reset_after_the_request_is_unknown():
    async def act(reader, writer):
        await read_request(reader)
        await reset(writer)

    delivery = outcome_of(act)
    assert delivery.outcome is Outcome.UNKNOWN
    assert "reset" in delivery.why


def test_a_connection_reset_before_the_request_was_read_is_unknown():
    async def act(reader, writer):
        await reset(writer)

    assert outcome_of(act).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"\n\n\n",
        os.urandom(1000).replace(b"HTTP", b"----"),
        b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\x00\xff\r\n\r\n",
    ],
)
def test_what_is_no_http_is_unknown(garbage):
    delivery = outcome_of(answering(garbage))
    assert delivery.outcome is Outcome.UNKNOWN
    assert delivery.why


def test_the_line_that_is_no_http_is_not_waited_upon():
    async def act(reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    (delivery,), took_s = timed(act)
    assert delivery.outcome is Outcome.UNKNOWN
    assert "is no HTTP" in delivery.why
    assert took_s == 0


# Answers without end


async def endless(reader, writer, head, piece):
    await read_request(reader)
    writer.write(head)
    while True:
        writer.write(piece)
        await writer.drain()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: ", b""])
def test_endless_headers_are_unknown_and_take_no_memory(head):
    piece = b"X-Header: value\r\n" * 4000 if head.endswith(b"\n") else b"x" * 65536
    before_kb = peak_memory_kb()
    delivery = outcome_of(lambda reader, writer: endless(reader, writer, head, piece))
    grown_kb = peak_memory_kb() - before_kb
    assert delivery.outcome is Outcome.UNKNOWN
    assert grown_kb < 20 * ANSWER_HEAD_BYTES_MAX / 1024 + 20_000


@pytest.mark.parametrize(
    ("status", "outcome"), [(b"200 OK", Outcome.ACCEPTED), (b"500 Broken", Outcome.REFUSED)]
)
@pytest.mark.parametrize("length", [b"Content-Length: 999999999\r\n", b"", b"Transfer-Encoding: chunked\r\n"])
def test_of_an_endless_body_little_is_read_and_the_status_stands(status, outcome, length):
    head, sent = b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n", [0]

    async def act(reader, writer):
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()
            sent[0] += 4096

    before_kb = peak_memory_kb()
    (delivery,), took_s = timed(act)
    assert delivery.outcome is outcome
    assert took_s == 0
    assert sent[0] < ANSWER_BODY_BYTES_MAX + 1_000_000  # the rest is what lies in the buffers on the way
    assert peak_memory_kb() - before_kb < 20_000


def test_a_body_that_never_comes_does_not_hold_up_what_the_head_said():
    async def act(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await reader.read()

    deliveries, took_s = timed(act, timeout_s=1000)
    assert deliveries == [ACCEPTED]
    assert took_s == connection.ANSWER_BODY_PATIENCE_S


# What is sent


def sent_to(url_of, secret=None):
    """The head and the body that a client gets."""
    asked = []

    async def act(reader, writer):
        asked.append(await read_request(reader))
        writer.write(OK)

    async def attempt():
        async with client_that(act) as port:
            return await delivered(http_sink(url_of(port), secret=secret), BATCH)

    assert asyncio.run(attempt()) == [ACCEPTED]
    ((head, body),) = asked
    lines = head.decode().split("\r\n")
    return lines[0], dict(line.split(": ", 1) for line in lines[1:] if line), body


def test_the_request_is_the_publish_under_its_key():
    line, headers, body = sent_to(lambda port: f"http://127.0.0.1:{port}/a/b?c=d#e")
    assert line == "POST /a/b?c=d HTTP/1.1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == BATCH.key
    assert headers["Host"].startswith("127.0.0.1:")
    assert "X-Playtally-Signature" not in headers
    assert json.loads(body) == {
        "batch": BATCH.key,
        "trigger": "realtime",
        "videos": [
            {
                "video_id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
                "plays": 7,
                "arrived_at_ns": 1_795_502_904_123_456_789,
            },
        ],
    }


def test_a_secret_signs_the_body():
    _, headers, body = sent_to(lambda port: f"http://127.0.0.1:{port}/", secret=b"a secret")
    digest = hmac.new(b"a secret", body, hashlib.sha256).hexdigest()
    assert headers["X-Playtally-Signature"] == f"sha256={digest}"


def test_a_user_in_the_url_is_sent_as_basic_authorization_and_in_no_other_place():
    line, headers, _ = sent_to(lambda port: f"http://me:a%20b@127.0.0.1:{port}")
    assert line == "POST / HTTP/1.1"
    assert headers["Authorization"] == "Basic bWU6YSBi"
    assert "@" not in headers["Host"]


def test_no_line_can_be_put_into_the_request_by_the_url():
    line, headers, _ = sent_to(lambda port: f"http://127.0.0.1:{port}/é%0d%0aX:y")
    assert line == "POST /%C3%A9%0d%0aX:y HTTP/1.1"
    assert "X" not in headers


@pytest.mark.parametrize("url", ["http://host:99999/", "http://host:port/", "http://[::1/", "http://:80/"])
def test_a_url_that_cannot_be_is_a_failure_at_the_start(url):
    with pytest.raises(Failure, match=r"publish\.url = .*expected http://host:port/path"):
        open_sink(Settings(publish=PublishSection(url=url)))


def test_a_secret_that_is_not_there_is_a_failure_at_the_start(monkeypatch):
    monkeypatch.delenv("PLAYTALLY_TEST_SECRET", raising=False)
    with pytest.raises(Failure, match=r"PLAYTALLY_TEST_SECRET.*not set or is empty"):
        open_sink(Settings(publish=PublishSection(secret_env="PLAYTALLY_TEST_SECRET")))
    monkeypatch.setenv("PLAYTALLY_TEST_SECRET", "")
    with pytest.raises(Failure):
        open_sink(Settings(publish=PublishSection(secret_env="PLAYTALLY_TEST_SECRET")))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that nobody trusts, in one file."""
    key, certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    file = key.with_name("both.pem")
    file.write_bytes(key.read_bytes() + certificate.read_bytes())
    return file


def over_tls(certificate, scheme="https"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    (delivery,) = deliveries_to(answering(OK), 1, tls=context, url=scheme + "://127.0.0.1:{port}/")
    return delivery


def test_a_certificate_that_is_not_trusted_is_refused_and_named(certificate):
    delivery = over_tls(certificate)
    assert delivery.outcome is Outcome.REFUSED
    assert delivery.why.startswith("its certificate is not trusted (self-signed certificate); ")


def test_a_certificate_that_is_trusted_is_taken(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate.pem")))
    assert over_tls(certificate).outcome is Outcome.ACCEPTED


def test_https_to_a_client_that_speaks_plain_http_is_refused():
    async def act(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    (delivery,) = deliveries_to(act, 1, url="https://127.0.0.1:{port}/")
    assert delivery.outcome is Outcome.REFUSED
    assert delivery.why


def test_http_to_a_client_that_speaks_tls_is_never_accepted(certificate):
    assert over_tls(certificate, "http").outcome is not Outcome.ACCEPTED


# Stdout


class Accepting:
    """A client that takes every batch."""

    name = receiver = "a client"
    settings = ""
    takes_several = True

    def __init__(self):
        self.taken = 0

    async def deliver(self, batch, held_up_ms=0):
        self.taken += 1
        return Delivery(Outcome.ACCEPTED)


@pytest.fixture
def pipe():
    """A pipe, and at the end of the test neither end of it."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def fill(end):
    """Fill a pipe to the last byte; how many that were."""
    os.set_blocking(end, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(end, b"\n" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(end, b"\n")
    os.set_blocking(end, True)
    return filled


def read_lines(end, count):
    """Lines of JSON that come out of a pipe, until there are so many."""
    found = b""
    while len(lines := [line for line in found.split(b"\n")[:-1] if line]) < count:
        piece = os.read(end, 65536)
        assert piece, f"stdout ended after {len(lines)} of {count} lines"
        found += piece
    return [json.loads(line) for line in lines]


async def until(condition):
    """Wait for what a thread does, which no clock of a loop knows of."""
    await asyncio.to_thread(wait_until, condition, "a thread")


def test_a_mirrored_batch_is_on_stdout_before_it_counts_as_published(pipe):
    async def deliver():
        for _ in range(3):
            await MirroredSink(Accepting(), pipe[1]).deliver(BATCH)

    asyncio.run(deliver())
    os.set_blocking(pipe[0], False)
    assert [line["batch"] for line in read_lines(pipe[0], 3)] == [BATCH.key] * 3


def test_a_line_on_stdout_has_the_spaces_that_json_puts_there(tmp_path):
    with open(tmp_path / "publishes", "ab") as file:
        asyncio.run(StdoutSink(file.fileno()).deliver(BATCH))
    line = (tmp_path / "publishes").read_text()
    assert line == json.dumps(json.loads(line)) + "\n"


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system can't write without waiting")
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_a_line_that_stdout_takes_at_once_needs_no_thread(kind, pipe, tmp_path):
    with open(tmp_path / "publishes", "ab") as file:

        async def deliver():
            for sink in (MirroredSink(Accepting(), end), StdoutSink(end)):
                assert (await sink.deliver(BATCH)).outcome is Outcome.ACCEPTED

        end = pipe[1] if kind == "pipe" else file.fileno()
        asyncio.run(deliver())
        assert [one.name for one in threading.enumerate() if one.name.startswith("stdout")] == []


def test_what_the_client_did_not_take_is_not_on_stdout(pipe):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        asyncio.run(MirroredSink(http_sink(url), pipe[1]).deliver(BATCH))
    os.set_blocking(pipe[0], False)
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 1)


def test_a_mirror_that_nobody_reads_holds_nothing_up_and_says_what_was_left_out(pipe, caplog):
    caplog.set_level(logging.INFO)
    filled = fill(pipe[1])
    client = Accepting()
    asked = STDOUT_LINES_MAX + 50

    async def deliver():
        sink = MirroredSink(client, pipe[1])
        for _ in range(asked):
            await sink.deliver(BATCH)
        took_s = asyncio.get_running_loop().time()
        read = await asyncio.to_thread(read_lines, pipe[0], STDOUT_LINES_MAX)
        await until(lambda: "stdout is read again" in caplog.text)
        await sink.deliver(BATCH)
        return took_s, read

    took_s, read = run_virtually(deliver)
    assert filled
    assert client.taken == asked + 1
    assert took_s == stdout.STDOUT_PATIENCE_S, "the first line is waited for, no other"
    assert len(read) == STDOUT_LINES_MAX
    assert len(read_lines(pipe[0], 1)) == 1, "after the reader is back its lines come again"
    assert caplog.text.count("nobody reads stdout") == 1
    assert "stdout is read again; 50 publishes were left out of it" in caplog.text


def test_a_mirror_lets_a_file_grow_to_its_bound_and_goes_on_when_the_file_is_shorter(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(stdout, "FILE_BYTES_MAX", 1000)
    client = Accepting()
    with open(tmp_path / "publishes", "ab") as file:

        async def deliver():
            sink = MirroredSink(client, file.fileno())
            for _ in range(50):
                assert (await sink.deliver(BATCH)).outcome is Outcome.ACCEPTED
            grown = os.fstat(file.fileno()).st_size
            for _ in range(2):
                os.truncate(file.fileno(), 0)
                for _ in range(25):
                    await sink.deliver(BATCH)
            os.truncate(file.fileno(), 0)
            await sink.deliver(BATCH)
            return grown

        grown = asyncio.run(deliver())
        assert client.taken == 101
        assert 1000 <= grown < 1000 + os.fstat(file.fileno()).st_size
        assert caplog.text.count("no publish is written to it until it is shorter") == 3


@pytest.mark.parametrize("wanted", [True, False])
def test_publishes_are_mirrored_only_where_that_is_asked_for(wanted, monkeypatch, pipe):
    monkeypatch.setattr(open_sink.__globals__["is_wanted"], "__defaults__", (pipe[1],))
    sink = open_sink(Settings(publish=PublishSection(stdout=wanted)))
    assert isinstance(sink, MirroredSink) == wanted


def test_a_line_that_a_full_disk_has_torn_is_ended_before_the_next_one(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open(tmp_path / "publishes", "ab") as file:

        async def deliver():
            sink = StdoutSink(file.fileno())
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            try:
                found = [(await sink.deliver(BATCH)).outcome for _ in range(2)]
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            return [*found, (await sink.deliver(BATCH)).outcome, (await sink.deliver(BATCH)).outcome]

        unknown, yes = Outcome.UNKNOWN, Outcome.ACCEPTED
        assert asyncio.run(deliver()) == [unknown, unknown, yes, yes]
    torn, *whole = (tmp_path / "publishes").read_text().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["batch"] for line in whole] == [BATCH.key] * 2


def test_a_mirror_that_is_gone_is_given_up_with_one_warning(pipe, caplog):
    os.close(pipe[0])
    client = Accepting()

    async def deliver():
        sink = MirroredSink(client, pipe[1])
        for _ in range(5):
            assert (await sink.deliver(BATCH)).outcome is Outcome.ACCEPTED

    asyncio.run(deliver())
    assert client.taken == 5
    assert caplog.text.count("stdout can't be written (Broken pipe)") == 1


def test_without_a_client_the_line_waits_for_its_reader_and_the_loop_goes_on(pipe, caplog):
    caplog.set_level(logging.INFO)
    fill(pipe[1])

    async def deliver():
        delivery = asyncio.ensure_future(StdoutSink(pipe[1]).deliver(BATCH))
        rounds = 0
        while "nobody reads stdout" not in caplog.text:
            rounds += 1
            await asyncio.sleep(1)
        assert not delivery.done()
        (line,) = await asyncio.to_thread(read_lines, pipe[0], 1)
        return await delivery, line, rounds

    delivery, line, rounds = run_virtually(deliver)
    assert delivery == Delivery(Outcome.ACCEPTED, status="written")
    assert line["batch"] == BATCH.key
    assert rounds == stdout.STDOUT_PATIENCE_S
    assert "stdout is read again" in caplog.text


def test_without_a_client_several_lines_that_wait_are_said_once_and_stay_in_order(pipe, caplog):
    caplog.set_level(logging.INFO)
    fill(pipe[1])
    batches = [make_batch("a-service", Trigger.REALTIME, [Entry(bytes([n]) * 16, n, n)]) for n in range(8)]

    async def deliver():
        sink = StdoutSink(pipe[1])
        deliveries = asyncio.gather(*(sink.deliver(batch) for batch in batches))
        while "nobody reads stdout" not in caplog.text:
            await asyncio.sleep(1)
        lines = await asyncio.to_thread(read_lines, pipe[0], len(batches))
        return await deliveries, lines

    deliveries, lines = run_virtually(deliver)
    assert [one.outcome for one in deliveries] == [Outcome.ACCEPTED] * len(batches)
    assert [line["batch"] for line in lines] == [batch.key for batch in batches]
    assert caplog.text.count("nobody reads stdout") == 1
    assert caplog.text.count("stdout is read again") == 1


def test_without_a_client_a_reader_that_is_gone_makes_the_batch_wait(pipe):
    os.close(pipe[0])
    delivery = asyncio.run(StdoutSink(pipe[1]).deliver(BATCH))
    assert delivery == Delivery(Outcome.UNKNOWN, "stdout can't be written (Broken pipe)")


def test_a_stdout_that_does_not_block_is_waited_for_all_the_same(pipe, monkeypatch):
    fill(pipe[1])
    os.set_blocking(pipe[1], False)
    waits = threading.Event()

    def wait(*arguments):
        waits.set()
        return select.select(*arguments)

    monkeypatch.setattr(stdout, "select", SimpleNamespace(select=wait))

    async def deliver():
        delivery = asyncio.ensure_future(StdoutSink(pipe[1]).deliver(BATCH))
        await until(waits.is_set)
        assert not delivery.done()
        (line,) = await asyncio.to_thread(read_lines, pipe[0], 1)
        return await delivery, line

    delivery, line = asyncio.run(deliver())
    assert delivery.outcome is Outcome.ACCEPTED
    assert line["batch"] == BATCH.key


def test_a_full_disk_is_unknown_and_says_why():
    if not os.path.exists("/dev/full"):
        lacking("needs /dev/full")
    with open("/dev/full", "wb", buffering=0) as full:
        delivery = asyncio.run(StdoutSink(full.fileno()).deliver(BATCH))
    assert delivery == Delivery(Outcome.UNKNOWN, "stdout can't be written (No space left on device)")


# Answers as they are in the wild


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"1;name=value\r\no\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    ],
    ids=["length", "no content", "chunks", "chunks and trailers"],
)
def test_the_connection_is_kept_after_an_answer_that_tells_its_end(answer):
    asked = []
    deliveries, took_s = timed(recording(asked, answer), 4)
    assert [one.outcome for one in deliveries] == [Outcome.ACCEPTED] * 4
    assert took_s == 0, "an answer whose end is known is not waited for"
    assert len({connection for connection, *_ in asked}) == 1


@pytest.mark.parametrize("rest", [b"-1\r\n", b"zz\r\n", b"2\r\nokno\r\n0\r\n\r\n", b"fffff\r\n", b"5\r\nab"])
def test_chunks_that_are_none_cost_the_connection_and_the_status_stands(rest):
    asked = []
    deliveries, _ = timed(recording(asked, CHUNKED + rest), 2)
    assert deliveries == [ACCEPTED] * 2
    assert len({connection for connection, *_ in asked}) == 2


@pytest.mark.parametrize(
    ("status", "rejected"),
    [
        ("400 Bad Request", True),
        ("422 No", True),
        ("408 Timeout", False),
        ("425 Too Early", False),
        ("429 Slow Down", False),
        ("500 Broken", False),
    ],
)
def test_what_a_client_says_of_its_refusal_is_told_by_its_first_line(status, rejected):
    body = b"\n  plays: expected a \x1b[31mnumber\x1b[0m \n at line 1\n"
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    delivery = outcome_of(answering(answer))
    assert delivery.why == f"it answered {status}: plays: expected a \\x1b[31mnumber\\x1b[0m"
    assert delivery.rejected is rejected


@pytest.mark.parametrize(
    ("statuses", "about"),
    [
        ([400, 415, 422, 423, 499], About.CONTENT),
        ([409], About.CONFLICT),
        ([413], About.WIDTH),
        ([301, 401, 403, 404, 405, 407, 410, 421, 426, 431], About.EVERYTHING),
        ([408, 425, 429, 500, 502, 503, 504], About.MOMENT),
    ],
    ids=lambda value: str(value) if isinstance(value, About) else "",
)
def test_what_a_refusal_is_about_is_told_apart(statuses, about):
    for status in statuses:
        answer = f"HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nwhy\n".encode()
        delivery = outcome_of(answering(answer))
        assert (delivery.outcome, delivery.about) == (Outcome.REFUSED, about), status
        assert delivery.answer == f"{status} No: why"


def test_a_413_that_names_a_pause_is_about_the_moment():
    answer = b"HTTP/1.1 413 Later\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    delivery = outcome_of(answering(answer))
    assert (delivery.about, delivery.retry_after_ms) == (About.MOMENT, 7000)


def test_a_long_first_line_is_cut():
    answer = b"HTTP/1.1 400 No\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    assert outcome_of(answering(answer)).why == "it answered 400 No: " + "x" * 200


def test_a_page_in_place_of_an_answer_is_accepted_as_any_2xx_and_noticed():
    page = b"<!doctype html>\n<title>Sign in</title>"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
    delivery = outcome_of(answering(answer % (len(page), page)))
    assert delivery.outcome is Outcome.ACCEPTED
    assert "it answered 200 OK with a page (text/html: '<!doctype html>'), expected the client's" in (
        delivery.notice
    )


def test_a_date_to_come_back_at_is_a_pause_until_then(monkeypatch):
    now_s = 1_795_502_904.25
    monkeypatch.setattr(answers, "time", SimpleNamespace(time=lambda: now_s))
    at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now_s + 100))
    pause_ms = outcome_of(answering(f"HTTP/1.1 429 No\r\nRetry-After: {at}\r\n\r\n".encode())).retry_after_ms
    assert pause_ms == 99_750


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_a_date_without_a_time_zone_is_in_utc(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    now_s = 1_795_502_904.25
    monkeypatch.setattr(answers, "time", SimpleNamespace(time=lambda: now_s))
    at = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(now_s + 100))
    pause_ms = outcome_of(answering(f"HTTP/1.1 503 No\r\nRetry-After: {at}\r\n\r\n".encode())).retry_after_ms
    monkeypatch.undo()
    time.tzset()
    assert pause_ms == 99_750


def test_a_date_to_come_back_at_is_by_the_clock_of_the_client():
    answer = (
        b"HTTP/1.1 503 No\r\nDate: Wed, 21 Oct 2065 07:28:00 GMT\r\n"
        b"Retry-After: Wed, 21 Oct 2065 07:28:30 GMT\r\n\r\n"
    )
    assert outcome_of(answering(answer)).retry_after_ms == 30_000


def test_an_attempt_says_when_it_is_made_and_for_how_long_the_client_held_it_up():
    asked = []

    async def attempt():
        sink = http_sink("http://127.0.0.1:8080/")
        for held_up_ms in (0, 50):
            await sink.deliver(BATCH, held_up_ms)
        sink.close()

    before_ms = time.time_ns() // 1_000_000
    run_virtually(attempt, recording(asked, OK, OK))
    held_ms = [re.findall(rb"X-Playtally-Held-Up-Ms: (\d+)", head) for _, head, _ in asked]
    assert held_ms == [[], [b"50"]]
    for _, head, _ in asked:
        (sent_ms,) = re.findall(rb"X-Playtally-Sent-At-Ms: (\d+)", head)
        assert before_ms <= int(sent_ms) <= time.time_ns() // 1_000_000


# Gzip


WIDE = make_batch("a-service", Trigger.REALTIME, [Entry(os.urandom(16), 7, 1) for _ in range(20)])


@pytest.mark.parametrize(
    ("said", "zipped"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
    ],
)
def test_a_client_that_says_that_it_takes_gzip_gets_it_signed_as_it_travels(said, zipped):
    asked = []
    answer = f"HTTP/1.1 200 OK\r\nAccept-Encoding: {said}\r\nContent-Length: 0\r\n\r\n".encode()
    deliveries_to(recording(asked, answer), 2, WIDE, secret=b"a secret")
    (_, _, first), (_, head, second) = asked
    assert json.loads(first) == json.loads(gzip.decompress(second) if zipped else second)
    assert (b"\r\nContent-Encoding: gzip\r\n" in head) == zipped
    assert hmac.new(b"a secret", second, hashlib.sha256).hexdigest().encode() in head
    if zipped:
        assert len(second) < len(first) * 0.6


def test_gzip_goes_to_nobody_who_did_not_ask_nor_when_it_is_off_nor_for_little():
    accepting = b"HTTP/1.1 200 OK\r\nAccept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    for answer, batch, on in ((OK, WIDE, True), (accepting, WIDE, False), (accepting, BATCH, True)):
        asked = []
        deliveries_to(recording(asked, answer), 2, batch, gzip=on)
        assert all(json.loads(body) for _, _, body in asked)


def test_a_client_that_takes_gzip_no_more_is_sent_the_batch_plain():
    asked = []
    accepting = b"HTTP/1.1 200 OK\r\nAccept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    no_more = b"HTTP/1.1 415 No\r\nAccept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    deliveries = deliveries_to(recording(asked, accepting, no_more, OK), 3, WIDE)
    assert [one.outcome for one in deliveries] == [Outcome.ACCEPTED, Outcome.REFUSED, Outcome.ACCEPTED]
    assert [b"Content-Encoding" in head for _, head, _ in asked] == [False, True, False]


# Certificates that are named


def test_a_certificate_whose_file_is_named_is_taken_and_no_other(certificate, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url, named = "https://127.0.0.1:{port}/", str(certificate.with_name("certificate.pem"))
    (refused,) = deliveries_to(answering(OK), 1, tls=context, url=url)
    assert refused.why.startswith("its certificate is not trusted (self-signed certificate); ")
    (taken,) = deliveries_to(answering(OK), 1, tls=context, url=url, ca_file=named)
    assert taken == ACCEPTED


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("no certificate", "holds no cert")])
def test_a_file_of_no_certificates_is_a_failure_at_the_start(content, why, tmp_path):
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(Failure, match=rf"publish\.ca_file = '.*ca\.pem' can't be used.*{why}.*in PEM"):
        http_sink("https://127.0.0.1/", ca_file=str(file))


# Proxies


CONNECTED = b"HTTP/1.1 200 Connected\r\n\r\n"


@contextlib.asynccontextmanager
async def proxy_to(port, asked, answer=CONNECTED):
    """A proxy that takes every name for this port of ours. It notes the first line and the head."""

    async def act(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        if not answer.startswith(b"HTTP/1.1 200"):
            writer.write(answer)
            return
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        if head.startswith(b"CONNECT"):
            writer.write(answer)
        else:
            behind_writer.write(head)
        await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
        writer.close()

    async with client_that(act) as own_port:
        yield own_port


def through_proxy(monkeypatch, url, variable="", tls=None, answer=CONNECTED, **settings):
    """Deliver twice to a client behind a proxy. The deliveries, and the heads that the proxy got."""
    for name in ("http", "https", "all", "no"):
        for case in (name, name.upper()):
            monkeypatch.delenv(f"{case}_{'proxy' if case.islower() else 'PROXY'}", raising=False)
    asked, at_client = [], []

    async def attempt():
        async with client_that(recording(at_client, OK), tls) as port, proxy_to(port, asked, answer) as proxy:
            at = f"http://me:a%20b@127.0.0.1:{proxy}"
            if variable:
                monkeypatch.setenv(variable, at)
            else:
                settings["proxy"] = at
            sink = http_sink(url.format(port=port), **settings)
            return await delivered(sink, BATCH, BATCH)

    return asyncio.run(attempt()), asked


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", ""])
def test_http_goes_through_a_proxy_by_its_whole_url(monkeypatch, variable):
    deliveries, asked = through_proxy(monkeypatch, "http://client.example:8000/plays?a=b", variable)
    assert deliveries == [ACCEPTED] * 2
    (head,) = asked  # the second request came on the same connection
    assert head.startswith(b"POST http://client.example:8000/plays?a=b HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic bWU6YSBi\r\n" in head
    assert b"\r\nHost: client.example:8000\r\n" in head


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", ""])
def test_https_goes_through_a_proxy_in_a_tunnel_that_the_client_ends(monkeypatch, certificate, variable):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    deliveries, asked = through_proxy(
        monkeypatch,
        "https://127.0.0.9:8443/plays" if variable == "" else "https://client.example:8443/",
        variable,
        context,
        ca_file=str(certificate.with_name("certificate.pem")),
    )
    # The certificate is for 127.0.0.1: the name that was asked for is checked, not where the proxy went.
    assert all("its certificate is not trusted" in one.why for one in deliveries)
    assert asked[0].startswith(b"CONNECT ") and b":8443 HTTP/1.1\r\n" in asked[0]
    assert b"Idempotency-Key" not in asked[0]
    assert b"\r\nProxy-Authorization: Basic bWU6YSBi\r\n" in asked[0]


def test_https_through_a_named_proxy_reaches_a_client_of_the_right_name(monkeypatch, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    deliveries, asked = through_proxy(
        monkeypatch,
        "https://127.0.0.1:8443/plays",
        "",
        context,
        ca_file=str(certificate.with_name("certificate.pem")),
    )
    assert deliveries == [ACCEPTED] * 2
    assert len(asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_client_on_this_machine_is_reached_without_the_environments_proxy(monkeypatch, host):
    deliveries, asked = through_proxy(monkeypatch, f"http://{host}:{{port}}/", "HTTP_PROXY")
    assert deliveries == [ACCEPTED] * 2
    assert asked == []


def test_no_proxy_is_heeded(monkeypatch):
    monkeypatch.setenv("no_proxy", "example.org,.invalid")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert http_sink("http://client.invalid/")._route._proxy is None
    assert http_sink("http://client.example/")._route._proxy is not None


def test_a_proxy_that_says_no_is_refused_and_named_without_its_password(monkeypatch):
    deliveries, _ = through_proxy(
        monkeypatch, "https://client.example/", "https_proxy", answer=b"HTTP/1.1 407 Who are you\r\n\r\n"
    )
    assert {one.outcome for one in deliveries} == {Outcome.REFUSED}
    assert "answered CONNECT with 407 Who are you" in deliveries[0].why
    assert "the proxy http://…@127.0.0.1:" in deliveries[0].why


def test_a_connection_to_a_proxy_that_says_no_is_closed():
    ended = []

    async def act(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        ended.append(await reader.read())

    async def attempt():
        async with client_that(act) as port:
            sink = http_sink("https://client.example/", proxy=f"http://127.0.0.1:{port}")
            await delivered(sink, BATCH)
            async with asyncio.timeout(PATIENCE_S):
                while not ended:
                    await asyncio.sleep(0.01)

    asyncio.run(attempt())
    assert ended == [b""]


def test_a_proxy_that_says_more_than_that_there_is_a_tunnel_makes_none(monkeypatch):
    deliveries, asked = through_proxy(
        monkeypatch, "https://client.example/", "https_proxy", answer=CONNECTED + b"hello"
    )
    assert {one.outcome for one in deliveries} == {Outcome.REFUSED}
    words = "answered CONNECT with 200 Connected and a body, expected none (a web server, no proxy?)"
    assert words in deliveries[0].why
    assert len(asked) == 2


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://127.0.0.1:1", "http://127.0.0.1:x"])
def test_a_proxy_of_another_kind_is_a_failure_at_the_start(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(Failure, match=r"proxy for http is '.*', expected http://host:port; publish\.proxy"):
        http_sink("http://client.example/")


# The end


def test_mirrored_lines_that_wait_for_a_slow_reader_are_waited_for_at_the_end(pipe, monkeypatch):
    monkeypatch.setattr(stdout, "STDOUT_PATIENCE_S", 0.01)
    fill(pipe[1])

    async def deliver():
        sink = MirroredSink(Accepting(), pipe[1])
        for _ in range(3):
            await sink.deliver(BATCH)
        reading = asyncio.create_task(asyncio.to_thread(read_lines, pipe[0], 3))
        await sink.flush(PATIENCE_S)
        assert sink._writer.lines_waiting == 0
        return await reading

    assert len(asyncio.run(deliver())) == 3


def test_a_reader_that_never_comes_is_not_waited_for_longer_than_that(pipe, caplog):
    fill(pipe[1])

    async def deliver():
        sink = MirroredSink(Accepting(), pipe[1])
        for _ in range(3):
            await sink.deliver(BATCH)
        started_s = asyncio.get_running_loop().time()
        await sink.flush(3)
        took_s = asyncio.get_running_loop().time() - started_s
        read_lines(pipe[0], 3)  # so that the thread ends
        return took_s

    assert run_virtually(deliver) == 3
    assert "nobody read stdout within 3.0 s: 3 lines are lost there" in caplog.text
