"""What pynsq, go-nsq and nsqjs defer comes after its delay, from the embedded queue and from nsqd."""

import time

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.conformance.clients.taking import take
from tests.support.patience import wait_until

pytestmark = pytest.mark.parametrize("client", CLIENTS)


def test_deferred_publish_comes_after_its_delay(queue, programs, early_topic, client):
    begin = time.monotonic()
    programs.publish(client, queue, {"topic": early_topic, "bodies": ["later"], "defer_ms": 700})
    assert take(queue, early_topic, "c", 1) == [("later", 1)]
    assert time.monotonic() - begin >= 0.7


def test_requeued_message_comes_again_after_its_delay(queue, programs, early_topic, client):
    begin = time.monotonic()
    queue.post(f"/pub?topic={early_topic}", b"a")
    reader = programs.read(client, queue, early_topic, "c", then="requeue once", delay_ms=700)
    first, second = reader.messages(2)
    assert time.monotonic() - begin >= 0.7
    assert (first.pop("attempts"), second.pop("attempts")) == (1, 2)
    assert first == second
    wait_until(lambda: queue.unfinished(early_topic, "c") == 0, "the message to be finished")
    reader.terminate()
    assert queue.channel(early_topic, "c")["requeue_count"] == 1
