"""Somebody else publishes to the reference client: the next start says so, and what loses nothing."""

import json
import urllib.request

import pytest

from actors.system.exits import EXIT_STORE, Failure
from tests.support.services import PATIENT, ledger_totals, open_service, wait_caught_up, wait_status

VIDEO = "00000000-0000-4000-8000-000000000001"


def publish(service, plays):
    body = {
        "batch": "a stranger's",
        "trigger": "realtime",
        "videos": [{"video_id": VIDEO, "plays": plays, "arrived_at_ns": 1}],
    }
    request = urllib.request.Request(
        f"http://{service.address('client_address')}/plays",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=60).close()


def test_what_a_stranger_published_is_said_at_the_start_and_a_backup_of_the_state_itself_mends_it(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start()
        service.queue.put("plays", *[json.dumps({"video_id": VIDEO}).encode()] * 20)
        wait_caught_up(service, 20)
        publish(service, 1000)
        assert service.stop() == 0
        with pytest.raises(Failure):
            service.start()
        assert service.process.returncode == EXIT_STORE
        assert "or somebody else, has published to this client" in service.log()
        assert "if nothing of it is old, run `" in service.log()
        copy = str(tmp_path / "copy")
        assert service.command("backup", copy).returncode == 0
        assert service.command("restore", copy).returncode == 0
        service.start()
        wait_status(service, lambda status: status["publishes"]["republish"], "a republish")
        wait_caught_up(service, 20)
        assert service.totals() == ledger_totals(service) == {VIDEO: 20}
