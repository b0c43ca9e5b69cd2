"""A whole service on real nsqds and nsqlookupds that come, go, hang and change: the totals stay exact."""

import contextlib
import json
import os
import signal
import socket
import uuid

import pytest

from tests.support.hostile_servers import answer, raw_http
from tests.support.patience import wait_until
from tests.support.queues import QueueProcess, RawClient, free_ports, open_queue
from tests.support.real_nsqd import RealLookupd
from tests.support.services import (
    UNHURRIED,
    Load,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)
from tests.support.trouble import halt

VIDEO = str(uuid.UUID(int=7))
BODY = json.dumps({"video_id": VIDEO}).encode()
TOPIC = "totals"
PRODUCES = ("--plays", "20000", "--videos", "20", "--quiet-videos", "2", "--seed", "5")


def put(nsqd, plays, topic="plays"):
    with RawClient(nsqd.tcp_address) as client:
        client.publish(topic, *[BODY] * plays)


@contextlib.contextmanager
def lookupds(number):
    """Running nsqlookupds."""
    with contextlib.ExitStack() as stack:
        found = [RealLookupd() for _ in range(number)]
        for one in found:
            stack.callback(one.close)
            one.start()
        yield found


@contextlib.contextmanager
def nsqds(path, number, *known_to):
    """Running nsqds that report to these nsqlookupds."""
    options = [f"--lookupd-tcp-address={one.tcp_address}" for one in known_to]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(open_queue("nsqd", path / f"nsqd-{n}", *options)) for n in range(number)]


def service_on(path, lookupd=(), nsqd=(), *more):
    """A service that is to read these. It is not started yet."""
    tcp = json.dumps([one.tcp_address for one in nsqd])
    http_addresses = json.dumps([one.http_address for one in nsqd])
    lookupd_addresses = json.dumps([one if isinstance(one, str) else one.http_address for one in lookupd])
    lists = [
        f"nsq.nsqd_tcp_addresses={tcp}",
        f"nsq.nsqd_http_addresses={http_addresses}",
        f"nsq.lookupd_http_addresses={lookupd_addresses}",
    ]
    return open_service("embedded", path / "service", *UNHURRIED, *lists, "dispatch.deadline_s=0.5", *more)


TO_TOPIC = ("publish.url=", f"publish.nsq_topic={TOPIC}", "client.enabled=false", "publish.timeout_s=5")


def addresses(status):
    return sorted(one["address"] for one in status["nsq"]["nsqds"])


def messages(nsqd, topic):
    """How many messages the nsqd has had on a topic."""
    return (nsqd.topic(topic) or {"message_count": 0})["message_count"]


# nsqds and topics that come and go


def test_nsqds_and_a_topic_that_come_are_found_and_those_that_go_are_dropped(tmp_path):
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    with (
        lookupds(1) as (lookupd,),
        service_on(tmp_path, [lookupd, nowhere]) as service,
        nsqds(tmp_path / "1", 1, lookupd) as (first,),
    ):
        service.start()
        wait_until(lambda: "no nsqd has the topic plays" in service.log(), "word of the missing topic")
        put(first, 10)
        wait_counted(service, 10)
        with nsqds(tmp_path / "2", 1, lookupd) as (second,):
            put(second, 10)
            assert addresses(wait_caught_up(service, 20)) == sorted([first.tcp_address, second.tcp_address])
            second.stop()
            wait_status(service, lambda found: addresses(found) == [first.tcp_address], "it to be dropped")
        put(first, 1)
        wait_counted(service, 21)
        assert ledger_totals(service) == {VIDEO: 21}


def test_nsqlookupds_that_are_down_at_the_start_and_later_cost_no_play(tmp_path):
    late = RealLookupd()
    with contextlib.closing(late), service_on(tmp_path, [late]) as service:
        service.start()
        wait_until(lambda: "names no nsqds" in service.log(), "word of the nsqlookupd that is down")
        late.start()
        with nsqds(tmp_path, 1, late) as (nsqd,):
            put(nsqd, 10)
            wait_caught_up(service, 10)
            late.close()
            put(nsqd, 10)
            wait_caught_up(service, 20)
            nsqd.restart()
            put(nsqd, 10)
            wait_caught_up(service, 30)
            assert ledger_totals(service) == {VIDEO: 30}


