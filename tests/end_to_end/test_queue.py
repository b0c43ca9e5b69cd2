"""The embedded nsqd and the real one pass the same tests. The embedded one has more promises to test.

These tests check that nothing comes too early. `tests/unit/embedded_nsqd/test_time.py` checks in virtual time
that nothing comes too late.
"""

import asyncio
import contextlib
import http.client
import itertools
import json
import pathlib
import re
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import nsq
import pytest

from actors.embedded_nsqd.journal_file import FILE_NAME
from actors.system.exits import EXIT_STORE
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import (
    ERROR,
    MESSAGE,
    QUEUES,
    Message,
    QueueProcess,
    RawClient,
    free_ports,
    multi,
    open_queue,
    sized,
)

# nsqd looks at a new channel's timeouts up to 5 s later. So the tests that wait for a timeout come last on
# the shared process, and their channels are made at its start.
SCANNED = ("times_out", "delayed")
# Two processes' stamps, with nsqd's rounding to ms, differ by less.
EARLY_S = 0.05
HOUR_MS = 3_600_000
UNKNOWN_ID = b"0123456789abcdef"


@pytest.fixture(scope="module", params=QUEUES)
def queue(request, tmp_path_factory) -> Iterator[QueueProcess]:
    """One process for all tests that neither kill nor restart it. Each test has its own topic."""
    with open_queue(request.param, tmp_path_factory.mktemp("queue")) as queue:
        for topic in SCANNED:
            queue.post(f"/topic/create?topic={topic}")
            queue.post(f"/channel/create?topic={topic}&channel=c")
        yield queue


@pytest.fixture(params=QUEUES)
def own_queue(request, tmp_path) -> Iterator[QueueProcess]:
    with open_queue(request.param, tmp_path) as queue:
        yield queue


@pytest.fixture
def embedded(tmp_path) -> Iterator[QueueProcess]:
    with open_queue("embedded", tmp_path) as queue:
        yield queue


@pytest.fixture(scope="module")
def standing(tmp_path_factory) -> Iterator[QueueProcess]:
    """One embedded queue for all tests that leave it unchanged."""
    with open_queue("embedded", tmp_path_factory.mktemp("standing")) as queue:
        yield queue


_numbers = itertools.count()


@pytest.fixture
def topic(request) -> str:
    """Each test gets its own topic."""
    return f"{request.node.originalname[:40]}_{next(_numbers)}"


@contextlib.contextmanager
def client_of(queue: QueueProcess, **settings: object) -> Iterator[RawClient]:
    with RawClient(queue.tcp_address) as client:
        if settings:
            client.identify(**settings)
        yield client


@contextlib.contextmanager
def subscriber_of(
    queue: QueueProcess, topic: str, channel: str = "c", ready: int = 1, **settings: object
) -> Iterator[RawClient]:
    # nsqd may hold a message back this long if more than one may be in flight.
    settings.setdefault("output_buffer_timeout", 25)
    with client_of(queue, **settings) as client:
        client.subscribe(topic, channel, ready)
        yield client


def publish(queue: QueueProcess, topic: str, *bodies: bytes) -> None:
    with client_of(queue) as client:
        client.publish(topic, *bodies)


def identify(**settings: object) -> bytes:
    return b"IDENTIFY\n" + sized(json.dumps(settings).encode())


