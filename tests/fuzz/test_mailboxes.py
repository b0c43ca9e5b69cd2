"""A real actor that is sent garbage ends with code 1, counts nothing of it, and is started again."""

import asyncio
import contextlib
import random
import socket
import struct

import pytest

from actors.config import load
from actors.core.messages import ConsumerInbox, Counted, Pending, Plays, Published
from actors.store import TotalsReader
from actors.supervision import forkserver, processes
from actors.supervision.mailbox import MESSAGE_BYTES_MAX, Decoder, encode
from actors.supervision.protocol import Linked
from actors.supervision.restarts import ChildSpec
from actors.supervision.states import State
from tests.supervision.test_tree import Tree
from tests.support.fuzzing import RUNS, memory_mb
from tests.support.patience import PATIENCE_S

SEED = 7
GROWTH_MB_MAX = 100  # a message may have MESSAGE_BYTES_MAX, and both the stream and the decoder hold it
ACTORS = {
    "counter-0": ("actors.counter:Counter", "consumer"),
    "dispatcher": ("actors.dispatcher:Dispatcher", "counter-0"),
}
GOOD = encode(Plays(1, "a/plays", bytes(8), b"v" * 16, struct.pack("q", 5)))
GARBAGE = {
    "no msgpack": b"\xc1",
    "a number": b"\x00",
    "a text": b"\xa5hello",
    "an unknown message": b"\x92\xa7unknown\x01",
    "a message of another mailbox": encode(Counted([1])),
    "a field too few": b"\x92\xa5plays\x01",
    "bytes where a number belongs": b"\x96\xa5plays\xc4\x01x\xa1a\xc4\x00\xc4\x00\xc4\x00",
    "an array without end": b"\xdd\xff\xff\xff\xff",
    "a map without end": b"\xdf\xff\xff\xff\xff",
    "bytes without end": b"\xc6\xff\xff\xff\xff" + bytes(2 * MESSAGE_BYTES_MAX),
    "a field without end": b"\x96\xa5plays\x01\xa1a\xc6\x7f\xff\xff\xff" + bytes(2 * MESSAGE_BYTES_MAX),
    "nested for ever": b"\x91" * 100_000,
    "arrays in arrays": b"\xdc\xff\xff" * 3000,
    "columns of different lengths": encode(Plays(1, "a/plays", bytes(8), bytes(32), bytes(8))),
    "half an id": encode(Plays(1, "a/plays", bytes(7), b"v" * 16, bytes(8))),
    "half a video": encode(Published(["batch"], b"v" * 15, bytes(8))),
    "half an ordinal": encode(Pending(b"v" * 16, bytes(8), bytes(7))),
}


@pytest.fixture(autouse=True, scope="module")
def _prepared():
    forkserver.prepare(["actors.preload"])


def link_to(tree: Tree, name: str, peer: str) -> socket.socket:
    """Link the actor `name` to this test as if the test were `peer`. Returns the test's end of the link."""
    ours, theirs = processes.pipe()
    tree.worker(name).process.send(Linked(peer, 1), theirs)
    with socket.socket(fileno=theirs):
        pass  # closes our copy: the message has carried this end to the actor
    end = socket.socket(fileno=ours)
    end.setblocking(False)
    return end


def any_garbage(number: int) -> bytes:
    chance = random.Random(f"{SEED}/{number}")
    content = bytearray(GOOD * 3)
    for _ in range(chance.randrange(1, 4)):
        content[chance.randrange(len(GOOD))] = chance.randrange(256)
    return bytes(content) + b"\xc1" * 2 * MESSAGE_BYTES_MAX  # longer than any announced length


@pytest.mark.timeout(600 + RUNS)
@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_that_is_sent_garbage_ends_and_is_started_again(tmp_path, name):
    start, peer = ACTORS[name]

    async def scenario():
        spec = ChildSpec(name, start, shutdown_ms=3000)
        tree = Tree(
            tmp_path, spec, options=load(None, [f"supervisor.state_dir={tmp_path}"]), max_restarts=1000
        )
        await tree.root.start()
        randoms = {f"seed {SEED}/{number}": any_garbage(number) for number in range(5 * RUNS)}
        for what, garbage in (GARBAGE | randoms).items():
            process = tree.worker(name).process
            before_mb, grown_mb = memory_mb(process.pid), 0.0
            with link_to(tree, name, peer) as link, contextlib.suppress(ConnectionError):
                sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(link, garbage))
                while process.alive and not sending.done():
                    await asyncio.sleep(0.005)
                    with contextlib.suppress(OSError):
                        grown_mb = max(grown_mb, memory_mb(process.pid) - before_mb)
                await tree.until(lambda p=process: not p.alive, f"an end after {what}")
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            assert str(tree.worker(name).last_exit) == "exited(1)", what
            assert grown_mb < GROWTH_MB_MAX, f"{what}: {grown_mb:.0f} MB more"
            await tree.until(
                lambda p=process: (
                    tree.worker(name).process is not p and tree.worker(name).state is State.RUNNING
                ),
                f"a new {name} after {what}",
            )
        if name == "counter-0":
            await assert_counts(tree, name, peer)
            assert [row[1] for row in TotalsReader(str(tmp_path)).read()] == [1]
        await tree.root.stop()

    asyncio.run(scenario())


async def assert_counts(tree: Tree, name: str, peer: str) -> None:
    with link_to(tree, name, peer) as link:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(link, GOOD)
        content = await asyncio.wait_for(loop.sock_recv(link, 1000), PATIENCE_S)
        assert Decoder(ConsumerInbox).feed(content) == [Counted([1])]