@pytest.mark.parametrize("ends", ["dead", "hung"])
def test_one_of_two_nsqlookupds_that_is_gone_holds_up_neither_reader_producer_nor_publishes(ends, tmp_path):
    with (
        lookupds(2) as (gone, left),
        nsqds(tmp_path, 1, gone, left) as (nsqd,),
        # nsqd asks the hung nsqlookupd too before it creates a topic, and answers no publish meanwhile.
        service_on(tmp_path, [gone, left], (), *TO_TOPIC, "publish.timeout_s=600") as service,
    ):
        if ends == "hung":
            halt(gone.pid)
        else:
            gone.close()
        service.start()
        manifest = Load(service, tmp_path, *PRODUCES).wait()
        wait_caught_up(service, 20_000)
        assert ledger_totals(service) == manifest["totals"]
        assert messages(nsqd, TOPIC) == service.status()["publishes"]["total"]


# Tombstones


def test_a_tombstoned_nsqd_is_used_by_neither_reader_producer_nor_publishes(tmp_path):
    with (
        lookupds(2) as found,
        nsqds(tmp_path, 2, *found) as (tombstoned, used),
        service_on(tmp_path, found, (), *TO_TOPIC) as service,
    ):
        for nsqd in (tombstoned, used):
            put(nsqd, 1)
        for lookupd in found:
            lookupd.tombstone(tombstoned, "plays")
        service.start()
        manifest = Load(service, tmp_path, *PRODUCES).wait()
        assert addresses(wait_caught_up(service, 20_001)) == [used.tcp_address]
        assert sum(manifest["totals"].values()) == 20_000
        assert messages(tombstoned, "plays") == 1
        assert messages(tombstoned, TOPIC) == 0 < messages(used, TOPIC)
        assert tombstoned.channel("plays", "playtally") is None


def test_a_topic_that_is_deleted_behind_a_tombstone_is_not_made_again(tmp_path):
    with (
        lookupds(1) as (lookupd,),
        nsqds(tmp_path, 2, lookupd) as (leaving, staying),
        service_on(tmp_path, [lookupd]) as service,
    ):
        for nsqd in (leaving, staying):
            put(nsqd, 5)
        service.start()
        wait_caught_up(service, 10)
        lookupd.tombstone(leaving, "plays")
        asked_s = uptime_s(service)
        wait_until(lambda: uptime_s(service) >= asked_s + 4, "nsqlookupd to be asked again")
        put(leaving, 5)
        wait_caught_up(service, 15)
        leaving.post("/topic/delete?topic=plays")
        found = wait_status(service, lambda found: addresses(found) == [staying.tcp_address], "it to be left")
        assert found["plays"]["counted"] == 15
        put(staying, 1)
        wait_caught_up(service, 16)
        assert leaving.topic("plays") is None


def uptime_s(service):
    """How long it runs. It asks the nsqlookupds once a second."""
    return service.status()["supervisor"]["uptime_s"]


# A topic or a channel that changes under the consumer


@pytest.mark.parametrize("what", ["channel", "topic"])
def test_a_channel_or_a_topic_that_is_deleted_is_read_on_when_it_is_there_again(what, tmp_path):
    with (
        lookupds(1) as (lookupd,),
        nsqds(tmp_path, 1, lookupd) as (nsqd,),
        service_on(tmp_path, [lookupd]) as service,
    ):
        put(nsqd, 10)
        service.start()
        wait_caught_up(service, 10)
        for more in (1, 2):
            nsqd.post(f"/{what}/delete?topic=plays" + ("&channel=playtally" if what == "channel" else ""))
            put(nsqd, 10)
            wait_caught_up(service, 10 + 10 * more)
        assert ledger_totals(service) == {VIDEO: 30}


