"""What strangers can make the embedded nsqd hold, do and log."""

import asyncio
import contextlib
import json
import logging
import time

import pytest

from actors.embedded_nsqd import connection, limits
from tests.support.queues import sized
from tests.unit.embedded_nsqd.test_server import connected, http, run, running, until

GONE = (asyncio.IncompleteReadError, ConnectionError)


async def upload(nsqd, path, declared, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", nsqd.http_port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {declared}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


def test_uploads_that_do_not_end_hold_few_bytes_together_and_the_oldest_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADS_BYTES_MAX", 1_000_000)

    async def test():
        async with running(tmp_path) as nsqd:
            body = b"x" * 400_000
            uploads = [await upload(nsqd, "/mpub?topic=t", len(body) + 1, body) for _ in range(3)]
            answer = await uploads[0][0].read()
            assert answer.startswith(b"HTTP/1.1 503 ") and b"TOO_MANY_UPLOADS" in answer
            for reader, writer in uploads[1:]:
                writer.write(b"x")
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\nOK")
            assert await http(nsqd, "POST", "/pub?topic=t", b"1") == (200, b"OK")
            for _, writer in uploads:
                writer.close()

    run(test)


def test_an_upload_that_does_not_end_is_refused_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "BODY_TIMEOUT_S", 0.3)

    async def test():
        async with running(tmp_path) as nsqd:
            reader, writer = await upload(nsqd, "/pub?topic=t", 3, b"ab")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 ") and b'"message"' in answer
            writer.close()

    run(test)


def test_a_body_of_too_many_lines_is_refused_like_a_binary_one(tmp_path):
    async def test():
        async with running(tmp_path) as nsqd:
            lines = b"a\n" * (limits.MPUB_MESSAGES_MAX + 1)
            assert await http(nsqd, "POST", "/mpub?topic=t", lines) == (413, b'{"message":"BAD_BODY"}')
            assert (await http(nsqd, "POST", "/mpub?topic=t", lines[2:]))[0] == 200

    run(test)


def test_one_turn_of_the_loop_publishes_one_large_body(tmp_path):
    async def test():
        async with running(tmp_path) as nsqd:
            turn, commits = 0, []

            def count():
                nonlocal turn
                turn += 1
                asyncio.get_running_loop().call_soon(count)

            stage = nsqd.stage
            nsqd.stage = lambda *arguments: (commits.append(turn), stage(*arguments))
            count()
            body = b"x" * 99 + b"\n"
            size = limits.TURN_BODY_BYTES // len(body) + 1
            almost = (body * size)[:-1]
            uploads = [await upload(nsqd, "/mpub?topic=t", len(almost) + 1, almost) for _ in range(6)]
            await asyncio.sleep(0.2)  # all of it is read
            for _, writer in uploads:
                writer.write(b"\n")
            for reader, writer in uploads:
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\nOK")
                writer.close()
            assert len(set(commits)) == 6
            stats = json.loads((await http(nsqd, "GET", "/stats?format=json"))[1])
            assert stats["topics"][0]["message_count"] == 6 * size

    run(test)


def test_a_client_is_not_dropped_because_this_nsqd_stood_still(tmp_path):
    async def test():
        async with running(tmp_path) as nsqd, connected(nsqd) as client:
            body = b'{"heartbeat_interval": 1000}'
            client.send(b"IDENTIFY\n" + len(body).to_bytes(4, "big") + body + b"SUB t c\n")
            assert [(await client.frame())[1] for _ in range(2)] == [b"OK", b"OK"]
            asyncio.get_running_loop().call_soon(time.sleep, 3)
            assert (await client.frame())[1] == b"_heartbeat_"
            client.send(b"NOP\n")
            assert (await client.frame())[1] == b"_heartbeat_"

    run(test)


