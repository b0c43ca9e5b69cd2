"""A connection to an nsqd that ends while it is opened, or whose nsqd does not do what it should."""

import asyncio
import gc
from types import SimpleNamespace

import pytest

from actors.config import NsqSection
from actors.core.consumer.bodies import Bodies
from actors.core.consumer.frames import FrameParser
from actors.sources.connection import ANSWER_TICKS_MAX, READ_BYTES_MAX, BatchConnection
from actors.sources.limits import Limits
from actors.sources.offers import Offers
from actors.sources.security import Security
from tests.support.hostile_nsqd import IDENTIFIED, frame
from tests.support.patience import PATIENCE_S


def test_an_opening_that_fails_when_nobody_waits_for_it_any_more_is_no_bug():
    """asyncio would report it, and an actor ends at what asyncio reports."""
    reported = []

    async def scene():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            conn = BatchConnection("127.0.0.1", port, Offers(5), Limits(), Security(NsqSection()))
            conn.connect()
            await conn.ended
            del conn
            gc.collect()

    asyncio.run(scene())
    gc.collect()
    assert not reported


def hold(scene):
    """Run `scene(conn)` with a subscribed connection to an nsqd that answers IDENTIFY and no more."""

    writers = []

    async def serve(reader, writer):
        writer.write(frame(0, IDENTIFIED))
        writers.append(writer)

    async def whole():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            conn = BatchConnection("127.0.0.1", server.sockets[0].getsockname()[1], Offers(5), Limits())
            await conn.open()
            conn.subscribe("plays", "playtally", FrameParser(Bodies()), SimpleNamespace(closed=print), print)
            try:
                await scene(conn)
            finally:
                conn.close()
                for writer in writers:
                    writer.transport.abort()
                await asyncio.sleep(0)

    asyncio.run(whole())


def live(conn, seconds):
    """Let seconds pass in which heartbeats come."""
    for _ in range(seconds):
        conn.has_read = True
        conn.tick()


def test_a_subscription_that_is_not_answered_ends_the_connection_although_heartbeats_come():
    async def scene(conn):
        live(conn, ANSWER_TICKS_MAX - 1)
        assert not conn.stream.closed()
        live(conn, 1)
        assert conn.stream.closed() and conn.gave_no_answer
        assert conn.reason == "no answer to a SUB or an MPUB for 20 s"

    hold(scene)


def test_letters_that_are_not_acknowledged_end_the_connection_and_each_answer_gives_time():
    async def scene(conn):
        conn.answered(0, b"OK")
        live(conn, 10 * ANSWER_TICKS_MAX)
        for _ in range(3):
            conn.publish("plays.dead", [b"no play"], print)
        for _ in range(2):
            live(conn, ANSWER_TICKS_MAX - 1)
            conn.answered(0, b"OK")
        live(conn, ANSWER_TICKS_MAX - 1)
        assert not conn.stream.closed()
        live(conn, 1)
        assert conn.stream.closed() and conn.gave_no_answer

    hold(scene)


def test_rdy_goes_before_all_fins_that_wait_and_no_older_one_after_it():
    """Otherwise nsqd would have room for more than it is to have, and would not flush a lone message."""
    first, second, third = b"1" * 16, b"2" * 16, b"3" * 16
    heard = bytearray()

    async def serve(reader, writer):
        writer.write(frame(0, IDENTIFIED))
        while data := await reader.read(1 << 16):
            heard.extend(data)
        writer.close()

    async def scene():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            conn = BatchConnection("127.0.0.1", server.sockets[0].getsockname()[1], Offers(5), Limits())
            await conn.open()
            conn.subscribe("plays", "playtally", FrameParser(Bodies()), SimpleNamespace(closed=print), print)
            conn.set_ready_count(100)
            conn.finish(first, 99)  # waits for more FINs
            conn.finish(second, 98)
            conn.set_ready_count(7)
            conn.finish(third, 6)
            conn.set_ready_count(6)
            await asyncio.sleep(0.05)  # nothing is left to be written late
            conn.close()
            await conn.ended
            async with asyncio.timeout(PATIENCE_S):
                while not heard.endswith(b"FIN " + third + b"\n"):
                    await asyncio.sleep(0.01)

    asyncio.run(scene())
    commands = bytes(heard[heard.index(b"RDY") :])
    expected = b"RDY 100\nRDY 7\nFIN %b\nFIN %b\nRDY 6\nFIN %b\n"
    assert commands == expected % (first, second, third)


def test_rdy_and_the_fins_of_one_answer_are_one_write():
    async def scene(conn):
        write, written = conn.stream.write_to_fd, []
        conn.stream.write_to_fd = lambda data: written.append(bytes(data)) or write(data)
        conn.finish(b"1" * 16, 3)
        conn.finish(b"2" * 16 + b"3" * 16, 1)
        assert written == [
            b"RDY 3\nFIN 1111111111111111\n",
            b"RDY 1\nFIN 2222222222222222\nFIN 3333333333333333\n",
        ]

    hold(scene)


def test_what_comes_with_the_answer_to_identify_is_read():
    async def serve(reader, writer):
        writer.write(frame(0, IDENTIFIED) + frame(0, b"OK"))
        await reader.read()
        writer.close()

    async def scene():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            conn = BatchConnection("127.0.0.1", server.sockets[0].getsockname()[1], Offers(5), Limits())
            await conn.open()
            owner, agreed = SimpleNamespace(closed=print), asyncio.Event()
            conn.subscribe("plays", "playtally", FrameParser(Bodies()), owner, agreed.set)
            async with asyncio.timeout(PATIENCE_S):
                await agreed.wait()
            conn.close()
            await conn.ended

    asyncio.run(scene())


def test_what_a_decoder_holds_is_read_although_nothing_more_comes():
    heard = []

    async def scene(conn):
        frames = memoryview(frame(0, b"OK") * (3 * READ_BYTES_MAX // 10))
        given = 0

        def read(buffer):
            nonlocal given
            part = frames[given : given + len(buffer)]
            buffer[: len(part)] = part
            given += len(part)
            return len(part) or None

        conn.answered = lambda kind, data: heard.append(data)
        conn.stream.read_from_fd = read
        conn.stream._handle_read()
        async with asyncio.timeout(PATIENCE_S):
            while len(heard) < len(frames) // 10:
                await asyncio.sleep(0)

    hold(scene)


def test_an_nsqd_that_does_not_read_is_written_to_only_so_far():
    async def scene(conn):
        for _ in range(200):
            conn.publish("plays.dead", [bytes(1 << 20)], print)
        assert conn.stream.closed()
        assert conn.reason == "it does not read: more than 64 MiB wait for it"

    hold(scene)


@pytest.mark.parametrize(
    "answer", [b"null", b"[1]", b'"a"', b"5", b"", b"{", b"\xff", b"[" * 10_000], ids=lambda one: str(one[:9])
)
def test_an_answer_to_identify_that_is_no_object_is_said_to_be_that(answer):
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        writer.write(frame(0, answer))

    async def scene():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(OSError, match="answer to IDENTIFY is not a JSON object"):
                await BatchConnection("127.0.0.1", port, Offers(5), Limits()).open()
            writers[0].transport.abort()
            await asyncio.sleep(0)

    asyncio.run(scene())
