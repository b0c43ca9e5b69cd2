"""Mailboxes: a message survives any cut, garbage is BadMail, and the loss of a peer is reported once."""

import asyncio
import contextlib
import resource
import socket
import time

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.supervision.loop import PlainLoop
from actors.supervision.mailbox import (
    MESSAGE_BYTES_MAX,
    READ_BYTES,
    UNWRITTEN_BYTES_MAX,
    BadMail,
    Decoder,
    Link,
    MailboxFull,
    encode,
)
from actors.supervision.protocol import ChildInbox, SupervisorInbox
from tests.support.mail import assert_survives_every_cut, kinds_of
from tests.support.patience import PATIENCE_S


class Counted(msgspec.Struct, frozen=True, array_like=True, tag="counted"):
    """Numbers."""

    numbers: list[int]


class Plays(msgspec.Struct, frozen=True, array_like=True, tag="plays"):
    """Many bytes."""

    number: int
    source: str
    ids: bytes
    videos: bytes
    arrived_ns: bytes


class Collect(msgspec.Struct, frozen=True, array_like=True, tag="collect"):
    """A number and bytes."""

    number: int
    videos: bytes


class Recall(msgspec.Struct, frozen=True, array_like=True, tag="recall"):
    """No fields."""


ConsumerInbox = Counted
CounterInbox = Plays | Collect | Recall
INBOXES = [ConsumerInbox, CounterInbox, ChildInbox, SupervisorInbox]


@pytest.mark.parametrize("inbox", INBOXES, ids=lambda inbox: str(kinds_of(inbox)[0].__name__))
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_every_message_comes_out_as_it_went_in_however_the_bytes_are_cut(inbox, data):
    assert_survives_every_cut(inbox, data)


def test_a_message_of_another_mailbox_is_bad_mail():
    with pytest.raises(BadMail):
        Decoder(ConsumerInbox).feed(encode(Recall()))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xc1",  # not msgpack
        b"\x00",  # a number
        b"\x90",  # an empty array
        b"\x91\xa7unknown",
        b"\x92\xa7collect\x01",  # a missing field
        b"\x93\xa7collect\xa1x\xc4\x00",  # a text in place of a number
        b"\x93\xa7collect\x01\xa1x",  # a text in place of bytes
        b"\x93\xa7collect\xca\x7f\xc0\x00\x00\xc4\x00",  # NaN in place of a number
        b"\x81\xa1a\x01",  # a map
        b"\x81\x91\x01\x02",  # a key that no map can have
        b"\xa1\xff",  # a text that is not UTF-8
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xd4\xff\x00",  # a timestamp of a wrong length
        b"\xd7\x05" + bytes(8),  # an extension
        b"\x91" * 2000,  # nested deeper than any of our messages
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million
        b"\xdf\x00\xff\xff\xff",  # a map of sixteen million
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
def test_garbage_is_bad_mail_with_a_reason(garbage):
    with pytest.raises(BadMail, match=r"mailbox: \S"):
        Decoder(CounterInbox).feed(garbage)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_a_part_of_one_or_bad_mail(garbage):
    try:
        found = Decoder(CounterInbox).feed(garbage)
    except BadMail:
        return
    assert all(isinstance(one, kinds_of(CounterInbox)) for one in found)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_byte_that_was_flipped_never_raises_anything_else(place, byte):
    stream = bytearray(encode(Plays(1, "a/plays", bytes(16), bytes(32), bytes(16))) * 2)
    stream[place % len(stream)] = byte
    try:
        Decoder(CounterInbox).feed(bytes(stream))
    except BadMail:
        pass


@pytest.mark.parametrize(
    "head",
    [
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x93\xa7collect\x01\xc6\xff\xff\xff\xff",
    ],
)
def test_a_message_beyond_the_limit_is_bad_mail_before_it_is_held(head):
    decoder = Decoder(CounterInbox)
    with pytest.raises(BadMail):
        decoder.feed(head)
        for _ in range(MESSAGE_BYTES_MAX // 65_536 + 2):
            decoder.feed(bytes(65_536))


def test_nested_claims_of_great_arrays_take_no_memory():
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoder = Decoder(CounterInbox)
    try:
        for _ in range(10):
            decoder.feed(b"\xdd\x00\x0f\xff\xff" * 10)
    except BadMail:
        pass
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 300 * 1024


def test_a_large_message_is_taken_in_pieces():
    plays = Plays(1, "a/plays", bytes(8 * 50_000), bytes(16 * 50_000), bytes(8 * 50_000))
    stream, decoder = encode(plays), Decoder(CounterInbox)
    found = []
    for at in range(0, len(stream), 65_536):
        found += decoder.feed(stream[at : at + 65_536])
    assert found == [plays]


# Links over real sockets, in both loops


class End:
    """One end of a link, and what happened on it."""

    def __init__(self, loop, end, inbox, on_messages=None):
        self.read, self.lost = [], 0
        self._loop = loop
        self._on_messages = on_messages
        self.link = Link("peer", 3, end, inbox, loop, self._take, self._lose)

    def _take(self, peer, found):
        self.read += found
        self._loop.stop()
        if self._on_messages is not None:
            self._on_messages(self.link)

    def _lose(self, link):
        self.lost += 1
        self._loop.stop()


def run_until(loop, condition):
    timer = loop.call_later(PATIENCE_S, loop.stop)
    ends_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < ends_s:
        loop.run_forever()
    timer.cancel()
    assert condition()


@pytest.fixture(params=[PlainLoop, asyncio.new_event_loop], ids=["plain", "asyncio"])
def loop(request):
    loop = request.param()
    yield loop
    if request.param is not PlainLoop:
        loop.close()


@pytest.fixture
def ends():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(end) for end in socket.socketpair()]