SUB = b"SUB errors c\n"
FATAL = {
    b"FOO bar\n": "E_INVALID invalid command FOO",
    b"\n": "E_INVALID invalid command ",
    b"pub t\n": "E_INVALID invalid command pub",
    b"PUB\n": "E_INVALID PUB insufficient number of parameters",
    b"PUB bad!name\n": 'E_BAD_TOPIC PUB topic name "bad!name" is not valid',
    b'PUB "\xff\\\n': 'E_BAD_TOPIC PUB topic name "\\"\\xff\\\\" is not valid',
    b"PUB \xc3\xa9\x01\n": 'E_BAD_TOPIC PUB topic name "\u00e9\\x01" is not valid',
    b"PUB " + b"x" * 65 + b"\n": f'E_BAD_TOPIC PUB topic name "{"x" * 65}" is not valid',
    b"PUB t\n" + struct.pack(">i", 0): "E_BAD_MESSAGE PUB invalid message body size 0",
    b"PUB t\n" + struct.pack(">i", -1): "E_BAD_MESSAGE PUB invalid message body size -1",
    b"PUB t\n" + struct.pack(">i", 1048577): "E_BAD_MESSAGE PUB message too big 1048577 > 1048576",
    b"MPUB\n": "E_INVALID MPUB insufficient number of parameters",
    b"MPUB b@d\n": 'E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "b@d" is not valid',
    b"MPUB t\n" + struct.pack(">i", 0): "E_BAD_BODY MPUB invalid body size 0",
    b"MPUB t\n" + struct.pack(">i", 5242881): "E_BAD_BODY MPUB body too big 5242881 > 5242880",
    b"MPUB t\n" + sized(struct.pack(">i", 0)): "E_BAD_BODY MPUB invalid message count 0",
    b"MPUB t\n" + sized(struct.pack(">i", -5)): "E_BAD_BODY MPUB invalid message count -5",
    b"MPUB t\n" + sized(struct.pack(">i", 1048576)): "E_BAD_BODY MPUB invalid message count 1048576",
    b"MPUB t\n" + sized(struct.pack(">ii", 1, 0)): "E_BAD_MESSAGE MPUB invalid message(0) body size 0",
    b"MPUB t\n"
    + sized(struct.pack(">ii", 1, 1048577)): "E_BAD_MESSAGE MPUB message too big 1048577 > 1048576",
    b"MPUB t\n"
    + sized(struct.pack(">iisi", 2, 1, b"a", -7)): "E_BAD_MESSAGE MPUB invalid message(1) body size -7",
    b"DPUB t\n": "E_INVALID DPUB insufficient number of parameters",
    b"DPUB b@d 5\n": 'E_BAD_TOPIC DPUB topic name "b@d" is not valid',
    b"DPUB t 5s\n": "E_INVALID DPUB could not parse timeout 5s",
    b"DPUB t 3600001\n": "E_INVALID DPUB timeout 3600001 out of range 0-3600000",
    b"DPUB t 5\n" + struct.pack(">i", 0): "E_BAD_MESSAGE DPUB invalid message body size 0",
    b"DPUB t 5\n" + struct.pack(">i", 9999999): "E_BAD_MESSAGE DPUB message too big 9999999 > 1048576",
    b"SUB t\n": "E_INVALID SUB insufficient number of parameters",
    b"SUB b@d c\n": 'E_BAD_TOPIC SUB topic name "b@d" is not valid',
    b"SUB t c#ephem\n": 'E_BAD_CHANNEL SUB channel name "c#ephem" is not valid',
    b"RDY 1\n": "E_INVALID cannot RDY in current state",
    b"FIN short\n": "E_INVALID cannot FIN in current state",
    b"FIN " + UNKNOWN_ID + b"\n": "E_INVALID cannot FIN in current state",
    b"REQ " + UNKNOWN_ID + b" 0\n": "E_INVALID cannot REQ in current state",
    b"TOUCH " + UNKNOWN_ID + b"\n": "E_INVALID cannot TOUCH in current state",
    b"CLS\n": "E_INVALID cannot CLS in current state",
    b"AUTH x\n": "E_INVALID AUTH invalid number of parameters",
    b"AUTH\n" + struct.pack(">i", 0): "E_BAD_BODY AUTH invalid body size 0",
    b"AUTH\n" + sized(b"secret"): "E_AUTH_DISABLED AUTH disabled",
    b"IDENTIFY\n" + struct.pack(">i", -2): "E_BAD_BODY IDENTIFY invalid body size -2",
    b"IDENTIFY\n" + struct.pack(">i", 5242881): "E_BAD_BODY IDENTIFY body too big 5242881 > 5242880",
    b"IDENTIFY\n" + sized(b"{"): "E_BAD_BODY IDENTIFY failed to decode JSON body",
    b"IDENTIFY\n" + sized(b"[]"): "E_BAD_BODY IDENTIFY failed to decode JSON body",
    identify(msg_timeout="60"): "E_BAD_BODY IDENTIFY failed to decode JSON body",
    identify(heartbeat_interval=999): "E_BAD_BODY IDENTIFY heartbeat interval (999) is invalid",
    identify(heartbeat_interval=60001): "E_BAD_BODY IDENTIFY heartbeat interval (60001) is invalid",
    identify(heartbeat_interval=-2): "E_BAD_BODY IDENTIFY heartbeat interval (-2) is invalid",
    identify(output_buffer_size=63): "E_BAD_BODY IDENTIFY output buffer size (63) is invalid",
    identify(output_buffer_size=65537): "E_BAD_BODY IDENTIFY output buffer size (65537) is invalid",
    identify(output_buffer_timeout=24): "E_BAD_BODY IDENTIFY output buffer timeout (24) is invalid",
    identify(output_buffer_timeout=30001): "E_BAD_BODY IDENTIFY output buffer timeout (30001) is invalid",
    identify(sample_rate=100): "E_BAD_BODY IDENTIFY sample rate (100) is invalid",
    identify(sample_rate=-1): "E_BAD_BODY IDENTIFY sample rate (-1) is invalid",
    identify(msg_timeout=999): "E_BAD_BODY IDENTIFY msg timeout (999) is invalid",
    identify(msg_timeout=900001): "E_BAD_BODY IDENTIFY msg timeout (900001) is invalid",
    identify(heartbeat_interval=-1) + SUB: "E_INVALID cannot SUB with heartbeats disabled",
    SUB + SUB: "E_INVALID cannot SUB in current state",
    SUB + identify(): "E_INVALID cannot IDENTIFY in current state",
    SUB + b"AUTH\n" + sized(b"secret"): "E_INVALID cannot AUTH in current state",
    SUB + b"RDY x\n": "E_INVALID RDY could not parse count x",
    SUB + b"RDY -1\n": "E_INVALID RDY could not parse count -1",
    SUB + b"RDY 2501\n": "E_INVALID RDY count 2501 out of range 0-2500",
    SUB + b"FIN\n": "E_INVALID FIN insufficient number of params",
    SUB + b"FIN short\n": "E_INVALID invalid message ID",
    SUB + b"REQ " + UNKNOWN_ID + b"\n": "E_INVALID REQ insufficient number of params",
    SUB + b"REQ short 0\n": "E_INVALID invalid message ID",
    SUB + b"REQ " + UNKNOWN_ID + b" -1\n": "E_INVALID REQ could not parse timeout -1",
    SUB + b"TOUCH\n": "E_INVALID TOUCH insufficient number of params",
    SUB + b"TOUCH short\n": "E_INVALID invalid message ID",
    SUB + b"CLS\nCLS\n": "E_INVALID cannot CLS in current state",
}


@pytest.mark.parametrize("sent", FATAL, ids=lambda sent: repr(sent[-40:]))
def test_fatal_error_has_nsqds_code_and_text_and_ends_the_connection(queue, sent):
    with client_of(queue) as client:
        client.send(sent)
        kind, text = client.frame()
        while kind != ERROR:  # skip the answers to the commands before
            kind, text = client.frame()
        assert text.decode() == FATAL[sent]
        assert client.is_closed()


