"""Message bodies: plays in all forms; a reason for every other body; dead letters that nsqd accepts."""

import base64
import hashlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core import guids
from actors.core.consumer import bodies
from actors.core.consumer.bodies import Bodies, NotAPlay, dead_letters, decode
from actors.core.consumer.identified import IdentifiedBodies
from tests.support.bodies import reason

TEXT = "6f1ed002-ab55-4d7e-8f2c-1d2e3f40516a"
VIDEO = bytes.fromhex(TEXT.replace("-", ""))
NSQD_MESSAGE_BYTES_MAX = 1024 * 1024


def body_of(text):
    return json.dumps({"video_id": text}).encode()


@pytest.mark.parametrize(
    "body",
    [
        body_of(TEXT),
        body_of(TEXT.upper()),
        body_of("{" + TEXT + "}"),
        body_of(TEXT.replace("-", "")),
        b' \n{ "video_id" : "%s" } \t' % TEXT.encode(),
        b'{"user":7,"video_id":"%s","at":[1,{"x":null}]}' % TEXT.encode(),
        b'{"n":%s,"video_id":"%s"}' % (b"9" * 100_000, TEXT.encode()),
        b'{"video_id":"\\u0036%s"}' % TEXT[1:].encode(),
    ],
)
def test_a_play_in_any_form_is_of_one_video(body):
    assert decode(body) == VIDEO


def test_of_two_equal_keys_the_last_counts_as_in_every_json_reader():
    assert decode(b'{"video_id":"x","video_id":"%s"}' % TEXT.encode()) == VIDEO
    with pytest.raises(NotAPlay, match="not a GUID"):
        decode(b'{"video_id":"%s","video_id":"x"}' % TEXT.encode())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is empty"),
        (b"plays", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[1,", "the body is not JSON"),
        (b"{} {}", "the body is not JSON"),
        (b'{"video_id":NaN}', "video_id is not a string"),
        (b"\xef\xbb\xbf{}", "the object has no video_id"),  # a byte order mark
        (b'{"video_id":"\\ud800"}', "video_id is not a GUID"),  # half of a surrogate pair
        (b'{"\\ud800":1}', "the object has no video_id"),
        (b'{"video_id":"\xff"}', "video_id is not a GUID"),  # not UTF-8
        (b"[" * 4000, "the body is not JSON"),
        (b'{"a":' * 800, "the body is not JSON"),
        (b"[" * 100_000, "the body is not a JSON object"),  # a long one is only looked at
        (b'{"a":' * 100_000, "the object has no video_id"),
        (b"null", "the body is not a JSON object"),
        (b"[]", "the body is not a JSON object"),
        (b'"%s"' % TEXT.encode(), "the body is not a JSON object"),
        (b"9" * 100_000, "the body is not a JSON object"),
        (b"{}", "the object has no video_id"),
        (b'{"Video_Id":"%s"}' % TEXT.encode(), "the object has no video_id"),
        (b'{"n":%s}' % (b"9" * 100_000), "the object has no video_id"),
        (b'{"n":1e999999}', "the object has no video_id"),
        (b'{"video_id":null}', "video_id is not a string"),
        (b'{"video_id":12}', "video_id is not a string"),
        (b'{"video_id":%s}' % (b"9" * 100_000), "video_id is not a string"),
        (b'{"video_id":["%s"]}' % TEXT.encode(), "video_id is not a string"),
        (b'{"video_id":""}', "video_id is not a GUID"),
        (b'{"video_id":"cats"}', "video_id is not a GUID"),
    ],
    ids=lambda one: repr(one[:24]),
)
def test_what_is_no_play_has_its_reason(body, why):
    with pytest.raises(NotAPlay, match=f"^{why}$"):
        decode(body)
    assert reason(body) == why


@pytest.mark.parametrize(
    "body", [b'{"a":1,%s"b":1}' % (b'"a":1,' * 2_400_000), b'"' * 14_000_000, b"[" * 14_000_000], ids=len
)
def test_a_body_of_many_mebibytes_that_is_no_play_holds_up_nothing(body):
    began = time.process_time()
    assert reason(body) == "the body has more than 1 MiB and is not plain JSON with a video_id"
    assert time.process_time() - began < 20


def test_a_play_of_many_mebibytes_is_a_play():
    body = b'{"more":"%s","video_id":"%s"}' % (b"x" * 14_000_000, TEXT.encode())
    assert Bodies().video(body) == decode(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | json_values.map(lambda value: json.dumps({"video_id": value}).encode())
)
def test_any_bytes_are_a_video_or_no_play_and_nothing_else_is_raised(body):
    try:
        video = decode(body)
    except NotAPlay as why:
        assert reason(body) == str(why)
    else:
        assert len(video) == 16
        assert Bodies().video(body) == video


