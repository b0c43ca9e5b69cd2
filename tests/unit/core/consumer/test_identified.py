"""Bodies that name their play's identity, compared with json.loads: alone, among many, after any other."""

import json
import struct
import time
import uuid
from hashlib import blake2b

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.core import guids
from actors.core.consumer import identified
from actors.core.consumer.bodies import Bodies, NotAPlay
from actors.core.consumer.frames import ALIKE_MIN, MESSAGE_TYPE, FrameParser
from actors.core.consumer.identified import TEXT_BYTES_MAX, IdentifiedBodies, make_bodies

TEXT = "5fec8982-705f-4a15-8228-3d03c74803e5"
VIDEO = uuid.UUID(TEXT).bytes
TOPIC, NAME = "plays", "id"


def reader(name=NAME, topic=TOPIC):
    return make_bodies(topic, name)


def body_of(play_id, video=TEXT, name=NAME):
    return json.dumps({"video_id": video, name: play_id}).encode()


def identity(video, text, name=NAME, topic=TOPIC):
    whole = topic.encode() + b"\0" + name.encode() + b"\0" + video + text.encode()
    return blake2b(whole, digest_size=16).digest()


def by_the_book(body, name=NAME):
    """The video and the text of the id, by the standard library; None if the body is not such a play.

    What is not UTF-8 matters within the id only.
    """
    try:
        found = json.loads(body.decode(json.detect_encoding(body), "replace"), strict=False)
        video, text = found["video_id"], found[name]
        if not 1 <= len(text.encode()) <= TEXT_BYTES_MAX or "\ufffd" in text:
            return None
        return guids.parse(video), text
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def read_of(bodies, body):
    """The video and the identity that a body has, or the reason why it is not a play."""
    bodies.play_ids = bytearray()
    video = bodies.video(body)
    if video is None:
        assert bodies.play_ids == b""
        return bodies.why
    return video, bytes(bodies.play_ids)


def frame(number, body):
    return struct.pack(">iiqH16s", len(body) + 30, MESSAGE_TYPE, 17, 1, b"%016x" % number) + body


def test_without_a_name_bodies_are_read_as_ever():
    assert type(reader("")) is Bodies
    assert read_of(reader(""), body_of(7)) == (VIDEO, b"")


def test_the_identity_is_of_topic_name_video_and_text():
    seen = {
        read_of(reader(name, topic), body_of(text, video, name))
        for name in ("id", "event_id")
        for topic in ("plays", "clicks")
        for video in (TEXT, TEXT[::-1].replace("-", "")[:32])
        for text in ("a", "b", "ab", "A", " a")
    }
    assert len(seen) == 2 * 2 * 2 * 5
    assert read_of(reader(), body_of("a")) == (VIDEO, identity(VIDEO, "a"))


@pytest.mark.parametrize("form", [TEXT.upper(), f"{{{TEXT}}}", f"urn:uuid:{TEXT}", TEXT.replace("-", "")])
def test_all_forms_of_a_video_are_one_video_in_the_identity_too(form):
    assert read_of(reader(), body_of("a", form)) == (VIDEO, identity(VIDEO, "a"))


GOOD = ["a", TEXT, "x" * 64, "ü" * 32, "\U0001f600" * 16, " ", "\x00", 'say "hi"\\', "42"]


@pytest.mark.parametrize("text", GOOD)
@pytest.mark.parametrize("escaped", [True, False])
def test_any_text_of_1_to_64_bytes_is_an_id_however_it_is_written(text, escaped):
    body = json.dumps({"video_id": TEXT, "id": text}, ensure_ascii=escaped).encode()
    assert read_of(reader(), body) == (VIDEO, identity(VIDEO, text))
    spelt = b'{"\\u0069d":"\\u0069\\u0064","video_id":"%b"}' % TEXT.encode()
    assert read_of(reader(), spelt) == (VIDEO, identity(VIDEO, "id"))


