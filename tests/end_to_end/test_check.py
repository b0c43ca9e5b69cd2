"""`check` on real nsqds and nsqlookupds: what it finds, what it says to do, and that it leaves nothing."""

import asyncio
import datetime as dt
import email.utils
import errno
import http.server
import json
import os
import socket
import threading
import urllib.request

import pytest

from actors import config
from actors.cli.check import _all
from actors.cli.checks.finding import Finding, Verdict
from actors.cli.checks.state import check_folder
from actors.cli.launch import Service
from tests.support.clusters import open_cluster
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import QueueProcess, RawClient, open_queue
from tests.support.services import ANY_PORTS, open_service, reading, wait_status


def settings_for(state_dir, *nsqds: QueueProcess) -> list[str]:
    tcp, http_addresses = [one.tcp_address for one in nsqds], [one.http_address for one in nsqds]
    lists = [
        f"nsq.nsqd_tcp_addresses={json.dumps(tcp)}",
        f"nsq.nsqd_http_addresses={json.dumps(http_addresses)}",
    ]
    return [*lists, "client.enabled=false", "publish.url=", f"supervisor.state_dir={state_dir}"]


def checked(*overrides: str) -> dict[str, Finding]:
    """What `check` finds, by the thing."""
    findings = asyncio.run(_all(config.load(os.devnull, list(overrides))))
    assert all(one.do for one in findings if one.verdict is Verdict.WARNS)
    return {one.what: one for one in findings}


def set_by(service: Service) -> list[str]:
    """The settings that its --set words say."""
    pairs = zip(service.arguments, service.arguments[1:], strict=False)
    return [value for word, value in pairs if word == "--set"]


def verdicts(found: dict[str, Finding]) -> dict[str, str]:
    return {what: str(one.verdict) for what, one in found.items()}


@pytest.mark.parametrize("options", [[], ["--mem-queue-size=0"]])
def test_a_healthy_nsqd_works_and_nothing_is_left_on_it(tmp_path, options):
    with open_queue("nsqd", tmp_path, *options) as nsqd:
        found = checked(*settings_for(tmp_path / "state", nsqd))
        assert verdicts(found) == {
            "state folder": "works",
            "store": "skipped",
            "service": "skipped",
            f"nsqd {nsqd.tcp_address}": "works",
            "topic": "warns",
            "channel": "works",
            "clock": "works",
            "client": "skipped",
        }
        assert "answers as nsqd 1.3.0" in found[f"nsqd {nsqd.tcp_address}"].found
        assert not nsqd.stats()["topics"]
        assert "TOPIC(" not in nsqd.log()
        assert not (tmp_path / "state").exists()


def test_limits_below_our_settings_are_warnings_that_say_what_to_do(tmp_path):
    with open_queue(
        "nsqd", tmp_path, "--max-rdy-count=77", "--max-msg-timeout=3s", "--msg-timeout=2s"
    ) as nsqd:
        found = checked(*settings_for(tmp_path / "state", nsqd))[f"nsqd {nsqd.tcp_address}"]
        assert found.verdict is Verdict.WARNS
        assert "lets 77 messages be in flight, nsq.max_in_flight is 2,500" in found.found
        assert "refuses nsq.msg_timeout_s = 5 s, and its own 2 s holds" in found.found
        assert "--max-rdy-count" in found.do
        assert "set nsq.msg_timeout_s to 3 at most, or raise nsqd's --max-msg-timeout" in found.do
        enough = checked(
            *settings_for(tmp_path / "state", nsqd), "nsq.max_in_flight=77", "nsq.msg_timeout_s=3"
        )
        assert enough[f"nsqd {nsqd.tcp_address}"].verdict is Verdict.WORKS