SHAPES = [
    '{"video_id":"%s"}',
    '{"video_id": "%s"}',
    ' {"a":1,"video_id":"urn:uuid:%s","b":[2]}\n',
    '{"video_id":"{%s}"}',
    '{"video_id":"%s","video_id":"%s"}',
    '{"video_id":"%s","x":"%s"}',
    '{"x":"%s","video_id":"%s"}',
    '{"video_id":"5fec8982705f4a1582283d03c74803e5","x":"%s"}',
    '{"video_id":"\\u0035fec8982-705f-4a15-8228-3d03c74803e5","x":"%s"}',
    '{"x":"%s","video_id":{"video_id":"%s"}}',
    "%s",
    '{"video_id":%s}',
    '{"video_id":"%s',
    '["%s"]',
]
digits = st.sampled_from("0123456789abcdefABCDEF- g")
texts = (
    st.uuids().map(str)
    | st.uuids().map(lambda one: str(one).upper())
    | st.just(TEXT)
    | st.tuples(st.integers(0, 35), digits).map(lambda one: TEXT[: one[0]] + one[1] + TEXT[one[0] + 1 :])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SHAPES), texts, texts), max_size=8))
def test_whatever_was_read_before_a_body_means_what_it_says(rows):
    read = Bodies()
    for shape, one, two in rows:
        body = (shape % ((one, two) if shape.count("%s") == 2 else (one,))).encode()
        try:
            video = decode(body)
        except NotAPlay:
            video = None
        assert read.video(body) == video


def test_bodies_of_one_shape_are_read_without_decoding(monkeypatch):
    read = Bodies()
    assert read.video(body_of(TEXT)) == VIDEO
    monkeypatch.setattr(bodies, "decode", None)
    other = TEXT.replace("5", "6").upper()
    assert read.video(body_of(other)) == bytes.fromhex(other.replace("-", ""))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SHAPES), st.lists(texts, min_size=1, max_size=6), st.integers(8, 20))
def test_many_bodies_at_once_mean_what_each_says_or_are_left_to_be_read_alone(shape, several, gap):
    read = Bodies()
    bodies_read = [(shape.replace("%s", text)).encode() for text in several]
    videos = [read.video(body) for body in bodies_read]
    size = len(bodies_read[0])
    data = b"".join(b"#" * gap + body for body in bodies_read) + b"#"
    together = read.videos(data, gap, size, gap + size, len(several))
    assert together is None or [together[at : at + 16] for at in range(0, len(together), 16)] == videos


def test_many_bodies_of_the_shape_that_was_learnt_are_read_at_once():
    read, several = Bodies(), [body_of(TEXT), body_of(TEXT.upper()), body_of(TEXT[::-1])]
    data = b"#" * 8 + b"".join(several)
    size = len(data[8:]) // 3
    assert read.videos(data, 8, size, size, 2) is None
    assert read.video(body_of(TEXT)) == VIDEO
    assert read.videos(data, 8, size, size, 2) == VIDEO + VIDEO
    assert read.videos(data, 8, size, size, 3) is None  # the third has its hyphens at other places


@pytest.mark.parametrize("body", [body_of(TEXT) + b" " * spaces for spaces in range(8)], ids=len)
def test_a_change_in_any_one_byte_is_seen(body):
    read = Bodies()
    assert read.video(body) == VIDEO
    for at in range(len(body)):
        for byte in b"\0 -9gA{":
            changed = body[:at] + bytes([byte]) + body[at + 1 :]
            together = read.videos(b"#" * 8 + body + changed, 8, len(body), len(body), 2)
            video = Bodies().video(changed)
            assert together is None or (video is not None and together == VIDEO + video)


@pytest.mark.parametrize("more", [2, 4, 28])
def test_a_text_with_more_hyphens_than_a_guid_is_none(more):
    """The others stand where a GUID has digits, so that what is left may be bytes in hex, but too few."""
    text = TEXT[:-more] + "-" * more
    read = Bodies()
    assert read.video(body_of(TEXT)) == VIDEO
    assert read.video(body_of(text)) is None


def test_shapes_of_several_sizes_are_known_side_by_side(monkeypatch):
    read, forms = Bodies(), ['{"video_id":"%s"}', '{"video_id": "%s"}', '{"video_id":"%s","x":12}']
    for form in forms:
        assert read.video((form % TEXT).encode()) == VIDEO
    monkeypatch.setattr(bodies, "decode", None)
    for form in forms:
        assert read.video((form % TEXT).encode()) == VIDEO


