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