PLAY = b'{"video_id":"%b","id":' % TEXT.encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"video_id":"%b"}' % TEXT.encode(), "the object has no id"),
        (b'{"video_id":"%b","ID":"a"}' % TEXT.encode(), "the object has no id"),
        (b'{"video_id":"%b","more":{"id":"a"}}' % TEXT.encode(), "the object has no id"),
        (PLAY + b"null}", "id is not a string"),
        (PLAY + b"42}", "id is not a string"),
        (PLAY + b"true}", "id is not a string"),
        (PLAY + b'["a"]}', "id is not a string"),
        (PLAY + b'{"id":"a"}}', "id is not a string"),
        (PLAY + b'"a","id":7}', "id is not a string"),
        (PLAY + b'""}', "id is empty"),
        (PLAY + b'"%b"}' % (b"x" * 65), "id has more than 64 bytes"),
        (PLAY + b'"%b"}' % ("ü" * 33).encode(), "id has more than 64 bytes"),
        (PLAY + b'"\xff"}', "id is not valid text"),
        (PLAY + b'"a\\q"}', "id is not valid text"),
        (PLAY + b'"\\ud83d"}', "id is not valid text"),
        (PLAY + b'"\\ufffd"}', "id is not valid text"),
        (PLAY + '"\ufffd"}'.encode(), "id is not valid text"),
        (
            (PLAY + b'"a"}').decode().encode("utf-16").replace(b'a\0"\0}', b'\0\xd8"\0}'),
            "id is not valid text",
        ),
        (b'{"id":"a"}', "the object has no video_id"),
        (b'{"id":"a","video_id":"cats"}', "video_id is not a GUID"),
        (b'{"id":"a","video_id":7}', "video_id is not a string"),
        (b"no play", "the body is not JSON"),
        (b"", "the body is empty"),
    ],
    ids=lambda one: repr(one[-24:]),
)
def test_what_has_no_right_id_has_its_reason(body, why):
    bodies = reader()
    assert read_of(bodies, body) == why
    read_of(bodies, body_of("a"))
    assert read_of(bodies, body) == why


def test_of_two_equal_keys_the_last_counts_as_for_the_video():
    other = TEXT.replace("5", "6")
    body = PLAY + b'"a","video_id":"%b","id":"b"}' % other.encode()
    assert read_of(reader(), body) == (guids.parse(other), identity(guids.parse(other), "b"))
    assert read_of(reader(), PLAY + b'7,"id":"b"}') == (VIDEO, identity(VIDEO, "b"))


def test_what_json_allows_elsewhere_in_the_body_changes_no_id():
    for more in (
        b'"x":"\xff",',
        b'"x":"\\ud83d",',
        b'"x":NaN,',
        b'"x":1e999,',
        b'"x":%b,' % (b"[" * 9 + b"]" * 9),
    ):
        body = PLAY.replace(b"{", b"{" + more) + b'"a"}'
        assert read_of(reader(), body) == (VIDEO, identity(VIDEO, "a"))


def test_a_body_of_many_mebibytes_with_a_wrong_id_holds_up_nothing():
    body, began = PLAY + b'7,"more":"%b"}' % (b"x" * 14_000_000), time.process_time()
    assert read_of(reader(), body) == (
        "the body has more than 1 MiB and is not plain JSON with a video_id and id"
    )
    assert time.process_time() - began < 20


# Bodies that differ in what is before, between and after the GUID and the id, in their order, in other keys.

SHAPES = [
    '{"video_id":"%(video)s","id":"%(id)s"}',
    '{"id":"%(id)s","video_id":"%(video)s"}',
    ' {"a":"%(id)s","video_id":"%(video)s","id":"%(id)s"}',
    '{"a":"%(video)s","id":"%(id)s","video_id":"%(video)s"}',
    '{"id":"%(video)s","video_id":"%(video)s"}',
    '{"id":"x-%(video)s-%(id)s","video_id":"%(video)s"}',
    '{"video_id":"%(video)s","id":"%(id)s","id":"%(id)s"}',
    '{"video_id":"%(video)s","id":"id","%(id)s":1}',
    '{"video_id":"%(video)s","id":%(id)s}',
    '{"video_id":"%(video)s","more":{"id":"%(id)s"}}',
    '{"video_id":"%(video)s","id":"%(id)s',
    '["%(video)s","%(id)s"]',
]
videos = st.uuids().map(str) | st.just(TEXT) | st.just(TEXT.upper()) | st.just(TEXT.replace("5", "g"))
plain_ids = (
    st.uuids().map(str) | st.integers(0, 10**6).map(str) | st.sampled_from(["id", "a", "b", "video_id", ""])
)
ids = (
    plain_ids
    | st.text(max_size=70).filter(lambda text: "\\" not in text)  # json.loads takes no unknown escape
    | st.sampled_from(["\\u0061", '"', "\\", "\\n", "\ud83d", "\ufffd", "ü", "null"])
)
rows = st.tuples(st.sampled_from(SHAPES), videos, ids, st.booleans())


def made(shape, video, play_id, escaped):
    text = json.dumps(play_id)[1:-1] if escaped else play_id
    return (shape % {"video": video, "id": text}).encode("utf-8", "surrogatepass")


def expected_of(body):
    found = by_the_book(body)
    return None if found is None else (found[0], identity(*found))