def test_one_nsqd_under_several_names_is_counted_once(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd:
        nsqd.post("/topic/create?topic=plays")
        nsqd.post("/channel/create?topic=plays&channel=playtally")
        nsqd.post("/pub?topic=plays", b"{}")
        wait_until(lambda: nsqd.unfinished("plays", "playtally") == 1, "the message")
        names = [f"localhost:{nsqd.tcp_port}", nsqd.tcp_address]
        settings = [f"nsq.nsqd_tcp_addresses={json.dumps(names)}"]
        settings.append(f"nsq.nsqd_http_addresses={json.dumps([nsqd.http_address] * 2)}")
        found = checked(*settings_for(tmp_path / "state", nsqd), *settings)
        assert "is the nsqd at localhost" in found[f"nsqd {nsqd.tcp_address}"].found
        assert "plays on 1 of 1 nsqd," in found["topic"].found
        assert "1 message waits, 0 in flight" in found["channel"].found
        assert found["clock"].found.count("nsqd ") == 1


def test_what_is_wrong_with_https_is_one_line_each_and_nothing_else_is_said(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd:
        https = [f"https://{nsqd.http_address}"]
        settings = [
            *settings_for(tmp_path / "state", nsqd),
            f"nsq.nsqd_http_addresses={json.dumps(https)}",
            f"nsq.lookupd_http_addresses={json.dumps(https)}",
        ]
        ran = Service(tmp_path / "state", settings).command("check", "--json")
        assert (ran.returncode, ran.stderr) == (1, "")
        failed = [one for one in json.loads(ran.stdout)["checks"] if one["verdict"] == "fails"]
        assert [one["what"] for one in failed] == [f"nsqlookupd {https[0]}", f"nsqd {nsqd.tcp_address} HTTP"]
        for one in failed:
            assert "it answered in the clear, expected TLS: write http:// if it has no TLS" in one["found"]
            assert "_ssl.c" not in one["found"]


def test_an_nsqd_that_asks_for_auth_fails_and_the_keys_are_named(tmp_path):
    with open_queue("nsqd", tmp_path, "--auth-http-address=127.0.0.1:1") as nsqd:
        found = checked(*settings_for(tmp_path / "state", nsqd))[f"nsqd {nsqd.tcp_address}"]
        assert found.verdict is Verdict.FAILS
        assert "nsq.auth_secret_env" in found.found


def test_an_nsqd_that_takes_tls_alone_fails_and_the_key_is_named(tmp_path):
    with open_cluster(tmp_path, "--tls") as cluster:
        address = cluster.address("nsqd-0")
        found = checked(reading(address), f"supervisor.state_dir={tmp_path / 'state'}")[f"nsqd {address}"]
        assert found.verdict is Verdict.FAILS
        assert "nsq.tls = true" in found.found
        cluster.nsqd().post("/topic/create?topic=plays")
        secured = checked(*cluster.settings, f"supervisor.state_dir={tmp_path / 'state'}", *ANY_PORTS)
        works = [f"nsqd {address}", "topic", "channel", "clock"]
        assert [secured[what].verdict for what in works] == [Verdict.WORKS] * 4
        assert "nsqd 1.3.0 (TLS)" in secured[f"nsqd {address}"].found


def test_depths_a_pause_and_others_on_the_channel_are_told(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd:
        settings = settings_for(tmp_path / "state", nsqd)
        nsqd.post("/topic/create?topic=plays")
        nsqd.post("/channel/create?topic=plays&channel=other")
        nsqd.post("/channel/create?topic=plays&channel=playtally")
        nsqd.post("/pub?topic=plays", b"{}")
        wait_until(lambda: nsqd.unfinished("plays", "playtally") == 1, "the message")
        found = checked(*settings)
        assert "plays on 1 of 1 nsqd, 0 messages wait on it" in found["topic"].found
        assert "playtally of topic plays: 1 message waits, 0 in flight, 0 deferred" in found["channel"].found
        assert "nobody else reads it" in found["channel"].found
        nsqd.post("/channel/pause?topic=plays&channel=playtally")
        nsqd.post("/topic/pause?topic=plays")
        found = checked(*settings)
        assert (found["topic"].verdict, found["channel"].verdict) == (Verdict.WARNS, Verdict.WARNS)
        with RawClient(nsqd.tcp_address) as other:
            other.identify(client_id="another", hostname="elsewhere", user_agent="curious")
            other.subscribe("plays", "playtally")
            found = checked(*settings)
            assert found["channel"].verdict is Verdict.FAILS
            assert "1 consumer of another: 127.0.0.1:" in found["channel"].found
            assert "(elsewhere, curious)" in found["channel"].found
            assert "nsq.channel" in found["channel"].do


def test_while_the_service_runs_all_works_and_the_exit_code_and_the_json_say_so(tmp_path):
    with open_service("nsqd", tmp_path) as service:
        service.start()
        wait_status(service, lambda status: status["nsqd_connections"] == 1, "the connection")
        ran = service.command("check", "--json")
        told = json.loads(ran.stdout)
        assert (ran.returncode, ran.stderr, told["ok"]) == (0, "", True)
        assert {one["verdict"] for one in told["checks"]} == {"works"}
        assert {one["what"] for one in told["checks"]} > {
            "store",
            "service",
            "topic",
            "channel",
            "clock",
            "client",
        }
        assert set(told["checks"][0]) == {"what", "verdict", "found", "do"}
        for more, what, text in (
            ("counters.shards=3", "store", "ledgers are for counters.shards = 2, and now it is 3"),
            ("nsq.topic=others", "store", "its totals are of nsq.topic = 'plays', and now it is 'others'"),
        ):
            ran = service.command("check", "--json", "--set", more)
            assert ran.returncode == 1
            [one] = [one for one in json.loads(ran.stdout)["checks"] if one["what"] == what]
            assert one["verdict"] == "fails" and text in one["found"]


def test_a_check_of_the_embedded_queue_leaves_no_warning_in_its_log(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        assert service.command("check").returncode == 0
        assert [line for line in service.log().splitlines() if " W " in line or " E " in line] == []


def test_a_full_disk_is_a_reason_to_make_room(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    settings = config.load(os.devnull, [f"supervisor.state_dir={tmp_path / 'state'}"])
    found = check_folder(settings)
    assert (str(found.verdict), found.do) == ("fails", "make room")
    assert found.found.endswith("cannot be written (No space left on device)")


def test_all_nsqds_of_both_lists_are_looked_at_and_a_tombstoned_one_is_not(tmp_path):
    with open_cluster(tmp_path, "--nsqd", "3", "--nsqlookupd", "2") as cluster:
        addresses = [cluster.address(f"nsqd-{number}") for number in range(3)]
        lookupds = [cluster.address(f"nsqlookupd-{number}", "http") for number in range(2)]
        for number in range(3):
            cluster.nsqd(number).post("/topic/create?topic=plays")

        def with_topic(lookupd: str) -> int:
            with urllib.request.urlopen(f"http://{lookupd}/lookup?topic=plays", timeout=PATIENCE_S) as answer:
                return len(json.load(answer)["producers"])

        for lookupd in lookupds:
            wait_until(lambda lookupd=lookupd: registered(lookupd) == 3, "all nsqds to have told")
            assert with_topic(lookupd) == 3
        settings = [
            reading(addresses[0]),
            f"nsq.lookupd_http_addresses={json.dumps(lookupds)}",
            f"supervisor.state_dir={tmp_path / 'state'}",
            *ANY_PORTS,
        ]
        found = checked(*settings)
        assert {f"nsqd {one}" for one in addresses} < set(found)
        assert (
            "answers as nsqlookupd 1.3.0, knows 3 nsqds, 3 with the topic"
            in found[f"nsqlookupd {lookupds[0]}"].found
        )
        assert "plays on 3 of 3 nsqds" in found["topic"].found
        assert Verdict.FAILS not in [one.verdict for one in found.values()]
        for lookupd in lookupds:
            node = cluster.address("nsqd-2", "http")
            url = f"http://{lookupd}/topic/tombstone?topic=plays&node={node}"
            urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=PATIENCE_S).close()
        found = checked(*settings)
        assert f"nsqd {addresses[2]}" not in found
        assert (
            f"1 nsqd with a tombstone, not used: {addresses[2]}" in found[f"nsqlookupd {lookupds[1]}"].found
        )
        cluster.act("stop", "nsqlookupd-1")
        found = checked(*settings)
        assert found[f"nsqlookupd {lookupds[1]}"].verdict is Verdict.FAILS
        assert "nsq.lookupd_http_addresses" in found[f"nsqlookupd {lookupds[1]}"].do
        assert {f"nsqd {one}" for one in addresses[:2]} < set(found)


def registered(lookupd: str) -> int:
    """How many nsqds have told an nsqlookupd that they have the topic."""
    with urllib.request.urlopen(f"http://{lookupd}/nodes", timeout=PATIENCE_S) as answer:
        return sum("plays" in (one["topics"] or ()) for one in json.load(answer)["producers"])


class SetClock(http.server.BaseHTTPRequestHandler):
    """The HTTP of an nsqd whose clock is off by `ahead_s`."""

    protocol_version = "HTTP/1.1"
    ahead_s = 0.0
    tcp_port = 0

    def do_GET(self) -> None:
        told = {"tcp_port": self.tcp_port, "topics": [], "start_time": 1}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.ahead_s)
        return email.utils.format_datetime(now.replace(microsecond=0), usegmt=True)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("ahead_s", "verdict"), [(0.0, "works"), (5.0, "warns"), (-3600.0, "warns")])
def test_a_clock_that_is_off_is_a_warning(tmp_path, ahead_s, verdict):
    with open_queue("nsqd", tmp_path) as nsqd:
        handler = type("Handler", (SetClock,), {"ahead_s": ahead_s, "tcp_port": nsqd.tcp_port})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            lists = [reading(nsqd.tcp_address), f'nsq.nsqd_http_addresses=["127.0.0.1:{server.server_port}"]']
            clock = checked(*lists, f"supervisor.state_dir={tmp_path / 'state'}")["clock"]
        finally:
            server.shutdown()
            server.server_close()
        assert clock.verdict == verdict
        if verdict == "warns":
            assert ("ahead of ours" if ahead_s > 0 else "behind ours") in clock.found
            assert "deadlines" in clock.do


def test_a_page_of_check_says_what_to_do_and_warnings_alone_are_no_failure(tmp_path):
    with open_queue("nsqd", tmp_path) as nsqd:
        ran = Service(tmp_path / "state", settings_for(tmp_path / "state", nsqd)).command("check")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "no nsqd has the topic plays: is nsq.topic right?" in ran.stdout
        assert "WARNS" in ran.stdout


def test_from_another_host_name_our_own_service_is_not_taken_for_anothers(tmp_path, monkeypatch):
    with open_service("nsqd", tmp_path) as service:
        service.start()
        wait_status(service, lambda status: status["nsqd_connections"] == 1, "the connection")
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        assert "nobody else reads it" in checked(*set_by(service))["channel"].found


def test_an_http_address_of_another_nsqd_is_not_believed(tmp_path):
    with (
        open_queue("nsqd", tmp_path / "a") as one,
        open_queue("nsqd", tmp_path / "b") as other,
        open_service("embedded", tmp_path / "service") as service,
    ):
        tcp, http_addresses = [one.tcp_address, other.tcp_address], [other.http_address] * 2
        lists = [
            f"nsq.nsqd_tcp_addresses={json.dumps(tcp)}",
            f"nsq.nsqd_http_addresses={json.dumps(http_addresses)}",
        ]
        service.arguments += [word for each in lists for word in ("--set", each)]
        what, said = (
            f"nsqd {one.tcp_address} HTTP",
            f"is that of another nsqd (its TCP port is {other.tcp_port})",
        )
        alone = [f'nsq.nsqd_tcp_addresses=["{tcp[0]}"]', f'nsq.nsqd_http_addresses=["{http_addresses[0]}"]']
        assert verdicts(checked(*set_by(service), *alone))[what] == "warns"  # ports may be mapped
        service.start()

        def told(status):
            return {nsqd["address"]: nsqd["wrong_http_address"] for nsqd in status["nsq"]["nsqds"]}

        expected = {one.tcp_address: other.http_address, other.tcp_address: None}
        status = wait_status(service, lambda status: told(status) == expected, "word of the wrong one")
        assert status["nsq"]["nsqds"][0]["depth"] is None and status["caught_up_is"] == "service"
        assert said in service.log()
        assert "is the HTTP of another nsqd" in " ".join(service.command("status").stdout.split())
        found = checked(*set_by(service))[what]
        assert (str(found.verdict), "is the HTTP of another nsqd" in found.found) == ("fails", True)
