"""How publishes/s are computed from a client's notes, and whether that client does what it says."""

import http.client
import time
from urllib.parse import urlsplit

import pytest

from bench.publishing import BATCH, _rate
from bench.slow_client import Noted, SlowClient
from tests.support.patience import PATIENCE_S, wait_until

BODY = b'"video_id"' * BATCH
S = 1_000_000_000


def test_publishes_that_leave_eight_at_once_every_second_are_eight_a_second():
    noted = [Noted(n // 8 * S, [n * 0.001, n * 0.002], BODY) for n in range(80)]
    one = _rate("this", 1000, 8, noted, 0.5)
    assert (one.per_s, one.publishes) == (8, 64)
    assert (one.cpu_us, one.service_cpu_us) == (pytest.approx(1000), pytest.approx(3000))
    assert one.dispatcher_cores == pytest.approx(0.008)


def test_publishes_that_are_not_full_do_not_count():
    noted = [Noted(n * S // 2, [0.0], BODY if n % 2 else b'"video_id"') for n in range(40)]
    assert _rate("this", 0, 1, noted, 0.5).per_s == 1


def ask(client):
    connection = http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=PATIENCE_S)
    connection.request("POST", "/plays", b'{"batch": "1", "trigger": "drain", "videos": []}')
    assert connection.getresponse().status == 200
    connection.close()


def test_the_client_answers_after_its_time_and_hangs_once():
    with SlowClient(0.05, hang=(2, 0.5)) as client:
        times = []
        for _ in range(3):
            started_s = time.monotonic()
            ask(client)
            times.append(time.monotonic() - started_s)
        noted = client.take()
    assert times[0] >= 0.05 and times[1] >= 0.5 and times[2] >= 0.05
    assert [one.publish.batch for one in noted] == ["1"] * 3


def test_the_client_answers_others_while_it_hangs():
    with SlowClient(0, hang=(1, 3600)) as client:
        hung = http.client.HTTPConnection(urlsplit(client.url).netloc)
        hung.request("POST", "/plays", b"{}")
        wait_until(lambda: client.count() == 1, "the first publish")
        ask(client)
        assert client.count() == 2
        hung.close()
