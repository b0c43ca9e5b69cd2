"""pynsq, go-nsq and nsqjs publish to the embedded queue and to nsqd, with the same outcome."""

from urllib.parse import quote

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.support.patience import wait_until
from tests.support.queues import RawClient

BODIES = ["a", "two\nlines", "\x00 and ü", " ", "x" * 100_000]

pytestmark = pytest.mark.parametrize("client", CLIENTS)


def _publish(topic: str, *bodies: str, **more: object) -> dict[str, object]:
    return {"topic": topic, "bodies": list(bodies), **more}


def _bodies(queue, topic: str, count: int) -> list[str]:
    """The first messages of the topic."""
    with RawClient(queue.tcp_address) as reader:
        reader.subscribe(topic, "look", ready=count)
        messages = reader.messages(count)
        reader.finish(*(message.id for message in messages))
        assert all(message.attempts == 1 for message in messages)
        return [message.body.decode() for message in messages]


def test_single_and_multiple_publishes_arrive_whole(queue, programs, topic, client):
    done = programs.publish(
        client, queue, *(_publish(topic, body) for body in BODIES), _publish(topic, *BODIES)
    )
    assert [event.get("published") for event in done.events()[:-1]] == [1] * len(BODIES) + [len(BODIES)]
    assert sorted(_bodies(queue, topic, 2 * len(BODIES))) == sorted(2 * BODIES)


def test_refused_publish_is_an_error_with_the_code_of_nsqd(queue, programs, topic, client):
    done = programs.publish(client, queue, _publish("bad!topic", "a"))
    assert "E_BAD_TOPIC" in done.events()[0]["error"]


def test_ephemeral_topic_takes_messages_and_goes_with_its_last_channel(queue, programs, topic, client):
    ephemeral = f"{topic}#ephemeral"
    reader = programs.read("pynsq", queue, ephemeral, "c#ephemeral")
    programs.publish(client, queue, _publish(ephemeral, "a", "b"))
    assert {message["body"] for message in reader.messages(2)} == {"a", "b"}
    reader.terminate()
    wait_until(lambda: queue.topic(quote(ephemeral)) is None, "the topic to go")