def test_wrong_magic_is_refused(queue):
    with RawClient(queue.tcp_address, magic=b"  V1") as client:
        assert client.error() == "E_BAD_PROTOCOL"
        assert client.is_closed()


def test_line_longer_than_the_read_buffer_ends_the_connection(queue):
    with client_of(queue) as client:
        with contextlib.suppress(ConnectionError):
            client.send(b"PUB " + b"x" * 20_000)
        assert client.is_closed()


@pytest.mark.parametrize("verb", ["FIN", "REQ", "TOUCH"])
def test_unknown_message_is_an_error_that_the_connection_survives(queue, topic, verb):
    with subscriber_of(queue, topic) as client:
        arguments = b" 0" if verb == "REQ" else b""
        client.send(verb.encode() + b" " + UNKNOWN_ID + arguments + b"\n")
        id = UNKNOWN_ID.decode()
        assert client.error() == f"E_{verb}_FAILED {verb} {id} failed ID not in flight"
        publish(queue, topic, b"alive")
        assert client.message().body == b"alive"


def test_message_can_only_be_finished_by_the_client_it_was_sent_to(queue, topic):
    publish(queue, topic, b"mine")
    with subscriber_of(queue, topic) as owner, subscriber_of(queue, topic, ready=0) as other:
        message = owner.message()
        other.finish(message.id)
        id = message.id.decode()
        assert other.error() == f"E_FIN_FAILED FIN {id} failed client does not own message"
        owner.finish(message.id)
        owner.finish(message.id)
        assert owner.error() == f"E_FIN_FAILED FIN {id} failed ID not in flight"


def test_identify_negotiates_and_names_the_limits(queue):
    with client_of(queue) as client:
        answer = client.identify(
            client_id="me",
            heartbeat_interval=5000,
            msg_timeout=2000,
            sample_rate=7,
            output_buffer_size=128,
            output_buffer_timeout=50,
            tls_v1=True,
        )
    assert answer == {
        "max_rdy_count": 2500,
        "version": "1.3.0",
        "max_msg_timeout": 900000,
        "msg_timeout": 2000,
        "tls_v1": False,
        "deflate": False,
        "deflate_level": 6,
        "max_deflate_level": 6,
        "snappy": False,
        "sample_rate": 7,
        "auth_required": False,
        "output_buffer_size": 128,
        "output_buffer_timeout": 50,
    }


def test_identify_defaults(queue):
    with client_of(queue) as client:
        answer = client.identify()
        assert (answer["msg_timeout"], answer["output_buffer_size"]) == (60000, 16384)
        assert answer["output_buffer_timeout"] == 250
        client.send(identify(output_buffer_size=-1, feature_negotiation=True))
        answer = json.loads(client.response())
        assert (answer["output_buffer_size"], answer["output_buffer_timeout"]) == (1, 0)
        client.send(identify(client_id="no negotiation"))
        assert client.response() == b"OK"
        client.send(b"IDENTIFY\n" + sized(b"null"))
        assert client.response() == b"OK"


def test_answers_come_in_the_order_of_the_commands(queue, topic):
    with client_of(queue) as client:
        multi_body = sized(multi([b"two", b"three"]))
        client.send(
            f"PUB {topic}\n".encode()
            + sized(b"one")
            + f"MPUB {topic}\r\n".encode()
            + multi_body
            + b"NOP\n"
            + f"SUB {topic} c\nRDY 1\n".encode()
        )
        assert [client.response() for _ in range(3)] == [b"OK", b"OK", b"OK"]
        client.message()
        client.send(f"PUB {topic}\n".encode() + sized(b"four") + b"CLS\n")
        assert [client.response() for _ in range(2)] == [b"OK", b"CLOSE_WAIT"]
        assert queue.channel(topic, "c")["depth"] == 3


def test_message_carries_its_arrival_its_attempts_and_an_id_that_rises(queue, topic):
    before = time.time_ns()
    publish(queue, topic, *(b"%d" % number for number in range(100)))
    publish(queue, topic, b"100")
    after = time.time_ns()
    with subscriber_of(queue, topic, ready=200) as client:
        messages = client.messages(101)
    messages.sort(key=lambda message: int(message.body))
    assert all(before <= message.stamp_ns <= after for message in messages)
    assert {message.attempts for message in messages} == {1}
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(rb"[0-9a-f]{16}", id) for id in ids)


def test_client_has_at_most_rdy_messages_in_flight(queue, topic):
    publish(queue, topic, *(b"%d" % number for number in range(10)))
    with subscriber_of(queue, topic, ready=3) as client:
        messages = client.messages(3)
        assert client.gets_nothing()
        client.finish(messages[0].id, messages[1].id)
        messages = client.messages(2)
        client.ready(0)
        client.finish(messages[0].id)
        assert client.gets_nothing()
        client.ready(100)
        assert len(client.messages(5)) == 5


def test_closing_client_gets_no_more_but_can_finish(queue, topic):
    publish(queue, topic, b"1", b"2")
    with subscriber_of(queue, topic) as client:
        message = client.message()
        client.send(b"CLS\n")
        assert client.response() == b"CLOSE_WAIT"
        client.send(b"RDY 5\n")
        client.finish(message.id)
        assert client.gets_nothing()
        assert queue.channel(topic, "c")["depth"] == 1
        assert queue.channel(topic, "c")["in_flight_count"] == 0


