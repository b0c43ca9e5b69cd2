"""The embedded nsqd's topics with their journal, on a real SQLite file."""

import contextlib
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.channel import Channel
from actors.embedded_nsqd.journal import QueueJournal
from actors.embedded_nsqd.journal_file import FILE_NAME, JournalError
from actors.embedded_nsqd.journal_schema import FORMAT
from actors.embedded_nsqd.queue import Queue
from actors.embedded_nsqd.subscriber import Subscriber
from actors.embedded_nsqd.topic import Topic
from actors.system.exits import StoreFailure
from tests.support.queues import Message

NOW_NS = 1_795_502_904_123_456_789
NOW_MS = NOW_NS // 1_000_000
TIMES = {"now_ms": 0, "now_wall_ms": NOW_MS}


def queue_on(journal: QueueJournal) -> Queue:
    return Queue(journal, 1, random.Random(1))


def publish(queue: Queue, topic: str, *bodies: bytes, delay_ms: int = 0) -> None:
    queue.stage(queue.topic(topic), list(bodies), NOW_NS, delay_ms)
    queue.commit(0, NOW_NS)


def channel_of(queue: Queue, topic: str, name: str) -> Channel:
    return queue.channel(queue.topic(topic), name, **TIMES)


def read(
    queue: Queue, topic: Topic, channel: Channel, now_ms: int = 0, count: int = 2500
) -> tuple[Subscriber, list[Message]]:
    """A new client, and what it is given at RDY `count`."""
    subscriber = Subscriber(60_000)
    subscriber.ready_count = count
    channel.add_subscriber(subscriber)
    messages = []
    channel.expire(now_ms)
    while True:
        if channel.wants_more():
            queue.refill(topic, channel, now_ms, NOW_MS + now_ms)
        gifts = channel.deliver(now_ms)
        if not gifts:
            return subscriber, messages
        for _, frames in gifts:
            data = b"".join(frames)
            while data:
                size = 4 + int.from_bytes(data[:4], "big")
                messages.append(Message(data[8:size]))
                data = data[size:]


def bodies_of(queue: Queue, topic: str, channel: str, now_ms: int = 0) -> list[bytes]:
    """What a channel would give; it keeps everything."""
    found = queue.topics[topic]
    held = found.channels[channel]
    subscriber, messages = read(queue, found, held, now_ms)
    held.remove_subscriber(subscriber)
    return [message.body for message in messages]


@pytest.fixture
def journal(tmp_path) -> QueueJournal:
    journal = QueueJournal(tmp_path / "queue")
    yield journal
    journal.close()


@pytest.fixture
def reopened() -> Iterator[Callable[..., Queue]]:
    """Gives what a process would find that started after a kill at this moment."""
    with contextlib.ExitStack() as opened:

        def reopen(journal: QueueJournal, tmp_path: pathlib.Path, name: str = "copy") -> Queue:
            shutil.copytree(journal.path.parent, tmp_path / name)
            return queue_on(opened.enter_context(contextlib.closing(QueueJournal(tmp_path / name))))

        yield reopen


def rows(journal: QueueJournal, table: str) -> int:
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:
        return connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