@pytest.mark.parametrize("what", ["channel", "topic"])
def test_what_is_emptied_while_it_is_paused_is_not_counted_and_all_else_is(what, tmp_path):
    where = "topic=plays" + ("&channel=playtally" if what == "channel" else "")
    with nsqds(tmp_path, 1) as (nsqd,), service_on(tmp_path, (), [nsqd]) as service:
        put(nsqd, 10)
        service.start()
        wait_caught_up(service, 10)
        nsqd.post(f"/{what}/pause?{where}")
        put(nsqd, 7)
        wait_status(service, lambda found: found["nsq"]["depth"] == 7, "the plays to wait")
        nsqd.post(f"/{what}/empty?{where}")
        put(nsqd, 3)
        wait_status(service, lambda found: found["nsq"]["depth"] == 3, "other plays to wait")
        nsqd.post(f"/{what}/unpause?{where}")
        wait_caught_up(service, 13)
        assert ledger_totals(service) == {VIDEO: 13}


# Addresses


def test_with_both_lists_set_all_parts_mean_the_same_nsqds_and_one_found_twice_is_read_once(tmp_path):
    with (
        lookupds(1) as (lookupd,),
        nsqds(tmp_path / "a", 1, lookupd) as (both,),
        nsqds(tmp_path / "b", 1, lookupd) as (discovered,),
        nsqds(tmp_path / "c", 1) as (configured,),
        service_on(tmp_path, [lookupd], [configured, both], *TO_TOPIC) as service,
    ):
        three = [both, discovered, configured]
        for nsqd in three:
            put(nsqd, 1)
        service.start()
        manifest = Load(service, tmp_path, *PRODUCES).wait()
        found = wait_caught_up(service, 20_003)
        assert addresses(found) == sorted(one.tcp_address for one in three)
        assert found["nsq"]["connections"] == 3
        assert both.channel("plays", "playtally")["client_count"] == 1
        assert all(messages(one, "plays") > 1 for one in three), "the producer uses each"
        assert sum(manifest["totals"].values()) + 3 == sum(ledger_totals(service).values())
        for nsqd in (configured, both):  # now the publishes go to the one that only nsqlookupd knows
            nsqd.kill()
        before = messages(discovered, TOPIC)
        put(discovered, 1)
        wait_until(lambda: messages(discovered, TOPIC) > before, "a publish on the discovered one")


@pytest.mark.parametrize("ends", ["dead", "hung"])
def test_publishes_go_on_with_another_nsqd_when_one_is_gone(ends, tmp_path):
    with (
        nsqds(tmp_path, 2) as (first, second),
        service_on(tmp_path, (), [first, second], *TO_TOPIC) as service,
    ):
        put(first, 1)
        put(second, 1)
        service.start()
        wait_caught_up(service, 2)
        assert messages(first, TOPIC) > 0 == messages(second, TOPIC)
        if ends == "hung":
            halt(first.pid)
        else:
            first.kill()
        put(second, 1)
        wait_until(lambda: messages(second, TOPIC) > 0, "a publish on the other nsqd")
        if ends == "hung":
            os.kill(first.pid, signal.SIGCONT)
            wait_caught_up(service, 3)


def test_everything_works_on_an_ipv6_address(tmp_path):
    tcp_port, http_port = free_ports(2)
    nsqd = QueueProcess("nsqd", tmp_path)
    nsqd.tcp_address, nsqd.http_address = f"[::1]:{tcp_port}", f"[::1]:{http_port}"
    with contextlib.closing(nsqd), service_on(tmp_path, (), [nsqd], *TO_TOPIC) as service:
        nsqd.start()
        service.start()
        manifest = Load(service, tmp_path, *PRODUCES).wait()
        found = wait_caught_up(service, 20_000)
        assert (found["caught_up_is"], found["nsq"]["depth"]) == ("queue", 0)
        assert ledger_totals(service) == manifest["totals"]
        assert messages(nsqd, TOPIC) == found["publishes"]["total"]


# How far behind


def test_more_nsqds_than_messages_allowed_take_turns_and_all_is_read(tmp_path):
    with (
        nsqds(tmp_path, 3) as found,
        service_on(tmp_path, (), found, "nsq.max_in_flight=2") as service,
    ):
        service.start()
        for plays in (50, 1):
            for nsqd in found:
                put(nsqd, plays)
        wait_counted(service, 153)
        for number, nsqd in enumerate(found, 154):
            put(nsqd, 1)
            wait_counted(service, number)
        wait_caught_up(service, 156)
        assert ledger_totals(service) == {VIDEO: 156}
        assert sum(one["rdy"] for one in service.status()["nsq"]["nsqds"]) <= 2


