"""pynsq, go-nsq and nsqjs publish to the embedded queue and to nsqd, with the same outcome."""

from urllib.parse import quote

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.conformance.clients.taking import take
from tests.support.patience import wait_until
from tests.support.queues import RawClient

BODIES = ["a", "two\nlines", "\x00 and ü", " ", "x" * 100_000]

pytestmark = pytest.mark.parametrize("client", CLIENTS)


def _publish(topic: str, *bodies: str) -> dict[str, object]:
    return {"topic": topic, "bodies": list(bodies)}


def test_single_and_multiple_publishes_arrive_whole(queue, programs, topic, client):
    done = programs.publish(
        client, queue, *(_publish(topic, body) for body in BODIES), _publish(topic, *BODIES)
    )
    assert [event.get("published") for event in done.events()[:-1]] == [1] * len(BODIES) + [len(BODIES)]
    assert take(queue, topic, "c", 2 * len(BODIES)) == sorted((body, 1) for body in 2 * BODIES)


def test_refused_publish_is_an_error_with_the_code_of_nsqd(queue, programs, client):
    done = programs.publish(client, queue, _publish("bad!topic", "a"))
    assert "E_BAD_TOPIC" in done.events()[0]["error"]


def test_ephemeral_topic_takes_messages_and_goes_with_its_last_channel(queue, programs, topic, client):
    ephemeral = f"{topic}#ephemeral"
    with RawClient(queue.tcp_address) as reader:
        reader.subscribe(ephemeral, "c#ephemeral", ready=2)
        programs.publish(client, queue, _publish(ephemeral, "a", "b"))
        assert {message.body for message in reader.messages(2)} == {b"a", b"b"}
        assert queue.topic(quote(ephemeral))
    wait_until(lambda: queue.topic(quote(ephemeral)) is None, "the topic to go")