def test_committed_messages_are_there_after_a_kill_and_staged_ones_are_not(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel_of(queue, "t", "c")
    publish(queue, "t", b"1", b"2")
    queue.stage(queue.topic("t"), [b"staged"], NOW_NS)
    assert bodies_of(reopened(journal, tmp_path), "t", "c") == [b"1", b"2"]


def test_finished_messages_stay_finished_once_flushed(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel = channel_of(queue, "t", "c")
    publish(queue, "t", b"1", b"2", b"3")
    subscriber, messages = read(queue, queue.topics["t"], channel)
    channel.finish(subscriber, [messages[1].id])
    assert bodies_of(reopened(journal, tmp_path, "before"), "t", "c") == [b"1", b"2", b"3"]
    queue.flush()
    after = reopened(journal, tmp_path, "after")
    assert after.topics["t"].channels["c"].depth == 2
    assert bodies_of(after, "t", "c") == [b"1", b"3"]


def test_attempts_are_there_after_a_kill_once_flushed(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel = channel_of(queue, "t", "c")
    publish(queue, "t", b"requeued", b"timed out", b"left", b"finished", b"never given")
    subscriber, messages = read(queue, queue.topics["t"], channel, count=4)
    channel.requeue(subscriber, messages[0].id, 60_000, 0)
    channel.touch(subscriber, messages[2].id, 50_000)
    channel.finish(subscriber, [messages[3].id])
    channel.expire(60_000)
    channel.remove_subscriber(subscriber)
    queue.flush()
    after = reopened(journal, tmp_path)
    _, given = read(after, after.topics["t"], after.topics["t"].channels["c"])
    attempts = {message.body: message.attempts for message in given}
    assert attempts == {b"requeued": 2, b"timed out": 2, b"left": 2, b"never given": 1}


def test_attempts_go_on_from_what_the_journal_has_and_stop_at_the_most(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel = channel_of(queue, "t", "c")
    publish(queue, "t", b"1")
    subscriber, (message,) = read(queue, queue.topics["t"], channel)
    for _ in range(limits.ATTEMPTS_MAX + 5):
        channel.requeue(subscriber, message.id, 0, 0)
        channel.deliver(0)
    channel.remove_subscriber(subscriber)
    queue.flush()
    after = reopened(journal, tmp_path)
    _, (again,) = read(after, after.topics["t"], after.topics["t"].channels["c"])
    assert again.attempts == limits.ATTEMPTS_MAX


def test_all_of_a_commit_is_there_after_a_kill(journal, tmp_path, reopened):
    queue = queue_on(journal)
    for topic, count in (("t", 5000), ("u", 1)):  # more than one segment, more than one topic
        channel_of(queue, topic, "c")
        queue.stage(queue.topic(topic), [b"x"] * count, NOW_NS)
    queue.commit(0, NOW_NS)
    queue = reopened(journal, tmp_path)
    assert queue.topics["t"].channels["c"].depth == 5000
    assert queue.topics["u"].channels["c"].depth == 1


def test_flush_has_nothing_to_do_until_something_is_finished(journal):
    queue = queue_on(journal)
    channel = channel_of(queue, "t", "c")
    publish(queue, "t", b"1", b"2")
    subscriber, messages = read(queue, queue.topics["t"], channel)
    assert not queue.has_changes()
    channel.finish(subscriber, [messages[0].id])
    assert queue.has_changes()
    queue.flush()
    assert not queue.has_changes()


def test_channel_that_finished_a_segment_that_another_needs_does_not_get_it_again(
    journal, tmp_path, reopened
):
    queue = queue_on(journal)
    done, behind = channel_of(queue, "t", "done"), channel_of(queue, "t", "behind")
    publish(queue, "t", b"1")
    publish(queue, "t", b"2")
    subscriber, messages = read(queue, queue.topics["t"], done)
    done.finish(subscriber, [messages[0].id])
    queue.flush()
    assert behind.depth == 2
    queue = reopened(journal, tmp_path)
    assert bodies_of(queue, "t", "done") == [b"2"]
    assert bodies_of(queue, "t", "behind") == [b"1", b"2"]


def test_segment_is_deleted_when_every_channel_has_finished_it(journal):
    queue = queue_on(journal)
    first, second = channel_of(queue, "t", "first"), channel_of(queue, "t", "second")
    publish(queue, "t", b"1", b"2")
    for channel, left in ((first, 1), (second, 0)):
        subscriber, messages = read(queue, queue.topics["t"], channel)
        channel.finish(subscriber, [message.id for message in messages])
        queue.flush()
        assert rows(journal, "segments") == left
    assert rows(journal, "progress") == 0


def test_deleting_a_channel_deletes_what_only_it_needed(journal, tmp_path, reopened):
    queue = queue_on(journal)
    first, second = channel_of(queue, "t", "first"), channel_of(queue, "t", "second")
    publish(queue, "t", b"1")
    publish(queue, "t", b"2")
    subscriber, messages = read(queue, queue.topics["t"], first)
    first.finish(subscriber, [messages[0].id])
    queue.flush()
    queue.delete_channel(queue.topics["t"], second)
    assert rows(journal, "segments") == 1
    assert bodies_of(reopened(journal, tmp_path), "t", "first") == [b"2"]
    queue.delete_channel(queue.topics["t"], first)
    assert rows(journal, "segments") == 0


def test_emptied_channel_is_empty_after_a_kill_and_the_other_is_not(journal, tmp_path, reopened):
    queue = queue_on(journal)
    emptied = channel_of(queue, "t", "emptied")
    channel_of(queue, "t", "full")
    publish(queue, "t", b"1")
    queue.empty_channel(queue.topics["t"], emptied)
    publish(queue, "t", b"2")
    again = reopened(journal, tmp_path)
    assert bodies_of(again, "t", "emptied") == [b"2"]
    assert bodies_of(again, "t", "full") == [b"1", b"2"]


def test_what_waits_at_a_topic_goes_to_its_first_channel_also_after_a_kill(journal, tmp_path, reopened):
    queue = queue_on(journal)
    publish(queue, "t", b"1")
    queue = reopened(journal, tmp_path)
    assert queue.topics["t"].waiting_count == 1
    publish(queue, "t", b"2")
    channel_of(queue, "t", "first")
    channel_of(queue, "t", "second")
    publish(queue, "t", b"3")
    assert bodies_of(queue, "t", "first") == [b"1", b"2", b"3"]
    assert bodies_of(queue, "t", "second") == [b"3"]


def test_pause_of_a_topic_divides_its_messages_also_after_a_kill(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel_of(queue, "t", "c")
    publish(queue, "t", b"before")
    queue.pause_topic(queue.topics["t"], True, **TIMES)
    publish(queue, "t", b"during")
    queue = reopened(journal, tmp_path)
    assert queue.topics["t"].is_paused
    channel_of(queue, "t", "late")
    assert (bodies_of(queue, "t", "c"), bodies_of(queue, "t", "late")) == ([b"before"], [])
    queue.pause_topic(queue.topics["t"], False, **TIMES)
    assert bodies_of(queue, "t", "late") == [b"during"]
    assert bodies_of(queue, "t", "c") == [b"before", b"during"]


def test_emptied_topic_is_empty_after_a_kill_and_its_channels_are_not(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel_of(queue, "t", "c")
    publish(queue, "t", b"before")
    queue.pause_topic(queue.topics["t"], True, **TIMES)
    publish(queue, "t", b"during")
    queue.empty_topic(queue.topics["t"])
    queue = reopened(journal, tmp_path)
    queue.pause_topic(queue.topics["t"], False, **TIMES)
    assert bodies_of(queue, "t", "c") == [b"before"]


def test_delayed_message_keeps_its_due_time_over_a_kill(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel_of(queue, "t", "c")
    publish(queue, "t", b"later", delay_ms=500)
    queue = reopened(journal, tmp_path)
    channel = queue.topics["t"].channels["c"]
    read(queue, queue.topics["t"], channel, now_ms=100)
    assert (channel.deferred_count, channel.in_flight_count) == (1, 0)
    assert bodies_of(queue, "t", "c", now_ms=499) == []
    assert bodies_of(queue, "t", "c", now_ms=500) == [b"later"]


def test_ephemeral_channel_is_gone_after_a_kill_with_what_only_it_needed(journal, tmp_path, reopened):
    queue = queue_on(journal)
    durable, _ = channel_of(queue, "t", "durable"), channel_of(queue, "t", "e#ephemeral")
    publish(queue, "t", b"1")
    subscriber, messages = read(queue, queue.topics["t"], durable)
    durable.finish(subscriber, [messages[0].id])
    queue.flush()
    assert rows(journal, "segments") == 1
    queue = reopened(journal, tmp_path)
    assert list(queue.topics["t"].channels) == ["durable"]
    assert rows(queue._journal, "segments") == 0


def test_ephemeral_topic_leaves_nothing_in_the_journal(journal):
    queue = queue_on(journal)
    publish(queue, "e#ephemeral", b"1")
    channel = channel_of(queue, "e#ephemeral", "c")
    publish(queue, "e#ephemeral", b"2")
    assert bodies_of(queue, "e#ephemeral", "c") == [b"1", b"2"]
    assert (rows(journal, "topics"), rows(journal, "segments")) == (0, 0)
    queue.delete_channel(queue.topics["e#ephemeral"], channel)
    assert queue.topics == {}


def test_ids_rise_over_a_restart_though_the_clock_went_back(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel = channel_of(queue, "t", "c")
    publish(queue, "t", b"1")
    subscriber, (before,) = read(queue, queue.topics["t"], channel)
    channel.finish(subscriber, [before.id])
    queue.flush()
    assert rows(journal, "segments") == 0
    queue = reopened(journal, tmp_path)
    queue.stage(queue.topic("t"), [b"2"], NOW_NS - 10**12)
    queue.commit(0, NOW_NS - 10**12)
    _, (after,) = read(queue, queue.topics["t"], queue.topics["t"].channels["c"])
    assert after.id > before.id


def test_failed_commit_publishes_nothing_and_the_queue_goes_on(journal, tmp_path, reopened):
    queue = queue_on(journal)
    channel_of(queue, "t", "c")
    publish(queue, "t", b"before")
    (pages,) = journal._file.connection.execute("PRAGMA page_count").fetchone()
    journal._file.connection.execute(f"PRAGMA max_page_count = {pages}")  # a disk that is full
    queue.stage(queue.topic("t"), [b"small"], NOW_NS)
    queue.stage(queue.topic("t"), [b"x" * 100_000], NOW_NS)
    with pytest.raises(JournalError, match="full"):
        queue.commit(0, NOW_NS)
    assert bodies_of(queue, "t", "c") == [b"before"]
    assert queue.topics["t"].message_count == 1
    journal._file.connection.execute("PRAGMA max_page_count = 100000")
    publish(queue, "t", b"after")
    assert bodies_of(queue, "t", "c") == [b"before", b"after"]
    assert bodies_of(reopened(journal, tmp_path), "t", "c") == [b"before", b"after"]


class QueueMachine(RuleBasedStateMachine):
    """Publishes, finishes and kills at any moment. The model: which messages each channel has
    not finished, and which of its finishes a kill may take back."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.directory.name) / "0"
        self.kills = 0
        self.journal = QueueJournal(self.path)
        self.queue = queue_on(self.journal)
        self.next_body = 0
        self.unfinished: dict[str, set[bytes]] = {}
        self.unflushed: dict[str, set[bytes]] = {}
        self.memory_messages_max = limits.MEMORY_MESSAGES_MAX
        limits.MEMORY_MESSAGES_MAX = 10  # so that most of a backlog is in the journal

    def teardown(self) -> None:
        limits.MEMORY_MESSAGES_MAX = self.memory_messages_max
        self.journal.close()
        self.directory.cleanup()

    @rule(name=st.sampled_from("ab"))
    def make_channel(self, name: str) -> None:
        if name not in self.unfinished:
            channel_of(self.queue, "t", name)
            self.unfinished[name], self.unflushed[name] = set(), set()

    @rule(counts=st.lists(st.integers(1, 7), min_size=1, max_size=3))
    @precondition(lambda self: self.unfinished)
    def publish(self, counts: list[int]) -> None:
        for count in counts:
            bodies = [b"%d" % (self.next_body + offset) for offset in range(count)]
            self.next_body += count
            self.queue.stage(self.queue.topic("t"), bodies, NOW_NS)
            for unfinished in self.unfinished.values():
                unfinished.update(bodies)
        self.queue.commit(0, NOW_NS)

    @rule(name=st.sampled_from("ab"), data=st.data(), count=st.integers(1, 30))
    def finish_some(self, name: str, data: st.DataObject, count: int) -> None:
        if name in self.unfinished:
            topic = self.queue.topics["t"]
            channel = topic.channels[name]
            subscriber, messages = read(self.queue, topic, channel, count=count)
            bodies = [message.body for message in messages]
            assert len(bodies) == len(set(bodies)) == min(count, len(self.unfinished[name]))
            assert set(bodies) <= self.unfinished[name]
            for message in messages:
                if data.draw(st.booleans()):
                    assert channel.finish(subscriber, [message.id]) == []
                    self.unfinished[name].discard(message.body)
                    self.unflushed[name].add(message.body)
            channel.remove_subscriber(subscriber)

    @rule()
    def flush(self) -> None:
        self.queue.flush()
        for unflushed in self.unflushed.values():
            unflushed.clear()

    @rule(name=st.sampled_from("ab"))
    def empty_channel(self, name: str) -> None:
        if name in self.unfinished:
            topic = self.queue.topics["t"]
            self.queue.empty_channel(topic, topic.channels[name])
            self.unfinished[name].clear()
            self.unflushed[name].clear()

    @rule(name=st.sampled_from("ab"))
    def delete_channel(self, name: str) -> None:
        if name in self.unfinished:
            topic = self.queue.topics["t"]
            self.queue.delete_channel(topic, topic.channels[name])
            del self.unfinished[name], self.unflushed[name]

    @rule()
    def kill(self) -> None:
        self.kills += 1
        path = self.path.parent / str(self.kills)
        shutil.copytree(self.path, path)
        self.journal.close()
        shutil.rmtree(self.path)
        self.path = path
        self.journal = QueueJournal(path)
        self.queue = queue_on(self.journal)
        for name, unfinished in self.unfinished.items():
            unfinished.update(self.unflushed[name])
            self.unflushed[name].clear()

    @invariant()
    def depths_agree(self) -> None:
        for name, unfinished in self.unfinished.items():
            assert self.queue.topics["t"].channels[name].depth == len(unfinished)

    @invariant()
    def what_nobody_needs_is_not_kept(self) -> None:
        if "t" in self.queue.topics and not any(self.unfinished.values()):
            self.queue.flush()
            for unflushed in self.unflushed.values():
                unflushed.clear()
            assert self.journal._query("SELECT COUNT(*) FROM segments")[0][0] == 0


QueueMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestQueueAgainstItsModel = QueueMachine.TestCase


def test_journal_that_is_open_is_refused_to_another_process(journal):
    code = (
        "import pathlib, sys\n"
        "from actors.system.exits import StoreFailure\n"
        "from actors.embedded_nsqd.journal import QueueJournal\n"
        "try:\n    QueueJournal(pathlib.Path(sys.argv[1]))\n"
        "except StoreFailure as error:\n    print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(journal.path.parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).parents[3],
    )
    assert "has this journal open; stop it, or give this one another directory" in ended.stdout
    with pytest.raises(StoreFailure, match="has this journal open"):
        QueueJournal(journal.path.parent)


@pytest.mark.parametrize("content", [b"not a database, but someone's text", b"\0" * 8192])
def test_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StoreFailure, match=f"{FILE_NAME}: cannot be used"):
        QueueJournal(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_database_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    content = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StoreFailure, match="it is a database of another program"):
        QueueJournal(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_journal_of_a_newer_format_is_refused_and_left_as_it_is(tmp_path):
    journal = QueueJournal(tmp_path)
    journal._file.connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    journal.close()
    content = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StoreFailure, match=f"format is {FORMAT + 1}, expected at most {FORMAT}"):
        QueueJournal(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_refused_journal_can_be_opened_once_the_reason_is_gone(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but someone's text")
    with pytest.raises(StoreFailure, match="file is not a database"):
        QueueJournal(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    QueueJournal(tmp_path).close()


def test_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreFailure, match="give the embedded nsqd a directory"):
        QueueJournal(tmp_path / "file" / "queue")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE segments SET payload = zeroblob(length(payload))",
        "UPDATE segments SET due_ms = 1",
        "UPDATE progress SET finished = x'0101'",
        "UPDATE progress SET finished = NULL",
    ],
)
def test_damaged_row_is_never_given_out(journal, damage):
    queue = queue_on(journal)
    channel = channel_of(queue, "t", "c")
    publish(queue, "t", b"1", b"2")
    subscriber, messages = read(queue, queue.topics["t"], channel)
    channel.finish(subscriber, [messages[0].id])
    queue.flush()
    journal._file.connection.execute(damage)
    with pytest.raises(StoreFailure, match=r"cannot be used \(the checksum of .* does not match"):
        list(journal.read(1, 1, 0, 1 << 62))