def test_depth_and_age_are_told_for_each_nsqd(tmp_path):
    with nsqds(tmp_path, 2) as (behind, idle), service_on(tmp_path, (), [behind, idle]) as service:
        for nsqd in (behind, idle):
            nsqd.post("/topic/create?topic=plays")
            nsqd.post("/channel/create?topic=plays&channel=playtally")
        behind.post("/channel/pause?topic=plays&channel=playtally")
        put(behind, 7)
        service.start()

        def of_each(status):
            by_address = {one["address"]: one for one in status["nsq"]["nsqds"]}
            return by_address.get(behind.tcp_address), by_address.get(idle.tcp_address)

        status = wait_status(service, lambda found: found["nsq"]["connections"] == 2, "two connections")
        told, of_idle = of_each(status)
        assert (told["depth"], of_idle["depth"]) == (7, 0)
        assert (told["last_age_ms"], of_idle["last_age_ms"]) == (None, None)
        held_s = uptime_s(service)
        wait_until(lambda: uptime_s(service) >= held_s + 1, "the plays to be older than a second")
        behind.post("/channel/unpause?topic=plays&channel=playtally")
        told, of_idle = of_each(wait_caught_up(service, 7))
        assert (told["depth"], told["in_flight"], of_idle["last_age_ms"]) == (0, 0, None)
        assert told["last_age_ms"] >= 1000
        behind.kill()
        told, _ = of_each(wait_status(service, lambda found: found["nsq"]["connections"] == 1, "its loss"))
        assert told["last_age_ms"] >= 1000, "it is known although the connection is lost"


def test_a_stats_that_never_answers_holds_up_neither_plays_nor_publishes_nor_status(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        nsqds(tmp_path, 1) as (nsqd,),
        service_on(tmp_path, (), [nsqd], *TO_TOPIC) as service,
    ):
        host, port = silent.getsockname()
        service.arguments += ["--set", f'nsq.nsqd_http_addresses=["{host}:{port}"]']
        service.start()
        manifest = Load(service, tmp_path, *PRODUCES).wait()
        status = wait_caught_up(service, 20_000)
        assert (status["caught_up_is"], status["nsq"]["depth"]) == ("service", None)
        assert ledger_totals(service) == manifest["totals"]
        assert messages(nsqd, TOPIC) == status["publishes"]["total"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1"], ids=["the same address", "another address"])
def test_a_set_http_address_is_believed_before_the_one_that_an_nsqlookupd_tells(host, tmp_path):
    with (
        nsqds(tmp_path / "own", 1) as (own,),
        nsqds(tmp_path / "empty", 1) as (empty,),
        contextlib.ExitStack() as stack,
    ):
        told = {
            "broadcast_address": host,
            "tcp_port": own.tcp_port,
            "topics": ["plays"],
            "tombstones": [False],
        }
        http_port = int(empty.http_address.rpartition(":")[2])
        nodes = answer("200 OK", json.dumps({"producers": [{**told, "http_port": http_port}]}))
        lookupd = stack.enter_context(raw_http(nodes))
        service = stack.enter_context(service_on(tmp_path, [lookupd.address], [own], *TO_TOPIC))
        own.post("/topic/create?topic=plays")
        own.post("/channel/create?topic=plays&channel=playtally")
        own.post("/channel/pause?topic=plays&channel=playtally")
        put(own, 3)
        service.start()
        wait_until(lambda: lookupd.asked > 1, "the nsqlookupd to be asked")
        wait_status(service, lambda status: status["nsq"]["depth"] == 3, "the depth of the configured nsqd")
        for _ in range(10):
            status = service.status()
            assert status["nsq"]["depth"] in (3, None), (
                "None while a second name is found to be the same nsqd"
            )
            assert not status["caught_up"]
        own.post("/channel/unpause?topic=plays&channel=playtally")
        assert wait_caught_up(service, 3)["caught_up_is"] == "queue"