def test_messages_are_shared_among_the_ready_clients_of_a_channel(queue, topic):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(subscriber_of(queue, topic, ready=100)) for _ in range(3)]
        publish(queue, topic, *(b"%d" % number for number in range(90)))

        wait_until(lambda: queue.channel(topic, "c")["in_flight_count"] == 90, "all to be delivered")
        given = [each["message_count"] for each in queue.channel(topic, "c")["clients"]]
        bodies = [
            message.body
            for client, count in zip(clients, _in_order_of(clients, queue, topic), strict=True)
            for message in client.messages(count)
        ]
        assert sorted(bodies, key=int) == [b"%d" % number for number in range(90)]
        # nsqd decides by chance how many each client gets.
        assert queue.kind == "nsqd" or given == [30, 30, 30]


def _in_order_of(clients: list[RawClient], queue: QueueProcess, topic: str) -> list[int]:
    """The number of messages that the queue gave to each client, by the queue's statistics."""
    counts = {each["remote_address"]: each["message_count"] for each in queue.channel(topic, "c")["clients"]}
    return [counts["{}:{}".format(*client.socket.getsockname())] for client in clients]


def answer_heartbeats(client: RawClient, count: int) -> None:
    while client.heartbeats < count:
        client.gets_nothing()


def test_client_that_answers_heartbeats_stays_and_a_silent_one_is_dropped_after_two(queue, topic):
    begin = time.monotonic()
    with (
        client_of(queue, heartbeat_interval=3000) as silent,
        subscriber_of(queue, topic, heartbeat_interval=3000) as answering,
    ):
        silent.answers_heartbeats = False
        answers = threading.Thread(target=answer_heartbeats, args=(answering, 2))
        answers.start()
        assert silent.is_closed()
        assert time.monotonic() - begin >= 6 - EARLY_S
        answers.join()
        publish(queue, topic, b"still here")
        assert answering.message().body == b"still here"


def test_every_channel_gets_a_copy_and_a_topic_without_one_keeps_its_messages(queue, topic):
    publish(queue, topic, b"1", b"2")
    assert queue.topic(topic)["depth"] == 2
    with subscriber_of(queue, topic, "first", ready=9) as first:
        assert {message.body for message in first.messages(2)} == {b"1", b"2"}
        with subscriber_of(queue, topic, "second", ready=9) as second:
            publish(queue, topic, b"3")
            assert first.message().body == b"3"
            assert second.message().body == b"3"
            assert second.gets_nothing()


def test_ephemeral_channel_goes_with_its_last_client(queue, topic):
    with subscriber_of(queue, topic, "c#ephemeral"):
        assert queue.channel(topic, "c#ephemeral") is not None
    wait_until(lambda: queue.channel(topic, "c#ephemeral") is None, "the channel to go")
    assert queue.topic(topic) is not None


def test_ephemeral_topic_goes_with_its_last_channel(queue, topic):
    name = topic[:40] + "#ephemeral"
    encoded = name.replace("#", "%23")
    with subscriber_of(queue, name, "c#ephemeral") as client:
        publish(queue, name, b"fleeting")
        assert client.message().body == b"fleeting"
        assert queue.topic(encoded)["message_count"] == 1
    wait_until(lambda: queue.topic(encoded) is None, "the topic to go")


def test_paused_channel_delivers_nothing_until_it_is_unpaused(queue, topic):
    with subscriber_of(queue, topic, ready=5) as client:
        queue.post(f"/channel/pause?topic={topic}&channel=c")
        assert queue.channel(topic, "c")["paused"] is True
        publish(queue, topic, b"held")
        assert client.gets_nothing()
        queue.post(f"/channel/unpause?topic={topic}&channel=c")
        assert client.message().body == b"held"


def test_paused_topic_copies_nothing_to_its_channels_until_it_is_unpaused(queue, topic):
    with subscriber_of(queue, topic, ready=5) as client:
        queue.post(f"/topic/pause?topic={topic}")
        assert queue.topic(topic)["paused"] is True
        publish(queue, topic, b"held")
        assert client.gets_nothing()
        assert queue.topic(topic)["depth"] == 1
        queue.post(f"/channel/create?topic={topic}&channel=late")
        queue.post(f"/topic/unpause?topic={topic}")
        assert client.message().body == b"held"
        wait_until(lambda: queue.channel(topic, "late")["depth"] == 1, "the late channel's copy")


def test_emptied_channel_forgets_its_messages_also_those_in_flight(queue, topic):
    publish(queue, topic, *(b"%d" % number for number in range(10)))
    with subscriber_of(queue, topic, ready=2) as client:
        id = client.messages(2)[0].id
        client.ready(0)
        queue.post(f"/channel/empty?topic={topic}&channel=c")
        channel = queue.channel(topic, "c")
        assert (channel["depth"], channel["in_flight_count"]) == (0, 0)
        client.finish(id)
        assert client.error().startswith("E_FIN_FAILED")
        client.ready(2)
        publish(queue, topic, b"fresh")
        assert client.message().body == b"fresh"


def test_emptied_topic_forgets_what_waits_there(queue, topic):
    publish(queue, topic, b"1", b"2")
    queue.post(f"/topic/empty?topic={topic}")
    assert queue.topic(topic)["depth"] == 0
    with subscriber_of(queue, topic) as client:
        publish(queue, topic, b"3")
        assert client.message().body == b"3"


@pytest.mark.parametrize("what", ["topic", "channel"])
def test_deleting_a_topic_or_channel_ends_its_clients_connections(queue, topic, what):
    topic = topic[:50] + what
    publish(queue, topic, b"1")
    with subscriber_of(queue, topic) as client:
        client.message()
        channel = "&channel=c" if what == "channel" else ""
        queue.post(f"/{what}/delete?topic={topic}{channel}")
        assert client.is_closed()
    wait_until(lambda: queue.channel(topic, "c") is None, "the channel to go")
    assert (queue.topic(topic) is None) == (what == "topic")


