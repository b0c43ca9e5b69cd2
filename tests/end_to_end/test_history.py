"""What the operator's page asks for, of a real service: the history through kill -9, and the stream."""

import json
import stat
from urllib.parse import urlencode

from actors.cli.launch import wait_for
from actors.service.history_file import NAME
from actors.system.direct_http import open_directly
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, open_service, wait_caught_up

BODY = b'{"video_id": "00000000-0000-4000-8000-000000000001"}'


def history(service, span="hour"):
    url = f"http://{service.address('admin_address')}/history?{urlencode({'span': span})}"
    with open_directly(url, PATIENCE_S) as answer:
        return json.load(answer)


def sampled(service, after_s=0.0):
    """The times of the samples, once there are two after this time."""

    def found():
        times_s = history(service)["times_s"]
        return times_s if sum(one > after_s for one in times_s) >= 2 else None

    return wait_for(found, "two samples", PATIENCE_S)


def test_the_history_goes_on_after_kill_9_of_the_service(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start()
        service.queue.put("plays", *[BODY] * 500)
        wait_caught_up(service, 500)
        before_s = sampled(service)
        assert stat.S_IMODE((service.state_dir / NAME).stat().st_mode) == 0o600
        service.process.kill()
        service.process.wait()
        service.start()
        assert history(service)["times_s"][: len(before_s)] == before_s
        sampled(service, after_s=before_s[-1] + 15)
        hour, day = history(service), history(service, "day")
        assert (hour["step_s"], day["step_s"]) == (10, 240)
        assert max(one for one in hour["series"]["memory_bytes"] if one) > 10_000_000
        assert hour["series"]["queue_depth"][-1] == 0
        assert hour["series"]["counted_per_s"][-1] == 0  # what was counted before is not counted now


def test_an_event_is_what_the_status_says(tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start()
        service.queue.put("plays", *[BODY] * 500)
        status = wait_caught_up(service, 500)
        url = f"http://{service.address('admin_address')}/events"
        with open_directly(url, PATIENCE_S) as stream:
            told = next(line for line in stream if line.startswith(b"data: "))
        event = json.loads(told.removeprefix(b"data: "))
        assert event.keys() == status.keys() | {"now_ms", "missed_ms"}
        assert event["plays"] == status["plays"]
