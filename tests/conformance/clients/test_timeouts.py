"""A message of pynsq, go-nsq or nsqjs times out on the embedded queue when it does on nsqd."""

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.conformance.clients.taking import take
from tests.support.patience import wait_until

TIMEOUT_MS = 1_000  # the shortest that nsqd grants
TRIES = 5  # the machine may stand still for a second between two touches

pytestmark = pytest.mark.parametrize("client", CLIENTS)


def test_touch_keeps_a_message_beyond_its_timeout(queue, programs, early_topic, client):
    order = {"then": "touch", "hold_ms": 1_700, "msg_timeout_ms": TIMEOUT_MS}
    reader = programs.read(client, queue, early_topic, "c", **order)
    for tries in range(1, TRIES + 1):
        queue.post(f"/pub?topic={early_topic}", b"a")
        reader.messages(tries)
        wait_until(lambda: queue.unfinished(early_topic, "c") == 0, "the message to be finished")
        if [message["attempts"] for message in reader.messages()] == [1]:
            assert queue.channel(early_topic, "c")["timeout_count"] == 0
            return
    pytest.fail(f"each of {TRIES} messages timed out")


def test_late_answer_to_a_message_that_timed_out_breaks_nothing(queue, programs, early_topic, client):
    queue.post(f"/pub?topic={early_topic}", b"a")
    order = {"then": "answer late", "msg_timeout_ms": TIMEOUT_MS, "max_in_flight": 2}
    reader = programs.read(client, queue, early_topic, "c", **order)
    assert [message["attempts"] for message in reader.messages(2)] == [1, 2]
    assert queue.channel(early_topic, "c")["timeout_count"] == 1
    wait_until(lambda: "E_FIN_FAILED" in reader.log(), "the late answer to be refused")
    queue.post(f"/pub?topic={early_topic}", b"b")
    assert reader.messages(3)[2]["body"] == "b"
    assert queue.channel(early_topic, "c")["client_count"] == 1


def test_messages_of_a_killed_reader_come_to_the_next_one_when_they_time_out(
    queue, programs, early_topic, client
):
    queue.post(f"/mpub?topic={early_topic}", b"a\nb")
    order = {"then": "hold", "msg_timeout_ms": TIMEOUT_MS, "max_in_flight": 2}
    reader = programs.read(client, queue, early_topic, "c", **order)
    reader.messages(2)
    reader.process.kill()
    wait_until(lambda: queue.channel(early_topic, "c")["client_count"] == 0, "the reader to be gone")
    assert take(queue, early_topic, "c", 2) == [("a", 2), ("b", 2)]