def test_messages_arrive_in_order_however_many_wait(loop, ends):
    one, two = End(loop, ends[0], ConsumerInbox), End(loop, ends[1], CounterInbox)
    sent = [Collect(number, bytes(1000)) for number in range(2000)]  # more than a pipe holds
    for message in sent:
        one.link.send(message)
    two.link.send(Counted([1, 2]))
    run_until(loop, lambda: len(two.read) == len(sent) and one.read)
    assert two.read == sent
    assert one.read == [Counted([1, 2])]
    assert (one.lost, two.lost) == (0, 0)
    assert (one.link.waiting_bytes(), two.link.waiting_bytes()) == (0, 0)
    one.link.close()
    two.link.close()


def test_what_is_held_back_is_written_at_once_and_in_order(loop, ends):
    one, two = End(loop, ends[0], ConsumerInbox), End(loop, ends[1], CounterInbox)
    one.link.send(Collect(1, b"x"), hold=True)
    one.link.send(Recall(), hold=True)
    assert two.link.waiting_bytes() == 0
    one.link.flush()
    assert two.link.waiting_bytes() == len(encode(Collect(1, b"x")) + encode(Recall()))
    one.link.send(Collect(2, b""), hold=True)
    one.link.send(Collect(3, b""))  # what is not held back takes along what is
    run_until(loop, lambda: len(two.read) == 4)
    assert two.read == [Collect(1, b"x"), Recall(), Collect(2, b""), Collect(3, b"")]
    one.link.send(Recall(), hold=True)
    one.link.close()
    one.link.flush()  # what a closed link held back is dropped


def test_no_more_is_held_back_than_one_read_takes(loop, ends):
    one = End(loop, ends[0], ConsumerInbox)
    one.link.send(Collect(1, bytes(READ_BYTES)), hold=True)
    two = End(loop, ends[1], CounterInbox)
    run_until(loop, lambda: two.read)
    assert two.read == [Collect(1, bytes(READ_BYTES))]


def test_a_peer_that_is_gone_is_told_once_after_all_that_it_wrote(loop, ends):
    two = End(loop, ends[1], CounterInbox)
    ends[0].sendall(encode(Recall()) * 3 + encode(Collect(1, b"x"))[:-1])
    ends[0].close()
    run_until(loop, lambda: two.lost)
    assert two.read == [Recall()] * 3
    assert two.lost == 1
    two.link.send(Counted([1]))  # to an end that is gone: dropped
    assert two.link.waiting_bytes() == 0


def test_what_is_sent_to_a_peer_that_died_is_dropped(loop, ends):
    one = End(loop, ends[0], ConsumerInbox)
    one.link.send(Recall())
    ends[1].close()  # with unread bytes, so that the peer gets a reset
    for _ in range(100):
        one.link.send(Collect(1, bytes(10_000)))
    run_until(loop, lambda: one.lost)
    assert (one.lost, one.read) == (1, [])


def test_a_peer_that_reads_nothing_for_ever_is_a_full_mailbox(loop, ends):
    one = End(loop, ends[0], ConsumerInbox)
    with pytest.raises(MailboxFull, match="peer#3 does not read"):
        for _ in range(UNWRITTEN_BYTES_MAX // 1_000_000 + 2):
            one.link.send(Collect(1, bytes(1_000_000)))
    one.link.close()


def test_an_end_that_we_close_ourselves_tells_nobody(loop, ends):
    two = End(loop, ends[1], CounterInbox)
    two.link.close()
    ends[0].close()
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert two.lost == 0
    two.link.send(Recall())


def test_nothing_more_is_handed_over_once_a_link_is_closed_in_the_middle(loop, ends):
    two = End(loop, ends[1], CounterInbox, on_messages=lambda link: link.close())
    ends[0].sendall(encode(Recall()))
    run_until(loop, lambda: two.read)
    with pytest.raises(OSError):
        ends[0].sendall(encode(Recall()))
    assert two.read == [Recall()]
    assert two.lost == 0


def test_garbage_on_a_link_is_bad_mail_in_the_loop(loop, ends):
    two = End(loop, ends[1], CounterInbox)
    told = []

    def tell(_, context):
        told.append(context["exception"])
        loop.stop()

    loop.set_exception_handler(tell)
    ends[0].sendall(b"\xc1")
    if isinstance(loop, PlainLoop):
        with pytest.raises(BadMail):
            loop.run_forever()
    else:
        run_until(loop, lambda: told)
        assert isinstance(told[0], BadMail)
    two.link.close()


def test_a_link_is_named_by_the_peer_and_its_incarnation(loop, ends):
    two = End(loop, ends[1], CounterInbox)
    assert str(two.link) == "peer#3"
    two.link.close()


def test_the_wire_is_msgpack_that_any_other_language_reads():
    assert msgpack.unpackb(encode(Collect(7, b"\x01"))) == ["collect", 7, b"\x01"]
