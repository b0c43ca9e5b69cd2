"""The bytes around an upgrade, however nsqd's answers are cut."""

import asyncio
import contextlib
import json

import pytest

from actors.config import NsqSection
from actors.core.consumer.bodies import Bodies
from actors.core.consumer.frames import FrameParser
from actors.sources.codecs import Deflate, Snappy
from actors.sources.connection import BatchConnection
from actors.sources.handshake import _read_all
from actors.sources.limits import Limits
from actors.sources.offers import Offers
from actors.sources.security import Security
from tests.support.hostile_nsqd import frame, message

KINDS = {"snappy": Snappy, "deflate": Deflate}
BODY = b'{"video_id": "0f8fad5b-d9cb-469f-a165-70867728950e"}'
HEARTBEAT = frame(0, b"_heartbeat_")
PATIENCE_S = 60


class Owner:
    """Counts plays."""

    def __init__(self, wanted):
        self.plays, self.wanted = 0, wanted
        self.all_came = asyncio.get_running_loop().create_future()

    def received(self, conn, parsed):
        self.plays += len(parsed.plays)
        if self.plays >= self.wanted and not self.all_came.done():
            self.all_came.set_result(None)

    def refused(self, conn, error):
        pass

    def closed(self, conn):
        if not self.all_came.done():
            self.all_came.set_exception(OSError(conn.reason))


async def until_heard(reader, codec, words):
    """Read, and decode if there is a codec, until these words came."""
    heard = b""
    while words not in heard:
        piece = await reader.read(1 << 16)
        assert piece, f"closed before {words!r}"
        if codec is None:
            heard += piece
            continue
        codec.feed(memoryview(piece))
        while taken := codec.take(1 << 16):
            heard += taken
    return heard


@pytest.mark.parametrize("size", [1, 3, 1 << 20], ids=["byte by byte", "in threes", "at once"])
@pytest.mark.parametrize("compression", KINDS)
def test_answers_around_an_upgrade_may_come_in_any_pieces(tmp_path, compression, size):
    messages = 50
    heard = []

    async def serve(reader, writer):
        async def say(content):
            for begin in range(0, len(content), size):
                writer.write(content[begin : begin + size])
                await writer.drain()
                await asyncio.sleep(0)

        with contextlib.suppress(OSError):
            _ = await until_heard(reader, None, b"}")
            ours, theirs = KINDS[compression](), KINDS[compression]()
            agreed = {"max_rdy_count": 2500, compression: True, "auth_required": True}
            # a heartbeat may come between the upgrade and its OK
            upgraded = ours.encode(HEARTBEAT) + ours.encode(frame(0, b"OK"))
            await say(frame(0, json.dumps(agreed).encode()) + upgraded)
            heard.append(await until_heard(reader, theirs, b"the secret"))
            await say(ours.encode(HEARTBEAT + frame(0, b"{}") + HEARTBEAT))
            heard.append(await until_heard(reader, theirs, b"SUB plays playtally\n"))
            plays = b"".join(message(b"%016x" % number, BODY) for number in range(messages))
            await say(ours.encode(frame(0, b"OK") + plays))
            _ = await reader.read()
        writer.close()

    async def scene(secret_file):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        security = Security(NsqSection(compression=compression, auth_secret_file=secret_file))
        conn = BatchConnection("127.0.0.1", port, Offers(5), Limits(), security)
        async with asyncio.timeout(PATIENCE_S):
            await conn.open()
            assert conn.compressed
            owner = Owner(messages)
            conn.subscribe("plays", "playtally", FrameParser(Bodies()), owner, lambda: None)
            await owner.all_came
            conn.close()
            await conn.ended
        server.close()
        await server.wait_closed()
        assert owner.plays == messages

    (tmp_path / "secret").write_text("the secret")
    asyncio.run(scene(str(tmp_path / "secret")))
    assert b"AUTH\n" in heard[0]
    assert b"NOP\n" in heard[0]


@pytest.mark.parametrize(
    ("reads", "count"),
    [
        ([b"abc", b"de", None], 5),
        ([b"abc", b""], 3),
        ([b"abc", OSError("a record that is damaged")], 3),
        ([b"abc", b"defgh"], 8),
        ([None], None),
        ([b""], 0),
    ],
    ids=["all that is there", "until the end", "until an error", "until it is full", "nothing", "the end"],
)
@pytest.mark.parametrize("kind", [bytearray, lambda size: memoryview(bytearray(size))])
def test_a_read_over_tls_takes_every_record_that_is_there(kind, reads, count):
    left = list(reads)

    def read_one(buf):
        record = left.pop(0)
        if isinstance(record, OSError):
            raise record
        if not record:
            return None if record is None else 0
        buf[: len(record)] = record
        return len(record)

    buf = kind(8)
    assert _read_all(read_one, buf) == count
    assert bytes(buf)[: count or 0] == b"abcdefgh"[: count or 0]
    assert left == []