def test_strangers_do_not_fill_the_log_and_one_who_speaks_http_is_told_apart(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def test():
        async with running(tmp_path) as nsqd:
            for said in (b"GET /ping HTTP/1.1\r\n\r\n", b"  V2XYZ\n") * 30:
                reader, writer = await asyncio.open_connection("127.0.0.1", nsqd.tcp_port)
                writer.write(said)
                await reader.read()
                writer.close()
            said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
            assert 1 <= len([one for one in said if "bad magic b'GET '" in one]) <= 5
            assert f"HTTP is at port {nsqd.http_port}" in said[0]
            assert len(said) <= 15
            assert len([one for one in caplog.messages if "connected" in one]) <= 2 * 60

    run(test)


def test_commands_that_do_not_end_hold_few_bytes_together_and_the_oldest_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADS_BYTES_MAX", 1_000_000)
    body = b"x" * 400_000
    unfinished = b"PUB t\n" + sized(body)[:-1]

    async def test():
        async with running(tmp_path) as nsqd, connected(nsqd) as first, connected(nsqd) as second:
            first.send(unfinished)
            await until(lambda: nsqd.uploads.held_bytes == len(unfinished))
            second.send(b"NOP\n" + unfinished)
            await until(lambda: nsqd.uploads.held_bytes == 2 * len(unfinished))
            _, upload_writer = await upload(nsqd, "/pub?topic=t", len(body) + 1, body)
            kind, text = await first.frame()
            assert kind == 1
            assert text == (
                b"E_INVALID the unfinished commands of all clients hold more than 1000000 bytes, "
                b"and this one is the oldest"
            )
            with pytest.raises(GONE):
                await first.frame()
            second.send(b"x")
            assert await second.frame() == (0, b"OK")
            upload_writer.close()
            await until(lambda: nsqd.uploads.held_bytes == 0)

    run(test)


def test_what_is_held_of_a_client_that_goes_is_forgotten(tmp_path):
    async def test():
        async with running(tmp_path) as nsqd, connected(nsqd) as client:
            client.send(b"PUB t\n" + sized(b"x" * 1000)[:-1])
            await until(lambda: nsqd.uploads.held_bytes > 1000)
            client.writer.transport.abort()
            await until(lambda: nsqd.uploads.held_bytes == 0)

    run(test)


@pytest.mark.parametrize("begun", [b"  V2PUB t\n", b"  V"], ids=["a command", "the greeting"])
def test_a_client_that_dribbles_is_dropped_after_a_while(tmp_path, monkeypatch, caplog, begun):
    monkeypatch.setattr(limits, "BODY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connection, "GREETING_TIMEOUT_MS", 300)

    async def test():
        async with running(tmp_path) as nsqd:
            reader, writer = await asyncio.open_connection("127.0.0.1", nsqd.tcp_port)
            writer.write(begun)
            if begun != b"  V":
                writer.write((1000).to_bytes(4, "big"))
                for _ in range(20):
                    writer.write(b"x")  # a sign of life
                    await asyncio.sleep(0.05)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: not nsqd.connections)

    run(test)
    assert "did not finish a command within 0.3 s" in caplog.text or "it sent no b'  V2'" in caplog.text


def test_a_full_listener_keeps_subscribers_and_those_who_spoke_and_lets_the_silent_go(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "connections_max", lambda: 4)

    async def test():
        async with running(tmp_path) as nsqd, connected(nsqd) as subscriber, connected(nsqd) as publisher:
            subscriber.send(b"SUB t c\nRDY 10\n")
            assert await subscriber.frame() == (0, b"OK")
            publisher.send(b"PUB t\n" + sized(b"1"))
            assert await publisher.frame() == (0, b"OK")
            crowd = [await asyncio.open_connection("127.0.0.1", nsqd.tcp_port) for _ in range(30)]
            for reader, _ in crowd[:-2]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            assert len(nsqd.connections) == 4
            publisher.send(b"PUB t\n" + sized(b"2"))
            assert await publisher.frame() == (0, b"OK")
            async with connected(nsqd) as newcomer:
                newcomer.send(b"PUB t\n" + sized(b"3"))
                assert await newcomer.frame() == (0, b"OK")
            assert [(await subscriber.frame())[1][-1:] for _ in range(3)] == [b"1", b"2", b"3"]
            for _, writer in crowd:
                writer.close()

    run(test)


def test_a_listener_full_of_subscribers_refuses_whoever_comes_next(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(connection, "connections_max", lambda: 1)

    async def test():
        async with running(tmp_path) as nsqd, connected(nsqd) as subscriber:
            subscriber.send(b"SUB t c\n")
            assert await subscriber.frame() == (0, b"OK")
            async with connected(nsqd) as another:
                with pytest.raises(GONE):
                    await another.frame()
            subscriber.send(b"RDY 1\nPUB t\n" + sized(b"1"))
            assert await subscriber.frame() == (0, b"OK")
            assert (await subscriber.frame())[1][-1:] == b"1"

    run(test)
    assert (
        "1 connections are open, the most that are taken, 1 of them from 127.0.0.1; this one is closed"
        in (caplog.text)
    )
