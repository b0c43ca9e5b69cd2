"""One real nsqd under several names: each play is counted once, through kills and a change of the name."""

import itertools
import json
import os
import signal
import socket
import threading
import uuid

import pytest

from actors.cli.launch import Service
from tests.support.real_nsqd import RealNsqd
from tests.support.services import ANY_PORTS, PATIENT, ledger_totals, wait_counted, wait_status

VIDEO = uuid.UUID(int=7)
BODY = json.dumps({"video_id": str(VIDEO)}).encode()
PLAYS_AT_ONCE, KILLS = 500, 4


class Load(threading.Thread):
    """Puts plays until it is ended."""

    def __init__(self, nsqd):
        super().__init__()
        self.put = 0
        self._nsqd = nsqd
        self._ended = threading.Event()

    def run(self):
        while not self._ended.wait(0.05):
            self._nsqd.post("/mpub?topic=plays", b"\n".join([BODY] * PLAYS_AT_ONCE))
            self.put += PLAYS_AT_ONCE

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


def names_of(nsqd):
    return [f"{host}:{nsqd.tcp_port}" for host in ("localhost", "127.0.0.1", socket.gethostname())]


@pytest.fixture
def nsqd(tmp_path):
    with RealNsqd(tmp_path) as running:
        running.tcp_address = f"0.0.0.0:{running.tcp_port}"
        running.start()
        yield running


def addresses(names):
    return f"nsq.nsqd_tcp_addresses={json.dumps(names)}"


def started(tmp_path, names):
    service = Service(tmp_path / "state", [*ANY_PORTS, *PATIENT, addresses(names)])
    service.start()
    return service


def test_an_nsqd_with_several_names_is_counted_once_through_kills_of_the_consumer(nsqd, tmp_path):
    service = started(tmp_path, names_of(nsqd))
    try:
        with Load(nsqd) as load:
            for number in range(KILLS):
                wait_counted(service, (number + 1) * 4 * PLAYS_AT_ONCE)
                os.kill(service.child("consumer")["pid"], signal.SIGKILL)
        wait_counted(service, load.put)
        assert len(service.status()["nsq"]["nsqds"]) >= 1
        assert service.status()["nsq"]["connections"] == 1
        assert ledger_totals(service) == {str(VIDEO): load.put}
    finally:
        service.end()


def test_a_name_that_changes_between_two_runs_counts_nothing_again(nsqd, tmp_path):
    put = 0
    for first, second in itertools.pairwise([*names_of(nsqd), names_of(nsqd)[0]]):
        service = started(tmp_path, [first])
        try:
            with Load(nsqd) as load:
                wait_status(service, lambda status: status["plays"]["received"] > 0, "plays")
                wait_counted(service, put + 4 * PLAYS_AT_ONCE)
                service.kill()  # what was counted and not finished comes again
            put += load.put
        finally:
            service.end()
        service = started(tmp_path, [second])
        try:
            wait_counted(service, put)
            assert ledger_totals(service) == {str(VIDEO): put}
        finally:
            service.end()
