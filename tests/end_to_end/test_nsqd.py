"""The source on real nsqds that crash, hang, have several names, refuse our settings, or are none at all."""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid

import pytest

from actors.cli.launch import Service
from actors.sources import route
from actors.sources.nsqd import NsqdSource
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import QueueProcess, RawClient, free_ports, open_queue, require_nsqd
from tests.support.real_nsqd import RealLookupd, real_lookupd
from tests.support.services import ANY_PORTS, UNHURRIED, reading, wait_counted, wait_status
from tests.support.trouble import halt

VIDEO = uuid.UUID(int=7)
BODY = json.dumps({"video_id": str(VIDEO)}).encode()


def put(queue, plays):
    with RawClient(queue.tcp_address) as client:
        client.publish("plays", *[BODY] * plays)


def in_flight(queue):
    """How many messages the nsqd believes to be in flight to its consumers."""
    clients = (queue.channel("plays", "playtally") or {}).get("clients") or []
    return sum(client["in_flight_count"] for client in clients)


def ready_counts(queue):
    """The RDY of each connection, as the nsqd knows it."""
    return [client["ready_count"] for client in queue.channel("plays", "playtally")["clients"]]


@contextlib.contextmanager
def nsqd_with_copies(path, plays, crashes):
    """A real nsqd that crashed, and has several copies of each play in its channel."""
    require_nsqd()
    options = ["--mem-queue-size=0", "--sync-every=1000000", "--sync-timeout=3600s"]
    queue = QueueProcess("nsqd", path, options=options)
    with contextlib.closing(queue):
        queue.start()
        queue.post("/topic/create?topic=plays")
        queue.post("/channel/create?topic=plays&channel=playtally")
        queue.post("/topic/pause?topic=plays")
        queue.post("/mpub?topic=plays", b"\n".join([BODY] * plays))
        queue.restart()
        queue.post("/topic/unpause?topic=plays")
        for _ in range(crashes):  # after each, the channel gets the plays of the topic again
            wait_until(
                lambda: queue.channel("plays", "playtally")["depth"] == plays, "the plays to be copied"
            )
            queue.kill()
            queue.start()
        wait_until(lambda: queue.channel("plays", "playtally")["depth"] == plays, "the plays to be copied")
        yield queue


def test_after_a_burst_rdy_is_one_again_and_no_lone_play_waits_for_nsqds_ticker(tmp_path):
    with open_queue("nsqd", tmp_path) as queue:
        with Service(tmp_path / "state", [*ANY_PORTS, *UNHURRIED, reading(queue.tcp_address)]) as service:
            for burst in range(1, 4):
                put(queue, 5000)
                wait_counted(service, burst * 5010 - 10)
                before = service.status()["nsq"]
                for lone in range(1, 11):
                    # On a busy machine a lone play may be read so late that it looks like a backlog.
                    wait_until(lambda: ready_counts(queue) == [1], "RDY to be 1 again")
                    put(queue, 1)
                    wait_counted(service, burst * 5010 - 10 + lone)
                after = service.status()["nsq"]
                assert after["reads"] - before["reads"] == 10
                assert after["reads_by_ticker"] == before["reads_by_ticker"]


def test_no_connection_stays_stalled_after_a_crash_that_doubled_messages(tmp_path):
    with nsqd_with_copies(tmp_path, 20, 10) as queue:
        # RDY may get above 20. Then two copies of a play are in flight on one connection.
        with Service(tmp_path / "state", [*ANY_PORTS, *UNHURRIED, reading(queue.tcp_address)]) as service:
            wait_counted(service, 20)
            for number in range(1, 6):
                put(queue, 20)
                wait_counted(service, 20 + 20 * number)
            wait_until(lambda: in_flight(queue) == 0, "nsqd to have forgotten its count")
            assert service.status()["plays"]["counted"] == 120
            assert service.log().count("nsqd refused") <= 1


