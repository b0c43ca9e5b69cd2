"""In which order and in how many writes a client of the embedded nsqd gets what it is sent."""

import asyncio

from actors.embedded_nsqd import frames, limits
from actors.embedded_nsqd.answers import Answers
from actors.embedded_nsqd.journal_file import JournalError


class Wire(asyncio.Transport):
    """A transport that keeps its writes; `unread` bytes of them wait in its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unread = 0
        self.is_read_from = True

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == limits.WRITE_BUFFER_MAX

    def pause_reading(self) -> None:
        self.is_read_from = False

    def resume_reading(self) -> None:
        self.is_read_from = True


def test_an_answer_waits_behind_the_ok_of_a_publish_until_the_commit():
    wire = Wire()
    answers = Answers(wire)
    answers.add(b"1")
    answers.add_at_commit("PUB")
    answers.add(b"2")
    assert (wire.writes, answers.is_held()) == ([b"1"], True)
    assert answers.release(None)
    assert (wire.writes[1:], answers.is_held()) == ([frames.OK + b"2"], False)
    answers.add(b"3")
    assert wire.writes[2:] == [b"3"]


def test_after_a_failed_commit_nothing_follows_the_first_error():
    wire = Wire()
    answers = Answers(wire)
    for verb in ("PUB", "MPUB"):
        answers.add_at_commit(verb)
        answers.add(b"behind it")
    assert not answers.release(JournalError("no space"))
    assert wire.writes == [frames.error("E_PUB_FAILED PUB failed no space")]


def test_the_answers_to_one_read_are_one_write_and_messages_never_overtake_them():
    wire = Wire()
    answers = Answers(wire)
    answers.begin_read()
    answers.add(b"1")
    answers.add(b"2")
    answers.send_messages([b"message", b"message"])
    answers.add(b"3")
    assert wire.writes == [b"12", b"messagemessage"]
    answers.end_read()
    answers.add(b"4")
    assert wire.writes[2:] == [b"3", b"4"]


def test_a_client_that_does_not_read_its_answers_is_not_read_from_until_it_does():
    wire = Wire()
    answers = Answers(wire)
    wire.unread = limits.ANSWER_BUFFER_MAX + 1
    answers.add(b"1")
    assert (answers.is_reading_paused, wire.is_read_from) == (True, False)
    answers.resume_reading()
    assert (answers.is_reading_paused, wire.is_read_from) == (False, True)