HTTP_ERRORS = {
    ("GET", "/nothing", b""): (404, "NOT_FOUND"),
    ("GET", "/pub?topic=h", b""): (405, "METHOD_NOT_ALLOWED"),
    ("POST", "/ping", b""): (405, "METHOD_NOT_ALLOWED"),
    ("POST", "/pub?topic=h", b""): (400, "MSG_EMPTY"),
    ("POST", "/pub", b"x"): (400, "MISSING_ARG_TOPIC"),
    ("POST", "/pub?topic=b!d", b"x"): (400, "INVALID_TOPIC"),
    ("POST", "/pub?topic=", b"x"): (400, "INVALID_TOPIC"),
    ("POST", "/pub?topic=h&defer=x", b"x"): (400, "INVALID_DEFER"),
    ("POST", "/pub?topic=h&defer=-1", b"x"): (400, "INVALID_DEFER"),
    ("POST", "/pub?topic=h&defer=3600001", b"x"): (400, "INVALID_DEFER"),
    ("POST", "/mpub", b"x"): (400, "MISSING_ARG_TOPIC"),
    ("POST", "/mpub?topic=h", b"a\n" + b"x" * 1048577): (413, "MSG_TOO_BIG"),
    ("POST", "/mpub?topic=h&binary=true", b""): (413, "BAD_BODY"),
    ("POST", "/mpub?topic=h&binary=true", struct.pack(">ii", 1, 0)): (413, "BAD_MESSAGE"),
    ("POST", "/mpub?topic=h&binary=true", struct.pack(">i", 0)): (413, "BAD_BODY"),
    ("POST", "/topic/create", b""): (400, "MISSING_ARG_TOPIC"),
    ("POST", "/topic/create?topic=b!d", b""): (400, "INVALID_TOPIC"),
    ("POST", "/topic/delete", b""): (400, "MISSING_ARG_TOPIC"),
    ("POST", "/topic/delete?topic=none", b""): (404, "TOPIC_NOT_FOUND"),
    ("POST", "/topic/delete?topic=b!d", b""): (404, "TOPIC_NOT_FOUND"),
    ("POST", "/topic/empty?topic=b!d", b""): (400, "INVALID_TOPIC"),
    ("POST", "/topic/empty?topic=none", b""): (404, "TOPIC_NOT_FOUND"),
    ("POST", "/topic/pause?topic=none", b""): (404, "TOPIC_NOT_FOUND"),
    ("POST", "/channel/create?topic=none", b""): (400, "MISSING_ARG_CHANNEL"),
    ("POST", "/channel/create", b""): (400, "MISSING_ARG_TOPIC"),
    ("POST", "/channel/create?topic=b!d&channel=c", b""): (400, "INVALID_ARG_TOPIC"),
    ("POST", "/channel/create?topic=none&channel=b!d", b""): (400, "INVALID_ARG_CHANNEL"),
    ("POST", "/channel/create?topic=none&channel=c", b""): (404, "TOPIC_NOT_FOUND"),
    ("POST", "/channel/delete?topic=there&channel=none", b""): (404, "CHANNEL_NOT_FOUND"),
    ("POST", "/channel/empty?topic=there&channel=none", b""): (404, "CHANNEL_NOT_FOUND"),
    ("POST", "/channel/pause?topic=there&channel=none", b""): (404, "CHANNEL_NOT_FOUND"),
    ("POST", "/channel/unpause?topic=none&channel=none", b""): (404, "TOPIC_NOT_FOUND"),
}


@pytest.mark.parametrize("request_", HTTP_ERRORS, ids=lambda each: f"{each[0]} {each[1]}")
def test_http_error_has_nsqds_status_and_message(queue, request_):
    queue.post("/topic/create?topic=there")
    status, body = queue.http(*request_)
    expected_status, message = HTTP_ERRORS[request_]
    assert (status, json.loads(body)) == (expected_status, {"message": message})


@pytest.mark.parametrize(
    ("path", "size", "message"),
    [("/pub", 1048577, "MSG_TOO_BIG"), ("/mpub", 5242881, "BODY_TOO_BIG")],
)
def test_http_publish_too_large_is_refused_before_it_is_sent(queue, path, size, message):
    connection = http.client.HTTPConnection(queue.http_address, timeout=PATIENCE_S)
    connection.putrequest("POST", f"{path}?topic=h")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    with connection.getresponse() as answer:
        assert (answer.status, json.load(answer)) == (413, {"message": message})
    connection.close()


def test_http_publishes_one_or_many_as_lines_or_binary(queue, topic):
    with subscriber_of(queue, topic, ready=100) as client:
        assert queue.http("POST", f"/pub?topic={topic}", b"one\n") == (200, b"OK")
        queue.post(f"/mpub?topic={topic}", b"two\n\nthree\nfour")
        queue.post(f"/mpub?topic={topic}&binary=true", multi([b"five\n", b"six"]))
        bodies = {message.body for message in client.messages(6)}
    assert bodies == {b"one\n", b"two", b"three", b"four", b"five\n", b"six"}


def test_ping_and_info_answer(queue):
    assert queue.http("GET", "/ping") == (200, b"OK")
    info = json.loads(queue.http("GET", "/info")[1])
    assert (info["tcp_port"], info["http_port"]) == (queue.tcp_port, queue.http_port)
    assert sorted(info) == [
        "broadcast_address",
        "hostname",
        "http_port",
        "max_deflate_level",
        "max_heartbeat_interval",
        "max_output_buffer_size",
        "max_output_buffer_timeout",
        "start_time",
        "tcp_port",
        "version",
    ]
    assert info["max_heartbeat_interval"] == 60_000_000_000


