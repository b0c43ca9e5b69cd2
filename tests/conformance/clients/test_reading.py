"""pynsq, go-nsq and nsqjs read from the embedded queue and from nsqd, with the same outcome."""

import time

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.conformance.clients.taking import take
from tests.support.patience import wait_until

pytestmark = pytest.mark.parametrize("client", CLIENTS)


def _publish(queue, topic: str, *bodies: str, channels: tuple[str, ...] = ("c",)) -> None:
    """Over HTTP, into channels that are there before."""
    queue.post(f"/topic/create?topic={topic}")
    for channel in channels:
        queue.post(f"/channel/create?topic={topic}&channel={channel}")
    queue.post(f"/mpub?topic={topic}", "\n".join(bodies).encode())


def _bodies(messages) -> list[str]:
    return sorted(message["body"] for message in messages)


def _is_finished(queue, topic: str, channel: str = "c") -> None:
    wait_until(lambda: queue.unfinished(topic, channel) == 0, "all messages to be finished")


def test_each_message_comes_once_with_its_id_and_stamp(queue, programs, topic, client):
    bodies = [f"message {number}" for number in range(300)]
    before_ns = time.time_ns()
    _publish(queue, topic, *bodies)
    reader = programs.read(client, queue, topic, "c", max_in_flight=50)
    messages = reader.messages(300)
    _is_finished(queue, topic)
    reader.terminate()
    assert _bodies(reader.messages()) == sorted(bodies)
    assert len({message["id"] for message in messages}) == 300
    assert {message["attempts"] for message in messages} == {1}
    # nsqjs makes a number of it that is exact to some 200 ns
    assert all(before_ns - 1_000 <= message["stamp_ns"] <= time.time_ns() for message in messages)


def test_reader_that_backs_off_gets_nothing_until_another_one_reads(queue, programs, topic, client):
    _publish(queue, topic, "a", "b", "c")
    reader = programs.read(client, queue, topic, "c", then="requeue", backoff_s=3_600)
    [first] = reader.messages(1)
    wait_until(lambda: queue.channel(topic, "c")["depth"] == 3, "the message to be back")
    wait_until(lambda: queue.channel(topic, "c")["clients"][0]["ready_count"] == 0, "RDY 0")
    expected = {"a": 1, "b": 1, "c": 1} | {first["body"]: 2}
    assert dict(take(queue, topic, "c", 3)) == expected
    assert len(reader.messages()) == 1


def test_message_is_given_up_after_too_many_attempts(queue, programs, topic, client):
    _publish(queue, topic, "a")
    reader = programs.read(client, queue, topic, "c", then="requeue", attempts_max=2)
    wait_until(lambda: reader.has_said({"given_up": "a"}), "the message to be given up")
    assert [message["attempts"] for message in reader.messages()] == [1, 2]
    _is_finished(queue, topic)


def test_readers_of_one_channel_share_and_another_channel_gets_all(queue, programs, topic, client):
    bodies = ["a", "b", "c", "d"]
    _publish(queue, topic, *bodies, channels=("c", "other"))
    first, second = (programs.read(client, queue, topic, "c", then="hold", max_in_flight=2) for _ in range(2))
    shared = first.messages(2) + second.messages(2)
    assert _bodies(shared) == bodies
    other = programs.read(client, queue, topic, "other", max_in_flight=4)
    assert _bodies(other.messages(4)) == bodies
    first.terminate()
    wait_until(lambda: queue.unfinished(topic, "c") == 2, "what the first one held to be finished")
    second.terminate()
    _is_finished(queue, topic)


def test_reader_that_stops_finishes_what_it_holds_and_leaves_the_rest(queue, programs, topic, client):
    bodies = [f"{number:02}" for number in range(20)]
    _publish(queue, topic, *bodies)
    reader = programs.read(client, queue, topic, "c", then="hold", max_in_flight=4)
    reader.messages(4)
    reader.terminate()
    assert reader.has_said({"stopped": True})
    done = _bodies(reader.messages())
    assert len(done) == 4
    wait_until(lambda: queue.unfinished(topic, "c") == 16, "what it held to be finished")
    assert take(queue, topic, "c", 16) == [(body, 1) for body in bodies if body not in done]


def test_ephemeral_channel_goes_with_its_last_reader(queue, programs, topic, client):
    queue.post(f"/topic/create?topic={topic}")
    readers = [programs.read(client, queue, topic, "c#ephemeral", max_in_flight=10) for _ in range(2)]
    _publish(queue, topic, "a", "b", channels=())
    wait_until(lambda: sum(len(reader.messages()) for reader in readers) == 2, "both messages")
    readers[0].terminate()
    assert queue.channel(topic, "c#ephemeral")["client_count"]
    readers[1].terminate()
    wait_until(lambda: queue.channel(topic, "c#ephemeral") is None, "the channel to go")
