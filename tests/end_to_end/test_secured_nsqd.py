"""A real nsqd with TLS, compression and AUTH: exact totals, whatever is killed meanwhile."""

import contextlib
import os
import signal

import pytest

from tests.support.certificates import Authority
from tests.support.secured_nsqd import COMPRESSIONS, SECRET, SecuredNsqd
from tests.support.secured_service import HASTY, secured_service, settings_of
from tests.support.services import (
    ANY_PORTS,
    HURRIED,
    PATIENT,
    Load,
    ServiceWithQueue,
    ledger_totals,
    promises_broken,
    wait_caught_up,
    wait_status,
)

PLAYS = ["--plays", "5000", "--seed", "1"]


def client_of_channel(nsqd):
    """What nsqd says of the connection that reads the channel."""
    (client,) = nsqd.channel("plays", "playtally")["clients"]
    return client


@pytest.mark.parametrize("with_auth", [True, False], ids=["auth", "no auth"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_totals_are_exact_however_nsqd_is_secured(tmp_path, tls, compression, with_auth):
    with secured_service(tmp_path, f"nsq.compression={compression}", tls=tls, with_auth=with_auth) as secured:
        service = secured.service
        service.start()
        manifest = Load(service, tmp_path, *PLAYS).wait()
        assert manifest["plays"] == 5000
        status = wait_caught_up(service, 5000)
        assert ledger_totals(service) == manifest["totals"] == service.totals()
        assert promises_broken(service) == {}
        assert status["caught_up_is"] == "queue"
        found = client_of_channel(secured.nsqd)
        assert found["tls"] is tls
        assert found["snappy"] is (compression == "snappy")
        assert found["deflate"] is (compression == "deflate")
        assert bool(found.get("authed")) is with_auth
        assert SECRET not in service.log()


@pytest.mark.parametrize(
    ("tls", "compression"), [(True, ""), (True, "snappy"), (True, "deflate"), (False, "snappy")]
)
def test_nothing_is_lost_when_consumer_and_nsqd_are_killed_and_dead_letters_are_kept(
    tmp_path, tls, compression
):
    with secured_service(tmp_path, *PATIENT, f"nsq.compression={compression}", tls=tls) as secured:
        service, nsqd = secured.service, secured.nsqd
        service.start()
        load = Load(service, tmp_path, "--plays", "300000", "--rate", "3000")
        for _ in range(3):
            before = service.status()["plays"]["counted"]
            os.kill(service.child("consumer")["pid"], signal.SIGKILL)
            nsqd.post("/pub?topic=plays", b"this is no play")
            wait_status(
                service,
                lambda status, before=before: status["plays"]["counted"] > before + 500,
                "plays to be counted after a kill of the consumer",
            )
        nsqd.restart()  # by SIGTERM: it keeps all messages
        before = service.status()["plays"]["counted"]
        wait_status(
            service,
            lambda status: status["plays"]["counted"] > before + 500,
            "plays to be counted after a restart of nsqd",
        )
        manifest = load.stop()
        status = wait_caught_up(service, manifest["plays"])
        unknown = sum(manifest.get("unacknowledged", {}).values())
        assert manifest["plays"] <= status["plays"]["counted"] <= manifest["plays"] + unknown
        totals = ledger_totals(service)
        assert all(totals[video] >= plays for video, plays in manifest["totals"].items())
        if not unknown:
            assert totals == manifest["totals"]
        assert status["plays"]["dead_lettered"] == 3
        assert nsqd.topic("plays.dead")["depth"] >= 3
        assert promises_broken(service) == {}


@pytest.mark.parametrize("required", ["tcp-https", "true"])
def test_an_nsqd_that_takes_nobody_without_tls_and_a_certificate_is_read_published_to_and_asked(
    tmp_path, required
):
    authority = Authority(tmp_path)
    key, certificate = authority.issue("playtally")
    wants = ["--tls-client-auth-policy=require-verify", f"--tls-root-ca-file={authority.ca_file}"]
    with contextlib.ExitStack() as stack:
        nsqd = SecuredNsqd(
            tmp_path, f"--tls-required={required}", *wants, authority=authority, in_memory=True
        )
        stack.callback(nsqd.close)
        nsqd.start()
        settings = [
            *settings_of(tmp_path, nsqd.tcp_address, authority, with_auth=False),
            f"nsq.tls_cert_file={certificate}",
            f"nsq.tls_key_file={key}",
            "nsq.compression=snappy",
            f'nsq.nsqd_http_addresses=["{nsqd.http_address}"]',  # where --tls-required=true says 403
            "publish.url=",
            "publish.nsq_topic=totals",
        ]
        service = ServiceWithQueue(tmp_path / "state", [*ANY_PORTS, *HURRIED, *HASTY, *settings])
        stack.callback(service.end)
        service.start()
        manifest = Load(service, tmp_path, *PLAYS).wait()
        assert manifest["plays"] == 5000
        status = wait_caught_up(service, 5000)
        assert ledger_totals(service) == manifest["totals"]
        assert status["caught_up_is"] == "queue"  # its /stats was asked over https
        assert nsqd.topic("totals")["message_count"] >= status["publishes"]["total"] > 0
        result = service.command("check")
        assert result.returncode == 0, result.stdout
        plain = service.command("check", "--set", "nsq.tls_cert_file=", "--set", "nsq.tls_key_file=")
        assert plain.returncode == 1
        assert "nsq.tls_cert_file" in " ".join(plain.stdout.split())