TOPIC_FIELDS = {
    "topic_name",
    "channels",
    "depth",
    "backend_depth",
    "message_count",
    "message_bytes",
    "paused",
    "e2e_processing_latency",
}
CHANNEL_FIELDS = {
    "channel_name",
    "depth",
    "backend_depth",
    "in_flight_count",
    "deferred_count",
    "message_count",
    "requeue_count",
    "timeout_count",
    "client_count",
    "clients",
    "paused",
    "e2e_processing_latency",
}
CLIENT_FIELDS = {
    "client_id",
    "hostname",
    "version",
    "remote_address",
    "state",
    "ready_count",
    "in_flight_count",
    "message_count",
    "finish_count",
    "requeue_count",
    "connect_ts",
    "sample_rate",
    "deflate",
    "snappy",
    "user_agent",
    "tls",
    "tls_cipher_suite",
    "tls_version",
    "tls_negotiated_protocol",
    "tls_negotiated_protocol_is_mutual",
}


def test_stats_have_nsqds_fields_and_count_what_happened(queue, topic):
    with subscriber_of(queue, topic, ready=2, client_id="reader", user_agent="test/1") as client:
        with client_of(queue) as publisher:
            publisher.publish(topic, b"1", b"22", b"333")
            messages = client.messages(2)
            client.ready(1)
            client.finish(messages[0].id)
            wait_until(lambda: queue.channel(topic, "c")["in_flight_count"] == 1, "the finish")
            stats = queue.stats(f"&topic={topic}&channel=c")
            (producer,) = stats["producers"]
            assert producer["pub_counts"] == [{"topic": topic, "count": 3}]
    (found,) = stats["topics"]
    (channel,) = found["channels"]
    (reader,) = channel["clients"]
    assert set(found) == TOPIC_FIELDS
    assert set(channel) == CHANNEL_FIELDS
    assert set(reader) == CLIENT_FIELDS
    assert (found["message_count"], found["message_bytes"], found["depth"]) == (3, 6, 0)
    assert (channel["depth"], channel["message_count"], channel["client_count"]) == (1, 3, 1)
    assert (reader["client_id"], reader["user_agent"], reader["state"]) == ("reader", "test/1", 3)
    assert (reader["ready_count"], reader["finish_count"], reader["message_count"]) == (1, 1, 2)


def test_stats_can_leave_out_clients_and_memory(queue, topic):
    with subscriber_of(queue, topic):
        stats = queue.stats(f"&topic={topic}&include_clients=false")
        assert stats["topics"][0]["channels"][0]["clients"] is None
        assert stats["producers"] is None
    assert "memory" not in stats
    stats = json.loads(queue.http("GET", "/stats?format=json&topic=none")[1])
    assert (stats["topics"], "gc_total_runs" in stats["memory"]) == (None, True)


def test_stats_as_text_name_topics_channels_and_clients(queue, topic):
    with subscriber_of(queue, topic, client_id="x", hostname="reader-host"):
        text = queue.http("GET", "/stats")[1].decode()
    assert text.startswith("nsqd v1.3.0")
    assert re.search(rf"\[{topic}\s*\] depth: 0     be-depth: 0     msgs: 0 ", text)
    assert "inflt: 0    def: 0    re-q: 0     timeout: 0     msgs: 0" in text
    assert re.search(r"\[V2 reader-host:\d+ +\] state: 3 inflt: 0    rdy: 1 ", text)


def test_stock_pynsq_writes_and_reads(queue, topic):
    async def run() -> dict[bytes, int]:
        done = asyncio.get_running_loop().create_future()
        attempts: dict[bytes, int] = {}

        def handle(message: nsq.Message) -> bool:
            if message.body == b"7" and message.attempts == 1:
                message.requeue(delay=0, backoff=False)
                return None
            attempts[message.body] = message.attempts
            if len(attempts) == 100 and not done.done():
                done.set_result(None)
            return True

        writer = nsq.Writer([queue.tcp_address])
        reader = nsq.Reader(
            topic=topic,
            channel="pynsq",
            nsqd_tcp_addresses=[queue.tcp_address],
            message_handler=handle,
            max_in_flight=10,
        )
        answers: asyncio.Queue = asyncio.Queue()
        while not writer.conns:
            await asyncio.sleep(0.01)
        bodies = [b"%d" % number for number in range(100)]
        writer.mpub(topic, bodies[:50], callback=lambda _, data: answers.put_nowait(data))
        for body in bodies[50:]:
            writer.pub(topic, body, callback=lambda _, data: answers.put_nowait(data))
        assert {await asyncio.wait_for(answers.get(), PATIENCE_S) for _ in range(51)} == {b"OK"}
        await asyncio.wait_for(done, PATIENCE_S)
        reader.close()
        for connection in writer.conns.values():
            connection.close()
        return attempts

    attempts = asyncio.run(run())
    assert attempts == {b"%d" % n: 2 if n == 7 else 1 for n in range(100)}
    wait_until(lambda: queue.channel(topic, "pynsq")["in_flight_count"] == 0, "the last finish")
    assert queue.channel(topic, "pynsq")["depth"] == 0


def test_message_that_times_out_comes_again_with_one_more_attempt_and_a_touched_one_later(queue):
    topic = "times_out"
    publish(queue, topic, b"slow", b"touched")
    while not comes_again_and_touched_later(queue, topic):
        pass


