"""NSQ's frames, in a stream cut anywhere, compared with a naive parser."""

import hashlib
import struct
import uuid
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.consumer import frames
from actors.core.consumer.bodies import Bodies, Cut, NotAPlay, decode
from actors.core.consumer.frames import ALIKE_MAX, ALIKE_MIN, FRAME_BYTES_MAX, MESSAGE_TYPE, FrameParser
from tests.support.work import builtin_calls, lines_run

NO_PLAY = b"no play"


def frame(kind, data):
    return struct.pack(">ii", 4 + len(data), kind) + data


def message(number, body, stamp=17, attempts=1):
    return frame(MESSAGE_TYPE, struct.pack(">qH", stamp, attempts) + b"%016x" % number + body)


def play(number, form='{"video_id":"%s"}'):
    """The body of a play of the video with this number."""
    return (form % uuid.UUID(int=number)).encode()


def video(number):
    return number.to_bytes(16, "big")


def parser():
    return FrameParser(Bodies())


def naive(data):
    """The frames of a stream as (kind, data), parsed by the specification; None at the first wrong size."""
    found = []
    while len(data) >= 8:
        size, kind = struct.unpack(">ii", data[:8])
        if (size > FRAME_BYTES_MAX and kind != MESSAGE_TYPE) or size < (30 if kind == MESSAGE_TYPE else 4):
            return [*found, None]
        if len(data) < 4 + size:
            break
        found.append((kind, data[8 : 4 + size]))
        data = data[4 + size :]
    return found


def rows_of(plays):
    assert len(plays.ids) == len(plays.videos) == 16 * len(plays)
    return [
        (bytes(plays.ids[16 * row : 16 * row + 16]), bytes(plays.videos[16 * row : 16 * row + 16]), stamp)
        for row, stamp in enumerate(plays.arrived_ns)
    ]


def feed_all(pieces):
    """Feed all pieces to one parser. Returns what it found, each kind in its order."""
    one, plays, bad, others, messages = parser(), [], [], [], 0
    for piece in pieces:
        parsed = one.feed(piece)
        plays += rows_of(parsed.plays)
        bad += [(one.id, one.body, one.arrived_ns) for one in parsed.bad]
        others += parsed.others
        messages += parsed.messages
    return plays, bad, others, messages


def expected_of(data):
    plays, bad, others, messages = [], [], [], 0
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
        try:
            plays.append((message_id, decode(body), stamp))
        except NotAPlay:
            bad.append((message_id, body, stamp))
    return plays, bad, others, messages


def test_a_read_of_messages_becomes_columns():
    parsed = parser().feed(message(1, play(7), 5) + message(2, NO_PLAY, 6) + message(3, play(8), 7))
    assert rows_of(parsed.plays) == [
        (b"0000000000000001", video(7), 5),
        (b"0000000000000003", video(8), 7),
    ]
    assert parsed.messages == 3


def test_many_plays_of_one_shape_are_read_together(monkeypatch):
    one, data = parser(), b"".join(message(number, play(number), -number) for number in range(1000))
    one.feed(message(1, play(1)))
    monkeypatch.setattr(one, "_messages", None)
    assert rows_of(one.feed(data).plays) == [(b"%016x" % n, video(n), -n) for n in range(1000)]


def test_what_is_no_play_is_kept_with_its_id_and_body():
    parsed = parser().feed(message(1, NO_PLAY, 5))
    assert (parsed.bad[0].id, parsed.bad[0].body) == (b"0000000000000001", NO_PLAY)
    assert parsed.messages == 1
    assert rows_of(parsed.plays) == []


def test_other_frames_are_handed_on_whatever_their_length():
    for data in (b"", b"OK", b"_heartbeat_", b"E_FIN_FAILED FIN 0123456789abcdef failed"):
        assert parser().feed(frame(0, data)).others == [(0, data)]


def test_two_reads_do_not_share_what_they_hold():
    one = parser()
    first = one.feed(message(1, play(1)) + frame(0, b"OK"))
    second = one.feed(message(2, play(1)))
    assert (first.messages, second.messages, second.others) == (1, 1, [])
    assert second.plays.ids == b"0000000000000002"


