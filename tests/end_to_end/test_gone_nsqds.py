"""A discovered nsqd that goes and comes back, and nsqlookupds that are dead: no false `caught_up`."""

import contextlib

from tests.end_to_end.test_discovery import VIDEO, addresses, lookupds, nsqds, put, service_on
from tests.support.patience import wait_until
from tests.support.queues import free_ports
from tests.support.real_nsqd import RealLookupd
from tests.support.services import ledger_totals, wait_caught_up, wait_counted, wait_status

CHANNEL = "topic=plays&channel=playtally"


def why(status):
    return "; ".join(status["why_not_caught_up"])


def kill_consumer(service):
    lives = service.child("consumer")["incarnation"]
    assert service.command("kill", "consumer").returncode == 0
    wait_status(service, lambda _: service.child("consumer")["incarnation"] > lives, "the next life")


def test_an_nsqd_that_restarts_with_our_plays_is_missed_until_they_are_counted(tmp_path):
    with (
        lookupds(1) as (lookupd,),
        nsqds(tmp_path / "1", 1, lookupd) as (stays,),
        nsqds(tmp_path / "2", 1, lookupd) as (restarts,),
        service_on(tmp_path, [lookupd]) as service,
    ):
        for nsqd in (stays, restarts):
            put(nsqd, 1)
        service.start()
        wait_caught_up(service, 2)
        restarts.post(f"/channel/pause?{CHANNEL}")
        put(restarts, 7)
        wait_status(service, lambda found: found["nsq"]["depth"] == 7, "the plays to wait")
        restarts.stop()
        found = wait_status(service, lambda found: addresses(found) == [stays.tcp_address], "its loss")
        reason = f"nsqd {restarts.tcp_address} has gone and may hold plays"
        assert not found["caught_up"] and reason in found["why_not_caught_up"]
        kill_consumer(service)
        found = wait_status(service, lambda found: found["nsq"]["connections"] == 1, "the other nsqd")
        assert not found["caught_up"] and reason in found["why_not_caught_up"]
        restarts.start()
        found = wait_status(service, lambda found: reason not in found["why_not_caught_up"], "its return")
        assert not found["caught_up"], "its plays still wait"
        restarts.post(f"/channel/unpause?{CHANNEL}")
        wait_caught_up(service, 9)
        assert ledger_totals(service) == {VIDEO: 9}


def test_a_consumer_that_restarts_while_nsqlookupd_is_down_reads_on(tmp_path):
    with (
        lookupds(1) as (lookupd,),
        nsqds(tmp_path, 1, lookupd) as (nsqd,),
        service_on(tmp_path, [lookupd]) as service,
    ):
        put(nsqd, 1)
        service.start()
        wait_caught_up(service, 1)
        lookupd.close()
        for plays in (2, 3):
            kill_consumer(service)
            put(nsqd, 1)
            wait_caught_up(service, plays)
        assert ledger_totals(service) == {VIDEO: 3}


def test_while_no_nsqlookupd_has_answered_nothing_is_caught_up(tmp_path):
    late, nowhere = RealLookupd(), f"127.0.0.1:{free_ports(1)[0]}"
    with (
        contextlib.closing(late),
        nsqds(tmp_path / "1", 1) as (configured,),
        service_on(tmp_path, [late, nowhere], [configured]) as service,
    ):
        put(configured, 1)
        service.start()
        wait_counted(service, 1)
        found = wait_status(service, lambda found: not found["pending_videos"], "the publish")
        assert not found["caught_up"]
        for one in (late.http_address, nowhere):
            assert f"nsqlookupd {one} does not answer" in why(found)
        late.start()
        wait_caught_up(service, 1)  # an nsqd tells all nsqlookupds, so one is enough
        with nsqds(tmp_path / "2", 1, late) as (new,):
            put(new, 1)
            wait_until(lambda: late.topics_of(new) == ["plays"], "the topic to be known")
            found = service.status()
            assert not found["caught_up"] or found["plays"]["counted"] == 2
            wait_caught_up(service, 2)
