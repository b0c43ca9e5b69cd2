"""The embedded nsqd in a loop of the test's own: what cannot be seen or done from outside."""

import asyncio
import contextlib
import json
import logging
import pathlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import pytest

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.server import EmbeddedNsqd
from actors.embedded_nsqd.stats import stats_of
from actors.system.exits import AddressFailure
from tests.support.patience import PATIENCE_S
from tests.support.queues import Message, multi, sized


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def frame(self) -> tuple[int, bytes]:
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        data = await self.reader.readexactly(size)
        return int.from_bytes(data[:4], "big"), data[4:]

    def send(self, data: bytes) -> None:
        self.writer.write(data)


@contextlib.asynccontextmanager
async def running(path: pathlib.Path) -> AsyncIterator[EmbeddedNsqd]:
    nsqd = await EmbeddedNsqd.start(path, "127.0.0.1:0", "127.0.0.1:0")
    try:
        yield nsqd
    finally:
        await nsqd.stop()


@contextlib.asynccontextmanager
async def connected(nsqd: EmbeddedNsqd) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", nsqd.tcp_port))
    client.send(b"  V2")
    try:
        yield client
    finally:
        client.writer.close()


async def http(nsqd: EmbeddedNsqd, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", nsqd.http_port)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())


def fill_disk(nsqd: EmbeddedNsqd, is_full: bool) -> None:
    connection = nsqd._journal._file.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages if is_full else 1_000_000}")


def test_full_disk_fails_the_publishes_and_nothing_else(tmp_path):
    async def test() -> None:
        async with running(tmp_path) as nsqd, connected(nsqd) as reader:
            reader.send(b"SUB t c\nRDY 9\n")
            assert await reader.frame() == (0, b"OK")
            fill_disk(nsqd, True)
            large = [b"x" * 100_000] * 2
            async with connected(nsqd) as one, connected(nsqd) as many:
                one.send(b"PUB t\n" + sized(large[0]))
                many.send(b"MPUB t\n" + sized(multi(large)))
                for client, code in ((one, "E_PUB_FAILED PUB"), (many, "E_MPUB_FAILED MPUB")):
                    kind, text = await client.frame()
                    assert kind == 1
                    assert text.decode().startswith(f"{code} failed ")
                    assert text.endswith(b"database or disk is full")
                    assert await client.reader.read() == b"", "a failed publish is fatal"
            status, body = await http(nsqd, "POST", "/pub?topic=t", large[0])
            assert (status, json.loads(body)) == (503, {"message": "EXITING"})
            status, body = await http(nsqd, "GET", "/ping")
            assert status == 500
            assert body.startswith(b"NOK - ")
            fill_disk(nsqd, False)
            assert await http(nsqd, "POST", "/pub?topic=t", b"after") == (200, b"OK")
            assert await http(nsqd, "GET", "/ping") == (200, b"OK")
            kind, data = await reader.frame()
            assert (kind, Message(data).body) == (2, b"after"), "only what was OK'd is delivered"

    run(test)


def test_a_full_disk_is_one_line_however_many_publishes_it_refuses(tmp_path, caplog):
    caplog.set_level("INFO")

    async def test() -> None:
        async with running(tmp_path) as nsqd:
            clock = SimpleNamespace(ms=nsqd.now_ms())
            nsqd.now_ms = lambda: clock.ms
            assert await http(nsqd, "POST", "/pub?topic=t", b"before") == (200, b"OK")
            fill_disk(nsqd, True)
            for _ in range(5):
                assert (await http(nsqd, "POST", "/pub?topic=t", b"x" * 100_000))[0] == 503
            clock.ms += 60_000
            assert (await http(nsqd, "POST", "/pub?topic=t", b"x" * 100_000))[0] == 503
            fill_disk(nsqd, False)
            assert await http(nsqd, "POST", "/pub?topic=t", b"after") == (200, b"OK")

    run(test)
    assert sum("database or disk is full" in one.getMessage() for one in caplog.records) == 2
    assert (
        sum("the journal can be written again, after 60.0 s" in one.getMessage() for one in caplog.records)
        == 1
    )


