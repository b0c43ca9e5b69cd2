"""If a port gets more connections than there are file descriptors, the service goes on counting plays."""

import contextlib
import os
import signal
import socket

import pytest

from actors.cli.launch import wait_for
from tests.support.patience import PATIENCE_S
from tests.support.services import UNHURRIED, open_service, wait_caught_up

DESCRIPTORS = 150
CONNECTIONS = 400
PLAY = b'{"video_id": "00000000-0000-0000-0000-000000000007"}'
DOORS = ["client_address", "admin_address", "nsqd_http_address", "nsqd_tcp_address"]


@pytest.mark.parametrize("door", DOORS)
def test_a_crowd_at_one_door_leaves_the_service_alive(tmp_path, door):
    with open_service("embedded", tmp_path, *UNHURRIED) as service:
        service.program = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', *service.program]
        service.start()
        with contextlib.ExitStack() as crowd:
            for _ in range(CONNECTIONS):
                with contextlib.suppress(OSError):
                    crowd.enter_context(_connected(service.facts()[door]))
            service.queue.put("plays", *[PLAY] * 10)
        wait_for(service.status, "the service to answer after the crowd is gone", PATIENCE_S, service.log)
        service.queue.put("plays", *[PLAY] * 10)
        wait_caught_up(service, 10)
        restarted = [child for child in service.status()["children"] if child["incarnation"] > 1]
        assert not restarted, service.log()
        assert "Traceback" not in service.log(), service.log()


def test_a_silent_crowd_shuts_neither_publishers_nor_a_restarted_consumer_out(tmp_path):
    with open_service("embedded", tmp_path, *UNHURRIED) as service, contextlib.ExitStack() as crowd:
        service.program = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', *service.program]
        service.start()
        for _ in range(CONNECTIONS):
            crowd.enter_context(_connected(service.facts()["nsqd_tcp_address"]))
        os.kill(service.child("consumer")["pid"], signal.SIGKILL)
        service.queue.put("plays", *[PLAY] * 10)
        wait_caught_up(service, 10)


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), 5.0)
