"""A proxy in the environment, as in many companies: publishes go through it, and nothing else does."""

import contextlib
import http.client
import json
import re
import subprocess
import sys

from actors.cli.launch import Service, wait_for
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.proxies import proxy_in_the_environment
from tests.support.queues import open_queue
from tests.support.real_nsqd import real_lookupd
from tests.support.recording_client import RecordingClient
from tests.support.services import ANY_PORTS, PATIENT, Load, open_service, wait_caught_up


def test_no_command_asks_a_proxy_for_our_own_addresses(monkeypatch, tmp_path):
    with (
        proxy_in_the_environment(monkeypatch) as proxy,
        open_service("embedded", tmp_path, *PATIENT, "dispatch.deadline_s=2") as service,
    ):
        service.start()
        Load(service, tmp_path, "--plays", "50", "--videos", "5").wait()
        wait_caught_up(service, 50)
        for words in (
            ["status"],
            ["kill", "counter-0"],
            ["check"],
            ["totals"],
            ["republish", "--all"],
            ["reload"],
            ["terminate", "client"],
            ["restart", "client"],
            ["drill", "--kills", "1"],
            ["stop"],
        ):
            result = service.command(*words)
            assert result.returncode == 0, (words, result.stdout, result.stderr)
        demo = subprocess.run(
            [sys.executable, "supervisor.py", "demo", "--plays", "50", "--videos", "5"]
            + [f"--set={one}" for one in ("dispatch.deadline_s=2", *ANY_PORTS)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert "the demo ended early" not in demo.stderr, demo.stderr
        assert proxy.asked == []


def test_publishes_go_through_the_proxy_and_nothing_else_does(monkeypatch, tmp_path):
    url = "http://client.example:8000/plays"
    with (
        RecordingClient() as client,
        proxy_in_the_environment(monkeypatch, client.port) as proxy,
        open_service("embedded", tmp_path, f"publish.url={url}", "dispatch.deadline_s=1") as service,
    ):
        service.start()
        manifest = Load(service, tmp_path, "--plays", "300", "--videos", "5").wait()
        status = wait_caught_up(service, 300)
        assert service.command("status").returncode == service.command("stop").returncode == 0
        assert client.totals == manifest["totals"]
        assert set(proxy.asked) == {f"POST {url} HTTP/1.1"}
        assert len(proxy.asked) == status["publishes"]["total"] + status["publishes"]["failed"]


def test_no_nsqlookupd_is_asked_through_a_proxy(monkeypatch, tmp_path):
    with (
        real_lookupd() as (tcp, lookupd),
        open_queue("nsqd", tmp_path, f"-lookupd-tcp-address={tcp}") as nsqd,
    ):
        wait_for(lambda: nsqd.tcp_port in nsqd_ports(lookupd), "nsqlookupd to know the nsqd", PATIENCE_S)
        service = Service(tmp_path / "state", [*ANY_PORTS, f'nsq.lookupd_http_addresses=["{lookupd}"]'])
        with proxy_in_the_environment(monkeypatch) as proxy:
            result = service.command("check")
            assert proxy.asked == []
        assert re.search(rf"works +nsqd 127.0.0.1:{nsqd.tcp_port} +answers as nsqd", result.stdout)


def nsqd_ports(lookupd: str) -> list[int]:
    """The TCP ports of the nsqds that an nsqlookupd knows."""
    connection = http.client.HTTPConnection(lookupd, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/nodes")
        return [one["tcp_port"] for one in json.load(connection.getresponse())["producers"]]
