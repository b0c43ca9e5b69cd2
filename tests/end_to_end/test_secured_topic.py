"""Publishes to a topic of a secured nsqd: accepted, refused while the right is gone, and accepted again."""

import asyncio
import time

import pytest

from actors.config import NsqSection, PublishSection, Settings
from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks import open_sink
from tests.support.certificates import Authority
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.secured_nsqd import COMPRESSIONS, SECRET, AuthServer, secured_nsqd
from tests.support.secured_service import lines_with, secured_service
from tests.support.services import wait_caught_up

PLAY = b'{"video_id": "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"}'
BATCH = make_batch("a-service", Trigger.REALTIME, [Entry(bytes(16), 1, 1)])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_right_that_is_withdrawn_refuses_publishes_until_it_is_back(
    tmp_path, monkeypatch, tls, compression
):
    monkeypatch.setenv("NSQD_SECRET", SECRET)
    authority = Authority(tmp_path) if tls else None

    async def scene():
        with AuthServer(ttl_s=1) as auth, secured_nsqd(tmp_path, authority=authority, auth=auth) as nsqd:
            nsq = NsqSection(
                nsqd_tcp_addresses=[nsqd.tcp_address],
                tls=tls,
                tls_ca_file=str(authority.ca_file) if authority else "",
                auth_secret_env="NSQD_SECRET",
                compression=compression,
            )
            publish = PublishSection(url="", nsq_topic="totals", stdout=False, timeout_s=60)
            sink = open_sink(Settings(nsq=nsq, publish=publish))
            assert (await sink.deliver(BATCH)).outcome is Outcome.ACCEPTED
            auth.allows = set()
            accepted, end_s = 1, time.monotonic() + PATIENCE_S
            # nsqd believes the auth server for a ttl
            while (delivery := await sink.deliver(BATCH)).outcome is Outcome.ACCEPTED:
                accepted += 1
                assert time.monotonic() < end_s
                await asyncio.sleep(0.2)
            assert delivery.outcome is Outcome.REFUSED
            assert "E_AUTH_FAILED" in delivery.why
            assert "see nsq.auth_secret_env and nsq.auth_secret_file" in delivery.why
            auth.allows = {SECRET}
            assert (await sink.deliver(BATCH)).outcome is Outcome.ACCEPTED
            assert nsqd.topic("totals")["message_count"] == accepted + 1
            sink.close()

    asyncio.run(scene())


def test_a_right_that_is_withdrawn_points_to_the_settings_of_nsqd(tmp_path):
    topic = ("publish.url=", "publish.nsq_topic=totals")
    with secured_service(tmp_path, *topic, tls=False) as secured:
        service, secured.auth.ttl_s = secured.service, 1
        service.start()
        secured.nsqd.post("/pub?topic=plays", PLAY)
        wait_caught_up(service, 1)
        secured.auth.allows = set()
        said = (
            f"NSQ topic totals refuses everything: nsqd {secured.nsqd.tcp_address}: nsqd says E_AUTH_FAILED"
        )

        def one_more_is_refused():
            secured.nsqd.post("/pub?topic=plays", PLAY)
            return lines_with(said, service)

        (line,) = wait_until(one_more_is_refused, "a publish that is refused", 2 * PATIENCE_S)
        assert "Check publish.nsq_topic, nsq.auth_secret_env and nsq.auth_secret_file, and what" in line
        assert "publish.url" not in line
        service.kill()  # else it waits for the right to come back
