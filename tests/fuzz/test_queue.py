"""The embedded queue with hostile clients: honest clients are served, in bounded memory."""

import contextlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.commands import CommandParser, Refusal
from tests.support.fuzzing import RUNS, memory_mb, spoilt, tries
from tests.support.queues import RawClient, multi, open_queue, sized

SEED = 11
MEGABYTE = bytes(1 << 20)
GROWTH_MB_MAX = 64
# If the queue answers this many other requests and still reads nothing from a client, it has stopped reading
# from that client.
SERVED_MEANWHILE = 50
NAME = st.sampled_from([b"plays", b"a" * 65, b"", b"#ephemeral", b"\xff", b"a#ephemeral"])
NUMBER = st.sampled_from([b"", b"0", b"1", b"-1", b"9" * 30, b"x", b"2500", b"2501"])
PUB = st.sampled_from([b"PUB", b"MPUB"])
ID = st.sampled_from([b"0123456789abcdef", b"\xff" * 16, b"0" * 15, b""])
BODY = st.one_of(
    st.binary(max_size=30).map(sized),
    st.lists(st.binary(max_size=9), max_size=4).map(lambda bodies: sized(multi(bodies))),
    st.integers(-(2**31), 2**31 - 1).map(lambda size: struct.pack(">i", size)),
    st.sampled_from([b"{}", b"null", b"[", b'{"heartbeat_interval": 1e99}', b'{"client_id": "\\ud800"}']).map(
        sized
    ),
)
COMMANDS = st.one_of(
    st.builds(lambda body: b"IDENTIFY\n" + body, BODY),
    st.builds(lambda body: b"AUTH\n" + body, BODY),
    st.builds(lambda a, b: b"SUB %s %s\n" % (a, b), NAME, NAME),
    st.builds(lambda verb, name, body: b"%s %s\n%s" % (verb, name, body), PUB, NAME, BODY),
    st.builds(lambda name, delay, body: b"DPUB %s %s\n%s" % (name, delay, body), NAME, NUMBER, BODY),
    st.builds(lambda count: b"RDY %s\n" % count, NUMBER),
    st.builds(lambda verb, id: verb + id + b"\n", st.sampled_from([b"FIN ", b"TOUCH "]), ID),
    st.builds(lambda id, delay: b"REQ %s %s\n" % (id, delay), ID, NUMBER),
    st.sampled_from([b"CLS\n", b"NOP\n", b"\n", b"\r\n", b"nop\n", b"NOP \r\n", b"  V2"]),
)
streams = st.lists(COMMANDS, max_size=6).map(b"".join)


@tries(200)
@given(spoilt(streams) | st.binary(max_size=200), st.data())
def test_any_bytes_are_commands_or_one_refusal_however_they_are_cut(stream, data):
    whole = CommandParser().feed(stream)
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser, found = CommandParser(), []
    for a, b in zip([0, *places], [*places, len(stream)], strict=True):
        found += parser.feed(stream[a:b])
        assert parser.held_bytes <= limits.LINE_SIZE_MAX + limits.BODY_SIZE_MAX
    assert flat(found) == flat(whole)
    refusals = [one for one in whole if isinstance(one, Refusal)]
    assert refusals in ([], whole[-1:])


def flat(commands):
    """The FINs one by one, and the other commands: a cut in the stream splits a group of FINs."""
    return [("FIN", id) for one in commands for id in getattr(one, "ids", [])], [
        one for one in commands if not hasattr(one, "ids")
    ]


def greeted(*parts):
    return [b"  V2", *parts]