def comes_again_and_touched_later(queue: QueueProcess, topic: str) -> bool:
    """Returns False if the machine was so slow that the touch may have come after the timeout."""
    with subscriber_of(queue, topic, ready=0, msg_timeout=4000) as client:
        begin = time.monotonic()
        client.ready(2)
        given = {message.body: message for message in client.messages(2)}
        time.sleep(1)  # so that a touch makes a difference
        touched_s = time.monotonic()
        # The error for the second TOUCH comes after the first TOUCH was handled.
        client.send(b"TOUCH " + given[b"touched"].id + b"\nTOUCH " + UNKNOWN_ID + b"\n")
        kind, data = client.frame()
        if kind == MESSAGE or time.monotonic() - begin > 3.9:
            return False
        assert data.startswith(b"E_TOUCH_FAILED TOUCH " + UNKNOWN_ID)
        slow, slow_s = client.message(), time.monotonic()
        touched = client.message()
        assert slow_s - begin >= 4 - EARLY_S
        assert time.monotonic() - touched_s >= 4 - EARLY_S
        for again, body in ((slow, b"slow"), (touched, b"touched")):
            before = given[body]
            assert (again.id, again.body, again.stamp_ns) == (before.id, body, before.stamp_ns)
            assert again.attempts == before.attempts + 1
        client.finish(slow.id, touched.id)
        wait_until(lambda: queue.channel(topic, "c")["in_flight_count"] == 0, "the finish")
        assert queue.channel(topic, "c")["timeout_count"] >= 2
        return True


def test_delayed_and_requeued_messages_come_after_their_delay_and_keep_no_other_waiting(queue):
    topic = "delayed"
    with subscriber_of(queue, topic, ready=9) as client, client_of(queue) as publisher:
        begin = time.monotonic()
        for delay_ms, body in ((200, b"later"), (HOUR_MS, b"in an hour")):
            publisher.send(f"DPUB {topic} {delay_ms}\n".encode() + sized(body))
            assert publisher.response() == b"OK"
        queue.post(f"/pub?topic={topic}&defer=300", b"latest")
        publisher.publish(topic, b"now")
        messages, came_s = {}, {}
        for _ in range(3):
            message = client.message()
            messages[message.body], came_s[message.body] = message, time.monotonic() - begin
        assert set(messages) == {b"now", b"later", b"latest"}
        assert came_s[b"later"] >= 0.2 - EARLY_S
        assert came_s[b"latest"] >= 0.3 - EARLY_S

        begin = time.monotonic()
        for body, delay_ms in ((b"latest", HOUR_MS), (b"later", 200), (b"now", 0)):
            client.send(b"REQ %s %d\n" % (messages[body].id, delay_ms))
        again = {message.body: message for message in client.messages(2)}
        assert time.monotonic() - begin >= 0.2 - EARLY_S
        assert set(again) == {b"now", b"later"}
        for body, message in again.items():
            assert (message.id, message.attempts) == (messages[body].id, 2)
        channel = queue.channel(topic, "c")
        assert (channel["deferred_count"], channel["requeue_count"]) == (2, 3)


def test_clean_restart_keeps_messages_channels_and_pauses(own_queue, topic):
    publish(own_queue, topic, b"1", b"2", b"3")
    with subscriber_of(own_queue, topic, ready=2) as client:
        first, _ = client.messages(2)
        client.finish(first.id)  # so that the third message is delivered too
        wait_until(lambda: own_queue.channel(topic, "c")["depth"] == 0, "the finish")
        own_queue.post(f"/channel/create?topic={topic}&channel=paused")
        own_queue.post(f"/channel/pause?topic={topic}&channel=paused")
        own_queue.restart()
    assert own_queue.channel(topic, "paused")["paused"] is True
    with subscriber_of(own_queue, topic, ready=9) as client:
        bodies = {message.body for message in client.messages(2)}
        assert bodies == {b"1", b"2", b"3"} - {first.body}
        assert client.gets_nothing()


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_publishing(embedded, topic):
    embedded.post(f"/topic/create?topic={topic}")
    embedded.post(f"/channel/create?topic={topic}&channel=c")
    acknowledged = 0
    with client_of(embedded) as client:
        for number in range(200):
            bodies = [b"%d" % (number * 10 + index) for index in range(10)]
            client.send(f"MPUB {topic}\n".encode() + sized(multi(bodies)))
            if number == 150:
                embedded.kill()
            try:
                assert client.response() == b"OK"
            except (EOFError, OSError):
                break
            acknowledged = number * 10 + 10
            if number == 199:
                pytest.fail("the kill came too late")
    embedded.start()
    assert acknowledged >= 1500
    bodies = [int(message.body) for message in read_all(embedded, topic)]
    assert bodies[:acknowledged] == list(range(acknowledged))
    assert len(bodies) in (acknowledged, acknowledged + 10), "a publish must be there whole or not at all"


def read_all(queue: QueueProcess, topic: str, channel: str = "c") -> list[Message]:
    depth = queue.channel(topic, channel)["depth"]
    with subscriber_of(queue, topic, channel, ready=2500) as client:
        return client.messages(depth)


def finished_on_disk(queue: QueueProcess) -> int:
    """The number of finished messages in the journal, for segments that are not finished as a whole."""
    with contextlib.closing(sqlite3.connect(f"file:{queue.path / FILE_NAME}?mode=ro", uri=True)) as journal:
        return journal.execute("SELECT SUM(finished_count) FROM progress").fetchone()[0] or 0


def test_after_a_kill_what_the_journal_has_as_finished_does_not_come_again(embedded, topic):
    publish(embedded, topic, *(b"%d" % number for number in range(1000)))
    with subscriber_of(embedded, topic, ready=1000) as client:
        messages = client.messages(1000)
        client.finish(*(message.id for message in messages[:400]))
        wait_until(lambda: embedded.channel(topic, "c")["in_flight_count"] == 600, "the finishes")
        wait_until(lambda: finished_on_disk(embedded) == 400, "the finishes to be on disk")
        embedded.kill()
    embedded.start()
    messages = read_all(embedded, topic)
    assert sorted(int(message.body) for message in messages) == list(range(400, 1000))
    assert {message.attempts for message in messages} == {1}