@settings(max_examples=400, deadline=None)
@given(st.lists(rows, max_size=8))
@example([(SHAPES[5], TEXT, "a", False), (SHAPES[5], TEXT.replace("5", "6"), "b", False)])
def test_whatever_was_read_before_a_body_means_what_json_loads_says(several):
    bodies = reader()
    for row in several:
        body = made(*row)
        found, expected = read_of(bodies, body), expected_of(body)
        assert (found if isinstance(found, tuple) else None) == expected
        assert read_of(reader(), body) == found


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.lists(st.tuples(videos, plain_ids | ids, st.booleans()), min_size=1, max_size=5),
    st.integers(1, 2 * ALIKE_MIN),
)
def test_many_bodies_at_once_mean_what_each_says(shape, several, times):
    messages = [made(shape, *one) for one in several for _ in range(times)]
    parser = FrameParser(reader())
    parser.feed(frame(0, messages[0]))
    parsed = parser.feed(b"".join(frame(number, body) for number, body in enumerate(messages)))
    found = {int(one.id, 16): None for one in parsed.bad}
    plays = parsed.plays
    for row in range(len(plays)):
        number = int(plays.ids[16 * row : 16 * row + 16], 16)
        found[number] = tuple(bytes(one[16 * row : 16 * row + 16]) for one in (plays.videos, plays.play_ids))
    assert len(plays.play_ids) == 16 * len(plays)
    assert found == {number: expected_of(body) for number, body in enumerate(messages)}


@settings(max_examples=300, deadline=None)
@given(rows, st.data())
def test_spoilt_bodies_have_a_right_id_or_a_reason(row, data):
    body = bytearray(made(*row))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(0, len(body) - 1)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    found = read_of(reader(), bytes(body))
    expected = expected_of(bytes(body))
    # What json.loads refuses may still be a play, as its docstring says; what it takes means the same.
    assert expected is None or found == expected
    if isinstance(found, str):
        assert found


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_bodies_of_one_shape_are_read_without_decoding(shape, monkeypatch):
    bodies = reader()
    read_of(bodies, made(shape, TEXT, "0001", False))
    monkeypatch.setattr(bodies, "decode", None)
    other = TEXT.replace("5", "6").upper()
    video = guids.parse(other)
    if shape != SHAPES[2]:  # there the id is in two places, and a template has one
        assert read_of(bodies, made(shape, other if shape != SHAPES[3] else TEXT, "zz z", False))[
            1
        ] == identity(video if shape != SHAPES[3] else VIDEO, "zz z")


def test_many_plays_of_one_shape_are_read_together(monkeypatch):
    parser = FrameParser(reader())
    parser.feed(frame(0, body_of("0000")))
    monkeypatch.setattr(parser, "_messages", None)
    texts = [f"{number:04}" for number in range(1000)]
    parsed = parser.feed(b"".join(frame(number, body_of(text)) for number, text in enumerate(texts)))
    assert parsed.plays.play_ids == b"".join(identity(VIDEO, text) for text in texts)


@pytest.mark.parametrize("odd", [b'a"', b"a\\", b"\xc3\xbc", b"\0a", b"a\x7f"])
def test_an_id_in_a_template_that_has_to_be_decoded_is(odd):
    bodies = reader()
    assert read_of(bodies, body_of("ab")) == (VIDEO, identity(VIDEO, "ab"))
    body = body_of("ab").replace(b"ab", odd)
    assert read_of(bodies, body) == read_of(reader(), body)
    data = b"#" * 8 + body_of("ab") + body
    assert bodies.videos(data, 8, len(body), len(body), 2) is None


def test_the_shapes_that_are_remembered_are_bounded():
    bodies = reader()
    for spaces in range(2 * identified.TEMPLATES_MAX):
        assert read_of(bodies, body_of("a") + b" " * spaces) == (VIDEO, identity(VIDEO, "a"))
    assert len(bodies._templates_of) <= identified.TEMPLATES_MAX


def test_a_read_that_fails_leaves_no_id_for_the_next(monkeypatch):
    parser = FrameParser(reader())
    with pytest.raises(ValueError, match="of 3 bytes"):
        parser.feed(frame(1, body_of("a")) + struct.pack(">ii", 3, 0))
    again = FrameParser(parser._bodies)
    assert again.feed(frame(2, body_of("b"))).plays.play_ids == identity(VIDEO, "b")


def test_a_name_is_found_whatever_signs_it_has():
    for name in ("@id", "$id", "play-id", "ns:id", "_", "9", "x" * 64):
        body = body_of("a", name=name)
        assert read_of(reader(name), body) == (VIDEO, identity(VIDEO, "a", name))
        odd = body.replace(b"{", b'{"x":"\\ud83d",', 1)
        assert read_of(reader(name), odd) == (VIDEO, identity(VIDEO, "a", name))
        with pytest.raises(NotAPlay, match="has no"):
            reader(name).decode(b'{"video_id":"%b"}' % TEXT.encode())


def test_the_class_is_made_for_a_name():
    assert isinstance(reader(), IdentifiedBodies)


def test_the_places_of_a_text_in_a_body_are_where_it_stands_and_at_most_a_few():
    assert identified._places(b"xyz, xyz", b"xyz", 1) == [1, 6]
    assert identified._places(b"xy", b"xyz", 1) == []
    assert identified._places(b"x" * 9, b"x", 0) == list(range(identified.PLACES_MAX))