def test_every_cut_of_a_stream_gives_the_same():
    data = b"".join(
        [
            *(message(1, play(1)), frame(0, b"OK"), message(2, NO_PLAY), frame(1, b""), message(3, b"")),
            *(frame(0, b"_heartbeat_"), message(4, play(2, '{"video_id": "%s"}')), frame(0, b"OK")),
        ]
    )
    expected = expected_of(data)
    assert feed_all([data]) == expected
    assert feed_all(bytes([byte]) for byte in data) == expected
    for cut in range(len(data) + 1):
        assert feed_all([data[:cut], data[cut:]]) == expected, f"cut at {cut}"


@pytest.mark.parametrize("size", [-(2**31), -1, 0, 3, FRAME_BYTES_MAX + 1, 2**31 - 1])
@pytest.mark.parametrize("kind", [0, 1, MESSAGE_TYPE, -1])
def test_a_size_that_no_frame_can_have_is_refused_as_soon_as_it_is_there(size, kind):
    if kind == MESSAGE_TYPE and size > FRAME_BYTES_MAX:
        return  # a message of any size is read through
    head = struct.pack(">ii", size, kind)
    for before in (b"", message(1, play(1)), frame(0, b"OK")):
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


@pytest.mark.parametrize("piece_bytes", [64 * 1024, 256 * 1024, 1 << 30])
@pytest.mark.parametrize("cut", [0, 7, 8, 16, 33, 34, 35])
def test_a_message_that_is_too_large_is_read_through_and_its_start_kept(piece_bytes, cut):
    body = b"0123456789abcdef" * (FRAME_BYTES_MAX // 16) + b"!"
    before, behind = message(1, play(1)), message(3, play(3)) + frame(0, b"OK")
    data = before + message(2, body) + behind
    at = len(before) + cut
    pieces = [data[:at], *(data[one : one + piece_bytes] for one in range(at, len(data), piece_bytes))]
    one, bad, plays, others = parser(), [], 0, []
    for piece in pieces:
        parsed = one.feed(memoryview(piece))
        bad += parsed.bad
        plays += len(parsed.plays)
        others += parsed.others
        assert one._rest_bytes <= 100, "nothing of it is kept"
    (large,) = bad
    assert (large.id, large.body) == (b"%016x" % 2, body[: frames.START_BYTES])
    assert large.cut == Cut(len(body), hashlib.sha256(body).hexdigest())
    assert (plays, others) == (2, [(0, b"OK")])


def test_two_messages_that_are_too_large_in_a_row_are_two():
    body = bytes(FRAME_BYTES_MAX)
    parsed = parser().feed(message(1, body) + message(2, body + b"x"))
    assert [one.cut.body_bytes for one in parsed.bad] == [len(body), len(body) + 1]


def test_a_large_frame_in_small_reads_is_put_together_once():
    bodies = SimpleNamespace(video=lambda body: bytes(16), videos=lambda *_: None)  # join nothing themselves
    data, one, messages = message(1, bytes(1 << 20)), FrameParser(bodies), []

    def read():
        messages.extend(one.feed(data[at : at + 1024]).messages for at in range(0, len(data), 1024))

    assert builtin_calls(read)["join"] <= 2, "one join for the first read, and one when the frame is complete"
    assert sum(messages) == 1


class Heads:
    """The layout of a message's head; records where it is read."""

    def __init__(self, monkeypatch):
        self.read = []
        self._layout = frames._message_head
        monkeypatch.setattr(frames, "_message_head", self)

    def unpack_from(self, data, at):
        self.read.append((id(data), at))
        return self._layout.unpack_from(data, at)


def test_many_short_frames_in_one_read_are_gone_through_once_where_they_stand(monkeypatch):
    heads, count = Heads(monkeypatch), 1000
    assert len(parser().feed(frame(0, b"") * count).others) == count
    assert len({data for data, _ in heads.read}) == 1, "the parser copied the rest of the read"
    places = [at for _, at in heads.read]
    assert places == sorted(set(places))


class Arrays:
    """numpy, but records how many messages ahead of a position the parser looks."""

    def __init__(self, monkeypatch):
        self.lengths = []
        monkeypatch.setattr(frames, "np", self)

    def ndarray(self, length, *layout):
        self.lengths.append(length)
        return np.ndarray(length, *layout)

    def __getattr__(self, name):
        return getattr(np, name)


def test_runs_of_messages_in_turn_are_looked_ahead_at_no_further_than_the_bound(monkeypatch):
    arrays, runs = Arrays(monkeypatch), 500
    alike = b"".join(message(number, play(number)) for number in range(ALIKE_MIN))
    data = (alike + frame(0, b"")) * runs
    assert runs * ALIKE_MIN > 2 * ALIKE_MAX
    assert parser().feed(message(1, play(1)) + data).messages == runs * ALIKE_MIN + 1
    assert max(arrays.lengths) == ALIKE_MAX
    assert len(arrays.lengths) <= 3 * runs


def test_what_a_frame_takes_does_not_grow_with_the_read_that_it_is_in():
    alike = b"".join(message(number, b"x" * 9) for number in range(ALIKE_MIN))
    for some in (frame(0, b""), alike + frame(0, b"")):
        few, many = (lines_run(lambda n=n, some=some: parser().feed(some * n)) for n in (20, 200))
        assert many <= 10 * few


FORMS = ['{"video_id":"%s"}', '{"video_id": "%s"}', '{"x":"y","video_id":"%s"}', '{"video_id":"%s","x":"y"}']
ODD = {
    "none": lambda body: body,
    "upper case": lambda body: body[:12] + body[12:].upper(),
    "a letter for a digit": lambda body: body.replace(b"-", b"-g", 1)[: len(body) - 2] + b'"}',
    "a hyphen is elsewhere": lambda body: body[:21] + body[22:25] + b"-" + body[25:],
    "a hyphen is a digit": lambda body: body.replace(b"-", b"0", 1),
    "no hyphens": lambda body: body.replace(b"-", b"") + b"    ",
    "the head differs": lambda body: body.replace(b"video_id", b"videoxid"),
    "the first byte differs": lambda body: b"[" + body[1:],
    "the tail differs": lambda body: body[:-1] + b"]",
    "a NUL at the end": lambda body: body[:-1] + b"\0",
    "a space before": lambda body: b" " + body[:-1],
    "all of it differs": lambda body: b"z" * len(body),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 1, 20, ALIKE_MIN, 98, 99])
