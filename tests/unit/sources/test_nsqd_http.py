"""What an nsqd says over HTTP, and what counts as no answer. Every question ends in bounded time."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
import time

import pytest

from actors.sources import nsqd_http
from actors.sources.nsqd_http import QueueStats
from actors.system.logs import quiet_libraries
from tests.support.queues import QUEUES, RawClient, open_queue

CHANNEL = {
    "channel_name": "playtally",
    "depth": 7,
    "in_flight_count": 2,
    "deferred_count": 1,
    "client_count": 3,
    "message_count": 99,
    "paused": False,
}
TOPIC = {"topic_name": "plays", "depth": 5, "paused": False, "channels": [CHANNEL]}


@pytest.fixture(params=QUEUES)
def queue(request, tmp_path):
    with open_queue(request.param, tmp_path) as queue:
        yield queue


def ask(address):
    return asyncio.run(nsqd_http.stats(address, "plays", "playtally"))


def test_a_queue_says_what_waits_and_what_is_in_flight(queue):
    nothing = ask(queue.http_address)
    assert abs(nothing.started_s - time.time()) < 3600
    assert nothing == QueueStats(started_s=nothing.started_s)
    queue.post("/topic/create?topic=plays")
    assert ask(queue.http_address) == nothing
    queue.post("/channel/create?topic=plays&channel=playtally")
    queue.post("/mpub?topic=plays", b"a\nb\nc")
    with RawClient(queue.tcp_address) as client:
        client.subscribe("plays", "playtally", ready=1)
        client.message()
        found = ask(f"http://{queue.http_address}/")
        assert (found.depth, found.in_flight, found.clients, found.messages) == (2, 1, 1, 3)
        assert (found.unfinished, found.started_s) == (3, nothing.started_s)
        queue.post("/channel/pause?topic=plays&channel=playtally")
        found = ask(queue.http_address)
        assert found.paused and found.waiting == 0


def test_a_real_nsqd_tells_its_node_id_and_its_host(tmp_path):
    with open_queue("nsqd", tmp_path, "--node-id=417") as queue:
        told = asyncio.run(nsqd_http.told_by(queue.http_address))
        assert told == nsqd_http.Told(417, socket.gethostname())
    assert asyncio.run(nsqd_http.told_by(queue.http_address)) == nsqd_http.Told()


def test_a_paused_topic_keeps_what_waits_on_it(queue):
    queue.post("/topic/create?topic=plays")
    queue.post("/channel/create?topic=plays&channel=playtally")
    queue.post("/topic/pause?topic=plays")
    queue.post("/mpub?topic=plays", b"a\nb\nc")
    found = ask(queue.http_address)
    assert (found.topic_paused, found.topic_depth, found.waiting) == (True, 3, 0)


def test_a_queue_says_its_tcp_port(queue):
    assert asyncio.run(nsqd_http.tcp_port(queue.http_address)) == queue.tcp_port
    assert asyncio.run(nsqd_http.tcp_port(queue.tcp_address)) is None


def http(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def answer_of(**stats):
    return http(json.dumps(stats).encode())


def asked(answer):
    """What `stats` gives for this answer; None as the answer: the peer says nothing."""
    return asked_by(answer, lambda address: nsqd_http.stats(address, "plays", "playtally"))


def asked_by(answer, ask):
    """What `ask` gives, a coroutine that gets the address of one that answers so."""

    async def serve(reader, writer):
        # The loop may end first, and cancel this.
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            await reader.read()

    async def scene():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await ask(f"127.0.0.1:{port}")

    return asyncio.run(scene())


def test_an_answer_is_read_by_the_names_of_topic_and_channel():
    others = [TOPIC | {"topic_name": "other", "depth": 99}, TOPIC]
    expected = QueueStats(
        topic_depth=5,
        depth=7,
        in_flight=2,
        deferred=1,
        clients=3,
        messages=99,
        started_s=17,
        has_topic=True,
        has_channel=True,
    )
    assert asked(answer_of(topics=others, start_time=17)) == expected
    assert (expected.waiting, expected.unfinished) == (12, 10)
    assert asked(answer_of(topics=[TOPIC | {"channels": None}])) == QueueStats(topic_depth=5, has_topic=True)


@pytest.mark.parametrize("topics", [[], None, [TOPIC | {"topic_name": "other"}]])
def test_without_the_topic_nothing_waits(topics):
    assert asked(answer_of(topics=topics)) == QueueStats()


LONG_HEAD = b"HTTP/1.1 200 OK\r\nX: " + bytes(200_000) + b"\r\n\r\n"
TOO_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1100000\r\n\r\n"
ODD_HTTP = {
    "a head of 200 KB": LONG_HEAD,
    "a body of 1.1 MB": TOO_LONG,
    "a body that has no length, of 1.1 MB": b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_100_000),
    "a length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    "a chunk beyond all limits": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nabc",
    "no end of 1xx": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "control characters": b"HTTP/1.1 200 \x1b[31mOK\r\nX: \x00\x01\r\n\r\n",
    "no HTTP": b"\0\0\0\5abc\r\n\r\n",
}


@pytest.mark.parametrize("answer", ODD_HTTP.values(), ids=ODD_HTTP.keys())
def test_odd_http_is_a_failure_in_words_and_no_line_without_a_name(answer, caplog):
    quiet_libraries()
    caplog.set_level(logging.INFO)
    with pytest.raises(OSError, match=r"[a-z]") as failed:
        asked_by(answer, lambda address: nsqd_http.fetch(f"http://{address}/stats", 20, 1 << 20))
    assert not caplog.records
    assert not re.search(r"delimiter|re\.compile|Error", str(failed.value)), failed.value


def test_a_user_in_an_address_is_a_failure_and_no_bug():
    with pytest.raises(OSError, match=r"[a-z]"):
        asyncio.run(nsqd_http.fetch("http://user@127.0.0.1:1/stats", 20, 1 << 20))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        LONG_HEAD,
        TOO_LONG,
        b"",
        b"not HTTP\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        http(b""),
        http(b"<html>"),
        http(b"[]"),
        http(b"\xff"),
        http(b"[" * 100_000),
        http(b'{"topics": []}' + b" " * nsqd_http.BODY_BYTES_MAX),
        answer_of(topics=5),
        answer_of(topics=[TOPIC | {"depth": -1}]),
        answer_of(topics=[TOPIC | {"depth": 10**400}]),
        answer_of(topics=[TOPIC | {"channels": [CHANNEL | {"in_flight_count": 1 << 63}]}]),
        answer_of(topics=[], start_time=1 << 64),
        answer_of(topics=[TOPIC | {"channels": [CHANNEL | {"paused": None}]}]),
    ],
)
def test_what_no_nsqd_answers_is_no_answer(answer):
    assert asked(answer) is None


INFO = {"tcp_port": 4150, "hostname": "nsqd-0"}


@pytest.mark.parametrize(
    ("info", "node_id", "expected"),
    [
        (INFO, 0, (0, "nsqd-0")),
        (INFO, 1023, (1023, "nsqd-0")),
        (INFO, 1024, (None, "nsqd-0")),
        (INFO, -1, (None, "nsqd-0")),
        (INFO, 1 << 70, (None, "nsqd-0")),
        (INFO, "5", (None, "nsqd-0")),
        (INFO, True, (None, "nsqd-0")),
        (INFO, {"message": "INVALID_OPTION"}, (None, "nsqd-0")),
        (INFO | {"hostname": "x" * 254}, 5, (5, "")),
        ({"tcp_port": 4150}, 5, (5, "")),
        (INFO | {"hostname": None}, 5, (None, "")),
        ("no nsqd", 5, (None, "")),
    ],
)
def test_a_node_id_that_no_nsqd_has_is_none(info, node_id, expected):
    async def serve(reader, writer):
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked_for = await reader.readuntil(b"\r\n\r\n")
            writer.write(http(json.dumps(info if b"/info" in asked_for else node_id).encode()))
            await writer.drain()

    async def scene():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            return await nsqd_http.told_by(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert asyncio.run(scene()) == nsqd_http.Told(*expected)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "a-name-that-is-not.invalid:4151", "a..b:1"])
def test_an_address_without_an_nsqd_gives_no_answer(address):
    assert ask(address) is None


def test_no_proxy_is_asked(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert ask("127.0.0.1:1") is None
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_name_server_that_says_nothing_holds_up_nothing_else(monkeypatch):
    """The lookups of two hanging names and of an address go on side by side; the loop turns meanwhile."""
    answers = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *more):
        if host.endswith(".example"):
            assert answers.wait(60)
        return real("127.0.0.1" if host.endswith(".example") else host, *more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def scene():
        hung = [asyncio.ensure_future(nsqd_http.stats(f"{name}.example:1", "plays", "c")) for name in "abc"]
        assert await nsqd_http.stats("127.0.0.1:1", "plays", "c") is None
        assert not any(one.done() for one in hung)
        assert await asyncio.gather(*hung) == [None, None, None]

    try:
        asyncio.run(scene())
    finally:
        answers.set()
