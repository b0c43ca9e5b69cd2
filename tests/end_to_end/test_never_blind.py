"""What the service says of itself is true: whether it has caught up, and whether it is ready and healthy.

Each test makes a case in which the service can do nothing for plays, or has plays still to do.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import QUEUES, QueueHttp, QueueProcess, RawClient, free_ports, open_queue
from tests.support.real_nsqd import real_lookupd
from tests.support.services import (
    UNHURRIED,
    ServiceWithQueue,
    action_headers,
    facts_of,
    open_service,
    reading,
    wait_caught_up,
    wait_status,
)
from tests.support.trouble import halt

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()
AT_ONCE = "dispatch.realtime_below=1000000"  # every play is published on receipt
PROBES = ["/livez", "/readyz", "/healthz"]


@pytest.fixture(scope="module", params=QUEUES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service that has counted a play."""
    path = tmp_path_factory.mktemp("never-blind")
    with open_service(request.param, path, *UNHURRIED, AT_ONCE) as service:
        service.start()
        service.queue.put("plays", PLAY)
        wait_caught_up(service, 1)
        yield service


def queue_of(service: ServiceWithQueue) -> QueueHttp:
    return QueueHttp(service.queue.http_address())


def ask(
    service: ServiceWithQueue, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer of the service's own HTTP."""
    connection = http.client.HTTPConnection(facts_of(service)["admin_address"], timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, headers={} if host is None else {"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()


def codes(service: ServiceWithQueue) -> dict[str, int]:
    return {path: ask(service, path)[0] for path in PROBES}


def reasons(service: ServiceWithQueue) -> list[str]:
    code, body = ask(service, "/healthz")
    told = json.loads(body)
    assert told["healthy"] is (code == 200) is not told["reasons"]
    return told["reasons"]


def act(service: ServiceWithQueue, child: str, action: str) -> None:
    connection = http.client.HTTPConnection(facts_of(service)["admin_address"], timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("POST", f"/children/{child}/{action}", headers=action_headers(service, action))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


# What waits on the queue


def test_a_status_that_is_asked_after_a_play_was_put_knows_of_the_play(service):
    before = service.status()["plays"]["counted"]
    with RawClient(service.queue.address()) as client:
        for number in range(before + 1, before + 101):
            client.publish("plays", PLAY)
            status = service.status()
            assert not status["caught_up"] or status["plays"]["counted"] == number
    wait_caught_up(service, before + 100)


@pytest.mark.parametrize("paused", ["channel", "topic"])
def test_plays_that_wait_on_the_queue_are_told_and_are_not_caught_up(service, paused):
    before = service.status()["plays"]["counted"]
    queue = queue_of(service)
    where = "topic=plays" + ("&channel=playtally" if paused == "channel" else "")
    queue.post(f"/{paused}/pause?{where}")
    try:
        service.queue.put("plays", *[PLAY] * 7)
        status = service.status()
        assert (status["caught_up"], status["caught_up_is"], status["nsq"]["depth"]) == (False, "queue", 7)
        (nsqd,) = status["nsq"]["nsqds"]
        assert nsqd == nsqd | {"address": service.queue.address(), "connected": True, "depth": 7}
        assert [f"7 messages on nsqd {nsqd['address']} ({paused} paused)"] == status["why_not_caught_up"]
        assert f"7 messages on nsqd {nsqd['address']} ({paused} paused)" in service.command("status").stdout
        assert b"\nplaytally_nsq_depth 7.0\n" in ask(service, "/metrics")[1]
    finally:
        queue.post(f"/{paused}/unpause?{where}")
    status = wait_caught_up(service, before + 7)
    assert status["nsq"]["depth"] == 0 and status["why_not_caught_up"] == []


def test_a_play_that_another_consumer_has_in_flight_or_that_is_deferred_is_not_done(service):
    before = service.status()["plays"]["counted"]
    address = service.queue.address()
    with RawClient(address) as other:
        other.identify(msg_timeout=60_000, heartbeat_interval=30_000)
        other.subscribe("plays", "playtally", ready=1)
        assert service.status()["nsq"]["others_on_channel"] == 1
        message = None
        while message is None:  # the queue gives some of the plays to the service
            service.queue.put("plays", PLAY)
            before += 1
            with contextlib.suppress(TimeoutError):
                message = other.message(0.2)
        other.ready(0)
        wait_status(service, lambda status: status["plays"]["counted"] == before - 1, "the others' count")
        status = wait_status(service, lambda status: status["pending_videos"] == 0, "the others' publish")
        assert not status["caught_up"]
        assert f"1 message of nsqd {address} not finished" in status["why_not_caught_up"]
        other.send(b"REQ " + message.id + b" 3600000\n")
        status = wait_status(
            service, lambda status: "deferred" in str(status["why_not_caught_up"]), "a deferred play"
        )
        assert not status["caught_up"]
        queue_of(service).post("/channel/empty?topic=plays&channel=playtally")
    status = wait_caught_up(service, before - 1)
    assert status["nsq"]["others_on_channel"] == 0


# Probes


def test_a_probe_is_200_while_all_runs_whatever_the_host_and_knows_head(service):
    wait_until(lambda: codes(service) == dict.fromkeys(PROBES, 200), "every probe to be 200")
    for path in PROBES:
        length = len(ask(service, path)[1])
        assert ask(service, path, "HEAD") == (200, b"")
        to_strangers = {"/livez": ask(service, path)[1]} | {
            "/readyz": b'{"ready": true}',
            "/healthz": b'{"healthy": true}',
        }
        assert ask(service, path, host="evil.example:99") == (200, to_strangers[path])
        assert length > 0
    for path in ("/status", "/metrics"):
        assert ask(service, path, "HEAD") == (200, b"")


def test_a_child_that_is_terminated_or_deleted_does_not_run(tmp_path):
    with open_service("embedded", tmp_path, AT_ONCE) as service:
        service.start()
        wait_until(lambda: codes(service) == dict.fromkeys(PROBES, 200), "every probe to be 200")
        act(service, "client", "terminate")
        assert codes(service) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
        assert reasons(service) == ["client is stopped, expected running"]
        act(service, "client", "restart")
        assert codes(service) == dict.fromkeys(PROBES, 200)
        for child in ("consumer", "counter-1", "dispatcher"):
            act(service, child, "terminate")
            act(service, child, "delete")
        assert codes(service) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
        told = " ".join(reasons(service))
        assert all(f"{child} was deleted" in told for child in ("consumer", "counter-1", "dispatcher"))
        assert "no nsqd is connected" in told
        assert not service.status()["caught_up"]


def test_a_child_that_hangs_holds_up_no_probe_and_is_not_taken_for_done(tmp_path):
    with open_service("embedded", tmp_path, *UNHURRIED, AT_ONCE) as service:
        service.start()
        service.queue.put("plays", PLAY)
        wait_caught_up(service, 1)
        for child in ("consumer", "counter-0", "dispatcher"):  # each is asked for its stats
            pid = service.child(child)["pid"]
            halt(pid)
            try:
                assert set(codes(service)) == set(PROBES)
                # A busy machine's other children may not answer in time either.
                expected = [f"{child} did not answer"]
                while (status := service.status())["why_not_caught_up"] != expected:
                    assert not status["caught_up"] and expected[0] in status["why_not_caught_up"]
                assert not status["caught_up"]
            finally:
                os.kill(pid, signal.SIGCONT)
            wait_caught_up(service, 1)


# nsqds that are away


def test_a_service_without_its_nsqd_says_so_everywhere(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd, service_on(tmp_path, nsqd) as service:
        wait_caught_up(service, 0)
        nsqd.kill()
        wait_until(lambda: ask(service, "/readyz")[0] == 503, "the nsqd to be missed")
        assert reasons(service) == [f"no nsqd is connected, expected {nsqd.tcp_address}"]
        assert codes(service) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
        status = service.status()
        assert (status["caught_up"], status["caught_up_is"]) == (False, "queue")
        assert (status["nsq"]["connections"], status["nsq"]["depth"]) == (0, None)
        (told,) = status["nsq"]["nsqds"]
        assert (told["connected"], told["depth"]) == (False, None)
        assert "no nsqd is connected" in service.command("status").stdout
        check = service.command("check")
        assert check.returncode == 1 and "no nsqd is connected" in check.stdout
        nsqd.start()
        wait_caught_up(service, 0)
        wait_until(lambda: codes(service) == dict.fromkeys(PROBES, 200), "every probe to be 200")


def test_without_any_nsqd_from_the_start_nothing_is_caught_up(tmp_path):
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    with open_service("embedded", tmp_path, reading(nowhere)) as service:
        service.start()
        status = service.status()
        assert (status["caught_up"], status["caught_up_is"], status["nsq"]["depth"]) == (
            False,
            "service",
            None,
        )
        assert "no nsqd is connected" in status["why_not_caught_up"]
        assert codes(service) == {"/livez": 200, "/readyz": 503, "/healthz": 503}


def test_an_nsqd_that_hangs_after_it_has_answered_is_not_caught_up(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd, service_on(tmp_path, nsqd) as service:
        wait_caught_up(service, 0)
        halt(nsqd.pid)
        try:
            status = service.status()
            assert (status["caught_up"], status["caught_up_is"]) == (False, "queue")
            assert f"nsqd {nsqd.tcp_address} did not answer GET /stats" in status["why_not_caught_up"]
            assert ask(service, "/livez")[0] == 200
        finally:
            os.kill(nsqd.pid, signal.SIGCONT)
        wait_caught_up(service, 0)


def test_one_of_two_nsqds_that_is_away_is_named(tmp_path):
    with contextlib.ExitStack() as stack:
        nsqds = [stack.enter_context(open_queue("nsqd", tmp_path / name)) for name in ("a", "b")]
        service = stack.enter_context(service_on(tmp_path, *nsqds))
        assert wait_caught_up(service, 0)["nsq"]["connections"] == 2
        nsqds[1].kill()
        status = wait_status(service, lambda status: status["nsq"]["connections"] == 1, "the lost nsqd")
        assert (status["caught_up"], status["caught_up_is"], status["nsq"]["depth"]) == (False, "queue", 0)
        assert f"nsqd {nsqds[1].tcp_address} did not answer GET /stats" in status["why_not_caught_up"]
        assert codes(service) == dict.fromkeys(PROBES, 200)


# nsqds whose /stats can't be asked


def test_where_stats_can_not_be_asked_our_side_alone_decides_and_that_is_told(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd, open_service("embedded", tmp_path, AT_ONCE) as service:
        # its HTTP is not at the TCP port + 1, and no setting says where it is
        service.arguments += ["--set", reading(nsqd.tcp_address)]
        service.start()
        with RawClient(nsqd.tcp_address) as client:
            client.publish("plays", PLAY)
        status = wait_caught_up(service, 1)
        assert (status["caught_up_is"], status["nsq"]["depth"]) == ("service", None)
        assert status["nsq"]["nsqds"][0]["depth"] is None
        assert "playtally_nsq_depth " not in ask(service, "/metrics")[1].decode()
        assert "its depth is not known" in service.command("status").stdout


def test_check_finds_an_http_address_where_no_nsqd_is(service):
    tcp, wrong = service.queue.address(), service.queue.address()
    right = service.queue.http_address()
    for http_address, code in ((wrong, 1), (right, 0)):
        lists = [reading(tcp), f'nsq.nsqd_http_addresses=["{http_address}"]']
        result = service.command("check", *(f"--set={one}" for one in lists))
        assert result.returncode == code, result.stdout
        assert (f"no HTTP of an nsqd answers at {wrong}" in result.stdout) is (code == 1)


def test_http_at_the_next_port_is_believed_if_it_is_the_same_nsqds(tmp_path):
    for ours in (True, False):
        with contextlib.ExitStack() as stack:
            tcp, other_tcp = two_adjacent_ports(), free_ports(1)[0]
            nsqd = adjacent_nsqd(tmp_path / f"a{ours}", tcp, tcp + 1 if ours else free_ports(1)[0])
            stack.callback(nsqd.close)
            nsqd.start()
            if not ours:
                other = adjacent_nsqd(tmp_path / "other", other_tcp, tcp + 1)
                stack.callback(other.close)
                other.start()
            service = stack.enter_context(open_service("embedded", tmp_path / f"s{ours}", AT_ONCE))
            service.arguments += ["--set", reading(nsqd.tcp_address)]
            service.start()
            status = wait_caught_up(service, 0)
            assert status["caught_up_is"] == ("queue" if ours else "service")
            assert status["nsq"]["depth"] == (0 if ours else None)


# nsqlookupd


def test_with_an_nsqlookupd_that_is_away_or_does_not_know_the_topic_nothing_is_caught_up(tmp_path):
    with real_lookupd() as (_, lookupd), open_service("embedded", tmp_path) as service:
        nowhere = f"127.0.0.1:{free_ports(1)[0]}"
        service.arguments += ["--set", f'nsq.lookupd_http_addresses=["{lookupd}", "{nowhere}"]']
        service.start()
        status = service.status()
        assert (status["caught_up"], status["nsq"]["depth"]) == (False, None)
        assert status["why_not_caught_up"] == ["no nsqd is connected"]
        assert reasons(service) == [
            f"no nsqd is connected, expected one that nsqlookupd {lookupd}, {nowhere} knows for topic plays"
        ]


def test_an_nsqd_that_nsqlookupd_names_is_asked_where_nsqlookupd_says_that_its_http_is(tmp_path):
    with (
        real_lookupd() as (tcp, lookupd),
        open_queue("nsqd", tmp_path, f"-lookupd-tcp-address={tcp}") as nsqd,
        open_service("embedded", tmp_path, AT_ONCE) as service,
    ):
        with RawClient(nsqd.tcp_address) as client:
            client.publish("plays", PLAY)
        service.arguments += ["--set", f'nsq.lookupd_http_addresses=["{lookupd}"]']
        service.start()
        status = wait_caught_up(service, 1)
        assert (status["caught_up_is"], status["nsq"]["depth"]) == ("queue", 0)
        assert [one["address"] for one in status["nsq"]["nsqds"]] == [nsqd.tcp_address]
        nsqd.kill()
        status = wait_status(service, lambda status: status["nsq"]["connections"] == 0, "the lost nsqd")
        assert not status["caught_up"]


# Parts of this file


@contextlib.contextmanager
def service_on(path: Path, *nsqds: QueueProcess) -> Iterator[ServiceWithQueue]:
    """A running service that reads these nsqds, and knows where their HTTP is."""
    tcp = json.dumps([one.tcp_address for one in nsqds])
    http_addresses = json.dumps([one.http_address for one in nsqds])
    lists = [f"nsq.nsqd_tcp_addresses={tcp}", f"nsq.nsqd_http_addresses={http_addresses}"]
    with open_service("embedded", path, *lists, *UNHURRIED, AT_ONCE) as service:
        service.start()
        yield service


def two_adjacent_ports() -> int:
    while True:
        (port,) = free_ports(1)
        with contextlib.suppress(OSError), contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", port + 1))
            return port


def adjacent_nsqd(path: Path, tcp_port: int, http_port: int) -> QueueProcess:
    nsqd = QueueProcess("nsqd", path)
    nsqd.tcp_address, nsqd.http_address = f"127.0.0.1:{tcp_port}", f"127.0.0.1:{http_port}"
    return nsqd