def test_one_of_many_that_is_not_as_the_others_is_read_as_it_would_be_alone(form, odd, at):
    bodies = [play(number << 90 | number, form) for number in range(100)]
    bodies[at] = ODD[odd](bodies[at])
    data = b"".join(message(number, body, number) for number, body in enumerate(bodies))
    assert feed_all([message(1, play(1, form)), data]) == expected_of(message(1, play(1, form)) + data)


@pytest.mark.parametrize("count", [ALIKE_MIN - 1, ALIKE_MIN, ALIKE_MIN + 1, ALIKE_MAX, ALIKE_MAX + 1])
def test_any_number_of_messages_in_a_row_is_taken(count):
    data = b"".join(message(number, play(number)) for number in range(count))
    for behind in (b"", frame(0, b"OK"), message(1, NO_PLAY), data[:50]):
        assert feed_all([data, data + behind]) == expected_of(data + data + behind)


@st.composite
def runs(draw):
    """Consecutive messages of one form; some are odd, of another type, or cut short by another frame."""
    form = draw(st.sampled_from(FORMS))
    count = draw(st.integers(0, 3 * ALIKE_MIN))
    made = []
    odd = draw(st.dictionaries(st.integers(0, max(0, count - 1)), st.sampled_from(sorted(ODD)), max_size=3))
    types = draw(st.dictionaries(st.integers(0, max(0, count - 1)), st.integers(0, 3), max_size=1))
    first = draw(st.integers(0, 2**128 - 200))
    for number in range(count):
        one = message(number, ODD[odd.get(number, "none")](play(first + number, form)), number)
        made.append(one[:4] + struct.pack(">i", types.get(number, MESSAGE_TYPE)) + one[8:])
    return b"".join(made)


any_frame = st.one_of(
    runs(),
    runs(),
    st.builds(
        message,
        st.integers(0, 2**64 - 1),
        st.binary(max_size=40) | st.builds(play, st.integers(0, 2**128 - 1), st.sampled_from(FORMS)),
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
@given(st.lists(any_frame, max_size=8), st.data())
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
