"""NSQ's frames, however the stream is cut, against a parser that goes byte by byte."""

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.frames import FRAME_BYTES_MAX, MESSAGE_TYPE, FrameParser

NO_PLAY = b"no play"


def frame(kind, data):
    return struct.pack(">ii", 4 + len(data), kind) + data


def message(number, body, stamp=17, attempts=1):
    return frame(MESSAGE_TYPE, struct.pack(">qH", stamp, attempts) + b"%016x" % number + body)


def parser():
    """Bodies are videos here; the shard is the first byte's, modulo 2."""
    return FrameParser(
        lambda body: None if body == NO_PLAY else body.ljust(16, b".")[:16],
        lambda video: video[0] % 2,
    )


def naive(data):
    """What a stream holds, as (kind, data) by the book; None for the rest when a size is wrong."""
    found = []
    while len(data) >= 8:
        size, kind = struct.unpack(">ii", data[:8])
        if size > FRAME_BYTES_MAX or size < (30 if kind == MESSAGE_TYPE else 4):
            return [*found, None]
        if len(data) < 4 + size:
            break
        found.append((kind, data[8 : 4 + size]))
        data = data[4 + size :]
    return found


def flat(parsed):
    """What a read gave, as sets of facts: the order is kept within a kind and shard."""
    plays = {
        shard: list(zip(columns.ids, columns.videos, columns.arrived_ns, strict=True))
        for shard, columns in parsed.shards.items()
    }
    return plays, [(one.id, one.body, one.arrived_ns) for one in parsed.bad], parsed.others


def feed_all(pieces):
    one, plays, bad, others, messages = parser(), {}, [], [], 0
    for piece in pieces:
        parsed = one.feed(piece)
        found = flat(parsed)
        for shard, rows in found[0].items():
            plays.setdefault(shard, []).extend(rows)
        bad += found[1]
        others += found[2]
        messages += parsed.messages
    return plays, bad, others, messages


def expected_of(data):
    plays, bad, others, messages = {}, [], [], 0
    for one in naive(data):
        if one is None:
            return None
        kind, content = one
        if kind != MESSAGE_TYPE:
            others.append((kind, content))
            continue
        messages += 1
        stamp, _ = struct.unpack(">qH", content[:10])
        message_id, body = content[10:26], content[26:]
        if body == NO_PLAY:
            bad.append((message_id, body, stamp))
        else:
            video = body.ljust(16, b".")[:16]
            plays.setdefault(video[0] % 2, []).append((message_id, video, stamp))
    return plays, bad, others, messages


def test_a_read_of_messages_becomes_columns_by_shard():
    parsed = parser().feed(message(1, b"a", 5) + message(2, b"b", 6) + message(3, b"c", 7))
    assert parsed.messages == 3
    odd, even = parsed.shards[1], parsed.shards[0]
    assert odd.ids == [b"0000000000000001", b"0000000000000003"]
    assert odd.arrived_ns == [5, 7]
    assert even.videos == [b"b..............."]


def test_what_is_no_play_is_kept_with_its_id_and_body():
    parsed = parser().feed(message(1, NO_PLAY, 5))
    assert (parsed.bad[0].id, parsed.bad[0].body) == (b"0000000000000001", NO_PLAY)
    assert parsed.messages == 1
    assert parsed.shards == {}


def test_other_frames_are_handed_on_whatever_their_length():
    for data in (b"", b"OK", b"_heartbeat_", b"E_FIN_FAILED FIN 0123456789abcdef failed"):
        assert parser().feed(frame(0, data)).others == [(0, data)]


def test_two_reads_do_not_share_what_they_hold():
    one = parser()
    first = one.feed(message(1, b"a") + frame(0, b"OK"))
    second = one.feed(message(2, b"a"))
    assert (first.messages, second.messages, second.others) == (1, 1, [])
    assert second.shards[1].ids == [b"0000000000000002"]


def test_every_cut_of_a_stream_gives_the_same():
    data = b"".join(
        [message(1, b"a"), frame(0, b"OK"), message(2, NO_PLAY), frame(1, b""), message(3, b"")]
        + [frame(0, b"_heartbeat_"), message(4, b"b" * 40), frame(0, b"OK")]
    )
    expected = expected_of(data)
    assert feed_all([data]) == expected
    assert feed_all(bytes([byte]) for byte in data) == expected
    for cut in range(len(data) + 1):
        assert feed_all([data[:cut], data[cut:]]) == expected, f"cut at {cut}"


@pytest.mark.parametrize("size", [-(2**31), -1, 0, 3, FRAME_BYTES_MAX + 1, 2**31 - 1])
@pytest.mark.parametrize("kind", [0, 1, MESSAGE_TYPE, -1])
def test_a_size_that_no_frame_can_have_is_refused_as_soon_as_it_is_there(size, kind):
    head = struct.pack(">ii", size, kind)
    for before in (b"", message(1, b"a"), frame(0, b"OK")):
        for behind in (b"", bytes(30)):
            with pytest.raises(ValueError, match=f"of {size} bytes"):
                parser().feed(before + head + behind)
        one = parser()
        one.feed(before + head[:7])
        with pytest.raises(ValueError, match=f"of {size} bytes"):
            one.feed(head[7:])


@pytest.mark.parametrize("size", [4, 12, 29])
def test_a_message_shorter_than_its_own_head_is_refused(size):
    for behind in (b"", bytes(size - 4), bytes(100)):
        with pytest.raises(ValueError, match="a message frame"):
            parser().feed(struct.pack(">ii", size, MESSAGE_TYPE) + behind)


def test_a_message_with_no_body_is_a_message():
    assert parser().feed(message(1, b"")).messages == 1


def test_the_largest_frame_is_taken():
    body = bytes(FRAME_BYTES_MAX - 30)
    assert parser().feed(message(1, body)).messages == 1


def test_a_large_frame_in_small_reads_takes_no_quadratic_time():
    data, one = message(1, bytes(FRAME_BYTES_MAX - 30)), parser()
    started_s = time.process_time()
    messages = sum(one.feed(data[at : at + 1024]).messages for at in range(0, len(data), 1024))
    assert messages == 1
    assert time.process_time() - started_s < 5  # 0.1 s; joined at every read: minutes


def test_many_short_frames_in_one_read_take_no_quadratic_time():
    data = frame(0, b"") * 200_000
    started_s = time.process_time()
    assert len(parser().feed(data).others) == 200_000
    assert time.process_time() - started_s < 5


frames = st.one_of(
    st.builds(
        message,
        st.integers(0, 2**64 - 1),
        st.binary(max_size=40) | st.just(NO_PLAY),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 65_535),
    ),
    st.builds(frame, st.sampled_from((0, 1, 3, -1)), st.binary(max_size=30)),
    st.builds(
        lambda size, kind: struct.pack(">ii", size, kind),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(0, 2),
    ),
    st.binary(max_size=12),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(frames, max_size=8), st.data())
def test_any_stream_cut_anywhere_gives_what_a_naive_parser_gives_or_a_value_error(parts, data):
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = expected_of(stream)
    if expected is None:
        with pytest.raises(ValueError):
            feed_all(pieces)
    else:
        assert feed_all(pieces) == expected
