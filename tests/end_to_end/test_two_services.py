"""Two services on one channel each get a part of the plays: both say so, and a service alone never does."""

import json
import shutil
import socket
import urllib.request

import pytest

from actors.cli.launch import Service
from actors.core import guids
from tests.support.patience import wait_until
from tests.support.queues import QUEUES, QueueHttp
from tests.support.services import ANY_PORTS, HURRIED, open_service, reading, wait_status

PLAY = json.dumps({"video_id": guids.text(bytes(range(16)))}).encode()
LINE = "consumer of another is on our channel playtally of topic plays"


def metric(service: Service, name: str) -> float:
    with urllib.request.urlopen(f"http://{service.address('admin_address')}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@pytest.mark.parametrize("kind", QUEUES)
def test_two_services_on_one_channel_both_say_so(kind, tmp_path):
    with open_service(kind, tmp_path) as first:
        first.start()
        queue = first.queue
        assert wait_status(first, lambda s: s["nsqd_connections"] == 1, "it")["nsq"]["others_on_channel"] == 0
        settings = [*ANY_PORTS, *HURRIED, reading(queue.address())]
        settings.append(f'nsq.nsqd_http_addresses=["{queue.http_address()}"]')
        with Service(tmp_path / "second", settings) as second:
            for service in (first, second):
                wait_status(service, lambda s: s["nsq"]["others_on_channel"] == 1, "the other")
                assert metric(service, "playtally_nsq_others_on_channel") == 1
            wait_until(lambda: LINE in second.log(), "the line")
            assert "127.0.0.1:" in next(line for line in second.log().splitlines() if LINE in line)
        wait_status(first, lambda s: s["nsq"]["others_on_channel"] == 0, "the other's end")
        assert metric(first, "playtally_nsq_others_on_channel") == 0


@pytest.mark.parametrize("kind", QUEUES)
def test_no_connection_of_our_own_is_taken_for_anothers(kind, tmp_path):
    with open_service(kind, tmp_path) as service:
        service.start()
        wait_status(service, lambda s: s["nsqd_connections"] == 1, "the connection")
        http = QueueHttp(service.queue.http_address())
        [client] = http.channel("plays", "playtally")["clients"]
        state = json.loads((service.state_dir / "ledgers.json").read_text())["state"]
        assert (client["client_id"], client["hostname"]) == (f"playtally-{state}", socket.gethostname())
        assert service.command("kill", "consumer").returncode == 0
        wait_until(lambda: service.child("consumer")["restarts"], "the next life")
        wait_status(service, lambda s: s["nsqd_connections"] == 1, "the connection")
        assert service.status()["nsq"]["others_on_channel"] == 0
        service.stop()
        service.start()
        wait_status(service, lambda s: s["nsqd_connections"] == 1, "the connection")
        assert service.status()["nsq"]["others_on_channel"] == 0
        assert "on our channel" not in service.log()


def test_two_services_on_copies_of_one_state_on_one_machine_are_told_apart(tmp_path):
    with open_service("nsqd", tmp_path) as first:
        first.start()
        wait_status(first, lambda s: s["nsqd_connections"] == 1, "the connection")
        first.stop()
        shutil.copytree(first.state_dir, tmp_path / "copy")
        first.start()
        wait_status(first, lambda s: s["nsqd_connections"] == 1, "the connection")
        settings = [*ANY_PORTS, *HURRIED, reading(first.queue.address())]
        settings.append(f'nsq.nsqd_http_addresses=["{first.queue.http_address()}"]')
        with Service(tmp_path / "copy", settings) as second:
            wait_status(second, lambda s: s["nsqd_connections"] == 1, "the connection of the copy")
            # The copy says so too, as soon as the first one's connection can't be an old one of its own.
            wait_status(first, lambda s: s["nsq"]["others_on_channel"] == 1, "the other")
            check = first.command("check")
            assert check.returncode == 1 and "a service on a copy of our state" in check.stdout
        wait_status(first, lambda s: s["nsq"]["others_on_channel"] == 0, "the other's end")
