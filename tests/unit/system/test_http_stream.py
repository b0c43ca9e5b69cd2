"""What a connection writes at once, and what it keeps for a reader that is slow."""

import asyncio
import socket

import pytest
from tornado.iostream import IOStream

from actors.system.http_stream import Stream
from tests.support.patience import PATIENCE_S

PIECES = [bytes([number]) * 100_000 for number in range(40)]


async def answered(reads):
    """What the other end of a connection reads after `PIECES` were answered."""
    ours, theirs = socket.socketpair()
    stream = IOStream(ours)
    Stream.take(stream, "error", 1000, lambda: None)
    for piece in PIECES:
        stream.answer(piece)
    assert stream.writing()  # the system does not take as much at once
    if not reads:
        theirs.close()
        await asyncio.wait_for(asyncio.to_thread(lambda: None), PATIENCE_S)
        stream.answer(b"more")
        stream.close()
        stream.answer(b"even more")
        return b""
    reader, writer = await asyncio.open_connection(sock=theirs)
    came = await asyncio.wait_for(reader.readexactly(sum(map(len, PIECES))), PATIENCE_S)
    stream.answer(b"the last")
    came += await asyncio.wait_for(reader.readexactly(8), PATIENCE_S)
    stream.close()
    writer.close()
    return came


@pytest.mark.parametrize("reads", [True, False])
def test_answers_come_whole_and_in_order_however_slow_the_reader_is(reads):
    expected = b"".join([*PIECES, b"the last"]) if reads else b""
    assert asyncio.run(answered(reads)) == expected


async def taken_after(answer):
    """What is taken where a second request begins, after the first had an answer that nobody reads."""
    ours, theirs = socket.socketpair()
    stream, taken = IOStream(ours), []
    Stream.take(stream, "error", 1000, lambda: None, lambda _, came: not taken.append(came))
    theirs.send(b"\n")
    await stream.read_until_regex(b"\n", 1000)
    stream.answer(answer)
    waits = asyncio.ensure_future(stream.read_until_regex(b"\n", 1000))
    theirs.send(b"second")
    async with asyncio.timeout(PATIENCE_S):
        while not (taken or stream._read_buffer_size):
            await asyncio.sleep(0)
    waits.cancel()
    stream.close()
    theirs.close()
    return taken


@pytest.mark.parametrize(("answer", "taken"), [(b"short", [b"second"]), (b"x" * 10_000_000, [])])
def test_nothing_is_taken_from_one_that_does_not_read_its_answers(answer, taken):
    assert asyncio.run(taken_after(answer)) == taken