def test_a_connection_on_which_nsqd_counts_too_many_is_replaced_and_read_at_once(tmp_path):
    class Holding(Listener):
        """Finishes nothing before it has all copies."""

        ids = b""

        def received(self, connection, parsed):
            self.received_by[connection] += parsed.messages
            self.ids += bytes(parsed.plays.ids)

    async def scene(queue):
        listener = Holding()
        async with Reading(queue.tcp_address, listener=listener) as reading:
            await until(lambda: listener.open, "a connection")
            (first,) = listener.open
            reading.source.set_ready_count(first, 500)
            await until(lambda: listener.received_plays == 40, "both copies of each play")
            reading.source.finish(first, listener.ids, 500)
            await until(lambda: len(listener.errors) == 20, "20 refusals")
            assert all(error.startswith(b"E_FIN_FAILED FIN ") for error in listener.errors)
            assert in_flight(queue) == 20
            reading.source.set_ready_count(first, 1)
            await until(
                lambda: queue.channel("plays", "playtally")["clients"][0]["ready_count"] == 1, "RDY to arrive"
            )
            await asyncio.sleep(0.5)  # nsqd's other goroutine learns of it
            await asyncio.to_thread(put, queue, 1)
            await asyncio.sleep(0.5)
            assert listener.received_plays == 40, "nsqd is stalled"
            waiting = []
            reading.source._routes[queue.tcp_address].http_address = queue.http_address
            reading.source.look(first, waiting.append)
            await until(lambda: waiting == [1], "a look")
            reading.source.reconnect(first)
            await until(lambda: listener.received_plays == 41, "the play")
            assert listener.lost == [first] and len(listener.open) == 1

    with nsqd_with_copies(tmp_path, 20, 1) as queue:
        asyncio.run(scene(queue))


class Listener:
    """Keeps what it hears. Asks for one message at a time."""

    def __init__(self):
        self.names, self.lost, self.received_by, self.timeouts_ms, self.errors = {}, [], {}, {}, []
        self.source = None

    def connected(self, connection, source, terms):
        self.names[connection] = source
        self.timeouts_ms[connection] = terms.msg_timeout_ms
        self.received_by[connection] = 0
        self.source.set_ready_count(connection, 1)

    def renamed(self, connection, source):
        self.names[connection] = source

    def received(self, connection, parsed):
        self.received_by[connection] += parsed.messages
        self.source.finish(connection, bytes(parsed.plays.ids), 1)

    def refused(self, connection, error):
        self.errors.append(error)

    def disconnected(self, connection):
        self.lost.append(connection)

    @property
    def open(self):
        return [connection for connection in self.names if connection not in self.lost]

    @property
    def received_plays(self):
        return sum(self.received_by.values())