def test_delayed_messages_topics_and_pauses_survive_a_kill(embedded, topic):
    with client_of(embedded) as client:
        begin = time.monotonic()
        client.send(f"DPUB {topic} 1000\n".encode() + sized(b"later"))
        assert client.response() == b"OK"
    embedded.post(f"/channel/create?topic={topic}&channel=c")
    embedded.post("/topic/create?topic=paused")
    embedded.post("/channel/create?topic=paused&channel=c")
    publish(embedded, "paused", b"distributed")
    embedded.post("/topic/pause?topic=paused")
    publish(embedded, "paused", b"waiting")
    embedded.kill()
    embedded.start()
    stats = embedded.topic("paused")
    assert (stats["paused"], stats["depth"], stats["channels"][0]["depth"]) == (True, 1, 1)
    with subscriber_of(embedded, topic) as client:
        assert client.message().body == b"later"
        assert time.monotonic() - begin >= 1 - EARLY_S
    embedded.post("/topic/unpause?topic=paused")
    assert [message.body for message in read_all(embedded, "paused")] == [
        b"distributed",
        b"waiting",
    ]


def test_messages_of_a_client_that_goes_are_given_to_another_at_once(standing, topic):
    publish(standing, topic, b"1", b"2", b"3")
    with subscriber_of(standing, topic, ready=1) as other:
        first = other.message()
        with subscriber_of(standing, topic, ready=5) as leaving:
            leaving.messages(2)
        other.finish(first.id)
        assert other.message().attempts == 2
        assert standing.channel(topic, "c")["timeout_count"] == 0, "it waited for the timeout"


def test_backlog_beyond_memory_is_delivered_whole_and_in_order(standing, topic):
    standing.post(f"/topic/create?topic={topic}")
    standing.post(f"/channel/create?topic={topic}&channel=c")
    with client_of(standing) as client:
        for start in range(0, 80_000, 2_000):
            client.publish(topic, *(b"%d" % number for number in range(start, start + 2_000)))
    assert standing.channel(topic, "c")["backend_depth"] > 0
    with subscriber_of(standing, topic, ready=2500) as client:
        for start in range(0, 80_000, 500):
            messages = client.messages(500)
            assert [int(message.body) for message in messages] == list(range(start, start + 500))
            client.finish(*(message.id for message in messages))
    wait_until(lambda: standing.channel(topic, "c")["in_flight_count"] == 0, "the last finish")


def test_client_that_does_not_read_costs_no_more_than_its_buffer(standing, topic):
    body = b"x" * 100_000
    with subscriber_of(standing, topic, ready=2500), subscriber_of(standing, topic, ready=1) as ok:
        for _ in range(10):
            publish(standing, topic, *([body] * 50))
        stuck, alive = (each["in_flight_count"] for each in standing.channel(topic, "c")["clients"])
        assert stuck + alive < 200, "the queue buffered 50 MB for a client that does not read"
        # The other clients are served meanwhile.
        for _ in range(100):
            message = ok.message()
            ok.finish(message.id)


def test_disk_space_of_finished_messages_is_given_back(embedded, topic):
    body = b"x" * 1_000_000
    for _ in range(10):
        publish(embedded, topic, *([body] * 4))

    def size() -> int:
        return sum(path.stat().st_size for path in embedded.path.glob("journal.sqlite*"))

    assert size() > 40_000_000
    with subscriber_of(embedded, topic, ready=100) as client:
        for _ in range(40):
            client.finish(client.message().id)
    wait_until(lambda: size() < 30_000_000, "the journal to shrink")


def start_alone(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "actors.embedded_nsqd", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=pathlib.Path(__file__).parents[2],
    )


def test_second_process_on_the_same_journal_is_refused(standing):
    ended = start_alone(
        "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", f"--data-path={standing.path}"
    )
    assert ended.returncode == EXIT_STORE
    assert f"another embedded nsqd (process {standing.pid}) has this journal open" in ended.stderr
    assert standing.http("GET", "/ping") == (200, b"OK")


def test_address_in_use_is_named_with_what_to_do(standing, tmp_path):
    ended = start_alone(
        f"--tcp-address={standing.tcp_address}",
        "--http-address=127.0.0.1:0",
        f"--data-path={tmp_path / 'other'}",
    )
    assert ended.returncode == 1
    assert f"'{standing.tcp_address}': address already in use" in ended.stderr
    assert "choose another port" in ended.stderr
    assert (
        f'instead of the embedded queue: nsq.nsqd_tcp_addresses = ["{standing.tcp_address}"]' in ended.stderr
    )


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("no.such.host.invalid:0", "is not known"),
        ("127.0.0.1", "expected host:port"),
        ("127.0.0.1:99999", "expected host:port"),
    ],
)
def test_address_that_cannot_be_is_named(tmp_path, address, problem):
    (port,) = free_ports(1)
    ended = start_alone(
        f"--tcp-address=127.0.0.1:{port}", f"--http-address={address}", f"--data-path={tmp_path}"
    )
    assert ended.returncode == 1
    assert f"http_address = '{address}'" in ended.stderr
    assert problem in ended.stderr
    assert not list(tmp_path.iterdir()), "it did not start, but left files behind"


@pytest.mark.parametrize("host", ["a b", "a:4150", "http://a", "127.0.0.1:4150", "a/b"])
def test_broadcast_address_that_cannot_be_is_refused(tmp_path, host):
    ended = start_alone(
        "--tcp-address=127.0.0.1:0",
        "--http-address=127.0.0.1:0",
        f"--broadcast-address={host}",
        f"--data-path={tmp_path}",
    )
    assert ended.returncode == 2
    assert f"{host!r}, expected a host name or an IP address, without a port" in ended.stderr
    assert not list(tmp_path.iterdir())