@pytest.mark.parametrize("make", [Bodies, lambda: IdentifiedBodies("plays", "id")])
def test_bodies_that_differ_in_more_become_templates_seldom_until_they_are_alike_again(make):
    """A template takes as long as some twenty bodies that are decoded."""
    reader, made = make(), []
    for name in ("_remember_template", "_remember"):
        if inner := getattr(reader, name, None):
            setattr(reader, name, lambda *of, inner=inner: (made.append(of), inner(*of)))

    def body(video, at):
        return b'{"video_id": "%b", "id": "p", "at": %d}' % (guids.text(video).encode(), at)

    videos = [bytes([number % 256] * 16) for number in range(2000)]
    assert [reader.video(body(video, 10_000 + at)) for at, video in enumerate(videos)] == videos
    assert len(made) <= bodies.MISSED_MAX + len(videos) / bodies.SELDOM
    for video in videos[: bodies.SELDOM]:
        assert reader.video(body(video, 99_999)) == video
    alike = [body(video, 99_999) for video in videos]
    data = b"12345678" + b"".join(alike)
    assert reader.videos(data, 8, len(alike[0]), len(alike[0]), len(alike)) == b"".join(videos)
    for read in (lambda: reader.video(alike[0]), lambda: reader.videos(data, 8, *[len(alike[0])] * 2, 1)):
        read()  # they were alike, so another one becomes a template at once
        before = len(made)
        reader.video(body(videos[0], 10_000 + before))
        assert len(made) == before + 1
        reader.video(alike[0])


def test_the_shapes_that_are_remembered_are_bounded():
    read = Bodies()
    for spaces in range(2 * bodies.TEMPLATES_MAX):
        assert read.video(body_of(TEXT) + b" " * spaces) == VIDEO
    assert len(read._templates) <= bodies.TEMPLATES_MAX


FACTS = {
    "reason": "because",
    "source": "127.0.0.1:4150/plays",
    "id": "0123456789abcdef",
    "arrived_at_ns": 17,
}


def letters_of(body):
    letters = dead_letters(body, FACTS)
    assert all(len(letter) <= NSQD_MESSAGE_BYTES_MAX for letter in letters)
    return [json.loads(letter) for letter in letters]


def test_a_dead_letter_says_the_reason_where_it_is_from_and_the_text():
    assert letters_of(b'{"video_id":"caf\xc3\xa9"}') == [
        {
            "reason": "because",
            "source": "127.0.0.1:4150/plays",
            "id": "0123456789abcdef",
            "arrived_at_ns": 17,
            "body": '{"video_id":"caf\u00e9"}',
        }
    ]


def test_a_dead_letter_of_bytes_that_are_no_text_carries_them_as_base64():
    (letter,) = letters_of(b"\xff\x00")
    assert base64.b64decode(letter["body_base64"]) == b"\xff\x00"
    assert "body" not in letter


@pytest.mark.parametrize("size", [1000, 1024, 100_000, 2_000_000])
@pytest.mark.parametrize("bytes_max", [1024, 400, 250, 150, 100, 30, 1])
def test_a_letter_that_nsqd_would_not_take_is_cut_and_says_length_and_hash(size, bytes_max):
    body = b"x" * size
    (text,) = dead_letters(body, FACTS, bytes_max)
    assert 0 < len(text) <= bytes_max
    if bytes_max >= 250:
        letter = json.loads(text)
        assert letter["id"] == FACTS["id"]
        assert letter["body_bytes"] == size
        assert letter["body_sha256"] == hashlib.sha256(body).hexdigest()
        start = base64.b64decode(letter.get("body_start_base64", ""))
        assert body.startswith(start)
        assert bytes_max < 400 or len(text) > bytes_max - 8, "as much of the body as there is room for"
    elif bytes_max >= 30:
        assert b'"id": "0123456789abcdef"' in text


def test_a_cut_letter_is_never_a_byte_too_long():
    lengths = [len(dead_letters(b"x" * 1024, FACTS, bytes_max)[0]) for bytes_max in range(1, 500)]
    assert [bytes_max for bytes_max, length in enumerate(lengths, 1) if length > bytes_max] == []


def test_a_letter_that_fits_is_not_cut():
    (text,) = dead_letters(b"x" * 100, FACTS, 1024)
    assert json.loads(text)["body"] == "x" * 100


def test_of_a_body_that_was_not_kept_the_start_is_told():
    cut = bodies.Cut(20_000_000, "ab" * 32)
    (text,) = dead_letters(b"\xff" * 1000, FACTS, 1024 * 1024, cut)
    letter = json.loads(text)
    assert (letter["body_bytes"], letter["body_sha256"]) == (20_000_000, "ab" * 32)
    assert base64.b64decode(letter["body_start_base64"]) == b"\xff" * 1000
    assert letter["reason"] == "because"


def test_an_empty_body_makes_one_letter():
    assert [letter["body"] for letter in letters_of(b"")] == [""]


@pytest.mark.parametrize("size", [512 * 1024, 512 * 1024 + 1, 3 * 1024 * 1024 + 5])
@pytest.mark.parametrize("byte", [b"x", b"\x00", b'"', b"\xff"])
def test_a_letter_of_any_body_fits_what_nsqd_takes_and_all_of_the_body_is_in_it(size, byte):
    body = byte * size
    letters = letters_of(body)
    if "body" in letters[0]:
        assert letters[0]["body"].encode() == body
    else:
        assert b"".join(base64.b64decode(one["body_base64"]) for one in letters) == body
    if len(letters) > 1:
        assert [one["part"] for one in letters] == list(range(1, len(letters) + 1))
        assert {one["parts"] for one in letters} == {len(letters)}
