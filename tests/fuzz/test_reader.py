"""A whole service on nsqds that lie: every lie ends the connection, and the reader connects again.

tests/unit/core/consumer/test_frames.py tests the frame parser alone, with streams cut at every byte.
"""

import contextlib
import json
import random
import struct
import uuid

import pytest

from actors.cli.launch import wait_for
from tests.support.fuzzing import RUNS, memory_mb
from tests.support.hostile_nsqd import HostileNsqd, at_once, frame, message, once_subscribed
from tests.support.patience import PATIENCE_S
from tests.support.queues import RawClient, open_queue
from tests.support.services import ANY_PORTS, UNHURRIED, Service, wait_caught_up

SEED = 5
LIARS = 16  # nsqds at a time. Each tells two or three lies; the reader has to connect again for each.
TOLD_WITHIN_S = 10 * PATIENCE_S  # the reader waits longer after each lie
PLAY = json.dumps({"video_id": str(uuid.UUID(int=7))}).encode()
ID = b"0123456789abcdef"
GROWTH_MB_MAX = 150  # the largest frame is 16 MB, and is in memory twice while it is put together
HUGE = 10**400  # more than any float, and fewer digits than Python refuses to read


def identified(**answer: object) -> bytes:
    return json.dumps(answer).encode()


def endless(connection) -> None:
    """A frame of the largest possible size, which never ends."""
    connection.sendall(struct.pack(">ii", 2**31 - 1, 0))
    while True:
        connection.sendall(bytes(1 << 20))


LIES = {
    "nothing, for ever": at_once(b""),
    "a size below zero": at_once(struct.pack(">i", -5) + bytes(64)),
    "a size of nothing": at_once(bytes(64)),
    "a size beyond all limits": endless,
    "text": at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "an answer that is no JSON": at_once(frame(0, b"{")),
    "an answer that is no object": at_once(frame(0, b"[1]")),
    "an answer nested for ever": at_once(frame(0, b"[" * 100_000)),
    "RDY counts in words": once_subscribed(message(ID, PLAY), identified(max_rdy_count="many")),
    "RDY counts below zero": once_subscribed(message(ID, PLAY), identified(max_rdy_count=-3)),
    "RDY counts beyond all limits": once_subscribed(message(ID, PLAY), identified(max_rdy_count=HUGE)),
    "a timeout beyond all limits": once_subscribed(
        message(ID, PLAY) + struct.pack(">ii", -1, 0), identified(max_rdy_count=9, msg_timeout=HUGE)
    ),
    "a limit beyond all limits": once_subscribed(
        frame(1, b"E_BAD_MESSAGE PUB message too big 5 > " + b"9" * 5000), identified(max_rdy_count=9)
    ),
    "a message before SUB": at_once(message(ID, PLAY) + bytes(4)),
    "a play from before all time": once_subscribed(message(ID, PLAY, -(2**63)) + bytes(8)),
    "half a frame": once_subscribed(struct.pack(">ii", 1000, 2) + bytes(20), hangs_up=True),
    "a frame size below zero": once_subscribed(struct.pack(">ii", -1, 2) + bytes(64)),
    "a frame beyond all limits": once_subscribed(struct.pack(">ii", 2**31 - 1, 2)),
    "unknown frames": once_subscribed(frame(77, b"what?") + struct.pack(">ii", 3, 0)),
    "an id that is no number": once_subscribed(message(b"not hexadecimal!", PLAY)),
    "an id with blanks": once_subscribed(message(b"01234567  89abcd", PLAY)),
    "an id that is no text": once_subscribed(message(b"\xff" * 16, PLAY)),
    "a bad body with a bad id": once_subscribed(message(b"\xff" * 16, b"no play")),
    "answers that nobody asked for": once_subscribed(frame(0, b"OK") * 1000 + struct.pack(">ii", 3, 0)),
}


def random_lie(number: int):
    chance = random.Random(f"{SEED}/{number}")
    parts = [
        chance.randbytes(chance.randrange(40)),
        message(chance.randbytes(16), chance.randbytes(8), chance.randrange(-(2**63), 2**63)),
        message(ID, b"no play"),
        struct.pack(">ii", chance.randrange(-(2**31), 2**31), chance.randrange(-1, 4)),
    ]
    chance.shuffle(parts)
    end = struct.pack(">ii", -1, 0)  # a wrong size, so that the reader ends the connection
    how = chance.choice([at_once, once_subscribed])
    return how(b"".join(parts[: chance.randrange(4)]) + end)


@pytest.mark.timeout(1000 * RUNS)
def test_a_reader_outlives_every_lie_of_an_nsqd(tmp_path):
    scripts = [*LIES.values(), *(random_lie(number) for number in range(10 * RUNS))]
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(open_queue("embedded", tmp_path))
        liars = [
            stack.enter_context(HostileNsqd(queue.tcp_address, scripts[number::LIARS]))
            for number in range(LIARS)
        ]
        addresses = json.dumps([one.address for one in liars])
        settings = [*ANY_PORTS, *UNHURRIED, f"nsq.nsqd_tcp_addresses={addresses}", "publish.stdout=false"]
        with Service(tmp_path / "state", settings) as service:
            before_mb = memory_mb(consumer_of(service)["pid"])
            wait_for(
                lambda: all(one.played for one in liars),
                "every lie to be told",
                TOLD_WITHIN_S * RUNS,
                service.log,
            )
            with RawClient(queue.tcp_address) as client:
                client.publish("plays", *[PLAY] * 100)
            status = wait_caught_up(service, 100)
            assert status["plays"]["counted"] >= 100
            consumer = consumer_of(service)
            assert consumer["incarnation"] == 1, service.log()
            assert memory_mb(consumer["pid"]) - before_mb < GROWTH_MB_MAX
            assert "Traceback" not in service.log(), service.log()
            assert service.command("totals", "--verify").returncode == 0


def consumer_of(service: Service) -> dict:
    (consumer,) = [one for one in service.status()["children"] if one["id"] == "consumer"]
    return consumer
