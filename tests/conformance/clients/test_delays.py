"""What pynsq, go-nsq and nsqjs defer comes after its delay, from the embedded queue and from nsqd."""

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.support.patience import wait_until

DELAY_MS = 700

pytestmark = pytest.mark.parametrize("client", CLIENTS)


def test_deferred_publish_comes_after_its_delay(queue, programs, early_topic, client):
    reader = programs.read("pynsq", queue, early_topic, "c")
    programs.publish(client, queue, {"topic": early_topic, "bodies": ["later"], "defer_ms": DELAY_MS})
    [message] = reader.messages(1)
    assert (message["body"], message["attempts"]) == ("later", 1)
    assert message["at_ms"] >= message["stamp_ns"] // 1_000_000 + DELAY_MS


def test_requeued_message_comes_again_after_its_delay(queue, programs, early_topic, client):
    reader = programs.read(client, queue, early_topic, "c", then="requeue once", delay_ms=DELAY_MS)
    queue.post(f"/pub?topic={early_topic}", b"a")
    first, second = reader.messages(2)
    assert (first.pop("attempts"), second.pop("attempts")) == (1, 2)
    assert second.pop("at_ms") >= first.pop("at_ms") + DELAY_MS
    assert first == second
    wait_until(lambda: queue.unfinished(early_topic, "c") == 0, "the message to be finished")
    reader.terminate()
    assert queue.channel(early_topic, "c")["requeue_count"] == 1
