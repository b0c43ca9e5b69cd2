"""The embedded nsqd's command parser. Codes and texts are compared with nsqd's end to end."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.commands import (
    Authenticate,
    CommandParser,
    FinishMessages,
    Identify,
    Nothing,
    PublishMessages,
    Refusal,
    RequeueMessage,
    SetReady,
    StartClose,
    Subscribe,
    TouchMessage,
)
from actors.embedded_nsqd.multi import Refused, split_multi
from tests.support.queues import multi, sized

ids = st.binary(min_size=16, max_size=16).map(lambda raw: raw.hex()[:16].encode())
bodies = st.binary(min_size=1, max_size=40)
names = st.text("abz.AZ09_-", min_size=1, max_size=10)

commands = st.one_of(
    st.builds(lambda id: (b"FIN %s\n" % id, [FinishMessages([id])]), ids),
    st.builds(
        lambda id, delay: (b"REQ %s %d\n" % (id, delay), [RequeueMessage(id, delay)]),
        ids,
        st.integers(0, limits.REQUEUE_DELAY_MAX_MS),
    ),
    st.builds(lambda id: (b"TOUCH %s\r\n" % id, [TouchMessage(id)]), ids),
    st.builds(lambda count: (b"RDY %d\n" % count, [SetReady(count)]), st.integers(0, 2500)),
    st.builds(
        lambda topic, body: (
            f"PUB {topic}\n".encode() + sized(body),
            [PublishMessages("PUB", topic, [body])],
        ),
        names,
        bodies,
    ),
    st.builds(
        lambda topic, many: (
            f"MPUB {topic}\n".encode() + sized(multi(many)),
            [PublishMessages("MPUB", topic, many)],
        ),
        names,
        st.lists(bodies, min_size=1, max_size=5),
    ),
    st.builds(
        lambda topic, body, delay: (
            f"DPUB {topic} {delay}\n".encode() + sized(body),
            [PublishMessages("DPUB", topic, [body], delay)],
        ),
        names,
        bodies,
        st.integers(0, 1000),
    ),
    st.builds(
        lambda topic, channel: (f"SUB {topic} {channel}\n".encode(), [Subscribe(topic, channel)]),
        names,
        names,
    ),
    st.builds(lambda body: (b"IDENTIFY\n" + sized(body), [Identify(body)]), bodies),
    st.builds(lambda body: (b"AUTH\n" + sized(body), [Authenticate(body)]), bodies),
    st.just((b"CLS\n", [StartClose()])),
    st.just((b"NOP\n", [Nothing()])),
)


def flat(parsed: list) -> list:
    """Runs of FINs taken apart, so that it does not matter where the bytes were cut."""
    return [
        single
        for command in parsed
        for single in (
            [FinishMessages([id]) for id in command.ids] if isinstance(command, FinishMessages) else [command]
        )
    ]


@given(st.lists(commands, max_size=8), st.lists(st.integers(0, 400), max_size=6))
def test_commands_come_out_whole_wherever_the_bytes_are_cut(sent, cuts):
    stream = b"".join(raw for raw, _ in sent)
    expected = [command for _, parsed in sent for command in parsed]
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parser = CommandParser()
    parsed = []
    for start, stop in itertools.pairwise(edges):
        parsed += parser.feed(stream[start:stop])
    assert flat(parsed) == expected
    assert parser.held_bytes == 0


def test_every_single_cut_of_a_stream_with_every_command_gives_the_same():
    stream = (
        b"IDENTIFY\n" + sized(b"{}") + b"SUB t c\nRDY 5\nFIN 0123456789abcdef\n"
        b"FIN fedcba9876543210\nREQ 0123456789abcdef 10\nTOUCH 0123456789abcdef\nPUB t\n"
        + sized(b"body\nwith FIN 0123456789abcdef\n")
        + b"MPUB t\n"
        + sized(multi([b"a", b"bb"]))
        + b"DPUB t 5\n"
        + sized(b"x")
        + b"NOP\nCLS\n"
    )
    whole = flat(CommandParser().feed(stream))
    assert len(whole) == 12
    for cut in range(1, len(stream)):
        parser = CommandParser()
        assert flat(parser.feed(stream[:cut]) + parser.feed(stream[cut:])) == whole
    parser = CommandParser()
    assert flat([c for i in range(len(stream)) for c in parser.feed(stream[i : i + 1])]) == whole


def test_many_finishes_of_one_read_are_one_command():
    many = [b"%016x" % number for number in range(1000)]
    parsed = CommandParser().feed(b"".join(b"FIN %s\n" % id for id in many) + b"NOP\n")
    assert parsed == [FinishMessages(many), Nothing()]


@pytest.mark.parametrize("head", [b"PUB t\n", b"MPUB t\n", b"DPUB t 1\n", b"IDENTIFY\n", b"AUTH\n"])
@pytest.mark.parametrize("size", [-1, 0, limits.BODY_SIZE_MAX + 1, 2**31 - 1])
def test_hostile_size_is_refused_before_its_body_is_waited_for(head, size):
    parser = CommandParser()
    (refusal,) = parser.feed(head + struct.pack(">i", size))
    assert isinstance(refusal, Refusal)
    assert parser.held_bytes == 0


def test_hostile_message_count_allocates_nothing():
    parser = CommandParser()
    (refusal,) = parser.feed(b"MPUB t\n" + sized(struct.pack(">i", limits.MPUB_MESSAGES_MAX)))
    assert refusal.description == "MPUB failed to read message(0) body size"


def test_line_without_an_end_is_refused_at_its_limit():
    parser = CommandParser()
    parsed = []
    for _ in range(20):
        parsed += parser.feed(b"x" * 1000)
        assert parser.held_bytes < limits.LINE_SIZE_MAX
    assert parsed == [Refusal("", "a line is longer than nsqd's read buffer")]


def test_nothing_comes_after_a_refusal():
    parser = CommandParser()
    (nop, refusal) = parser.feed(b"NOP\nWHAT\nNOP\n")
    assert (nop, refusal.code) == (Nothing(), "E_INVALID")
    assert parser.feed(b"NOP\n") == []


def test_requeue_delay_is_cut_to_the_highest():
    parsed = CommandParser().feed(b"REQ 0123456789abcdef 99999999999999999999999\n")
    assert parsed == [RequeueMessage(b"0123456789abcdef", limits.REQUEUE_DELAY_MAX_MS)]


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=30))
def test_multi_body_is_split_into_what_was_joined(many):
    assert split_multi(multi(many)) == many


@given(st.lists(st.just(b"equal"), min_size=2, max_size=9), st.data())
def test_multi_body_with_one_wrong_size_is_never_taken_for_another(many, data):
    """All are of one size, which has a path of its own: a lie in one of them must be seen."""
    body = bytearray(multi(many))
    number = data.draw(st.integers(0, len(many) - 1))
    wrong = data.draw(st.integers(-3, 40).filter(lambda size: size != 5))
    body[4 + 9 * number : 8 + 9 * number] = struct.pack(">i", wrong)
    with pytest.raises(Refused):
        split_multi(bytes(body))


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(body):
    try:
        assert multi(split_multi(body)) == body
    except Refused as refused:
        assert refused.code in ("E_BAD_BODY", "E_BAD_MESSAGE")


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(stream):
    for command in CommandParser().feed(stream):
        assert isinstance(
            command,
            (
                Refusal,
                Nothing,
                StartClose,
                FinishMessages,
                SetReady,
                PublishMessages,
                RequeueMessage,
                TouchMessage,
                Subscribe,
                Identify,
                Authenticate,
            ),
        )