def test_finish_that_a_full_disk_kept_from_the_journal_is_written_later(tmp_path):
    async def test() -> None:
        async with running(tmp_path) as nsqd, connected(nsqd) as client:
            client.send(b"SUB t c\nRDY 9\nMPUB t\n" + sized(multi([b"1", b"2"])))
            frames = [await client.frame() for _ in range(4)]
            ids = [Message(data).id for kind, data in frames if kind == 2]
            # A lock fails a write of any size, as a full disk would.
            nsqd._journal._file.connection.execute("PRAGMA busy_timeout = 0")
            other = sqlite3.connect(nsqd._journal.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            client.send(b"FIN %s\n" % ids[0])
            await until(lambda: nsqd.health != "OK")
            assert nsqd.queue.has_changes()
            other.close()
            await until(lambda: not nsqd.queue.has_changes())
            assert nsqd.health == "OK"
        async with running(tmp_path) as nsqd:
            assert stats_of(nsqd)["topics"][0]["channels"][0]["depth"] == 1

    run(test)


def test_publishes_of_one_turn_of_the_loop_share_a_commit(tmp_path):
    async def test() -> None:
        async with running(tmp_path) as nsqd, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(nsqd)) for _ in range(20)]
            await until(lambda: len(nsqd.connections) == 20)
            commits = []
            nsqd._journal._file.connection.set_trace_callback(
                lambda statement: commits.append(statement) if statement == "COMMIT" else None
            )
            for client in clients:
                client.send(b"PUB t\n" + sized(b"x") + b"PUB t\n" + sized(b"y"))
            for client in clients:
                assert [await client.frame() for _ in range(2)] == [(0, b"OK")] * 2
            nsqd._journal._file.connection.set_trace_callback(None)
            assert len(commits) <= 10, "40 publishes; one commit makes the topic"
            assert stats_of(nsqd)["topics"][0]["depth"] == 40

    run(test)


def test_stop_writes_down_what_was_finished_and_start_finds_it(tmp_path):
    async def test() -> None:
        async with running(tmp_path) as nsqd, connected(nsqd) as client:
            client.send(b"SUB t c\nRDY 9\nMPUB t\n" + sized(multi([b"1", b"2", b"3"])))
            frames = [await client.frame() for _ in range(5)]
            messages = [Message(data) for kind, data in frames if kind == 2]
            client.send(b"FIN %s\n" % messages[0].id)
            channel = nsqd.queue.topics["t"].channels["c"]
            await until(lambda: channel.in_flight_count == 2)
            await nsqd.stop()
            await nsqd.stop()  # once more does nothing
            assert await client.reader.read() == b""
        async with running(tmp_path) as nsqd:
            assert stats_of(nsqd)["topics"][0]["channels"][0]["depth"] == 2

    run(test)


def test_address_in_use_leaves_nothing_open(tmp_path):
    async def test() -> None:
        async with running(tmp_path / "first") as first:
            in_use = f"127.0.0.1:{first.http_port}"
            with pytest.raises(AddressFailure, match=f"http_address = '{in_use}'.*already in use"):
                await EmbeddedNsqd.start(tmp_path / "second", "127.0.0.1:0", in_use)
            second = await EmbeddedNsqd.start(tmp_path / "second", "127.0.0.1:0", "127.0.0.1:0")
            await second.stop()

    run(test)


def test_answers_to_the_commands_of_one_read_leave_in_one_write(tmp_path):
    """asyncio's own work for a write grows with the writes that wait."""

    async def test() -> None:
        async with running(tmp_path) as nsqd, connected(nsqd) as client:
            client.send(b"SUB t c\n")
            assert await client.frame() == (0, b"OK")
            (connection,) = nsqd.connections
            transport, writes = connection._transport, []
            write = transport.write
            transport.write = lambda data: (writes.append(data), write(data))
            client.send(b"TOUCH 0123456789abcdef\n" * 500 + b"NOP\n" + b"CLS\n")
            kinds = [(await client.frame())[0] for _ in range(501)]
            assert kinds == [1] * 500 + [0]
            assert len(writes) <= 3, "it may come in more than one read"

    run(test)


