"""pynsq, go-nsq and nsqjs agree with the embedded queue, and with nsqd, on what a connection is like."""

import json

import pytest

from tests.conformance.clients.programs import CLIENTS
from tests.conformance.clients.versions import VERSIONS
from tests.support.patience import wait_until
from tests.support.queues import open_queue

COMPRESSIONS = ["snappy", "deflate"]
# pynsq tries again after 15 s.
QUICK_TO_COME_BACK = ["go-nsq", "nsqjs"]


def _read_compressed(queue, programs, topic: str, client: str, way: str) -> bool:
    """Publish and read with that compression asked for. Returns whether the queue agreed to it."""
    bodies = ["x" * 50_000, "y", json.dumps(list(range(2_000)))]
    publishes = [{"topic": topic, "bodies": bodies}, {"topic": topic, "bodies": ["z"]}]
    reader = programs.read(client, queue, topic, "c", compression=way, max_in_flight=4)
    programs.publish(client, queue, *publishes, compression=way)
    assert sorted(message["body"] for message in reader.messages(4)) == sorted([*bodies, "z"])
    [found] = queue.channel(topic, "c")["clients"]
    wait_until(lambda: queue.unfinished(topic, "c") == 0, "all messages to be finished")
    return bool(found[way])


@pytest.mark.parametrize("way", COMPRESSIONS)
@pytest.mark.parametrize("client", ["go-nsq", "nsqjs"])
def test_client_that_asks_for_compression_is_served(queue, programs, topic, client, way):
    """nsqd compresses; the embedded queue says that it does not, and serves the client plain."""
    assert _read_compressed(queue, programs, topic, client, way) is (queue.kind == "nsqd")


@pytest.mark.parametrize("way", COMPRESSIONS)
@pytest.mark.parametrize("queue", ["embedded"], indirect=True)
def test_pynsq_that_asks_for_compression_is_served_plain(queue, programs, topic, way):
    """Not on nsqd, where pynsq 0.9.1 has no snappy without another library, and with deflate ends its own
    connection when a part of what it receives decompresses to nothing.
    """
    assert not _read_compressed(queue, programs, topic, "pynsq", way)


@pytest.mark.parametrize("client", CLIENTS)
def test_stats_name_the_client_as_nsqd_does(queue, programs, topic, client):
    programs.read(client, queue, topic, "c", client_id="me", max_in_flight=7)
    wait_until(lambda: queue.channel(topic, "c")["clients"][0]["ready_count"] >= 1, "RDY")
    [found] = queue.channel(topic, "c")["clients"]
    assert found["client_id"] == "me"
    assert found["version"] == "V2"
    assert found["state"] == 3
    assert found["user_agent"] == f"{client}/{VERSIONS[client]}"
    assert found["remote_address"].startswith("127.0.0.1:")
    assert found["hostname"]


@pytest.mark.parametrize("kind", ["embedded", "nsqd"])
@pytest.mark.parametrize("client", QUICK_TO_COME_BACK)
def test_reader_comes_back_to_a_queue_that_was_restarted(kind, programs, topic, client, tmp_path):
    with open_queue(kind, tmp_path) as queue:
        reader = programs.read(client, queue, topic, "c", max_in_flight=10)
        queue.post(f"/pub?topic={topic}", b"before")
        reader.messages(1)
        wait_until(lambda: queue.unfinished(topic, "c") == 0, "the message to be finished")
        queue.restart()
        queue.post(f"/pub?topic={topic}", b"after")
        assert [message["body"] for message in reader.messages(2)] == ["before", "after"]
        wait_until(lambda: queue.unfinished(topic, "c") == 0, "the message to be finished")
        reader.terminate()