ATTACKS = {
    "another protocol": [b"  V1"],
    "HTTP": [b"GET / HTTP/1.1\r\n\r\n"],
    "a line without end": greeted(*[b"a" * len(MEGABYTE)] * 64),
    "spaces without end": greeted(b"PUB ", *[b" " * len(MEGABYTE)] * 64),
    "a size beyond all limits": greeted(b"PUB t\n" + struct.pack(">i", 2**31 - 1), *[MEGABYTE] * 64),
    "a size below zero": greeted(b"PUB t\n" + struct.pack(">i", -1), *[MEGABYTE] * 64),
    "a count beyond its body": greeted(b"MPUB t\n" + sized(struct.pack(">i", 2**31 - 1))),
    "identify nested for ever": greeted(b"IDENTIFY\n" + sized(b'{"x":' * 100_000)),
    "identify an array": greeted(b"IDENTIFY\n" + sized(b"[" * 100_000)),
    "identify a great number": greeted(b"IDENTIFY\n" + sized(b'{"msg_timeout":' + b"9" * 100_000 + b"}")),
    "half a surrogate": greeted(b"IDENTIFY\n" + sized(b'{"client_id":"\\ud800"}') + b"SUB t c\n"),
    "names of bytes": greeted(b"SUB \xff\xfe \xff\n"),
    "FIN before SUB": greeted(*[b"FIN 0123456789abcdef\n" * 1000] * 3),
    "answers that nobody reads": greeted(b"SUB t c\n", *[b"TOUCH 0123456789abcdef\n" * 40_000] * 40),
    "FIN of messages never given": greeted(b"SUB t c\n", *[b"FIN 0123456789abcdef\n" * 40_000] * 3),
    "NOP without end": greeted(b"NOP\n" * 150_000),
}


@pytest.fixture
def queue(tmp_path):
    with open_queue("embedded", tmp_path) as queue:
        yield queue
        assert "Traceback" not in queue.log(), queue.log()


def say(queue, pieces) -> None:
    """Send all pieces, until the queue hangs up or reads no more while it serves others."""
    with contextlib.suppress(ConnectionError), RawClient(queue.tcp_address, magic=b"") as client:
        client.socket.setblocking(False)
        for piece in pieces:
            rest, served = memoryview(piece), 0
            while rest and served < SERVED_MEANWHILE:
                try:
                    rest, served = rest[client.socket.send(rest) :], 0
                except BlockingIOError:
                    served += queue.http("GET", "/ping")[0] == 200
            if rest:
                return


def assert_serves(queue, what: str) -> None:
    assert queue.http("GET", "/ping")[0] == 200, what
    queue.stats()
    with RawClient(queue.tcp_address) as client:
        client.publish("honest", b"a play")
        client.subscribe("honest", "channel", 1)
        message = client.message()
        assert message.body == b"a play", what
        client.finish(message.id)


def test_whatever_is_said_an_honest_client_is_served(queue):
    assert_serves(queue, "at first")
    before_mb = memory_mb(queue.pid)
    for what, pieces in ATTACKS.items():
        say(queue, pieces)
        assert_serves(queue, what)
        grown_mb = memory_mb(queue.pid) - before_mb
        assert grown_mb < GROWTH_MB_MAX, f"{what}: {grown_mb:.0f} MB more"


def test_any_commands_leave_it_well(queue):
    chance = random.Random(SEED)
    said = [
        b"PUB t\n" + sized(b"x"),
        b"MPUB t\n" + sized(multi([b"x", b"y"])),
        b"SUB t c\n",
        b"NOP\n",
        b"FIN 0123456789abcdef\n",
        b"REQ 0123456789abcdef 1\n",
        b"CLS\n",
        b"RDY 5\n",
        b"DPUB t 10\n" + sized(b"z"),
        b"SUB t#ephemeral c\n",
        b"IDENTIFY\n" + sized(b'{"feature_negotiation":true,"heartbeat_interval":1000}'),
    ]
    for _ in range(60 * RUNS):
        stream = bytearray(b"".join([b"  V2", *chance.choices(said, k=chance.randrange(8))]))
        for _ in range(chance.randrange(3)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        say(queue, [bytes(stream[: chance.randrange(len(stream) + 1)])])
    assert_serves(queue, f"seed {SEED}")


def test_half_commands_held_open_keep_nobody_from_being_served(queue):
    assert_serves(queue, "at first")
    before_mb = memory_mb(queue.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(RawClient(queue.tcp_address))
            client.send(b"PUB t\n" + struct.pack(">i", limits.MESSAGE_SIZE_MAX) + bytes(1000))
        assert_serves(queue, "with a hundred half commands")
    assert memory_mb(queue.pid) - before_mb < GROWTH_MB_MAX
