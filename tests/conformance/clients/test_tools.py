"""NSQ's own tools work on the embedded queue as they do on nsqd. nsqadmin: test_nsqadmin.py."""

import gzip

import pytest

from tests.conformance.clients.taking import take
from tests.support.patience import wait_until
from tests.support.queues import open_queue

BODIES = ["one", "two", "three", "four"]


def _create(queue, topic: str, channel: str) -> None:
    queue.post(f"/topic/create?topic={topic}")
    queue.post(f"/channel/create?topic={topic}&channel={channel}")


def _publish(queue, topic: str) -> None:
    queue.post(f"/mpub?topic={topic}", "\n".join(BODIES).encode())


def _is_finished(queue, topic: str, channel: str) -> None:
    """Wait until all of BODIES came into the channel and were finished."""
    wait_until(lambda: queue.channel(topic, channel)["message_count"] == len(BODIES), "all messages")
    wait_until(lambda: queue.unfinished(topic, channel) == 0, "all messages to be finished")


def _figures(line: str) -> list[int]:
    """The numbers of a line of nsq_stat."""
    return [int(word) for word in line.replace("|", " ").split()]


def test_to_nsq_publishes_each_line_and_nsq_tail_shows_them(queue, programs, topic):
    _create(queue, topic, "look")
    publisher = programs.run("to_nsq", "-topic", topic, "-nsqd-tcp-address", queue.tcp_address)
    publisher.write("".join(f"{body}\n" for body in BODIES))
    publisher.ends()
    where = ("-nsqd-tcp-address", queue.tcp_address)
    reader = programs.run("nsq_tail", "-topic", topic, "-channel", "look", "-n", "4", "-print-topic", *where)
    reader.ends()
    assert sorted(reader.output().splitlines()) == sorted(f"{topic} | {body}" for body in BODIES)


def test_nsq_tail_makes_an_ephemeral_channel_that_goes_with_it(queue, programs, topic):
    queue.post(f"/topic/create?topic={topic}")
    reader = programs.run("nsq_tail", "-topic", topic, "-nsqd-tcp-address", queue.tcp_address)
    [channel] = wait_until(lambda: queue.topic(topic)["channels"], "nsq_tail to read")
    assert channel["channel_name"].endswith("#ephemeral")
    _publish(queue, topic)
    wait_until(lambda: sorted(reader.output().splitlines()) == sorted(BODIES), "nsq_tail to show them")
    reader.terminate()
    wait_until(lambda: not queue.topic(topic)["channels"], "the channel to go")


@pytest.mark.parametrize("compress", [False, True])
def test_nsq_to_file_writes_what_it_finishes(queue, programs, topic, tmp_path, compress):
    _create(queue, topic, "nsq_to_file")
    folder = tmp_path / "files"
    where = ("-topic", topic, "-nsqd-tcp-address", queue.tcp_address, "-output-dir", str(folder))
    writer = programs.run("nsq_to_file", *where, "-sync-interval", "100ms", f"-gzip={str(compress).lower()}")
    _publish(queue, topic)
    _is_finished(queue, topic, "nsq_to_file")
    writer.terminate()
    [file] = folder.iterdir()
    content = gzip.decompress(file.read_bytes()) if compress else file.read_bytes()
    assert sorted(content.decode().splitlines()) == sorted(BODIES)


def test_nsq_to_nsq_copies_to_another_topic(queue, programs, topic):
    _create(queue, topic, "nsq_to_nsq")
    _create(queue, f"{topic}_copy", "look")
    addresses = ("-nsqd-tcp-address", queue.tcp_address, "-destination-nsqd-tcp-address", queue.tcp_address)
    copier = programs.run("nsq_to_nsq", "-topic", topic, "-destination-topic", f"{topic}_copy", *addresses)
    _publish(queue, topic)
    _is_finished(queue, topic, "nsq_to_nsq")
    copier.terminate()
    assert take(queue, f"{topic}_copy", "look", 4) == sorted((body, 1) for body in BODIES)


@pytest.mark.parametrize("direction", ["to nsqd", "from nsqd"])
def test_nsq_to_nsq_moves_messages_between_the_embedded_queue_and_nsqd(programs, topic, tmp_path, direction):
    with open_queue("embedded", tmp_path) as embedded, open_queue("nsqd", tmp_path) as nsqd:
        source, destination = (embedded, nsqd) if direction == "to nsqd" else (nsqd, embedded)
        _create(source, topic, "nsq_to_nsq")
        _create(destination, topic, "look")
        addresses = (source.tcp_address, "-destination-nsqd-tcp-address", destination.tcp_address)
        copier = programs.run("nsq_to_nsq", "-topic", topic, "-nsqd-tcp-address", *addresses)
        _publish(source, topic)
        _is_finished(source, topic, "nsq_to_nsq")
        copier.terminate()
        assert take(destination, topic, "look", 4) == sorted((body, 1) for body in BODIES)


def test_nsq_stat_shows_the_figures_of_a_channel(queue, programs, topic):
    _create(queue, topic, "c")
    _publish(queue, topic)
    programs.read("pynsq", queue, topic, "c", then="hold").messages(1)
    names = ("-topic", topic, "-channel", "c", "-nsqd-http-address", queue.http_address)
    looker = programs.run("nsq_stat", *names, "-interval", "100ms", "-count", "1")
    looker.ends()
    assert "ingress" in looker.output(), looker.log()
    ingress, egress, total, memory, disk, in_flight, deferred, *_, messages, clients = _figures(
        looker.output().splitlines()[-1]
    )
    assert (ingress, egress, total, in_flight, deferred, messages, clients) == (0, 0, 3, 1, 0, 4, 1)
    assert memory + disk == total


@pytest.mark.parametrize("program", ["nsqd", "nsqadmin", "nsq_stat", "nsq_tail", "nsq_to_file", "nsq_to_nsq"])
def test_tools_are_of_the_version_that_the_queue_copies(programs, program):
    shown = programs.run(program, "-version")
    shown.ends()
    assert "v1.3.0" in shown.output()