class Reading:
    """A source inside a running loop, with its listener."""

    def __init__(self, *addresses, lookupds=(), msg_timeout_s=5.0, listener=None):
        self.listener = listener or Listener()
        self.source = self.listener.source = NsqdSource(
            topic="plays",
            channel="playtally",
            msg_timeout_s=msg_timeout_s,
            nsqds=[(address, "") for address in addresses],
            lookupd_http_addresses=list(lookupds),
            listener=self.listener,
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.source.close()
        await asyncio.sleep(0.05)

    @property
    def names(self):
        return [self.listener.names[connection] for connection in self.listener.open]


async def until(condition, what):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"waited {PATIENCE_S:g} s for {what}"
        await asyncio.sleep(0.01)


async def until_read(reading, queue, plays=1):
    before = reading.listener.received_plays
    await asyncio.to_thread(put, queue, plays)
    await until(lambda: reading.listener.received_plays >= before + plays, "the plays to be received")


def warnings_of(caplog):
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("option", "refused"),
    [
        ("--max-msg-timeout=3s", "msg_timeout"),
        ("--max-heartbeat-interval=10s", ""),
        ("--max-heartbeat-interval=2s", ""),
        ("--max-heartbeat-interval=500ms", "heartbeat_interval"),
        ("--max-output-buffer-size=16384", "output_buffer_size"),
        ("--min-output-buffer-timeout=50ms", "output_buffer_timeout"),
        ("--max-output-buffer-timeout=10ms", "output_buffer_timeout"),
    ],
)
def test_a_value_that_nsqd_refuses_is_left_out_and_its_own_holds(option, refused, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def scene(queue):
        async with Reading(queue.tcp_address) as reading:
            await until(lambda: reading.listener.open, "a connection")
            await until_read(reading, queue)
            with RawClient(queue.tcp_address) as client:
                own = client.identify()
            wanted_ms = own["msg_timeout"] if refused == "msg_timeout" else 5000
            assert list(reading.listener.timeouts_ms.values()) == [wanted_ms]

    with open_queue("nsqd", tmp_path, option) as queue:
        asyncio.run(scene(queue))
    assert warnings_of(caplog) == []
    assert (f"refuses our {refused}" in caplog.text) is bool(refused)


@pytest.mark.parametrize("kind", ["embedded", "nsqd"])
def test_an_nsqd_that_hangs_is_noticed_and_read_again_when_it_goes_on(kind, tmp_path, caplog):
    async def scene(queue):
        async with Reading(queue.tcp_address) as reading:
            await until(lambda: reading.listener.open, "a connection")
            halt(queue.pid)
            try:
                await until(lambda: not reading.listener.open, "the silence to be noticed")
                assert "no sign of life for 8 s" in caplog.text
            finally:
                os.kill(queue.pid, signal.SIGCONT)
            await until(lambda: reading.listener.open, "another connection")
            await until_read(reading, queue)

    with open_queue(kind, tmp_path) as queue:
        asyncio.run(scene(queue))
    (lost,) = warnings_of(caplog)
    assert "lost nsqd" in lost and "no sign of life" in lost


def test_names_and_addresses_of_one_nsqd_are_one_source_on_one_connection(tmp_path):
    (port,) = free_ports(1)
    hosts = ["localhost", "127.0.0.1", "127.0.0.2"]
    with contextlib.suppress(OSError):
        socket.gethostbyname(socket.gethostname())
        hosts.append(socket.gethostname())
    expected = {f"{host}:{port}" for host in hosts}
    if socket.has_ipv6:
        hosts.append("[::1]")

    async def scene(queue):
        async with Reading(*(f"{host}:{port}" for host in hosts)) as reading:
            await until(
                lambda: (
                    len(reading.source.nsqds) == 1
                    and reading.names
                    and expected <= set(reading.names[0].partition("/")[0].split())
                ),
                "all names",
            )
            await until_read(reading, queue, 5)
            (name,) = reading.names
            assert reading.listener.lost == []
            assert name.endswith("/plays")
            assert name.partition("/")[0].split() == sorted(name.partition("/")[0].split())
            assert queue.channel("plays", "playtally")["client_count"] == 1
            (state,) = reading.source.nsqds
            assert state.connection is not None

    with open_queue("nsqd", tmp_path, f"--tcp-address=:{port}") as queue:
        queue.tcp_address = f"127.0.0.1:{port}"
        asyncio.run(scene(queue))


def test_a_name_alone_has_the_address_that_it_leads_to(tmp_path):
    async def scene(queue):
        async with Reading(f"localhost:{queue.tcp_port}") as reading:
            await until(lambda: reading.listener.open, "a connection")
            assert reading.names == [f"127.0.0.1:{queue.tcp_port} localhost:{queue.tcp_port}/plays"]
            await until(lambda: reading.source.nsqds[0].stats.http_address == "", "no HTTP address")

    with open_queue("nsqd", tmp_path) as queue:
        asyncio.run(scene(queue))


def test_two_nsqds_of_one_machine_with_one_port_stay_two(tmp_path):
    (port,) = free_ports(1)

    async def scene(*queues):
        async with Reading(f"127.0.0.1:{port}", f"127.0.0.2:{port}") as reading:
            await until(lambda: len(reading.listener.open) == 2, "two connections")
            for queue in queues:
                await until_read(reading, queue)
            assert sorted(reading.names) == [f"127.0.0.1:{port}/plays", f"127.0.0.2:{port}/plays"]
            assert len(reading.source.nsqds) == 2

    with (
        open_queue("nsqd", tmp_path / "1", f"--tcp-address=127.0.0.1:{port}") as one,
        open_queue("nsqd", tmp_path / "2", f"--tcp-address=127.0.0.2:{port}") as two,
    ):
        one.tcp_address, two.tcp_address = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
        asyncio.run(scene(one, two))


def test_when_an_nsqd_with_two_names_is_restarted_it_is_read_on_one_connection_again(tmp_path, caplog):
    async def scene(queue):
        async with Reading(queue.tcp_address, f"localhost:{queue.tcp_port}") as reading:
            await until(lambda: reading.listener.open and len(reading.source.nsqds) == 1, "both names")
            await asyncio.to_thread(queue.restart)
            await until(lambda: reading.listener.lost and reading.listener.open, "another connection")
            await until_read(reading, queue, 3)
            assert reading.names == [f"127.0.0.1:{queue.tcp_port} localhost:{queue.tcp_port}/plays"]
            assert queue.channel("plays", "playtally")["client_count"] == 1

    with open_queue("nsqd", tmp_path) as queue:
        asyncio.run(scene(queue))
    assert len(warnings_of(caplog)) == 1


def test_http_of_an_nsqd_is_at_the_next_port_only_if_it_says_so(tmp_path):
    (port,) = free_ports(1)

    async def scene():
        async with Reading(f"127.0.0.1:{port}") as reading:
            await until(lambda: reading.listener.open, "a connection")
            await until(lambda: reading.source.nsqds[0].stats.http_address == f"127.0.0.1:{port + 1}", "HTTP")
            waiting = []
            reading.source.look(reading.listener.open[0], waiting.append)
            await until(lambda: waiting, "an answer")
            assert waiting == [0]

    options = (f"--tcp-address=127.0.0.1:{port}", f"--http-address=127.0.0.1:{port + 1}")
    with open_queue("nsqd", tmp_path) as queue:
        pass
    queue._options = options
    queue.http_address = f"127.0.0.1:{port + 1}"
    with contextlib.closing(queue):
        queue.start()
        asyncio.run(scene())


@contextlib.contextmanager
def silent_listener():
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def discovered_nsqd(path):
    """An nsqd that a nsqlookupd knows, and the nsqlookupd's HTTP address."""
    with real_lookupd() as (tcp_address, http_address):
        with open_queue("nsqd", path, f"--lookupd-tcp-address={tcp_address}") as queue:
            yield queue, http_address


def test_a_dead_and_a_hung_nsqlookupd_hold_up_nothing_and_are_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def scene(queue, lookupd, hung):
        async with Reading(lookupds=["127.0.0.1:1", hung, lookupd, "a-name.invalid:4161"]) as reading:
            await until(lambda: "no nsqd has the topic" in caplog.text, "word that nobody has the topic")
            await asyncio.to_thread(put, queue, 3)
            await until(lambda: reading.listener.received_plays == 3, "the plays of a new topic")
            await until(lambda: f"nsqlookupd {hung}" in caplog.text, "word of the hung one")
            (state,) = reading.source.nsqds
            assert state.stats.http_address == queue.http_address
            await asyncio.sleep(3)

    with discovered_nsqd(tmp_path) as (queue, lookupd), silent_listener() as hung:
        asyncio.run(scene(queue, lookupd, hung))
    said = warnings_of(caplog)
    for cause in ("127.0.0.1:1 ", hung, "a-name.invalid", "no nsqd has the topic plays"):
        assert len([line for line in said if cause in line]) == 1, said
    assert len(said) == 4
    assert "an nsqd has the topic plays" in caplog.text


def test_a_discovered_nsqd_is_tried_again_while_every_nsqlookupd_is_down(tmp_path, caplog):
    async def whole():
        with contextlib.ExitStack() as lookupds:
            tcp_address, http_address = lookupds.enter_context(real_lookupd())
            with open_queue("nsqd", tmp_path, f"--lookupd-tcp-address={tcp_address}") as queue:
                await asyncio.to_thread(put, queue, 1)
                async with Reading(lookupds=[http_address]) as reading:
                    await until(lambda: reading.listener.received_plays == 1, "the first play")
                    lookupds.close()  # from now on no nsqlookupd answers
                    await until(lambda: "names no nsqds" in caplog.text, "word of that")
                    await asyncio.to_thread(queue.restart)
                    await until(lambda: reading.listener.lost and reading.listener.open, "a connection")
                    await until_read(reading, queue)

    asyncio.run(whole())


def test_a_lost_nsqd_that_no_nsqlookupd_names_any_more_is_not_tried_even_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(route, "RETRY_S", 0.001)  # long before the next answer of the nsqlookupd
    caplog.set_level(logging.INFO)

    async def scene(queue, lookupd):
        await asyncio.to_thread(put, queue, 1)
        async with Reading(lookupds=[lookupd.http_address]) as reading:
            await until(lambda: reading.listener.received_plays == 1, "the first play")
            await asyncio.to_thread(lookupd.tombstone, queue, "plays")
            await until(lambda: not reading.source._discovered, "the tombstone to be known")
            await until_read(reading, queue)
            assert reading.listener.lost == [], "it is read as long as it is connected"
            await asyncio.to_thread(queue.post, "/topic/delete?topic=plays")
            await until(lambda: reading.listener.lost, "the connection to be lost")
            assert reading.source.nsqds == []
            await asyncio.sleep(0.2)  # a retry would have come
        assert queue.topic("plays") is None
        assert "no nsqlookupd names it, so it is not tried" in caplog.text

    with contextlib.closing(RealLookupd()) as lookupd:
        lookupd.start()
        with open_queue("nsqd", tmp_path, f"--lookupd-tcp-address={lookupd.tcp_address}") as queue:
            asyncio.run(scene(queue, lookupd))


def test_a_configured_nsqd_is_tried_for_ever_beside_nsqlookupds(tmp_path):
    async def scene(queue, lookupd):
        async with Reading(queue.tcp_address, lookupds=[lookupd]) as reading:
            await asyncio.sleep(1)
            assert not reading.listener.open
            await asyncio.to_thread(queue.start)
            await until(lambda: reading.listener.open, "a connection")

    with real_lookupd() as (_, lookupd), open_queue("nsqd", tmp_path) as queue:
        queue.kill()
        asyncio.run(scene(queue, lookupd))


def test_a_name_server_that_says_nothing_holds_up_no_other_nsqd(tmp_path, monkeypatch, caplog):
    answers = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *more):
        if host.endswith(".example"):
            assert answers.wait(PATIENCE_S)
        return real(host, *more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def scene(queue):
        async with Reading("one.example:4150", "two.example:4150", queue.tcp_address) as reading:
            await until(lambda: reading.listener.open, "a connection")
            await until_read(reading, queue)
            await until(lambda: len(warnings_of(caplog)) == 2, "word of both names")

    try:
        with open_queue("nsqd", tmp_path) as queue:
            asyncio.run(scene(queue))
    finally:
        answers.set()
    assert all("within 5 s" in line for line in warnings_of(caplog))


def test_ipv6_addresses_are_read(tmp_path):
    (port,) = free_ports(1)

    async def scene(queue):
        async with Reading(f"[::1]:{port}") as reading:
            await until(lambda: reading.listener.open, "a connection")
            with socket.create_connection(("::1", port)) as client:
                client.sendall(b"  V2PUB plays\n" + len(BODY).to_bytes(4, "big") + BODY)
                await until(lambda: reading.listener.received_plays == 1, "the play")
            assert reading.names == [f"[::1]:{port}/plays"]

    with open_queue("nsqd", tmp_path, f"--tcp-address=[::1]:{port}") as queue:
        asyncio.run(scene(queue))


@pytest.mark.parametrize(
    ("option", "size"), [("--max-msg-size=1024", 1000), ("--max-msg-size=20000000", 17 << 20)]
)
def test_a_message_that_can_be_no_dead_letter_as_it_is_is_cut_finished_and_counted(option, size, tmp_path):
    body = b"\xff" * size
    with (
        open_queue("nsqd", tmp_path, option) as queue,
        Service(tmp_path / "state", [*ANY_PORTS, reading(queue.tcp_address)]) as service,
    ):
        queue.post("/pub?topic=plays", body)
        put(queue, 3)
        wait_status(service, lambda status: status["plays"]["dead_lettered"] == 1, "the letter to be counted")
        wait_counted(service, 3)
        wait_until(lambda: queue.unfinished("plays", "playtally") == 0, "all to be finished")
        with RawClient(queue.tcp_address) as client:
            client.subscribe("plays.dead", "a-test", 1)
            letter = json.loads(client.message().body)
        assert (letter["body_bytes"], letter["body_sha256"]) == (size, hashlib.sha256(body).hexdigest())
        assert body.startswith(base64.b64decode(letter["body_start_base64"]))
        (consumer,) = [one for one in service.status()["children"] if one["id"] == "consumer"]
        assert consumer["incarnation"] == 1


def test_a_port_that_is_no_nsqds_is_said_once_with_what_to_do(tmp_path, caplog):
    async def scene(queue):
        async with Reading(queue.http_address, "a..b:4150", "127.0.0.1:1", queue.tcp_address) as reading:
            await until(lambda: reading.listener.open, "a connection")
            await asyncio.sleep(3)  # many more attempts
            assert [state.stats.address for state in reading.source.nsqds if state.connection] == [
                queue.tcp_address
            ]

    with open_queue("nsqd", tmp_path) as queue:
        asyncio.run(scene(queue))
        said = warnings_of(caplog)
        assert len(said) == 3, said
        (web,) = [line for line in said if queue.http_address in line]
    assert "a web server answers; expected nsqd's TCP port, often 4150" in web


def test_an_nsqd_that_lets_us_in_and_refuses_to_subscribe_us_is_never_called_connected(tmp_path, caplog):
    async def scene(queue):
        caplog.set_level(logging.INFO)
        async with Reading(queue.tcp_address) as reading:
            await until(lambda: "E_SUB_FAILED" in caplog.text or "max" in caplog.text, "the refusal")
            await asyncio.sleep(2)
            assert not [one for one in caplog.messages if one.startswith("connected")]
            assert len(warnings_of(caplog)) == 1
            assert reading.listener.received_plays == 0

    with open_queue("nsqd", tmp_path, "--max-channel-consumers=1") as queue:
        with RawClient(queue.tcp_address) as other:
            other.subscribe("plays", "playtally", ready=1)
            asyncio.run(scene(queue))
