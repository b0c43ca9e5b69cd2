"""The operator's page's stream over a real connection, with a picture that a test draws."""

import asyncio
import contextlib
import json
import time
from types import SimpleNamespace

import pytest
from tornado.testing import bind_unused_port

from actors.service import admin, live
from actors.service.live import EVENT_STREAMS_MAX, Live
from tests.support.patience import PATIENCE_S


class Drawn:
    """A picture. `looks`: how often it was asked for."""

    def __init__(self):
        self.picture = {"plays": 1, "uptime_s": 0.0}
        self.looks = 0

    async def __call__(self):
        self.looks += 1
        return {**self.picture, "uptime_s": float(self.looks)}


class Reader:
    """A browser's end of a stream."""

    def __init__(self, reader, writer):
        self._reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port, more=""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
        return cls(reader, writer)

    async def until(self, end):
        async with asyncio.timeout(PATIENCE_S):
            return (await self._reader.readuntil(end)).decode()

    async def event(self):
        """The id and the JSON of the next event."""
        text = await self.until(b"\n\n")
        while "event: figures" not in text:
            text = await self.until(b"\n\n")
        lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        return lines["id"], json.loads(lines["data"])


@contextlib.asynccontextmanager
async def served(drawn):
    """A server with a stream of these pictures: its port, and its `Live`."""
    streams = Live(drawn)
    socket, port = bind_unused_port()
    server = admin.server(SimpleNamespace(live=streams, secret="of the run file"))
    server.add_socket(socket)
    try:
        yield port, streams
    finally:
        server.stop()
        await server.close_all_connections()


async def eventually(is_so):
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.01)


def test_the_first_event_is_complete_and_a_change_follows_as_an_event_that_is_complete_too():
    async def scene():
        drawn = Drawn()
        async with served(drawn) as (port, _):
            page = await Reader.open(port)
            assert "Content-Type: text/event-stream" in await page.until(b"\r\n\r\n")
            number, first = await page.event()
            assert (first["plays"], first["missed_ms"]) == (1, None)
            assert first["now_ms"] == int(number)
            drawn.picture["plays"] = 2
            _, second = await page.event()
            assert second["plays"] == 2
            assert set(second) == {"plays", "uptime_s", "now_ms"}
            page.writer.close()

    asyncio.run(scene())


def test_while_nothing_changes_there_is_an_event_only_now_and_then(monkeypatch):
    monkeypatch.setattr(live, "INTERVAL_S", 0.05)
    monkeypatch.setattr(live, "PULSE_INTERVAL_S", 1.0)

    async def scene():
        drawn = Drawn()
        async with served(drawn) as (port, _):
            page = await Reader.open(port)
            await page.event()
            looks = drawn.looks
            _, pulse = await page.event()
            assert drawn.looks - looks > 5
            assert pulse["uptime_s"] > looks  # not an old one
            page.writer.close()

    asyncio.run(scene())


def test_a_reader_that_comes_back_is_told_for_how_long_it_was_away():
    async def scene():
        async with served(Drawn()) as (port, _):
            then_ms = time.time_ns() // 1_000_000 - 60_000
            page = await Reader.open(port, f"Last-Event-ID: {then_ms}\r\n")
            _, first = await page.event()
            assert first["missed_ms"] == first["now_ms"] - then_ms
            page.writer.close()
            for forged in ("x", "9" * 400, "-1e9", ""):
                page = await Reader.open(port, f"Last-Event-ID: {forged}\r\n")
                assert (await page.event())[1]["missed_ms"] is None
                page.writer.close()

    asyncio.run(scene())


def test_one_stream_too_many_is_refused_with_the_limit_and_has_a_place_once_another_ends():
    async def scene():
        async with served(Drawn()) as (port, streams):
            pages = [await Reader.open(port) for _ in range(EVENT_STREAMS_MAX)]
            for page in pages:
                await page.event()
            refused = await Reader.open(port)
            assert "HTTP/1.1 503" in await refused.until(b"\r\n\r\n")
            assert f"{EVENT_STREAMS_MAX} streams of events are open" in await refused.until(b"}")
            pages[0].writer.close()
            await eventually(lambda: not streams.is_full())
            page = await Reader.open(port)
            assert (await page.event())[1]["plays"] == 1
            for one in [*pages[1:], refused, page]:
                one.writer.close()

    asyncio.run(scene())


def test_nobody_looks_while_no_stream_is_open():
    async def scene():
        drawn = Drawn()
        async with served(drawn) as (port, streams):
            page = await Reader.open(port)
            await page.event()
            page.writer.close()
            await eventually(lambda: streams._looking is None)
            looks = drawn.looks
            await asyncio.sleep(2.5)
            assert drawn.looks == looks

    asyncio.run(scene())


def test_a_reader_that_reads_nothing_is_dropped_and_holds_up_no_other(monkeypatch):
    monkeypatch.setattr(live, "INTERVAL_S", 0.02)
    monkeypatch.setattr(live, "SLOW_TIMEOUT_S", 1.0)

    async def scene():
        drawn = Drawn()
        drawn.picture["text"] = "x" * 1_000_000
        async with served(drawn) as (port, streams):
            slow = await Reader.open(port)
            slow.writer.transport.pause_reading()
            quick = await Reader.open(port)
            quick._reader._limit = 4_000_000
            for number in range(60):
                drawn.picture["plays"] = number
                await quick.event()
            await eventually(lambda: len(streams._wakers) == 1)
            await quick.event()
            slow.writer.close()
            quick.writer.close()

    asyncio.run(scene())


def test_the_head_of_the_stream_is_answered_at_once():
    async def scene():
        async with served(Drawn()) as (port, streams):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HEAD /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            assert b"200 OK" in head
            assert not streams._wakers
            writer.close()

    asyncio.run(scene())


@pytest.mark.parametrize("query", ["?span=week", "?span=", "?span=%3Cb%3E"])
def test_a_span_that_is_not_kept_is_refused_with_those_that_are(query):
    async def scene():
        async with served(Drawn()) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /history{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE_S)
            assert b"HTTP/1.1 400" in answer
            assert b"expected hour or day" in answer
            writer.close()

    asyncio.run(scene())