def test_client_that_never_reads_its_answers_is_no_longer_read_from(tmp_path):
    async def test() -> None:
        async with running(tmp_path) as nsqd, connected(nsqd) as client:
            client.writer.transport.pause_reading()
            touches = 150_000
            client.send(b"SUB t c\n" + b"TOUCH 0123456789abcdef\n" * touches)
            await until(lambda: bool(nsqd.connections))
            (connection,) = nsqd.connections
            await until(lambda: connection._answers.is_reading_paused)
            waiting = connection._transport.get_write_buffer_size()
            assert waiting < limits.ANSWER_BUFFER_MAX + 2_000_000
            client.writer.transport.resume_reading()
            assert await client.frame() == (0, b"OK")
            kind, complaint = await client.frame()
            assert kind == 1
            frame = (4 + len(complaint)).to_bytes(4, "big") + kind.to_bytes(4, "big") + complaint
            rest = await client.reader.readexactly(len(frame) * (touches - 1))
            assert rest == frame * (touches - 1)
            assert not connection._answers.is_reading_paused

    run(test)


def test_client_that_does_not_read_its_messages_for_a_heartbeat_is_dropped(tmp_path):
    async def test() -> None:
        async with running(tmp_path) as nsqd, connected(nsqd) as client, connected(nsqd) as writer:
            now_ms = [nsqd.now_ms()]
            nsqd.now_ms = lambda: now_ms[0]
            client.writer.transport.pause_reading()
            settings = json.dumps({"heartbeat_interval": 1000}).encode()
            client.send(b"IDENTIFY\n" + sized(settings) + b"SUB t c\nRDY 2500\n")
            for _ in range(6):
                writer.send(b"MPUB t\n" + sized(multi([b"x" * 1_000_000] * 4)))
                assert await writer.frame() == (0, b"OK")
            channel = nsqd.queue.topics["t"].channels["c"]
            assert 0 < channel.in_flight_count < 20
            (connection,) = (one for one in nsqd.connections if one.subscription is not None)
            for passed_ms in (1000, 1):
                assert channel.subscribers
                now_ms[0] += passed_ms
                client.send(b"NOP\n")  # it answers heartbeats, so that is not why
                await until(lambda: connection._pulse.read_ms == now_ms[0])
                connection.scan(now_ms[0])
            await until(lambda: not channel.subscribers)
            assert channel.depth == 24, "what it had goes back"
            del nsqd.now_ms

    run(test)


def test_importing_it_is_cheap_and_prints_nothing():
    code = (
        "import sys, actors.embedded_nsqd.journal, actors.embedded_nsqd.limits\n"
        "assert not [name for name in sys.modules if name.startswith('tornado')]"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).parents[3],
    )
    assert (ended.stdout, ended.stderr) == ("", "")
    assert logging.getLogger("actors.embedded_nsqd").handlers == []


def test_a_line_about_a_connection_has_this_nsqd_as_a_field(tmp_path, caplog):
    caplog.set_level("INFO")

    async def scene():
        nsqd = await EmbeddedNsqd.start(tmp_path, "127.0.0.1:0", "127.0.0.1:0")
        _, writer = await asyncio.open_connection("127.0.0.1", nsqd.tcp_port)
        writer.write(b"  V2")
        while not any("connected" in one.getMessage() for one in caplog.records):
            await asyncio.sleep(0.01)
        writer.close()
        while not any("disconnected" in one.getMessage() for one in caplog.records):
            await asyncio.sleep(0.01)
        address = f"127.0.0.1:{nsqd.tcp_port}"
        await nsqd.stop()
        return address

    address = asyncio.run(scene())
    lines = [one for one in caplog.records if one.getMessage().startswith("client ")]
    assert len(lines) == 2 and [one.nsqd for one in lines] == [address] * 2
